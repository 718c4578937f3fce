//! Spans: what is exported of a traced request, whoever takes it.
//!
//! A span is made when a request begins, collects what is known of it, and is handed to its tracer at the end. The
//! stream that it belongs to keeps it in its [`StreamInfo`](crate::stream_info::StreamInfo).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::{Duration, Instant, SystemTime};

/// Why a request is traced, or that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceReason {
    /// It is not.
    NotTraceable,
    /// The sampling chose it.
    Sampling,
    /// `x-envoy-force-trace`, or the service asked for it.
    ServiceForced,
    /// `x-client-trace-id`.
    ClientForced,
}

/// The identifiers of a span, and what goes along with them to the next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// The span that it is a child of.
    pub parent: Option<u64>,
    /// It is exported.
    pub sampled: bool,
    /// How the next hop is told.
    pub form: ContextForm,
    /// The span that it is a child of is another process's.
    pub remote_parent: bool,
    /// What vendors say of the trace (`tracestate`), passed on as it came.
    pub state: Box<str>,
}

/// How a context is carried from hop to hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextForm {
    /// `x-b3-traceid` and others.
    #[default]
    B3,
    /// All in `b3`.
    B3Single,
    /// `traceparent` and `tracestate` (W3C Trace Context).
    W3c,
}

impl SpanContext {
    /// The trace's identifier in hexadecimal digits: 32, or 16 where those suffice and the form has such.
    pub fn trace_id(&self) -> TraceId {
        TraceId { trace: self.trace, wide: self.form == ContextForm::W3c || self.trace >> 64 != 0 }
    }

    /// The span's identifier, in the forms whose logs name it.
    pub fn span_id(&self) -> Option<SpanId> {
        (self.form == ContextForm::W3c).then_some(SpanId(self.span))
    }
}

/// An identifier of a trace as it is written.
#[derive(Clone, Copy, Debug)]
pub struct TraceId {
    trace: u128,
    wide: bool,
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wide { write!(f, "{:032x}", self.trace) } else { write!(f, "{:016x}", self.trace) }
    }
}

/// An identifier of a span as it is written.
#[derive(Clone, Copy, Debug)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which side of a call a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The called.
    Server,
    /// The caller.
    Client,
}

/// One span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its identifiers.
    pub context: SpanContext,
    /// Its side.
    pub kind: SpanKind,
    /// The name of the operation.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// The same by the worker's clock.
    pub started: Instant,
    /// How long it took, once it is over.
    pub took: Duration,
    /// What is known of it, no key twice. Nothing is collected where it is not exported.
    pub tags: Vec<(Cow<'static, str>, String)>,
    /// What happened, and when.
    pub events: Vec<(SystemTime, &'static str)>,
}

impl Span {
    /// A span that begins now.
    pub fn new(
        context: SpanContext,
        kind: SpanKind,
        name: String,
        (start, started): (SystemTime, Instant),
    ) -> Self {
        let (tags, events) = (Vec::new(), Vec::new());
        Self { context, kind, name, start, started, took: Duration::ZERO, tags, events }
    }

    /// Sets a tag; one of that name is replaced.
    pub fn tag(&mut self, key: impl Into<Cow<'static, str>>, value: impl fmt::Display) {
        if !self.context.sampled {
            return;
        }
        let key = key.into();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
        match self.tags.iter_mut().find(|(other, _)| *other == key) {
            Some((_, old)) => *old = text,
            None => self.tags.push((key, text)),
        }
    }

    /// The same of a header's value, which may not be text.
    pub fn tag_bytes(&mut self, key: impl Into<Cow<'static, str>>, value: &[u8]) {
        self.tag(key, String::from_utf8_lossy(value));
    }

    /// Tells of something that happened at `at`.
    pub fn event(&mut self, at: Instant, what: &'static str) {
        if self.context.sampled {
            let wall = self.start + at.saturating_duration_since(self.started);
            self.events.push((wall, what));
        }
    }

    /// When it was over.
    pub fn end(&self) -> SystemTime {
        self.start + self.took
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn span(sampled: bool) -> Span {
        let context = SpanContext { trace: 0xab, span: 0xcd, sampled, ..SpanContext::default() };
        Span::new(context, SpanKind::Server, String::new(), (SystemTime::UNIX_EPOCH, Clock::system().now()))
    }

    #[test]
    fn identifiers_are_written_with_16_or_32_digits() {
        let mut context = span(true).context;
        assert_eq!(context.trace_id().to_string(), "00000000000000ab");
        assert!(context.span_id().is_none());
        context.form = ContextForm::W3c;
        assert_eq!(context.trace_id().to_string(), format!("{:032x}", 0xab));
        assert_eq!(context.span_id().map(|id| id.to_string()).as_deref(), Some("00000000000000cd"));
        let long = SpanContext { trace: 1 << 64, ..span(true).context };
        assert_eq!(long.trace_id().to_string(), format!("{:032x}", 1_u128 << 64));
    }

    #[test]
    fn a_tag_that_is_set_again_is_replaced_and_a_span_that_is_not_exported_collects_nothing() {
        let mut exported = span(true);
        exported.tag("a", 1);
        exported.tag_bytes("b", b"\xff");
        exported.tag("a", "two");
        let tags: Vec<_> = exported.tags.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(tags, [("a", "two"), ("b", "\u{fffd}")]);
        let mut unseen = span(false);
        unseen.tag("a", 1);
        unseen.event(Clock::system().now(), "x");
        assert!(unseen.tags.is_empty() && unseen.events.is_empty());
    }
}
