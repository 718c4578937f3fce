//! `rate_limits`: what of a request makes up the descriptors by which rate limit filters tell requests apart.

use super::{Action, Route};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::format::mask_ip;
use nuncio_core::matcher::{HeaderMatcher, MetadataPath, QueryParameterMatcher, parameter, query_of};
use nuncio_core::stream_info::StreamInfo;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use pb::rate_limit::action::{self, ActionSpecifier};
use pb::rate_limit::{HitsAddend, XRateLimitOption};
use prost_types::value::Kind;
use std::sync::Arc;

/// A list of rate limits, in its order.
#[derive(Clone, Debug, Default)]
pub struct RateLimits(Option<Arc<[RateLimit]>>);

/// One of them: actions of which each adds an entry to the descriptor.
#[derive(Clone, Debug)]
struct RateLimit {
    stage: u32,
    /// `disable_key` is set: local rate limits pass it over.
    may_be_disabled: bool,
    actions: Box<[Entrant]>,
    hits: Hits,
    tells: Option<bool>,
}

/// How much a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// So many.
    Take(u64),
    /// It gives so many back.
    Give(u64),
}

/// What a request is told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Keys and values, in their order.
    pub entries: Vec<(Box<str>, Box<str>)>,
    /// How much it counts for.
    pub hits: Hits,
    /// Whether clients are told of it; `None`: as the filter says.
    pub tells: Option<bool>,
}

/// An action.
#[derive(Clone, Debug)]
struct Entrant {
    /// The entry's key.
    key: Box<str>,
    source: Source,
}

/// What an entry's value is.
#[derive(Clone, Debug)]
enum Source {
    /// The name of this proxy's cluster.
    OwnCluster,
    /// The cluster that the route leads to.
    Destination,
    /// The first value of a header.
    Header {
        name: Box<str>,
        optional: bool,
    },
    /// A query parameter's value.
    Query {
        name: Box<str>,
        optional: bool,
    },
    ClientAddress,
    /// The client's network, by the lengths of its prefix for IPv4 and IPv6.
    ClientNetwork(u32, u32),
    /// A text.
    Text(Box<str>),
    /// A text for requests that all of these match, or that they do not.
    IfHeaders(Box<[HeaderMatcher]>, bool, Box<str>),
    IfQuery(Box<[QueryParameterMatcher]>, bool, Box<str>),
    Metadata {
        path: Box<MetadataPath>,
        of_route: bool,
        default: Box<str>,
        optional: bool,
    },
}

/// What an action adds.
enum Added {
    Value(Box<str>),
    Nothing,
    /// There is to be no descriptor at all.
    Spoils,
}

/// A request, its route, and the name of this proxy's cluster.
pub struct Subject<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its stream.
    pub info: &'a StreamInfo,
    /// Its route, where it has one.
    pub route: Option<&'a Route>,
    /// `node.cluster`
    pub node_cluster: &'a str,
}

