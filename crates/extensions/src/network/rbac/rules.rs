//! `envoy.config.rbac.v3.RBAC`, as far as a connection can be asked.

use nuncio_core::config::CompileContext;
use nuncio_core::matcher::{CidrList, StringMatcher};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_proto::pb::envoy::config::core::v3::CidrRange;
use nuncio_proto::pb::envoy::config::rbac::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::Int32Range;
use pb::principal::Authenticated;
use pb::{permission, principal, rbac::Action};
use std::net::IpAddr;
use std::ops::Range;

/// What is done about those who match a policy.
#[derive(Debug)]
pub(super) struct Rules {
    action: Action,
    /// In the order of their names.
    policies: Vec<(Box<str>, Policy)>,
}

#[derive(Debug)]
struct Policy {
    permissions: Condition,
    principals: Condition,
}

/// What rules come to.
pub(super) enum Verdict<'a> {
    Allowed,
    /// With the policy that said so.
    Denied(Option<&'a str>),
}

/// A permission or a principal.
#[derive(Debug)]
enum Condition {
    Any,
    All(Vec<Condition>),
    One(Vec<Condition>),
    Not(Box<Condition>),
    DestinationIp(CidrList),
    DestinationPort(Range<i64>),
    ServerName(StringMatcher),
    DirectRemoteIp(CidrList),
    RemoteIp(CidrList),
    /// The peer has a certificate; of this name, where one is given.
    Authenticated(Option<StringMatcher>),
}

impl Rules {
    /// `None`: refused, and every reason is recorded.
    pub(super) fn compile(message: pb::Rbac, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Rbac { action, policies } = message;
        let cx = cx.field("policies");
        let count = policies.len();
        let mut policies: Vec<_> = policies
            .into_iter()
            .filter_map(|(name, message)| {
                Some((name.clone().into(), Policy::compile(message, &cx.key(&name))?))
            })
            .collect();
        policies.sort_by(|(a, _): &(Box<str>, Policy), (b, _)| a.cmp(b));
        let action = Action::try_from(action).unwrap_or(Action::Allow);
        (policies.len() == count).then_some(Self { action, policies })
    }

    /// Whether a connection may go on.
    pub(super) fn judge(&self, connection: &ConnectionInfo) -> Verdict<'_> {
        let matched = self.policies.iter().find(|(_, policy)| policy.matches(connection));
        match (self.action, matched) {
            (Action::Allow, None) => Verdict::Denied(None),
            (Action::Deny, Some((name, _))) => Verdict::Denied(Some(name)),
            (Action::Allow | Action::Log, _) | (Action::Deny, None) => Verdict::Allowed,
        }
    }
}

impl Policy {
    fn compile(message: pb::Policy, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Policy { permissions, principals } = message;
        let permissions = permission_list(permissions, cx, "permissions");
        let principals = principal_list(principals, cx, "principals");
        Some(Self { permissions: Condition::One(permissions?), principals: Condition::One(principals?) })
    }

    fn matches(&self, connection: &ConnectionInfo) -> bool {
        self.permissions.holds(connection) && self.principals.holds(connection)
    }
}

fn permission_list(
    list: Vec<pb::Permission>,
    cx: &CompileContext<'_>,
    field: &str,
) -> Option<Vec<Condition>> {
    let compiled: Vec<_> =
        (0..).zip(list).map(|(i, message)| permission(message, &cx.item(field, i))).collect();
    compiled.into_iter().collect()
}

fn principal_list(list: Vec<pb::Principal>, cx: &CompileContext<'_>, field: &str) -> Option<Vec<Condition>> {
    let compiled: Vec<_> =
        (0..).zip(list).map(|(i, message)| principal(message, &cx.item(field, i))).collect();
    compiled.into_iter().collect()
}

fn range(message: CidrRange, cx: &CompileContext<'_>, field: &str) -> Option<CidrList> {
    CidrList::compile(&[message], cx, field)
}

