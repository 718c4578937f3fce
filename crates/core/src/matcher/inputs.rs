//! What matcher trees look at: connections (`envoy.extensions.matching.common_inputs.network.v3`), and the heads and
//! facts of streams (`envoy.type.matcher.v3.Http…Input`).

use super::metadata::MetadataPath;
use super::query_value;
use super::tree::Value;
use crate::address::Address;
use crate::cel::Activation;
use crate::config::{CompileContext, type_name};
use crate::header::HeaderName;
use crate::stream_info::{CertificateInfo, ConnectionInfo, FilterState, StreamInfo};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::network::v3 as pb;
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::ssl::v3 as ssl;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as http;
use nuncio_proto::pb::xds::r#type::matcher::v3::HttpAttributesCelMatchInput;
use prost::Name;
use prost_types::Any;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// A text that an input is, where there is one.
type Text<'v> = Option<Cow<'v, str>>;

/// All values of a header, joined by commas, as matcher trees see it; `None` where there is none.
fn joined_values<'v>(headers: &HeaderMap, name: &HeaderName) -> Text<'v> {
    let mut values = name.values(headers);
    let first = String::from_utf8_lossy(values.next()?).into_owned();
    Some(Cow::Owned(values.fold(first, |all, next| all + "," + &String::from_utf8_lossy(next))))
}

/// An input that connections and their streams have.
#[derive(Clone, Debug)]
pub enum NetworkInput {
    /// `DestinationIPInput`
    DestinationIp,
    /// `DestinationPortInput`
    DestinationPort,
    /// `SourceIPInput`
    SourceIp,
    /// `SourcePortInput`
    SourcePort,
    /// `DirectSourceIPInput`
    DirectSourceIp,
    /// `SourceTypeInput`
    SourceType,
    /// `ServerNameInput`
    ServerName,
    /// `FilterStateInput`: a key, and a field of its object.
    FilterState(Box<str>, Box<str>),
}

/// What they are read from.
pub struct NetworkFacts<'a, 's> {
    /// The destination.
    pub local: &'a Address,
    /// The client.
    pub remote: &'a Address,
    /// The peer of the socket.
    pub direct_remote: &'a Address,
    /// The name that the client asked for.
    pub server_name: Option<&'a str>,
    /// The filter state by its key.
    pub state: &'s dyn Fn(&str) -> Option<Rc<dyn FilterState>>,
}

impl NetworkInput {
    /// The input of that message. `Some(None)`: it is none of these; `None`: refused, with the reason in `cx`.
    pub fn compile(any: &Any, cx: &CompileContext<'_>) -> Option<Option<Self>> {
        let kind = type_name(&any.type_url);
        if kind == pb::FilterStateInput::full_name() {
            let pb::FilterStateInput { key, field } = cx.unpack(any)?;
            return Some(Some(Self::FilterState(key.into(), field.into())));
        }
        let plain = [
            (pb::DestinationIpInput::full_name(), Self::DestinationIp),
            (pb::DestinationPortInput::full_name(), Self::DestinationPort),
            (pb::SourceIpInput::full_name(), Self::SourceIp),
            (pb::SourcePortInput::full_name(), Self::SourcePort),
            (pb::DirectSourceIpInput::full_name(), Self::DirectSourceIp),
            (pb::SourceTypeInput::full_name(), Self::SourceType),
            (pb::ServerNameInput::full_name(), Self::ServerName),
        ];
        Some(plain.into_iter().find(|(name, _)| name == kind).map(|(_, input)| input))
    }

    /// What it is.
    pub fn value<'f>(&self, facts: &NetworkFacts<'f, '_>) -> Text<'f> {
        let ip = |address: &Address| address.ip().map(|ip| Cow::Owned(ip.to_string()));
        let port = |address: &Address| address.port().map(|port| Cow::Owned(port.to_string()));
        match self {
            Self::DestinationIp => ip(facts.local),
            Self::DestinationPort => port(facts.local),
            Self::SourceIp => ip(facts.remote),
            Self::SourcePort => port(facts.remote),
            Self::DirectSourceIp => ip(facts.direct_remote),
            Self::SourceType => is_local(facts.remote, facts.local).then_some(Cow::Borrowed("local")),
            Self::ServerName => facts.server_name.map(Cow::Borrowed),
            Self::FilterState(key, field) => {
                let state = (facts.state)(key)?;
                let text = if field.is_empty() { state.serialize() } else { state.field(field) };
                text.map(Cow::Owned)
            }
        }
    }
}

