//! Spans of requests upstream: one for each attempt (`spawn_upstream_span`, `start_child_span`), one for each request of
//! the proxy's own on a stream's behalf. And what the upstream is told of the trace.

use super::span::{of_answer, of_both, rendered};
use super::{Spans, Tracer, TracingConfig};
use crate::hcm::Hcm;
use crate::hcm::exchange::Downstream;
use crate::hcm::stream::Stream;
use nuncio_codec::head::{HeaderMap, Version};
use nuncio_core::format::LogType;
use nuncio_core::stream_info::{ClusterInfo, HostInfo, ResponseFlag, ResponseFlags};
use nuncio_core::trace::Span;
use nuncio_net::worker::Worker;
use nuncio_upstream::call::{Answer, NoAnswer, Tried};
use nuncio_upstream::error::ResetReason;
use nuncio_upstream::host::Host;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

/// One attempt's span, and what is known of the attempt.
pub(crate) struct AttemptSpan {
    span: Span,
    host: Rc<HostInfo>,
    protocol: Option<Version>,
    status: Option<u16>,
    flags: ResponseFlags,
    /// When its answer began.
    answered: Option<Instant>,
    /// It came to an end of its own.
    over: bool,
}

impl AttemptSpan {
    /// The span of an attempt that begins, where attempts have spans of their own: `wanted`, or `spawn_upstream_span`.
    #[cold]
    pub(crate) fn begin<D: Downstream>(
        stream: &Stream<D>,
        cluster: &ClusterInfo,
        host: &Host,
        wanted: bool,
    ) -> Option<Box<Self>> {
        let (tracer, tracing) = live(&stream.hcm)?;
        let parent = stream.info.span.as_ref()?;
        if !wanted && !tracing.spans.of_upstream {
            return None;
        }
        let (context, kind) = tracer.child(&parent.context, tracing.spans);
        let name = format!("router {} egress", cluster.observability_name);
        let mut span = Span::new(context, kind, name, wall_and_now(stream));
        let attempts = stream.info.upstream.attempts;
        if attempts > 1 {
            span.tag("retry.count", attempts - 1);
        }
        let (protocol, status, answered) = (None, None, None);
        let flags = ResponseFlags::default();
        Some(Box::new(Self { span, host: host.info(), protocol, status, flags, answered, over: false }))
    }

    /// The attempt is on a connection.
    pub(crate) fn connected(&mut self, protocol: Option<Version>) {
        self.protocol = protocol;
    }

    /// The head of its answer has come, which may be all of it.
    pub(crate) fn answered(&mut self, status: u16, end_stream: bool, now: Instant) {
        self.status = Some(status);
        self.answered = Some(now);
        self.over = end_stream;
    }

    /// It broke off.
    pub(crate) fn broke(&mut self, reason: ResetReason) {
        self.flags.set(reason.flag());
        self.span.tag("error", true);
        self.span.tag("error.reason", reason.as_str());
        self.over = true;
    }

    /// Its time ran out.
    pub(crate) fn timed_out(&mut self, flag: ResponseFlag) {
        self.flags.set(flag);
    }

    /// Its answer is complete.
    pub(crate) fn complete(&mut self) {
        self.over = true;
    }

    /// It is over, or is given up.
    #[cold]
    pub(crate) fn end<D: Downstream>(mut self: Box<Self>, stream: &Stream<D>) {
        let Some((tracer, tracing)) = live(&stream.hcm) else { return };
        let now = stream.now();
        self.span.took = now.saturating_duration_since(self.span.started);
        if self.span.context.sampled {
            if !self.over {
                self.span.tag("canceled", true);
            }
            self.tell(stream, tracing, now);
        }
        tracer.report(Box::new(self.span));
    }

