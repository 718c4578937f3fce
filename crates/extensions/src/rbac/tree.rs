//! Matcher trees that lead to `envoy.config.rbac.v3.Action`.

use super::{Action, Judgement, Subject};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::{MatcherTree, Vocabulary};
use nuncio_core::matcher::{HttpInput, NetworkInput};
use nuncio_proto::pb::envoy::config::rbac::v3 as pb;
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name;
use prost_types::Any;
use std::cell::Cell;

/// A compiled tree.
#[derive(Debug)]
pub(super) struct Tree {
    matcher: MatcherTree<HttpInput, Then>,
    /// One of its actions marks requests for logs.
    logs: bool,
}

/// What it leads to.
#[derive(Debug)]
struct Then {
    policy: Box<str>,
    action: Action,
}

/// The inputs and actions of rbac. `heads`: requests have headers.
struct Words {
    heads: bool,
    logs: Cell<bool>,
}

impl Vocabulary for Words {
    type Input = HttpInput;
    type Action = Then;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        let input = HttpInput::compile(any, cx)?.filter(|input| match input {
            HttpInput::RequestHeader(_) | HttpInput::Attributes => self.heads,
            HttpInput::Network(input) => !matches!(input, NetworkInput::SourceType),
            HttpInput::Subject | HttpInput::UriSan | HttpInput::DnsSan => true,
            _ => false,
        });
        if input.is_none() {
            cx.unsupported(format!("rbac cannot match on '{}'", any.type_url));
        }
        input
    }

    fn action(&self, _: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Then> {
        if type_name(&any.type_url) != pb::Action::full_name() {
            cx.error(format!("'{}' is no action of rbac", type_name(&any.type_url)));
            return None;
        }
        let pb::Action { name, action } = cx.unpack(any)?;
        let action = Action::of(action)?;
        self.logs.set(self.logs.get() | (action == Action::Log));
        Some(Then { policy: name.into(), action })
    }
}

impl Tree {
    pub(super) fn compile(message: Matcher, heads: bool, cx: &CompileContext<'_>) -> Option<Self> {
        let words = Words { heads, logs: Cell::new(false) };
        let matcher = MatcherTree::compile(message, &words, cx)?;
        Some(Self { matcher, logs: words.logs.get() })
    }

    /// What is not matched may not go on.
    pub(super) fn judge(&self, subject: &Subject<'_>) -> Judgement<'_> {
        let Some(Then { policy, action }) = self.matcher.find(&|input| input.value(&subject.facts())) else {
            return Judgement { allowed: false, policy: None, hint: None };
        };
        Judgement {
            allowed: *action != Action::Deny,
            policy: Some(policy),
            hint: self.logs.then_some(*action == Action::Log),
        }
    }
}