/// Whether a client is on this machine, as far as addresses tell.
pub fn is_local(remote: &Address, local: &Address) -> bool {
    match (remote.ip(), local.ip()) {
        // Of the loopback network Envoy knows one address.
        (Some(IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST)), _) => true,
        (Some(remote), local) => Some(remote) == local,
        (None, _) => true,
    }
}

/// An input that streams have, and their heads.
#[derive(Clone, Debug)]
pub enum HttpInput {
    /// `HttpRequestHeaderMatchInput`: all values, joined by commas.
    RequestHeader(HeaderName),
    /// `HttpRequestQueryParamMatchInput`: the first value, decoded.
    QueryParameter(Box<str>),
    /// `HttpResponseHeaderMatchInput`
    ResponseHeader(HeaderName),
    /// `HttpResponseStatusCodeMatchInput`
    Status,
    /// `HttpResponseStatusCodeClassMatchInput`: `5xx`
    StatusClass,
    /// `HttpRequestTrailerMatchInput` and `HttpResponseTrailerMatchInput`: trees are asked before they come.
    Trailer,
    /// `SubjectInput` of the client's certificate.
    Subject,
    /// `UriSanInput`: all of them, joined by commas.
    UriSan,
    /// `DnsSanInput`: all of them, joined by commas.
    DnsSan,
    /// `DynamicMetadataInput`
    DynamicMetadata(MetadataPath),
    /// `HttpAttributesCelMatchInput`: what expressions read.
    Attributes,
    /// What its connection has.
    Network(NetworkInput),
}

/// What they are read from.
#[derive(Clone, Copy)]
pub struct HttpFacts<'a> {
    /// The request's head, where the stream is a request's.
    pub request: Option<&'a RequestHead>,
    /// The response's head, once there is one.
    pub response: Option<&'a ResponseHead>,
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The client.
    pub remote: &'a Address,
    /// The stream, where there is one.
    pub info: Option<&'a StreamInfo>,
}

impl<'a> HttpFacts<'a> {
    /// Those of a request.
    pub fn request(head: &'a RequestHead, info: &'a StreamInfo) -> Self {
        let (connection, remote) = (&*info.connection, info.remote_address());
        Self { request: Some(head), response: None, connection, remote, info: Some(info) }
    }

    /// What expressions read.
    pub fn activation(&self) -> Activation<'a> {
        Activation {
            connection: self.connection,
            info: self.info,
            request: self.request.map(|head| &head.headers),
            response: self.response.map(|head| (&head.headers, head.status)),
            trailers: None,
            now: None,
            too_early: None,
        }
    }

    /// The client's own certificate.
    fn certificate(&self) -> Option<&'a CertificateInfo> {
        self.connection.tls()?.peer.as_ref()?.chain.first()
    }
}

