//! The attributes that expressions may read: what Envoy's documentation calls "Attributes".

use super::value::{Headers, Map, Message, Value};
use crate::address::Address;
use crate::format::{FormatContext, grpc_status_in, pool_ready_duration};
use crate::stream_info::{CertificateInfo, ConnectionInfo, Locality, Metadata, StreamInfo, TlsInfo};
use nuncio_codec::head::{HeaderMap, Known};
use prost_types::Struct;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What an expression is evaluated for.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The stream; none where a connection is judged before it has any.
    pub info: Option<&'a StreamInfo>,
    /// The request's headers, where there are any.
    pub request: Option<&'a HeaderMap>,
    /// The response's headers and status.
    pub response: Option<(&'a HeaderMap, u16)>,
    /// The response's trailers.
    pub trailers: Option<&'a HeaderMap>,
    /// Where time stands; `None` where that is not known.
    pub now: Option<Instant>,
    /// Is told when an attribute of the response was asked for that has not come.
    pub too_early: Option<&'a Cell<bool>>,
}

impl Activation<'_> {
    /// The response is asked for.
    pub(super) fn missed_response(&self) {
        if let (None, Some(too_early)) = (self.response, self.too_early) {
            too_early.set(true);
        }
    }
}

impl<'a> From<&FormatContext<'a>> for Activation<'a> {
    fn from(cx: &FormatContext<'a>) -> Self {
        let FormatContext { info, request, response, trailers, now, .. } = *cx;
        Self {
            connection: &info.connection,
            info: Some(info),
            request,
            response,
            trailers,
            now: Some(now),
            too_early: None,
        }
    }
}

/// This process as management servers know it (`envoy.config.core.v3.Node`): `xds.node`.
#[derive(Debug)]
pub struct Node {
    /// `id`
    pub id: String,
    /// `cluster`
    pub cluster: String,
    /// `locality`
    pub locality: Locality,
    /// `metadata`
    pub metadata: Struct,
}

static NODE: OnceLock<Node> = OnceLock::new();

impl Node {
    /// Says who this process is, once, before expressions are evaluated; a second time changes nothing.
    pub fn introduce(self) {
        let _ = NODE.set(self);
    }

    /// Who this process is, once that was said.
    pub fn own() -> Option<&'static Self> {
        NODE.get()
    }

    pub(super) fn field(&'static self, name: &str) -> Option<Value<'static>> {
        Some(match name {
            "id" => Value::text(&self.id),
            "cluster" => Value::text(&self.cluster),
            "user_agent_name" => Value::text("envoy"),
            "locality" => Value::Message(Message::Locality(&self.locality)),
            "metadata" => Value::Map(Map::Struct(&self.metadata)),
            _ => return None,
        })
    }

    /// The fields that expressions may read; the message as a whole is not built.
    pub(super) const FIELDS: [&'static str; 5] = ["id", "cluster", "user_agent_name", "locality", "metadata"];
}

/// Whether an expression that reads virtual hosts was ever compiled in this process: streams that nobody asks need not
/// remember theirs.
static VIRTUAL_HOST_WANTED: AtomicBool = AtomicBool::new(false);

/// Whether streams have to remember the name of their virtual host.
#[inline]
pub fn virtual_host_wanted() -> bool {
    VIRTUAL_HOST_WANTED.load(Relaxed)
}

/// An expression may read the virtual host from now on.
pub(super) fn want_virtual_host() {
    VIRTUAL_HOST_WANTED.store(true, Relaxed);
}

/// The names that expressions begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Request,
    Response,
    Connection,
    Upstream,
    Source,
    Destination,
    FilterState,
    UpstreamFilterState,
    Xds,
}

impl Root {
    /// The root of that name, where its attributes are known by name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "request" => Self::Request,
            "response" => Self::Response,
            "connection" => Self::Connection,
            "upstream" => Self::Upstream,
            "source" => Self::Source,
            "destination" => Self::Destination,
            "xds" => Self::Xds,
            _ => return None,
        })
    }
}

/// Reads one attribute; `None` where it has no value.
pub(super) type Read = for<'a> fn(&Activation<'a>) -> Option<Value<'a>>;