    fn tell<D: Downstream>(&mut self, stream: &Stream<D>, tracing: &TracingConfig, now: Instant) {
        let Self { span, host, protocol, status, flags, answered, over } = self;
        span.tag("http.protocol", protocol.map_or("-", |protocol| protocol.as_str()));
        tag_host(span, host);
        of_both(span, stream.info.upstream.cluster.as_deref());
        let answer = status.map(|_| &stream.heads.response.headers);
        of_answer(span, (*status, *flags), answer, Some(&stream.heads.response_trailers));
        if tracing.verbose {
            let t = &stream.info.timings;
            for (at, what) in [
                (t.upstream_tx_begin.filter(|_| protocol.is_some()), "first_upstream_tx_byte_sent"),
                (t.upstream_tx_end.filter(|_| protocol.is_some()), "last_upstream_tx_byte_sent"),
                (*answered, "first_upstream_rx_byte_received"),
                (
                    t.upstream_rx_end.or(Some(now)).filter(|_| *over && status.is_some()),
                    "last_upstream_rx_byte_received",
                ),
            ] {
                if let Some(at) = at {
                    span.event(at, what);
                }
            }
        }
        let mut cx = stream.format_context(LogType::NotSet, now);
        cx.response = status.map(|status| (&stream.heads.response.headers, status));
        let route = stream.route.as_ref().and_then(|r| r.tracing.as_deref());
        tracing.tag(span, route, &cx);
        if let Some(format) = tracing.upstream_operation(route).filter(|_| tracing.spans.of_upstream) {
            span.name = rendered(format, &cx);
        }
    }
}

/// Tells the upstream of the attempt's span, or of the request's where attempts have none.
#[cold]
pub(crate) fn inject<D: Downstream>(stream: &mut Stream<D>, attempt: Option<&AttemptSpan>) {
    let hcm = Rc::clone(&stream.hcm);
    let Some((tracer, tracing)) = live(&hcm) else { return };
    let Some(own) = attempt.map(|attempt| &attempt.span).or(stream.info.span.as_deref()) else { return };
    if tracing.propagates {
        tracer.inject(&own.context, &mut stream.heads.request.headers);
    }
}

/// The span of a request of the proxy's own on a stream's behalf: a mirrored copy, or what a filter asks.
pub struct CallSpan {
    span: Box<Span>,
    tracer: Rc<dyn Tracer>,
}

impl CallSpan {
    /// The span of a call below `parent` that begins; `sampled` is what its maker says of it.
    #[cold]
    pub fn begin(
        tracer: &Rc<dyn Tracer>,
        parent: &Span,
        name: String,
        sampled: Option<bool>,
        start: (SystemTime, Instant),
    ) -> Self {
        let (mut context, kind) = tracer.child(&parent.context, Spans { egress: true, of_upstream: false });
        context.sampled = sampled.unwrap_or(context.sampled);
        let span = Box::new(Span::new(context, kind, name, start));
        Self { span, tracer: Rc::clone(tracer) }
    }

    /// Tells who is called.
    pub fn inject(&self, headers: &mut HeaderMap) {
        self.tracer.inject(&self.span.context, headers);
    }

    /// Sets a tag.
    pub fn tag(&mut self, key: &'static str, value: impl std::fmt::Display) {
        self.span.tag(key, value);
    }

    /// What a call over HTTP came to; `None`: nobody waits for it any more.
    pub fn tag_answer(
        &mut self,
        cluster: &ClusterInfo,
        tried: &Tried,
        answer: Option<Result<&Answer, NoAnswer>>,
    ) {
        let span = &mut self.span;
        let (host, connection) = tried.last().unzip();
        let protocol = connection.flatten().and_then(|up| up.protocol);
        span.tag("http.protocol", protocol.map_or("-", Version::as_str));
        if let Some(host) = host {
            tag_host(span, &host);
        }
        of_both(span, Some(cluster));
        let mut flags = ResponseFlags::default();
        let (status, answer) = match answer {
            None => (None, None),
            Some(Ok(answer)) => (Some(answer.head.status), Some(answer)),
            Some(Err(none)) => {
                flags.set(none.flag());
                (Some(none.status()), None)
            }
        };
        of_answer(span, (status, flags), answer.map(|a| &a.head.headers), answer.map(|a| &a.trailers));
    }

    /// The call is over.
    pub fn end(mut self, worker: &Worker) {
        self.span.took = worker.since(self.span.started);
        self.tracer.report(self.span);
    }
}

fn live(hcm: &Hcm) -> Option<(&Rc<dyn Tracer>, &TracingConfig)> {
    hcm.tracer.as_ref().zip(hcm.config.tracing.as_ref())
}

pub(crate) fn wall_and_now<D: Downstream>(stream: &Stream<D>) -> (SystemTime, Instant) {
    let (info, now) = (&stream.info, stream.now());
    (info.start_wall + now.saturating_duration_since(info.start), now)
}

fn tag_host(span: &mut Span, host: &HostInfo) {
    let mut address = Vec::new();
    host.address.write_to(&mut address);
    span.tag_bytes("upstream_address", &address);
    span.tag_bytes("peer.address", &address);
}

#[cfg(test)]
mod tests;
