//! `rate_limits`: what of a request makes up the descriptors by which rate limit filters tell requests apart.

mod descriptor;
mod hits;

use super::{Action, Route};
use descriptor::Extension;
use hits::Addend;
pub use hits::Hits;
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext, mask_ip};
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::{
    AddressMatcher, HeaderMatcher, MetadataPath, QueryParameterMatcher, parameter, query_of,
};
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use pb::rate_limit::XRateLimitOption;
use pb::rate_limit::action::{self, ActionSpecifier};
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
    /// `apply_on_stream_done`: requests do not wait for it.
    when_done: bool,
    actions: Box<[Entrant]>,
    hits: Addend,
    tells: Option<bool>,
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
        name: HeaderName,
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
    /// A text for clients of some addresses: a format, and what stands in for an empty one.
    IfAddress(Box<AddressMatcher>, Arc<Format>, Box<str>),
    Extension(Arc<Extension>),
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
    /// Its stream, its headers, and where time stands.
    pub formats: FormatContext<'a>,
    /// Its route, where it has one.
    pub route: Option<&'a Route>,
    /// `node.cluster`
    pub node_cluster: &'a str,
}

impl RateLimits {
    /// Compiles the `rate_limits` of a route or a virtual host. `None`: refused, and the reasons are recorded in `cx`.
    pub fn of_route(list: Vec<pb::RateLimit>, cx: &CompileContext<'_>) -> Option<Self> {
        Self::compile(list, cx, |limit, _| {
            // In routes only the rate limit service reads them.
            limit.hits_addend = None;
            limit.apply_on_stream_done = false;
            true
        })
    }

    /// Compiles the `rate_limits` of a filter, as above.
    pub fn of_filter(list: Vec<pb::RateLimit>, cx: &CompileContext<'_>) -> Option<Self> {
        Self::compile(list, cx, |limit, cx| {
            let taken = limit.limit.is_none();
            if !taken {
                cx.error("'limit' field is not supported");
            }
            taken
        })
    }

    fn compile(
        list: Vec<pb::RateLimit>,
        cx: &CompileContext<'_>,
        prepare: impl Fn(&mut pb::RateLimit, &CompileContext<'_>) -> bool,
    ) -> Option<Self> {
        if list.is_empty() {
            return Some(Self(None));
        }
        let each = list.into_iter().enumerate().map(|(i, mut message)| {
            let cx = cx.item("rate_limits", i);
            prepare(&mut message, &cx).then_some(())?;
            RateLimit::compile(message, &cx)
        });
        each.collect::<Option<_>>().map(|list| Self(Some(list)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Appends the descriptors of those of `stage`.
    pub fn descriptors(&self, stage: u32, subject: &Subject<'_>, out: &mut Vec<Descriptor>) {
        let applies = |limit: &&RateLimit| limit.stage == stage && !limit.may_be_disabled && !limit.when_done;
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
        let pb::RateLimit {
            stage,
            disable_key,
            actions,
            limit: _,
            hits_addend,
            apply_on_stream_done,
            x_ratelimit_option,
        } = message;
        let actions = actions.into_iter().enumerate();
        let actions =
            actions.map(|(i, m)| Entrant::compile(m, &cx.item("actions", i))).collect::<Option<_>>();
        let hits = Addend::compile(hits_addend, &cx.field("hits_addend"));
        Some(Self {
            stage: stage.unwrap_or(0),
            may_be_disabled: !disable_key.is_empty(),
            when_done: apply_on_stream_done,
            actions: actions?,
            hits: hits?,
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
        let hits = self.hits.of(&subject.formats)?;
        Some(Descriptor { entries, hits, tells: self.tells })
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
                let name = HeaderName::new(&header_name);
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
            Some(ActionSpecifier::RemoteAddressMatch(message)) => {
                let cx = cx.field("remote_address_match");
                let action::RemoteAddressMatch {
                    descriptor_value,
                    descriptor_key,
                    default_value,
                    address_matcher,
                } = message;
                let addresses = AddressMatcher::compile(address_matcher?, &cx.field("address_matcher"))?;
                let format = Format::with(&descriptor_value, &Commands::default(), true);
                let at = cx.field("descriptor_value");
                let format = format.map_err(|error| at.error(error.to_string())).ok()?;
                let source = Source::IfAddress(Box::new(addresses), Arc::new(format), default_value.into());
                entrant(or(descriptor_key, "remote_address_match"), source)
            }
            Some(ActionSpecifier::Extension(message)) => {
                let (key, extension) = Extension::compile(message, &cx.field("extension"))?;
                entrant(key, Source::Extension(Arc::new(extension)))
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
        let Subject { head, formats, route, node_cluster } = subject;
        let info = formats.info;
        let query = || query_of(head.headers.get(Known::Path).unwrap_or_default());
        match self {
            Self::OwnCluster => Added::Value((*node_cluster).into()),
            Self::Destination => match route.map(|route| &route.action) {
                Some(Action::Cluster(action)) => Added::Value(action.cluster.name(&head.headers).into()),
                _ => Added::Spoils,
            },
            Self::Header { name, optional } => {
                name.value(&head.headers).map_or_else(|| missing(*optional), value)
            }
            Self::Query { name, optional } => {
                parameter(query(), name.as_bytes()).map_or_else(|| missing(*optional), value)
            }
            Self::ClientAddress => network(info.remote_address(), None),
            Self::ClientNetwork(v4, v6) => network(info.remote_address(), Some((*v4, *v6))),
            Self::Text(text) => Added::Value(text.clone()),
            Self::IfAddress(addresses, format, default) => {
                if !info.remote_address().ip().is_some_and(|ip| addresses.matches(ip)) {
                    return Added::Spoils;
                }
                let mut text = Vec::new();
                format.render(formats, &mut text);
                match (&*text, &**default) {
                    ([], "") => Added::Spoils,
                    ([], default) => value(default.as_bytes()),
                    (text, _) => value(text),
                }
            }
            Self::Extension(extension) => extension.value(head, formats),
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
