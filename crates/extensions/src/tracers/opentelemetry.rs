//! `envoy.tracers.opentelemetry`: spans as OTLP has them, W3C headers.
//!
//! Reports are sent by gRPC or HTTP when enough spans wait or their time has come. As in Envoy nothing is counted of
//! the collector's answers but what its cluster counts; a report that fails is not sent again.

mod encode;
mod export;
mod resource;
mod sampler;

use super::flush::{self, Enough, Keys, Pending};
use super::w3c;
use encode::Encoder;
use export::Exporter;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::trace::{ContextForm, Span, SpanContext, SpanKind};
use nuncio_downstream::tracing::{Beginning, Spans, Tracer, TracerConfig, TracerFactory};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_proto::pb::envoy::config::trace::v3::OpenTelemetryConfig;
use sampler::Sampler;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Compiles the provider's message; it holds what exports call this program's version.
pub struct OpenTelemetryFactory(pub Arc<str>);

nuncio_core::stats_block! {
    /// `tracing.opentelemetry.`
    struct OpenTelemetryStats {
        counter spans_dropped,
        counter spans_sent,
        counter timer_flushed,
    }
}

const KEYS: Keys = Keys {
    min_flush_spans: "tracing.opentelemetry.min_flush_spans",
    flush_interval_ms: "tracing.opentelemetry.flush_interval_ms",
};

/// How many spans may wait where `max_cache_size` does not say.
const CACHE: usize = 1024;

/// A compiled `OpenTelemetryConfig`.
struct OpenTelemetry {
    exporter: Exporter,
    encoder: Encoder,
    sampler: Option<Sampler>,
    cache: usize,
}

impl TracerFactory for OpenTelemetryFactory {
    type Config = OpenTelemetryConfig;

    fn compile(
        &self,
        message: OpenTelemetryConfig,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<dyn TracerConfig>> {
        let OpenTelemetryConfig {
            grpc_service,
            http_service,
            service_name,
            resource_detectors,
            sampler,
            max_cache_size,
            set_telemetry_sdk_resource_attributes,
            set_service_name_resource_attribute,
            set_instrumentation_scope,
        } = message;
        let exporter = match (grpc_service, http_service) {
            (Some(grpc), None) => Exporter::grpc(grpc, &cx.field("grpc_service"), env, &self.0)?,
            (None, Some(http)) => Exporter::http(http, &cx.field("http_service"), env, &self.0)?,
            (Some(_), Some(_)) | (None, None) => {
                if !cx.told_of("exporter") {
                    let text = "OpenTelemetry Tracer must have exactly one of gRPC, HTTP, or custom exporter configured.";
                    cx.error(text);
                }
                return None;
            }
        };
        let service = set_service_name_resource_attribute.unwrap_or(true).then_some(service_name);
        let sdk = set_telemetry_sdk_resource_attributes.unwrap_or(true).then_some(&*self.0);
        let resource = resource::attributes(service, sdk, resource_detectors, cx)?;
        let sampler = match sampler {
            Some(sampler) => Some(Sampler::compile(sampler, &cx.field("sampler"))?),
            None => None,
        };
        Some(Arc::new(OpenTelemetry {
            exporter,
            encoder: Encoder::new(resource, &self.0, set_instrumentation_scope.unwrap_or(true)),
            sampler,
            cache: max_cache_size.map_or(CACHE, |most| most as usize),
        }))
    }
}

impl TracerConfig for OpenTelemetry {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn Tracer> {
        let live = Rc::new_cyclic(|me| Live {
            pending: Pending::new(world, &KEYS, self.cache),
            config: self,
            stats: world.stats.scope("tracing.opentelemetry."),
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
    config: Arc<OpenTelemetry>,
    pending: Pending,
    stats: Scope<OpenTelemetryStats>,
    world: Rc<World>,
    me: Weak<Self>,
}

impl Live {
    fn random(&self) -> u64 {
        self.world.worker.rng().next()
    }

    /// Sends what waits. The report is a task of its own.
    fn flush(&self) {
        let spans = self.pending.take();
        let Some(live) = self.me.upgrade().filter(|_| !spans.is_empty()) else { return };
        self.stats.spans_sent.add(spans.len() as u64);
        let body = self.config.encoder.encode(spans);
        self.world.worker.spawn(async move { live.config.exporter.send(&live.world, &body).await });
    }
}

impl Tracer for Live {
    fn begin(&self, request: &Beginning<'_>) -> Option<Box<Span>> {
        let Beginning { headers, spans, chosen, start } = *request;
        let parent = match headers.get(Known::Traceparent) {
            Some(value) => Some(w3c::Parent::read(value)?),
            None => None,
        };
        let trace = match parent {
            Some(parent) => parent.trace,
            None => u128::from(self.random()) << 64 | u128::from(self.random()),
        };
        let by_parent = parent.map(|parent| parent.sampled);
        let sampled = chosen
            && match &self.config.sampler {
                Some(sampler) => sampler.samples(by_parent, trace),
                None => by_parent.unwrap_or(true),
            };
        let context = SpanContext {
            trace,
            span: self.random(),
            parent: parent.map(|parent| parent.span),
            sampled,
            form: ContextForm::W3c,
            remote_parent: parent.is_some(),
            state: if parent.is_some() { w3c::state(headers) } else { Box::default() },
        };
        let name = match spans.egress {
            false => "ingress".to_owned(),
            true => {
                let host = headers.get(Known::Authority).unwrap_or_default();
                format!("egress {}", String::from_utf8_lossy(host))
            }
        };
        Some(Box::new(Span::new(context, spans.kind(spans.of_upstream, false), name, start)))
    }

    fn child(&self, parent: &SpanContext, _: Spans) -> (SpanContext, SpanKind) {
        let (span, parent_span) = (self.random(), Some(parent.span));
        let context = SpanContext { span, parent: parent_span, remote_parent: false, ..parent.clone() };
        (context, SpanKind::Client)
    }

    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap) {
        w3c::inject(context, headers);
        headers.set(w3c::STATE, context.state.as_bytes());
    }

    fn report(&self, span: Box<Span>) {
        if !span.context.sampled {
            return;
        }
        match self.pending.push(*span) {
            Some(Enough::No) => {}
            Some(Enough::Yes) => self.flush(),
            None => {
                self.stats.spans_dropped.inc();
                self.flush();
            }
        }
    }
}
