//! `envoy.config.rbac.v3.RBAC`: policies of permissions, which look at what is asked for, and principals, which look at
//! who asks; and matcher trees that take their place. The HTTP filter and the network filter share it.

mod tree;

use nuncio_codec::head::{HeaderMap, RequestHead};
use nuncio_core::address::Address;
use nuncio_core::cel::{Activation, Expression, Features};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::{
    CidrList, FilterStateMatcher, HeaderMatcher, HttpFacts, MetadataMatcher, StringMatcher,
};
use nuncio_core::stream_info::{ConnectionInfo, FilterState, StreamInfo};
use nuncio_downstream::route::RequestMatcher;
use nuncio_net::tls::PeerName;
use nuncio_proto::pb::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use nuncio_proto::pb::envoy::config::rbac::v3 as pb;
use nuncio_proto::pb::envoy::extensions::rbac::principals::mtls_authenticated::v3::Config as MtlsAuthenticated;
use nuncio_proto::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use nuncio_proto::pb::envoy::r#type::v3::Int32Range;
use nuncio_proto::pb::google::api::expr::v1alpha1::Expr;
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name;
use std::iter;
use std::ops::Range;
use std::rc::Rc;
use std::slice;
use tree::Tree;

/// What is done with a request that a policy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It alone may go on.
    Allow,
    /// It alone may not.
    Deny,
    /// It is marked for logs.
    Log,
}

impl Action {
    fn of(number: i32) -> Option<Self> {
        Some(match pb::rbac::Action::try_from(number).ok()? {
            pb::rbac::Action::Allow => Self::Allow,
            pb::rbac::Action::Deny => Self::Deny,
            pb::rbac::Action::Log => Self::Log,
        })
    }
}

/// Who is judged: a request, or a connection of which no request is known.
pub(crate) struct Subject<'a> {
    head: Option<&'a RequestHead>,
    connection: &'a ConnectionInfo,
    remote: &'a Address,
    info: Option<&'a StreamInfo>,
}

impl<'a> Subject<'a> {
    /// A request.
    pub(crate) fn request(head: &'a RequestHead, info: &'a StreamInfo) -> Self {
        let remote = info.remote_address();
        Self { head: Some(head), connection: &info.connection, remote, info: Some(info) }
    }

    /// A connection.
    pub(crate) fn connection(connection: &'a ConnectionInfo) -> Self {
        Self { head: None, connection, remote: &connection.remote, info: None }
    }

    /// What expressions read of it.
    fn activation(&self) -> Activation<'a> {
        self.facts().activation()
    }

    /// What matcher trees read of it.
    fn facts(&self) -> HttpFacts<'a> {
        let Self { head, connection, remote, info } = *self;
        HttpFacts { request: head, response: None, connection, remote, info }
    }
}

impl Subject<'_> {
    /// An object of the request's filter state, or of the connection's.
    fn filter_state(&self, key: &str) -> Option<Rc<dyn FilterState>> {
        match self.info {
            Some(info) => info.filter_state(key),
            None => self.connection.state.filter_state.get(key),
        }
    }
}

/// Rules, or the tree that takes their place.
#[derive(Debug)]
pub(crate) struct Engine(Kind);

#[derive(Debug)]
enum Kind {
    /// A compiled `RBAC`; the policies are in the order of their names, and so are the outcomes behind the first one,
    /// which is that no policy takes the subject.
    Policies {
        action: Action,
        policies: Box<[Policy]>,
        outcomes: Box<[Outcome]>,
    },
    Tree(Tree),
}

/// What can come of a judgement.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// It may go on.
    pub(crate) allowed: bool,
    /// What decided that, where something did.
    pub(crate) policy: Option<Box<str>>,
}

/// What an engine says.
pub(crate) struct Judgement<'e> {
    /// What came of it.
    pub(crate) outcome: &'e Outcome,
    /// Its number among the [outcomes](Engine::outcomes).
    pub(crate) number: usize,
    /// Whether logs shall have it, where that is asked (`access_log_hint`).
    pub(crate) hint: Option<bool>,
}

#[derive(Debug)]
struct Policy {
    /// One of them has to be given, and one of the principals.
    permissions: Box<[Rule]>,
    principals: Box<[Rule]>,
    /// It has to hold, too; one that comes to nothing does not.
    condition: Option<Expression>,
}

/// A permission or a principal.
#[derive(Debug)]
enum Rule {
    All(Box<[Rule]>),
    OneOf(Box<[Rule]>),
    Not(Box<Rule>),
    Any,
    Header(Box<HeaderMatcher>),
    /// The path without its query.
    Path(StringMatcher),
    Metadata(Box<MetadataMatcher>),
    /// Of the route.
    RouteMetadata(Box<MetadataMatcher>),
    FilterState(FilterStateMatcher),
    UriTemplate(Box<RequestMatcher>),
    ServerName(StringMatcher),
    Ip(Whose, CidrList),
    DestinationPort(Range<i64>),
    /// A client certificate was presented that has such a name; `None`: any.
    Authenticated(Option<StringMatcher>),
    /// `envoy.rbac.principals.mtls_authenticated`: it was validated, too; `None`: whatever its name.
    MtlsAuthenticated(Option<PeerName>),
}

