//! Spans as an `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`.

use super::resource::Attributes;
use nuncio_core::trace::{Span, SpanKind};
use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

/// Encodes reports of one process.
pub(super) struct Encoder {
    resource: Resource,
    /// Who made the spans, where reports say it.
    scope: Option<Scope>,
}

/// Of a span's flags: whether its parent is another process's is known.
const KNOWS_PARENT: u32 = 0x100;

/// Of a span's flags: it is.
const REMOTE_PARENT: u32 = 0x200;

impl Encoder {
    /// `scoped`: reports say that this program, by Envoy's name, made their spans.
    pub(super) fn new(attributes: Attributes, version: &str, scoped: bool) -> Self {
        let attributes = attributes.into_iter().map(|(key, value)| key_value(key, value)).collect();
        let scope = scoped.then(|| Scope { name: "envoy".to_owned(), version: version.to_owned() });
        Self { resource: Resource { attributes }, scope }
    }

    /// A report of `spans`.
    pub(super) fn encode(&self, spans: Vec<Span>) -> Vec<u8> {
        let spans = spans.into_iter().map(to_message).collect();
        let scope_spans = vec![ScopeSpans { scope: self.scope.clone(), spans }];
        let resource_spans = vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }];
        Request { resource_spans }.encode_to_vec()
    }
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn key_value(key: String, value: String) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { string_value: Some(value) }) }
}

fn to_message(span: Span) -> SpanMessage {
    let (start, end) = (nanos(span.start), nanos(span.end()));
    let Span { context, kind, name, tags, events, .. } = span;
    let id = |id: u64| id.to_be_bytes().to_vec();
    // OpenTelemetry semantic conventions for HTTP spans: 4xx is an error to the caller alone.
    let error = if kind == SpanKind::Client { 400 } else { 500 };
    let of = |name| tags.iter().find(|(key, _)| key == name).and_then(|(_, v)| v.parse::<u16>().ok());
    let status = match (of("http.status_code"), of("grpc.status_code")) {
        (Some(status), _) => (status >= error).then_some(Status { code: 2 }),
        // A call that is no HTTP request to its caller.
        (None, Some(status)) => Some(Status { code: if status == 0 { 0 } else { 2 } }),
        (None, None) => None,
    };
    let remote = if context.remote_parent { REMOTE_PARENT } else { 0 };
    SpanMessage {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: id(context.span),
        trace_state: context.state.into(),
        parent_span_id: context.parent.map(id).unwrap_or_default(),
        name,
        kind: match kind {
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: tags
            .into_iter()
            .filter(|(key, _)| !key.is_empty())
            .map(|(key, value)| key_value(key.into_owned(), value))
            .collect(),
        events: events
            .into_iter()
            .map(|(at, what)| Event { time_unix_nano: nanos(at), name: what.to_owned() })
            .collect(),
        status,
        flags: u32::from(context.sampled) | KNOWS_PARENT | remote,
    }
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

/// `opentelemetry.proto.trace.v1.ResourceSpans`
#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// `opentelemetry.proto.resource.v1.Resource`
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// `opentelemetry.proto.trace.v1.ScopeSpans`
#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SpanMessage>,
}

/// `opentelemetry.proto.common.v1.InstrumentationScope`
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// `opentelemetry.proto.trace.v1.Span`
#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

/// `opentelemetry.proto.trace.v1.Span.Event`
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

/// `opentelemetry.proto.trace.v1.Status`
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

/// `opentelemetry.proto.common.v1.KeyValue`
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// `opentelemetry.proto.common.v1.AnyValue`, of which spans have texts alone.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}
