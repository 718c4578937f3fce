//! Spans in Zipkin's version 2: JSON, or protobuf (`zipkin.proto3.ListOfSpans`).

use nuncio_core::trace::{Span, SpanId, SpanKind};
use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// How reports are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Protobuf,
}

/// Who reports.
pub(super) struct Endpoint {
    /// `node.cluster`
    pub(super) service: Box<str>,
    pub(super) address: IpAddr,
    /// The caller tells of the same spans.
    pub(super) shared: bool,
}

impl Encoding {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// A report of `spans`.
    pub(super) fn encode(self, spans: &[Span], from: &Endpoint) -> Vec<u8> {
        match self {
            Self::Json => {
                let spans: Vec<Value> = spans.iter().map(|span| to_json(span, from)).collect();
                // Maps with text as keys cannot fail.
                serde_json::to_vec(&spans).unwrap_or_default()
            }
            Self::Protobuf => {
                let spans = spans.iter().map(|span| to_message(span, from)).collect();
                ListOfSpans { spans }.encode_to_vec()
            }
        }
    }
}

fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// What happened, and the end, which Zipkin's first version had as an event.
fn events(span: &Span) -> impl Iterator<Item = (u64, &'static str)> {
    let end = match span.kind {
        SpanKind::Server => "ss",
        SpanKind::Client => "cr",
    };
    let events = span.events.iter().map(|(at, what)| (micros(*at), *what));
    events.chain(std::iter::once((micros(span.end()), end)))
}

/// Tags that say something.
fn tags(span: &Span) -> impl Iterator<Item = (&str, &str)> {
    let tags = span.tags.iter().map(|(key, value)| (&**key, &**value));
    tags.filter(|(key, value)| !key.is_empty() && !value.is_empty())
}

fn to_json(span: &Span, from: &Endpoint) -> Value {
    let mut out = Map::new();
    if from.shared && span.kind == SpanKind::Server {
        out.insert("shared".to_owned(), true.into());
    }
    let kind = match span.kind {
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
    };
    let family = if from.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut endpoint = Map::new();
    endpoint.insert(family.to_owned(), from.address.to_string().into());
    endpoint.insert("port".to_owned(), 0.into());
    if !from.service.is_empty() {
        endpoint.insert("serviceName".to_owned(), (*from.service).into());
    }
    out.insert("kind".to_owned(), kind.into());
    out.insert("timestamp".to_owned(), micros(span.start).into());
    out.insert("localEndpoint".to_owned(), endpoint.into());
    out.insert("traceId".to_owned(), span.context.trace_id().to_string().into());
    if let Some(parent) = span.context.parent {
        out.insert("parentId".to_owned(), SpanId(parent).to_string().into());
    }
    out.insert("id".to_owned(), SpanId(span.context.span).to_string().into());
    if !span.name.is_empty() {
        out.insert("name".to_owned(), span.name.as_str().into());
    }
    out.insert("duration".to_owned(), (span.took.as_micros() as u64).into());
    let tags: Map<String, Value> = tags(span).map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !tags.is_empty() {
        out.insert("tags".to_owned(), tags.into());
    }
    let events = events(span).map(|(timestamp, value)| json!({"value": value, "timestamp": timestamp}));
    out.insert("annotations".to_owned(), events.collect());
    out.into()
}

fn to_message(span: &Span, from: &Endpoint) -> SpanMessage {
    let context = &span.context;
    // As Envoy has it: the trace in the order of the network, spans in that of the machine.
    let id = |id: u64| id.to_le_bytes().to_vec();
    let trace = context.trace.to_be_bytes();
    let short = trace.get(8..).filter(|_| context.trace >> 64 == 0);
    let (ipv4, ipv6) = match from.address {
        IpAddr::V4(ip) => (ip.octets().to_vec(), Vec::new()),
        IpAddr::V6(ip) => (Vec::new(), ip.octets().to_vec()),
    };
    SpanMessage {
        trace_id: short.unwrap_or(&trace).to_vec(),
        parent_id: context.parent.map(id).unwrap_or_default(),
        id: id(context.span),
        kind: match span.kind {
            SpanKind::Client => 1,
            SpanKind::Server => 2,
        },
        name: span.name.clone(),
        timestamp: micros(span.start),
        duration: span.took.as_micros() as u64,
        local_endpoint: Some(EndpointMessage { service_name: from.service.to_string(), ipv4, ipv6, port: 0 }),
        annotations: events(span)
            .map(|(timestamp, value)| Annotation { timestamp, value: value.to_owned() })
            .collect(),
        tags: tags(span).map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        shared: from.shared && span.kind == SpanKind::Server,
    }
}

/// `zipkin.proto3.ListOfSpans`
#[derive(Clone, PartialEq, Message)]
struct ListOfSpans {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<SpanMessage>,
}

/// `zipkin.proto3.Span`
#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    parent_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    id: Vec<u8>,
    #[prost(int32, tag = "4")]
    kind: i32,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "6")]
    timestamp: u64,
    #[prost(uint64, tag = "7")]
    duration: u64,
    #[prost(message, optional, tag = "8")]
    local_endpoint: Option<EndpointMessage>,
    #[prost(message, repeated, tag = "10")]
    annotations: Vec<Annotation>,
    #[prost(btree_map = "string, string", tag = "11")]
    tags: BTreeMap<String, String>,
    #[prost(bool, tag = "13")]
    shared: bool,
}

/// `zipkin.proto3.Endpoint`
#[derive(Clone, PartialEq, Message)]
struct EndpointMessage {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(bytes = "vec", tag = "2")]
    ipv4: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    ipv6: Vec<u8>,
    #[prost(int32, tag = "4")]
    port: i32,
}

/// `zipkin.proto3.Annotation`
#[derive(Clone, PartialEq, Message)]
struct Annotation {
    #[prost(fixed64, tag = "1")]
    timestamp: u64,
    #[prost(string, tag = "2")]
    value: String,
}