/// Whose address is looked at.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Destination,
    /// The connection's peer, as a PROXY protocol header may say.
    Source,
    /// The peer itself.
    DirectRemote,
    /// The client, as `x-forwarded-for` may say.
    Remote,
}

impl Engine {
    /// The engine of a tree, where there is one, or else of rules; `fields` are their names. `heads`: it judges requests,
    /// which have headers. `Some(None)`: there is neither.
    pub(crate) fn compile(
        rules: Option<&pb::Rbac>,
        matcher: Option<Matcher>,
        fields: [&str; 2],
        heads: bool,
        cx: &CompileContext<'_>,
    ) -> Option<Option<Self>> {
        let [rules_field, matcher_field] = fields;
        let rules = match rules {
            None => None,
            Some(rules) => Some(Kind::rules(rules, heads, &cx.field(rules_field))?),
        };
        let kind = match matcher {
            None => rules,
            Some(matcher) => Some(Kind::Tree(Tree::compile(matcher, heads, &cx.field(matcher_field))?)),
        };
        Some(kind.map(Self))
    }

    /// All that can come of it.
    pub(crate) fn outcomes(&self) -> &[Outcome] {
        match &self.0 {
            Kind::Tree(tree) => tree.outcomes(),
            Kind::Policies { outcomes, .. } => outcomes,
        }
    }

    /// Whether a request may go on, and why.
    pub(crate) fn judge(&self, subject: &Subject<'_>) -> Judgement<'_> {
        let (number, hint) = match &self.0 {
            Kind::Tree(tree) => tree.judge(subject),
            Kind::Policies { action, policies, .. } => {
                let found = policies.iter().position(|policy| policy.takes(subject));
                (found.map_or(0, |i| i + 1), (*action == Action::Log).then_some(found.is_some()))
            }
        };
        Judgement { outcome: self.outcomes().get(number).unwrap_or(&NOTHING), number, hint }
    }
}

/// Stands for an outcome that is not in its list, which none is: nobody may go on.
static NOTHING: Outcome = Outcome { allowed: false, policy: None };

impl Kind {
    fn rules(message: &pb::Rbac, heads: bool, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Rbac { action, policies } = message;
        let (action, of_policies) = (Action::of(*action)?, cx.field("policies"));
        let mut compiled = policies
            .iter()
            .map(|(name, policy)| Some((name, Policy::compile(policy, &of_policies.key(name))?)))
            .collect::<Option<Vec<_>>>()?;
        let mut rules = compiled.iter().flat_map(|(_, p)| p.permissions.iter().chain(&p.principals));
        if !heads && rules.any(Rule::reads_headers) {
            cx.error("Found header rule, not supported by RBAC network filter");
            return None;
        }
        compiled.sort_by_key(|(name, _)| *name);
        let nobody = Outcome { allowed: action != Action::Allow, policy: None };
        let taken =
            |name: &String| Outcome { allowed: action != Action::Deny, policy: Some(name.as_str().into()) };
        let outcomes = iter::once(nobody).chain(compiled.iter().map(|(name, _)| taken(name))).collect();
        let policies = compiled.into_iter().map(|(_, policy)| policy).collect();
        Some(Self::Policies { action, policies, outcomes })
    }
}

impl Policy {
    fn compile(message: &pb::Policy, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Policy { permissions, principals, condition, cel_config } = message;
        let features = Features::from(cel_config.clone());
        Some(Self {
            permissions: list(permissions, cx, "permissions", Rule::permission)?,
            principals: list(principals, cx, "principals", Rule::principal)?,
            condition: match condition {
                None => None,
                Some(expr) => Some(self::condition(expr, features, &cx.field("condition"))?),
            },
        })
    }

    fn takes(&self, subject: &Subject<'_>) -> bool {
        let one_of = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(subject));
        one_of(&self.permissions)
            && one_of(&self.principals)
            && self.condition.as_ref().is_none_or(|condition| condition.holds(&subject.activation()))
    }
}

fn condition(message: &Expr, features: Features, cx: &CompileContext<'_>) -> Option<Expression> {
    Expression::of_older_message(message, features).map_err(|error| cx.error(error.to_string())).ok()
}