/// What an expression's first name stands for.
pub(super) fn root(name: &str) -> Option<Read> {
    Some(match name {
        "request" => |a| Some(of_root(Root::Request, a)),
        "response" => |a| Some(of_root(Root::Response, a)),
        "connection" => |a| Some(of_root(Root::Connection, a)),
        "upstream" => |a| Some(of_root(Root::Upstream, a)),
        "source" => |a| Some(of_root(Root::Source, a)),
        "destination" => |a| Some(of_root(Root::Destination, a)),
        "filter_state" => |a| Some(of_root(Root::FilterState, a)),
        "upstream_filter_state" => |a| {
            a.info?.upstream.connection.as_ref()?;
            Some(of_root(Root::UpstreamFilterState, a))
        },
        "xds" => |a| Some(of_root(Root::Xds, a)),
        "metadata" => |a| {
            let of_connection = || a.connection.state.metadata.as_deref();
            Some(metadata(a.info.map_or_else(of_connection, StreamInfo::dynamic_metadata)))
        },
        _ => return None,
    })
}

fn of_root<'a>(root: Root, activation: &Activation<'a>) -> Value<'a> {
    Value::Map(Map::Attributes(root, *activation))
}

fn metadata(metadata: Option<&Metadata>) -> Value<'_> {
    Value::Message(Message::Metadata(metadata))
}

/// The attribute called `name` below a root whose attributes are known by name.
pub(super) fn find(root: Root, name: &str) -> Option<Read> {
    let table = match root {
        Root::Request => REQUEST,
        Root::Response => RESPONSE,
        Root::Connection => CONNECTION,
        Root::Upstream => UPSTREAM,
        Root::Source => SOURCE,
        Root::Destination => DESTINATION,
        Root::Xds => XDS,
        Root::FilterState | Root::UpstreamFilterState => return None,
    };
    table.iter().find(|(n, _)| *n == name).map(|(_, read)| *read)
}

/// What stands below a root under a key.
pub(super) fn get<'a>(root: Root, key: &str, activation: &Activation<'a>) -> Option<Value<'a>> {
    if root != Root::FilterState {
        return find(root, key)?(activation);
    }
    let object = match activation.info {
        Some(info) => info.filter_state(key),
        None => activation.connection.state.filter_state.get(key),
    }?;
    if object.has_fields() {
        return Some(Value::Map(Map::State(object)));
    }
    Some(Value::Bytes(Cow::Owned(object.serialize()?.into_bytes())))
}

type Table = &'static [(&'static str, Read)];

const REQUEST: Table = &[
    ("path", |a| header(a, Known::Path)),
    ("url_path", |a| Some(Value::Text(Cow::Borrowed(split_path(a)?.0)))),
    ("query", |a| Some(Value::Text(Cow::Borrowed(split_path(a)?.1)))),
    ("host", |a| header(a, Known::Authority)),
    ("scheme", |a| header(a, Known::Scheme)),
    ("method", |a| header(a, Known::Method)),
    ("headers", |a| Some(Value::Map(Map::Headers(Headers { map: a.request, status: None })))),
    ("headers_bytes", |a| size(request_bytes(a))),
    ("referer", |a| header(a, Known::Referer)),
    ("useragent", |a| header(a, Known::UserAgent)),
    ("time", |a| Some(moment(a.info?.start_wall))),
    ("id", |a| header(a, Known::XRequestId)),
    ("protocol", |a| Some(Value::text(a.info?.protocol?.as_str()))),
    ("duration", |a| Some(span(a.info?.timings.complete?.saturating_duration_since(a.info?.start)))),
    ("size", |a| match a.request.and_then(|map| map.get(Known::ContentLength)) {
        Some(length) => std::str::from_utf8(length).ok()?.parse().ok().map(Value::Int),
        None => size(a.info?.bytes_received),
    }),
    ("total_size", |a| size(a.info?.bytes_received + request_bytes(a))),
];

const RESPONSE: Table = &[
    ("code", |a| Some(Value::Int(a.info?.response_code?.into()))),
    ("code_details", |a| a.info?.details.as_deref().map(Value::text)),
    ("flags", |a| Some(Value::Int(a.info?.flags.bits().into()))),
    ("grpc_status", |a| {
        let headers = a.response.map(|(map, _)| map);
        grpc_status_in(a.trailers, headers, a.info?.response_code).map(Value::Int)
    }),
    ("headers", |a| {
        let (map, status) = a.response.unzip();
        Some(Value::Map(Map::Headers(Headers { map, status })))
    }),
    ("headers_bytes", |a| size(response_bytes(a))),
    ("trailers", |a| Some(Value::Map(Map::Headers(Headers { map: a.trailers, status: None })))),
    ("size", |a| size(a.info?.bytes_sent)),
    ("total_size", |a| {
        let trailers = a.trailers.map_or(0, HeaderMap::byte_size) as u64;
        size(a.info?.bytes_sent + response_bytes(a) + trailers)
    }),
    ("backend_latency", |a| {
        let timings = &a.info?.timings;
        Some(span(timings.upstream_rx_end?.saturating_duration_since(timings.upstream_tx_begin?)))
    }),
];

