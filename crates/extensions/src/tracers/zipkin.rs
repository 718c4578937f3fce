//! `envoy.tracers.zipkin`: spans as Zipkin's version 2 has them, B3 headers.
//!
//! Reports are sent over HTTP, by JSON or protobuf, when enough spans wait or their time has come. What the collector
//! answers is counted below `tracing.zipkin.`; a report that fails is not sent again.

mod b3;
mod encode;

use super::collector::{HttpCollector, Report, Unsent};
use super::flush::{self, Enough, Keys, Pending};
use super::w3c;
use b3::{Brought, Ids};
use encode::{Encoding, Endpoint};
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::trace::{Span, SpanContext, SpanKind};
use nuncio_downstream::tracing::{Beginning, Spans, Tracer, TracerConfig, TracerFactory};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_proto::pb::envoy::config::trace::v3::ZipkinConfig;
use nuncio_proto::pb::envoy::config::trace::v3::zipkin_config::{
    CollectorEndpointVersion, TraceContextOption,
};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Compiles the provider's message.
pub struct ZipkinFactory;

nuncio_core::stats_block! {
    /// `tracing.zipkin.`
    struct ZipkinStats {
        counter reports_dropped,
        counter reports_failed,
        counter reports_sent,
        counter reports_skipped_no_cluster,
        counter spans_sent,
        counter timer_flushed,
    }
}

const KEYS: Keys = Keys {
    min_flush_spans: "tracing.zipkin.min_flush_spans",
    flush_interval_ms: "tracing.zipkin.flush_interval_ms",
};

/// A compiled `ZipkinConfig`.
struct Zipkin {
    collector: HttpCollector,
    encoding: Encoding,
    endpoint: Endpoint,
    /// Trace identifiers made here have 128 bits.
    long_ids: bool,
    /// They begin with the time, in seconds.
    timed_ids: bool,
    /// Caller and called have one span together.
    shared: bool,
    /// The proxy is a hop of the trace, whatever the connection manager says (`split_spans_for_request`).
    hop: bool,
    /// `traceparent` is read where there is no B3, and written beside it.
    w3c: bool,
}

impl TracerFactory for ZipkinFactory {
    type Config = ZipkinConfig;

    fn compile(
        &self,
        message: ZipkinConfig,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<dyn TracerConfig>> {
        let ZipkinConfig {
            collector_cluster,
            collector_endpoint,
            trace_id_128bit,
            shared_span_context,
            collector_endpoint_version,
            collector_hostname,
            split_spans_for_request,
            trace_context_option,
            collector_service,
            timestamp_trace_ids,
        } = message;
        let encoding = match CollectorEndpointVersion::try_from(collector_endpoint_version) {
            Ok(CollectorEndpointVersion::HttpJson) => Encoding::Json,
            Ok(CollectorEndpointVersion::HttpProto) => Encoding::Protobuf,
            Ok(CollectorEndpointVersion::DeprecatedAndUnavailableDoNotUse) | Err(_) => {
                cx.field("collector_endpoint_version")
                    .error("collector_endpoint_version has to be HTTP_JSON or HTTP_PROTO");
                return None;
            }
        };
        let collector = match collector_service {
            Some(service) => {
                let collector = HttpCollector::compile(service, &cx.field("collector_service"), env, parts)?;
                match &*collector.host {
                    "" => HttpCollector { host: collector.cluster.clone(), ..collector },
                    _ => collector,
                }
            }
            None if collector_cluster.is_empty() || collector_endpoint.is_empty() => {
                cx.error("collector_cluster and collector_endpoint must be specified when not using collector_service");
                return None;
            }
            None => HttpCollector {
                host: Some(collector_hostname)
                    .filter(|h| !h.is_empty())
                    .unwrap_or(collector_cluster.clone())
                    .into(),
                cluster: collector_cluster.into(),
                path: collector_endpoint.into(),
                headers: Box::default(),
                timeout: None,
                own_address: env.own_address,
            },
        };
        if !(env.cluster_exists)(&collector.cluster) {
            cx.error(format!("envoy.tracers.zipkin: unknown cluster '{}'", collector.cluster));
            return None;
        }
        let shared = shared_span_context.unwrap_or(true);
        Some(Arc::new(Zipkin {
            collector,
            encoding,
            endpoint: Endpoint { service: env.node_cluster.into(), address: env.own_address, shared },
            long_ids: trace_id_128bit,
            timed_ids: timestamp_trace_ids,
            shared,
            hop: split_spans_for_request,
            w3c: trace_context_option == TraceContextOption::UseB3WithW3cPropagation as i32,
        }))
    }
}

impl TracerConfig for Zipkin {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn Tracer> {
        let live = Rc::new_cyclic(|me| Live {
            config: self,
            pending: Pending::new(world, &KEYS, usize::MAX),
            stats: world.stats.scope("tracing.zipkin."),
            world: Rc::clone(world),
            me: me.clone(),
        });
        flush::by_time(&live, world, &KEYS, |live| {
            live.stats.timer_flushed.inc();
            live.flush();
        });
        live
    }
}

/// One worker's tracer.
struct Live {
    config: Arc<Zipkin>,
    pending: Pending,
    stats: Scope<ZipkinStats>,
    world: Rc<World>,
    me: std::rc::Weak<Self>,
}

impl Live {
    fn random(&self) -> u64 {
        self.world.worker.rng().next()
    }