impl HttpInput {
    /// The input of that message. `Some(None)`: it is none of these; `None`: refused, with the reason in `cx`.
    pub fn compile(any: &Any, cx: &CompileContext<'_>) -> Option<Option<Self>> {
        let kind = type_name(&any.type_url);
        if kind == http::HttpRequestHeaderMatchInput::full_name() {
            let http::HttpRequestHeaderMatchInput { header_name } = cx.unpack(any)?;
            return Some(Some(Self::RequestHeader(HeaderName::new(&header_name))));
        }
        if kind == http::HttpResponseHeaderMatchInput::full_name() {
            let http::HttpResponseHeaderMatchInput { header_name } = cx.unpack(any)?;
            return Some(Some(Self::ResponseHeader(HeaderName::new(&header_name))));
        }
        if kind == http::HttpRequestQueryParamMatchInput::full_name() {
            let http::HttpRequestQueryParamMatchInput { query_param } = cx.unpack(any)?;
            return Some(Some(Self::QueryParameter(query_param.into())));
        }
        if kind == pb::DynamicMetadataInput::full_name() {
            let pb::DynamicMetadataInput { filter, path } = cx.unpack(any)?;
            let keys =
                path.into_iter().map(|pb::dynamic_metadata_input::PathSegment { segment }| match segment {
                    Some(pb::dynamic_metadata_input::path_segment::Segment::Key(key)) => key.into_boxed_str(),
                    None => Box::default(),
                });
            return Some(Some(Self::DynamicMetadata(MetadataPath::of(&filter, keys))));
        }
        let plain: [(String, Self); 8] = [
            (http::HttpResponseStatusCodeMatchInput::full_name(), Self::Status),
            (http::HttpResponseStatusCodeClassMatchInput::full_name(), Self::StatusClass),
            (http::HttpRequestTrailerMatchInput::full_name(), Self::Trailer),
            (http::HttpResponseTrailerMatchInput::full_name(), Self::Trailer),
            (ssl::SubjectInput::full_name(), Self::Subject),
            (ssl::UriSanInput::full_name(), Self::UriSan),
            (ssl::DnsSanInput::full_name(), Self::DnsSan),
            (HttpAttributesCelMatchInput::full_name(), Self::Attributes),
        ];
        if let Some((_, input)) = plain.into_iter().find(|(name, _)| name == kind) {
            return Some(Some(input));
        }
        Some(NetworkInput::compile(any, cx)?.map(Self::Network))
    }

    /// What it is.
    pub fn value<'a>(&self, facts: &HttpFacts<'a>) -> Value<'a> {
        match self {
            Self::RequestHeader(name) => of_head(facts.request, |head| joined_values(&head.headers, name)),
            Self::QueryParameter(name) => of_head(facts.request, |head| parameter(head, name)),
            Self::ResponseHeader(name) => of_head(facts.response, |head| joined_values(&head.headers, name)),
            Self::Status => of_head(facts.response, |head| Some(Cow::Owned(head.status.to_string()))),
            Self::StatusClass => {
                of_head(facts.response, |head| Some(Cow::Owned(format!("{}xx", head.status / 100))))
            }
            Self::Trailer => Value::Unknown,
            Self::Subject => facts.certificate().map(|c| Cow::Borrowed(&*c.subject)).into(),
            Self::UriSan => facts.certificate().and_then(|c| joined(&c.uri_sans)).into(),
            Self::DnsSan => facts.certificate().and_then(|c| joined(&c.dns_sans)).into(),
            Self::DynamicMetadata(path) => {
                Value::Datum(path.find(facts.info.and_then(StreamInfo::dynamic_metadata)))
            }
            Self::Attributes => Value::Attributes(facts.activation()),
            Self::Network(input) => input
                .value(&NetworkFacts {
                    local: &facts.connection.local,
                    remote: facts.remote,
                    direct_remote: &facts.connection.direct_remote,
                    server_name: match facts.info {
                        Some(info) => info.server_name(),
                        None => facts.connection.requested_server_name.as_deref(),
                    },
                    state: &|key| match facts.info {
                        Some(info) => info.filter_state(key),
                        None => facts.connection.state.filter_state.get(key),
                    },
                })
                .into(),
        }
    }
}

/// What a head says; nothing is known of one that is not there yet.
fn of_head<'a, H>(head: Option<&'a H>, text: impl FnOnce(&'a H) -> Text<'a>) -> Value<'a> {
    head.map_or(Value::Unknown, |head| text(head).into())
}

fn parameter<'v>(head: &RequestHead, name: &str) -> Text<'v> {
    let mut value = Vec::new();
    let query = memchr::memchr(b'?', head.path()).and_then(|at| head.path().get(at + 1..))?;
    query_value(query, name.as_bytes(), &mut value)
        .then(|| Cow::Owned(String::from_utf8_lossy(&value).into_owned()))
}

fn joined<'v>(names: &[Box<str>]) -> Text<'v> {
    (!names.is_empty()).then(|| Cow::Owned(names.join(",")))
}