const CONNECTION: Table = &[
    ("id", |a| Some(Value::Uint(a.connection.id))),
    ("mtls", |a| {
        let tls = a.connection.tls();
        Some(Value::Bool(tls.is_some_and(|tls| tls.peer_certificate().is_some())))
    }),
    ("requested_server_name", |a| {
        let of_connection = a.connection.requested_server_name.as_deref();
        Some(Value::text(a.info.map_or(of_connection, StreamInfo::server_name).unwrap_or_default()))
    }),
    ("termination_details", |a| a.connection.state.termination.get().map(|text| Value::text(text))),
    ("transport_failure_reason", |a| {
        a.connection.state.transport_failure.get().map(|text| Value::text(text))
    }),
    ("tls_version", |a| tls_version(downstream(a)?)),
    ("subject_local_certificate", |a| subject(local(downstream(a)?))),
    ("subject_peer_certificate", |a| subject(downstream(a)?.peer_certificate())),
    ("uri_san_local_certificate", |a| first(&local(downstream(a)?)?.uri_sans)),
    ("uri_san_peer_certificate", |a| first(&downstream(a)?.peer_certificate()?.uri_sans)),
    ("dns_san_local_certificate", |a| first(&local(downstream(a)?)?.dns_sans)),
    ("dns_san_peer_certificate", |a| first(&downstream(a)?.peer_certificate()?.dns_sans)),
    ("sha256_peer_certificate_digest", |a| Some(Value::text(&downstream(a)?.peer_certificate()?.sha256))),
    ("peer_certificate", |a| Some(Value::owned(downstream(a)?.peer_certificate()?.url_encoded_pem()))),
];

const UPSTREAM: Table = &[
    ("address", |a| Some(address(&a.info?.upstream.host.as_deref()?.address))),
    ("port", |a| port(&a.info?.upstream.host.as_deref()?.address)),
    ("local_address", |a| Some(address(&a.info?.upstream.connection.as_deref()?.local))),
    ("locality", |a| Some(Value::Message(Message::Locality(&a.info?.upstream.host.as_deref()?.locality)))),
    ("transport_failure_reason", |a| {
        let upstream = &a.info?.upstream;
        (upstream.attempts > 0)
            .then(|| Value::text(upstream.transport_failure.as_deref().unwrap_or_default()))
    }),
    ("cx_pool_ready_duration", |a| pool_ready_duration(a.info?, a.now?).map(span)),
    ("request_attempt_count", |a| Some(Value::Uint(a.info?.upstream.attempts.into()))),
    ("num_endpoints", |a| Some(Value::Uint(a.info?.upstream.cluster.as_deref()?.members.get()))),
    ("tls_version", |a| tls_version(a.info?.upstream.tls()?)),
    ("subject_local_certificate", |a| subject(local(a.info?.upstream.tls()?))),
    ("subject_peer_certificate", |a| subject(a.info?.upstream.tls()?.peer_certificate())),
    ("uri_san_local_certificate", |a| first(&local(a.info?.upstream.tls()?)?.uri_sans)),
    ("uri_san_peer_certificate", |a| first(&a.info?.upstream.tls()?.peer_certificate()?.uri_sans)),
    ("dns_san_local_certificate", |a| first(&local(a.info?.upstream.tls()?)?.dns_sans)),
    ("dns_san_peer_certificate", |a| first(&a.info?.upstream.tls()?.peer_certificate()?.dns_sans)),
    ("sha256_peer_certificate_digest", |a| {
        Some(Value::text(&a.info?.upstream.tls()?.peer_certificate()?.sha256))
    }),
    ("peer_certificate", |a| {
        Some(Value::owned(a.info?.upstream.tls()?.peer_certificate()?.url_encoded_pem()))
    }),
];

const SOURCE: Table = &[("address", |a| Some(address(remote(a)))), ("port", |a| port(remote(a)))];