    /// Whether the proxy is a hop of the trace, and not one with what it stands before.
    fn is_hop(&self, spans: Spans) -> bool {
        spans.of_upstream || self.config.hop
    }

    /// A trace that begins here; its first span is called as it is.
    fn root(&self) -> (u128, u64) {
        let timed = |number: u64| match self.config.timed_ids {
            true => {
                let now = self.world.worker.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                now << 32 | number & 0xffff_ffff
            }
            false => number,
        };
        let span = self.random();
        if self.config.long_ids {
            let high = timed(self.random());
            return (u128::from(high) << 64 | u128::from(span), span);
        }
        let span = timed(span);
        (span.into(), span)
    }

    /// The context of a span that follows `ids`: one of its own below it, or the same, which both sides tell of.
    fn after(&self, ids: Ids, kind: SpanKind) -> SpanContext {
        let Ids { trace, span, parent } = ids;
        let shares = kind == SpanKind::Server && self.config.shared;
        let (span, parent) = match shares {
            true => (span, Some(parent).filter(|parent| *parent != 0)),
            false => (self.random(), Some(span)),
        };
        SpanContext { trace, span, parent, ..SpanContext::default() }
    }

    /// Sends what waits. The report is a task of its own.
    fn flush(&self) {
        let spans = self.pending.take();
        if spans.is_empty() {
            return;
        }
        self.stats.spans_sent.add(spans.len() as u64);
        let body = self.config.encoding.encode(&spans, &self.config.endpoint);
        let timeout = self.world.runtime.integer("tracing.zipkin.request_timeout", 5000);
        let Some(live) = self.me.upgrade() else { return };
        self.world.worker.spawn(async move {
            let Zipkin { collector, encoding, .. } = &*live.config;
            let report = Report {
                content_type: encoding.content_type(),
                user_agent: None,
                body: &body,
                timeout: Some(Duration::from_millis(timeout)),
            };
            let sent = collector.post(&live.world, report).await;
            match sent {
                Ok(202) => live.stats.reports_sent.inc(),
                // To Envoy's own client a failure is a 503.
                Ok(_) | Err(Unsent::NoAnswer) => live.stats.reports_dropped.inc(),
                Err(Unsent::NoCluster) => live.stats.reports_skipped_no_cluster.inc(),
            }
        });
    }
}

impl Tracer for Live {
    fn begin(&self, request: &Beginning<'_>) -> Option<Box<Span>> {
        let Beginning { headers, spans, chosen, start } = *request;
        let Brought { form, mut sampled, ids } = Brought::read(headers).ok()?;
        let ids = ids.or_else(|| {
            let parent =
                headers.get(Known::Traceparent).filter(|_| self.config.w3c).and_then(w3c::Parent::read)?;
            sampled = Some(parent.sampled);
            Some(Ids { trace: parent.trace, span: parent.span, parent: 0 })
        });
        let kind = spans.kind(self.is_hop(spans), false);
        let context = match ids {
            Some(ids) => self.after(ids, kind),
            None => {
                let (trace, span) = self.root();
                SpanContext { trace, span, ..SpanContext::default() }
            }
        };
        let context = SpanContext { form, sampled: sampled.unwrap_or(chosen), ..context };
        let name = String::from_utf8_lossy(headers.get(Known::Authority).unwrap_or_default()).into_owned();
        Some(Box::new(Span::new(context, kind, name, start)))
    }

    fn child(&self, parent: &SpanContext, spans: Spans) -> (SpanContext, SpanKind) {
        let kind = spans.kind(self.is_hop(spans), true);
        let &SpanContext { trace, span, parent: above, sampled, form, .. } = parent;
        let context = self.after(Ids { trace, span, parent: above.unwrap_or_default() }, kind);
        (SpanContext { sampled, form, ..context }, kind)
    }

    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap) {
        b3::inject(context, headers);
        if self.config.w3c {
            w3c::inject(context, headers);
        }
    }

    fn report(&self, span: Box<Span>) {
        if span.context.sampled && self.pending.push(*span) == Some(Enough::Yes) {
            self.flush();
        }
    }
}

/// Host and path of a URI; what has no scheme is a path.
fn parts(uri: &str) -> (&str, &str) {
    let Some((_, rest)) = uri.split_once("://") else { return ("", uri) };
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_uri_without_a_scheme_is_a_path() {
        assert_eq!(parts("https://h:1/p?q"), ("h:1", "/p?q"));
        assert_eq!(parts("http://h"), ("h", "/"));
        assert_eq!(parts("/p"), ("", "/p"));
        assert_eq!(parts("h/p"), ("", "h/p"));
    }
}