/// The messages of a repeated field, compiled.
fn list<M>(
    messages: &[M],
    cx: &CompileContext<'_>,
    field: &str,
    compile: impl Fn(&M, &CompileContext<'_>) -> Option<Rule>,
) -> Option<Box<[Rule]>> {
    messages.iter().enumerate().map(|(i, m)| compile(m, &cx.item(field, i))).collect()
}

fn path(message: &PathMatcher, cx: &CompileContext<'_>) -> Option<Rule> {
    let PathMatcher { rule } = message;
    let path_matcher::Rule::Path(matcher) = rule.as_ref()?;
    Some(Rule::Path(StringMatcher::compile(matcher, &cx.field("path"))?))
}

fn sourced_metadata(message: &pb::SourcedMetadata, cx: &CompileContext<'_>) -> Option<Rule> {
    let pb::SourcedMetadata { metadata_matcher, metadata_source } = message;
    let matcher = MetadataMatcher::compile(metadata_matcher.as_ref()?, &cx.field("metadata_matcher"))?;
    Some(match pb::MetadataSource::try_from(*metadata_source).ok()? {
        pb::MetadataSource::Dynamic => Rule::Metadata(Box::new(matcher)),
        pb::MetadataSource::Route => Rule::RouteMetadata(Box::new(matcher)),
    })
}

/// A principal that is an extension, of which there is one.
fn custom(message: &TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Rule> {
    let TypedExtensionConfig { name, typed_config } = message;
    let any = typed_config.clone().unwrap_or_default();
    if type_name(&any.type_url) != MtlsAuthenticated::full_name() {
        let kind = type_name(&any.type_url);
        cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: '{kind}'"));
        return None;
    }
    let cx = cx.field("typed_config");
    let MtlsAuthenticated { san_matcher, any_validated_client_certificate } = cx.unpack(&any)?;
    match (san_matcher, any_validated_client_certificate) {
        (Some(name), _) => {
            Some(Rule::MtlsAuthenticated(Some(PeerName::compile(&name, &cx.field("san_matcher"))?)))
        }
        (None, true) => Some(Rule::MtlsAuthenticated(None)),
        (None, false) => {
            cx.error(
                "envoy.rbac.principals.mtls_authenticated did not have any configured validation. At least one \
                 configuration field must be set.",
            );
            None
        }
    }
}

/// The ports of a range, without its end.
fn port_range(range: &Int32Range, cx: &CompileContext<'_>) -> Option<Range<i64>> {
    let Int32Range { start, end } = *range;
    let wrong = if !(0..=65_536).contains(&start) {
        format!("range start {start} is out of bounds")
    } else if !(0..=65_536).contains(&end) {
        format!("range end {end} is out of bounds")
    } else if start >= end {
        format!("range start {start} cannot be greater or equal than range end {end}")
    } else {
        return Some(i64::from(start)..i64::from(end));
    };
    cx.error(wrong);
    None
}

fn ip(whose: Whose, range: &CidrRange, cx: &CompileContext<'_>, field: &str) -> Option<Rule> {
    Some(Rule::Ip(whose, CidrList::compile(slice::from_ref(range), cx, field)?))
}

impl Rule {
    fn permission(message: &pb::Permission, cx: &CompileContext<'_>) -> Option<Self> {
        use pb::permission::{Rule as Of, Set};
        let pb::Permission { rule } = message;
        let set = |Set { rules }: &Set, field: &str| list(rules, &cx.field(field), "rules", Self::permission);
        Some(match rule.as_ref()? {
            Of::AndRules(rules) => Self::All(set(rules, "and_rules")?),
            Of::OrRules(rules) => Self::OneOf(set(rules, "or_rules")?),
            Of::NotRule(rule) => Self::Not(Box::new(Self::permission(rule, &cx.field("not_rule"))?)),
            Of::Any(_) => Self::Any,
            Of::Header(header) => {
                Self::Header(Box::new(HeaderMatcher::compile(header, &cx.field("header"))?))
            }
            Of::UrlPath(matcher) => path(matcher, &cx.field("url_path"))?,
            Of::Metadata(matcher) => {
                Self::Metadata(Box::new(MetadataMatcher::compile(matcher, &cx.field("metadata"))?))
            }
            Of::SourcedMetadata(metadata) => sourced_metadata(metadata, &cx.field("sourced_metadata"))?,
            Of::UriTemplate(template) => {
                let matcher = RequestMatcher::of_template(template.clone(), &cx.field("uri_template"))?;
                Self::UriTemplate(Box::new(matcher))
            }
            Of::RequestedServerName(name) => {
                Self::ServerName(StringMatcher::compile(name, &cx.field("requested_server_name"))?)
            }
            Of::DestinationIp(range) => ip(Whose::Destination, range, cx, "destination_ip")?,
            Of::DestinationPort(port) => {
                let port = i64::from(*port);
                Self::DestinationPort(port..port + 1)
            }
            Of::DestinationPortRange(range) => {
                Self::DestinationPort(port_range(range, &cx.field("destination_port_range"))?)
            }
        })
    }

    fn principal(message: &pb::Principal, cx: &CompileContext<'_>) -> Option<Self> {
        use pb::principal::{Authenticated, Identifier as Of, Set};
        let pb::Principal { identifier } = message;
        let set = |Set { ids }: &Set, field: &str| list(ids, &cx.field(field), "ids", Self::principal);
        Some(match identifier.as_ref()? {
            Of::AndIds(ids) => Self::All(set(ids, "and_ids")?),
            Of::OrIds(ids) => Self::OneOf(set(ids, "or_ids")?),
            Of::NotId(id) => Self::Not(Box::new(Self::principal(id, &cx.field("not_id"))?)),
            Of::Any(_) => Self::Any,
            Of::Authenticated(Authenticated { principal_name }) => {
                Self::Authenticated(match principal_name {
                    None => None,
                    Some(name) => {
                        let cx = cx.field("authenticated");
                        Some(StringMatcher::compile(name, &cx.field("principal_name"))?)
                    }
                })
            }
            #[allow(deprecated, reason = "Envoy still takes it")]
            Of::SourceIp(range) => ip(Whose::Source, range, cx, "source_ip")?,
            Of::DirectRemoteIp(range) => ip(Whose::DirectRemote, range, cx, "direct_remote_ip")?,
            Of::RemoteIp(range) => ip(Whose::Remote, range, cx, "remote_ip")?,
            Of::Header(header) => {
                Self::Header(Box::new(HeaderMatcher::compile(header, &cx.field("header"))?))
            }
            Of::UrlPath(matcher) => path(matcher, &cx.field("url_path"))?,
            Of::Metadata(matcher) => {
                Self::Metadata(Box::new(MetadataMatcher::compile(matcher, &cx.field("metadata"))?))
            }
            Of::SourcedMetadata(metadata) => sourced_metadata(metadata, &cx.field("sourced_metadata"))?,
            Of::Custom(extension) => custom(extension, &cx.field("custom"))?,
            Of::FilterState(matcher) => {
                Self::FilterState(FilterStateMatcher::compile(matcher, &cx.field("filter_state"))?)
            }
        })
    }

    fn reads_headers(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::All(rules) | Self::OneOf(rules) => rules.iter().any(Self::reads_headers),
            Self::Not(rule) => rule.reads_headers(),
            _ => false,
        }
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let connection = subject.connection;
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.matches(subject)),
            Self::OneOf(rules) => rules.iter().any(|rule| rule.matches(subject)),
            Self::Not(rule) => !rule.matches(subject),
            Self::Any => true,
            // A connection is asked as a request without headers and path would be.
            Self::Header(matcher) => match subject.head {
                Some(head) => matcher.matches(&head.headers),
                None => matcher.matches(&HeaderMap::new()),
            },
            Self::Path(matcher) => subject.head.is_some_and(|head| {
                let path = head.path().split(|b| matches!(b, b'?' | b'#')).next();
                path.is_some_and(|path| matcher.matches(path))
            }),
            Self::Metadata(matcher) => matcher.matches(subject.info.and_then(StreamInfo::dynamic_metadata)),
            Self::RouteMetadata(matcher) => {
                matcher.matches(subject.info.and_then(|info| info.route_metadata.as_deref()))
            }
            Self::FilterState(matcher) => matcher.matches_in(&|key| subject.filter_state(key)),
            Self::UriTemplate(matcher) => subject.head.is_some_and(|head| matcher.matches(head)),
            Self::ServerName(matcher) => {
                let name = connection.requested_server_name.as_deref().unwrap_or_default();
                matcher.matches(name.as_bytes())
            }
            Self::Ip(whose, ranges) => whose.address(subject).ip().is_some_and(|ip| ranges.contains(ip)),
            Self::DestinationPort(range) => {
                connection.local.port().is_some_and(|port| range.contains(&port.into()))
            }
            Self::Authenticated(name) => is_authenticated(connection, name.as_ref()),
            Self::MtlsAuthenticated(name) => {
                let peer = connection.tls().and_then(|tls| tls.peer.as_ref()).filter(|peer| peer.validated);
                let certificate = peer.and_then(|peer| peer.chain.first());
                certificate.is_some_and(|own| name.as_ref().is_none_or(|name| name.is_of(own)))
            }
        }
    }
}

/// The name of a peer is one of its URIs, else of its DNS names, else its subject.
fn is_authenticated(connection: &ConnectionInfo, name: Option<&StringMatcher>) -> bool {
    let Some(tls) = connection.tls() else { return false };
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

impl Whose {
    fn address<'a>(self, subject: &Subject<'a>) -> &'a Address {
        match self {
            Self::Destination => &subject.connection.local,
            Self::Source => &subject.connection.remote,
            Self::DirectRemote => &subject.connection.direct_remote,
            Self::Remote => subject.remote,
        }
    }
}