const DESTINATION: Table =
    &[("address", |a| Some(address(&a.connection.local))), ("port", |a| port(&a.connection.local))];

const XDS: Table = &[
    ("node", |_| Some(Value::Message(Message::Node(NODE.get()?)))),
    ("cluster_name", |a| Some(Value::text(&a.info?.upstream.cluster.as_deref()?.name))),
    ("cluster_metadata", |a| Some(metadata(a.info?.upstream.cluster.as_deref()?.metadata.as_deref()))),
    ("route_name", |a| a.info?.route_name.as_deref().map(Value::text)),
    ("route_metadata", |a| {
        a.info?.route_name.as_deref()?;
        Some(metadata(a.info?.route_metadata.as_deref()))
    }),
    ("virtual_host_name", |a| a.info?.virtual_host_name.as_deref().map(Value::text)),
    ("virtual_host_metadata", |a| {
        a.info?.virtual_host_name.as_deref()?;
        Some(metadata(a.info?.virtual_host_metadata.as_deref()))
    }),
    ("upstream_host_metadata", |a| {
        let metadata = a.info?.upstream.host.as_deref()?.metadata.as_deref();
        Some(metadata.map_or(Value::Null, |m| self::metadata(Some(m))))
    }),
    // Localities have no metadata here: the field is refused.
    ("upstream_host_locality_metadata", |a| {
        let own = a.info?.upstream.host.as_deref()?.locality_metadata.as_deref();
        Some(own.map_or(Value::Null, |own| metadata(Some(own))))
    }),
    ("filter_chain_name", |a| Some(Value::text(&a.connection.filter_chain))),
    ("listener_metadata", |a| Some(metadata(a.connection.listener_metadata.as_deref()))),
    ("listener_direction", |a| Some(Value::Int(a.connection.direction as i64))),
];

fn header<'a>(activation: &Activation<'a>, known: Known) -> Option<Value<'a>> {
    Some(Value::Text(Cow::Borrowed(activation.request?.get_known(known)?)))
}

/// The path before the query, and the query without the fragment; the latter is empty where there is none.
fn split_path<'a>(activation: &Activation<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let path = activation.request?.get_known(Known::Path).unwrap_or_default();
    let Some(at) = path.iter().position(|b| *b == b'?') else { return Some((path, b"")) };
    let query = path.get(at + 1..)?;
    Some((path.get(..at)?, query.split(|b| *b == b'#').next()?))
}

fn request_bytes(activation: &Activation<'_>) -> u64 {
    activation.request.map_or(0, HeaderMap::byte_size) as u64
}

/// The status counts as the header `:status`.
fn response_bytes(activation: &Activation<'_>) -> u64 {
    activation.response.map_or(0, |(map, _)| map.byte_size() as u64 + 10)
}

fn size<'a>(bytes: u64) -> Option<Value<'a>> {
    i64::try_from(bytes).ok().map(Value::Int)
}

fn span<'a>(duration: Duration) -> Value<'a> {
    Value::Duration(duration.as_nanos() as i128)
}

/// A moment; Envoy's clock counts microseconds.
fn moment<'a>(time: SystemTime) -> Value<'a> {
    let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i128 * 1000);
    Value::Timestamp(nanos)
}

fn remote<'a>(activation: &Activation<'a>) -> &'a Address {
    activation.info.map_or(&activation.connection.remote, StreamInfo::remote_address)
}

fn address<'a>(address: &Address) -> Value<'a> {
    Value::owned(address.to_string())
}

fn port<'a>(address: &Address) -> Option<Value<'a>> {
    address.port().map(|port| Value::Int(port.into()))
}

fn downstream<'a>(activation: &Activation<'a>) -> Option<&'a TlsInfo> {
    activation.connection.tls()
}

fn tls_version(tls: &TlsInfo) -> Option<Value<'static>> {
    Some(Value::text(tls.version))
}

fn local(tls: &TlsInfo) -> Option<&CertificateInfo> {
    tls.local.as_deref()
}

/// The subject; empty where there is no certificate.
fn subject(certificate: Option<&CertificateInfo>) -> Option<Value<'_>> {
    Some(Value::text(certificate.map_or("", |certificate| &certificate.subject)))
}

fn first(names: &[Box<str>]) -> Option<Value<'_>> {
    names.first().map(|name| Value::text(name))
}