fn permission(message: pb::Permission, cx: &CompileContext<'_>) -> Option<Condition> {
    use permission::Rule;
    let pb::Permission { rule } = message;
    let Some(rule) = rule else {
        cx.error("a rule is required");
        return None;
    };
    Some(match rule {
        Rule::Any(_) => Condition::Any,
        Rule::AndRules(permission::Set { rules }) => {
            Condition::All(permission_list(rules, &cx.field("and_rules"), "rules")?)
        }
        Rule::OrRules(permission::Set { rules }) => {
            Condition::One(permission_list(rules, &cx.field("or_rules"), "rules")?)
        }
        Rule::NotRule(rule) => Condition::Not(Box::new(permission(*rule, &cx.field("not_rule"))?)),
        Rule::DestinationIp(message) => Condition::DestinationIp(range(message, cx, "destination_ip")?),
        Rule::DestinationPort(port) => Condition::DestinationPort(port.into()..i64::from(port) + 1),
        Rule::DestinationPortRange(Int32Range { start, end }) => {
            Condition::DestinationPort(start.into()..end.into())
        }
        Rule::RequestedServerName(matcher) => {
            Condition::ServerName(StringMatcher::compile(&matcher, &cx.field("requested_server_name"))?)
        }
    })
}

fn principal(message: pb::Principal, cx: &CompileContext<'_>) -> Option<Condition> {
    use principal::Identifier;
    let pb::Principal { identifier } = message;
    let Some(identifier) = identifier else {
        cx.error("an identifier is required");
        return None;
    };
    Some(match identifier {
        Identifier::Any(_) => Condition::Any,
        Identifier::AndIds(principal::Set { ids }) => {
            Condition::All(principal_list(ids, &cx.field("and_ids"), "ids")?)
        }
        Identifier::OrIds(principal::Set { ids }) => {
            Condition::One(principal_list(ids, &cx.field("or_ids"), "ids")?)
        }
        Identifier::NotId(id) => Condition::Not(Box::new(principal(*id, &cx.field("not_id"))?)),
        Identifier::Authenticated(Authenticated { principal_name }) => {
            Condition::Authenticated(match principal_name {
                None => None,
                Some(matcher) => {
                    let cx = cx.field("authenticated");
                    Some(StringMatcher::compile(&matcher, &cx.field("principal_name"))?)
                }
            })
        }
        // The older name of the address after the PROXY protocol.
        Identifier::SourceIp(message) => Condition::RemoteIp(range(message, cx, "source_ip")?),
        Identifier::DirectRemoteIp(message) => {
            Condition::DirectRemoteIp(range(message, cx, "direct_remote_ip")?)
        }
        Identifier::RemoteIp(message) => Condition::RemoteIp(range(message, cx, "remote_ip")?),
    })
}

impl Condition {
    fn holds(&self, connection: &ConnectionInfo) -> bool {
        let is_in = |list: &CidrList, ip: Option<IpAddr>| ip.is_some_and(|ip| list.contains(ip));
        match self {
            Self::Any => true,
            Self::All(list) => list.iter().all(|c| c.holds(connection)),
            Self::One(list) => list.iter().any(|c| c.holds(connection)),
            Self::Not(condition) => !condition.holds(connection),
            Self::DestinationIp(list) => is_in(list, connection.local.ip()),
            Self::DestinationPort(range) => {
                connection.local.port().is_some_and(|port| range.contains(&port.into()))
            }
            Self::ServerName(matcher) => {
                matcher.matches(connection.requested_server_name.as_deref().unwrap_or_default().as_bytes())
            }
            Self::DirectRemoteIp(list) => is_in(list, connection.direct_remote.ip()),
            Self::RemoteIp(list) => is_in(list, connection.remote.ip()),
            Self::Authenticated(name) => authenticated(connection, name.as_ref()),
        }
    }
}

/// The name of a peer is one of its URIs, else of its DNS names, else its subject.
fn authenticated(connection: &ConnectionInfo, name: Option<&StringMatcher>) -> bool {
    let Some(tls) = &connection.tls else { return false };
    let Some(name) = name else { return true };
    let certificate = tls.peer.as_ref().and_then(|peer| peer.chain.first());
    let Some(certificate) = certificate else { return name.matches(b"") };
    let any = |list: &[Box<str>]| list.iter().any(|text| name.matches(text.as_bytes()));
    match (certificate.uri_sans.as_slice(), certificate.dns_sans.as_slice()) {
        ([], []) => name.matches(certificate.subject.as_bytes()),
        ([], names) => any(names),
        (uris, names) => any(uris) || any(names),
    }
}
