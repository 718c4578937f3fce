//! `ListenerFilterChainMatchPredicate`: connections that a listener filter does not look at.

use super::SocketFacts;
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::config::listener::v3 as pb;
use nuncio_proto::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use nuncio_proto::pb::envoy::r#type::v3::Int32Range;
use std::ops::Range;

/// A compiled predicate.
#[derive(Clone, Debug)]
pub(super) enum Predicate {
    Or(Vec<Predicate>),
    And(Vec<Predicate>),
    Not(Box<Predicate>),
    Any,
    /// `destination_port_range`, without its end.
    Ports(Range<i32>),
}

impl Predicate {
    /// Compiles the message. `None`: refused, with the reason in `cx`.
    pub(super) fn compile(
        message: pb::ListenerFilterChainMatchPredicate,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let pb::ListenerFilterChainMatchPredicate { rule } = message;
        let all = |field: &str, set: pb::listener_filter_chain_match_predicate::MatchSet| {
            let pb::listener_filter_chain_match_predicate::MatchSet { rules } = set;
            let cx = cx.field(field);
            let each =
                rules.into_iter().enumerate().map(|(i, rule)| Self::compile(rule, &cx.item("rules", i)));
            each.collect::<Option<Vec<_>>>()
        };
        Some(match rule {
            Some(Rule::OrMatch(set)) => Self::Or(all("or_match", set)?),
            Some(Rule::AndMatch(set)) => Self::And(all("and_match", set)?),
            Some(Rule::NotMatch(rule)) => Self::Not(Box::new(Self::compile(*rule, &cx.field("not_match"))?)),
            Some(Rule::AnyMatch(_)) => Self::Any,
            Some(Rule::DestinationPortRange(Int32Range { start, end })) => Self::Ports(start..end),
            None => {
                cx.error("a rule is required");
                return None;
            }
        })
    }

    /// Whether a connection is one of those.
    pub(super) fn holds(&self, facts: &SocketFacts) -> bool {
        match self {
            Self::Or(all) => all.iter().any(|p| p.holds(facts)),
            Self::And(all) => all.iter().all(|p| p.holds(facts)),
            Self::Not(one) => !one.holds(facts),
            Self::Any => true,
            Self::Ports(range) => facts.local.port().is_some_and(|port| range.contains(&i32::from(port))),
        }
    }
}