impl RateLimits {
    /// Compiles the list that stands in `field`. `None`: refused, and the reasons are recorded in `cx`.
    pub fn compile(list: Vec<pb::RateLimit>, cx: &CompileContext<'_>, field: &str) -> Option<Self> {
        if list.is_empty() {
            return Some(Self(None));
        }
        let each = list.into_iter().enumerate().map(|(i, m)| RateLimit::compile(m, &cx.item(field, i)));
        each.collect::<Option<_>>().map(|list| Self(Some(list)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Appends the descriptors of those of `stage`.
    pub fn descriptors(&self, stage: u32, subject: &Subject<'_>, out: &mut Vec<Descriptor>) {
        let applies = |limit: &&RateLimit| limit.stage == stage && !limit.may_be_disabled;
        out.extend(
            self.0
                .iter()
                .flat_map(|list| list.iter())
                .filter(applies)
                .filter_map(|limit| limit.descriptor(subject)),
        );
    }
}

impl RateLimit {
    fn compile(message: pb::RateLimit, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::RateLimit { stage, disable_key, actions, hits_addend, x_ratelimit_option } = message;
        let actions = actions.into_iter().enumerate();
        let actions =
            actions.map(|(i, m)| Entrant::compile(m, &cx.item("actions", i))).collect::<Option<_>>();
        let hits = match hits_addend {
            None => Hits::Take(1),
            Some(HitsAddend { number: Some(number), is_negative_hits: false }) => Hits::Take(number),
            Some(HitsAddend { number: Some(number), is_negative_hits: true }) => Hits::Give(number),
            Some(HitsAddend { number: None, .. }) => {
                cx.field("hits_addend").error("hits_addend must contain either a format or a number");
                return None;
            }
        };
        Some(Self {
            stage: stage.unwrap_or(0),
            may_be_disabled: !disable_key.is_empty(),
            actions: actions?,
            hits,
            tells: match XRateLimitOption::try_from(x_ratelimit_option) {
                Ok(XRateLimitOption::Off) => Some(false),
                Ok(XRateLimitOption::DraftVersion03) => Some(true),
                Ok(XRateLimitOption::Unspecified) | Err(_) => None,
            },
        })
    }

    fn descriptor(&self, subject: &Subject<'_>) -> Option<Descriptor> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for Entrant { key, source } in &self.actions {
            match source.value(subject) {
                Added::Value(value) => entries.push((key.clone(), value)),
                Added::Nothing => {}
                Added::Spoils => return None,
            }
        }
        Some(Descriptor { entries, hits: self.hits, tells: self.tells })
    }
}

impl Entrant {
    fn compile(message: pb::rate_limit::Action, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::rate_limit::Action { action_specifier } = message;
        let or =
            |key: String, usual: &str| -> Box<str> { if key.is_empty() { usual.into() } else { key.into() } };
        let entrant = |key: Box<str>, source| Some(Self { key, source });
        match action_specifier {
            Some(ActionSpecifier::SourceCluster(_)) => entrant("source_cluster".into(), Source::OwnCluster),
            Some(ActionSpecifier::DestinationCluster(_)) => {
                entrant("destination_cluster".into(), Source::Destination)
            }
            Some(ActionSpecifier::RemoteAddress(_)) => {
                entrant("remote_address".into(), Source::ClientAddress)
            }
            Some(ActionSpecifier::MaskedRemoteAddress(message)) => {
                let action::MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len } = message;
                let lengths = (v4_prefix_mask_len.unwrap_or(32), v6_prefix_mask_len.unwrap_or(128));
                entrant("masked_remote_address".into(), Source::ClientNetwork(lengths.0, lengths.1))
            }
            Some(ActionSpecifier::RequestHeaders(message)) => {
                let action::RequestHeaders { header_name, descriptor_key, skip_if_absent } = message;
                let name = header_name.to_ascii_lowercase().into();
                entrant(descriptor_key.into(), Source::Header { name, optional: skip_if_absent })
            }
            Some(ActionSpecifier::QueryParameters(message)) => {
                let action::QueryParameters { query_parameter_name, descriptor_key, skip_if_absent } =
                    message;
                let name = query_parameter_name.into();
                entrant(descriptor_key.into(), Source::Query { name, optional: skip_if_absent })
            }
            Some(ActionSpecifier::GenericKey(message)) => {
                let action::GenericKey { descriptor_value, descriptor_key } = message;
                entrant(or(descriptor_key, "generic_key"), Source::Text(descriptor_value.into()))
            }
            Some(ActionSpecifier::HeaderValueMatch(message)) => {
                let cx = cx.field("header_value_match");
                let action::HeaderValueMatch { descriptor_value, expect_match, headers, descriptor_key } =
                    message;
                let text = descriptor_value.into();
                let headers = headers.iter().enumerate();
                let headers = headers.map(|(i, m)| HeaderMatcher::compile(m, &cx.item("headers", i)));
                let source =
                    Source::IfHeaders(headers.collect::<Option<_>>()?, expect_match.unwrap_or(true), text);
                entrant(or(descriptor_key, "header_match"), source)
            }
            Some(ActionSpecifier::QueryParameterValueMatch(message)) => {
                let cx = cx.field("query_parameter_value_match");
                let action::QueryParameterValueMatch {
                    descriptor_value,
                    expect_match,
                    query_parameters,
                    descriptor_key,
                } = message;
                let text = descriptor_value.into();
                let matchers = query_parameters
                    .iter()
                    .enumerate()
                    .map(|(i, m)| QueryParameterMatcher::compile(m, &cx.item("query_parameters", i)));
                let source =
                    Source::IfQuery(matchers.collect::<Option<_>>()?, expect_match.unwrap_or(true), text);
                entrant(or(descriptor_key, "query_match"), source)
            }
            Some(ActionSpecifier::Metadata(message)) => {
                let action::MetaData { descriptor_key, metadata_key, default_value, source, skip_if_absent } =
                    message;
                let path = Box::new(MetadataPath::new(&metadata_key?));
                let of_route =
                    action::meta_data::Source::try_from(source) == Ok(action::meta_data::Source::RouteEntry);
                let default = default_value.into();
                let source = Source::Metadata { path, of_route, default, optional: skip_if_absent };
                entrant(descriptor_key.into(), source)
            }
            None => {
                cx.error("an action is required");
                None
            }
        }
    }
}

fn value(text: &[u8]) -> Added {
    Added::Value(String::from_utf8_lossy(text).into())
}

fn missing(optional: bool) -> Added {
    if optional { Added::Nothing } else { Added::Spoils }
}

impl Source {
    fn value(&self, subject: &Subject<'_>) -> Added {
        let Subject { head, info, route, node_cluster } = subject;
        let query = || query_of(head.headers.get(Known::Path).unwrap_or_default());
        match self {
            Self::OwnCluster => Added::Value((*node_cluster).into()),
            Self::Destination => match route.map(|route| &route.action) {
                Some(Action::Cluster(action)) => Added::Value(action.cluster.name(&head.headers).into()),
                _ => Added::Spoils,
            },
            Self::Header { name, optional } => {
                head.headers.get(&**name).map_or_else(|| missing(*optional), value)
            }
            Self::Query { name, optional } => {
                parameter(query(), name.as_bytes()).map_or_else(|| missing(*optional), value)
            }
            Self::ClientAddress => network(info.remote_address(), None),
            Self::ClientNetwork(v4, v6) => network(info.remote_address(), Some((*v4, *v6))),
            Self::Text(text) => Added::Value(text.clone()),
            Self::IfHeaders(matchers, expected, text) => {
                match matchers.iter().all(|m| m.matches(&head.headers)) == *expected {
                    true => Added::Value(text.clone()),
                    false => Added::Spoils,
                }
            }
            Self::IfQuery(matchers, expected, text) => {
                match matchers.iter().all(|m| m.matches(query())) == *expected {
                    true => Added::Value(text.clone()),
                    false => Added::Spoils,
                }
            }
            Self::Metadata { path, of_route, default, optional } => {
                let metadata =
                    if *of_route { info.route_metadata.as_deref() } else { info.dynamic_metadata() };
                match path.find(metadata) {
                    Some(Kind::StringValue(text)) if !text.is_empty() => value(text.as_bytes()),
                    _ if !default.is_empty() => value(default.as_bytes()),
                    _ => missing(*optional),
                }
            }
        }
    }
}

/// An address, or the network of these lengths around it.
fn network(address: &Address, lengths: Option<(u32, u32)>) -> Added {
    let Some(ip) = address.ip() else { return Added::Spoils };
    let Some((v4, v6)) = lengths else { return Added::Value(ip.to_string().into()) };
    let (network, length) = mask_ip(ip, if ip.is_ipv4() { v4 } else { v6 });
    Added::Value(format!("{network}/{length}").into())
}
