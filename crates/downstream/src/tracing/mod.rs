//! `HttpConnectionManager.tracing`: which requests are traced, what is told of them, and under which operation.
//!
//! Whether a request is chosen is decided once its route is known ([`TracingConfig::begin`]): the reason goes into its
//! id and is counted. Where there is a provider ([`Tracer`]) every request has a [`Span`], because the next hop is told
//! of those as well that are not chosen; but nothing is collected for these. Without `tracing` there is none of it.

mod provider;
mod span;
mod tag;
pub(crate) mod upstream;

pub(crate) use provider::Unheard;
pub(crate) use span::finish;
pub use upstream::CallSpan;

pub use provider::{
    AnyTracerFactory, Beginning, LiveTracers, Spans, Tracer, TracerConfig, TracerFactory, Tracers,
};

use crate::explain::Fact;
use crate::hcm::Hcm;
use crate::hcm::request_id::Sampling;
use crate::hcm::stats::TracingStats;
use crate::route::Route;
use crate::world::CompileEnv;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::{CompileContext, Fraction, fraction};
use nuncio_core::format::Format;
use nuncio_core::stream_info::StreamInfo;
use nuncio_core::trace::{Span, TraceReason};
use nuncio_proto::pb::envoy::config::route::v3 as pb_route;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::{FractionalPercent, Percent};
use std::rc::Rc;
use std::sync::Arc;
use tag::{CustomTags, compile_format};

/// How much of a path a span tells where nothing else is said, in bytes.
const MAX_PATH: usize = 256;

/// A compiled `tracing` of a connection manager.
pub struct TracingConfig {
    sampling: Sampling,
    spans: Spans,
    /// Who takes the spans.
    provider: Option<Arc<dyn TracerConfig>>,
    /// Spans tell what happened when.
    verbose: bool,
    /// How much of a path is told, in bytes.
    max_path: usize,
    tags: CustomTags,
    operations: Operations,
    /// The next hop is told.
    propagates: bool,
    node_id: Box<str>,
    zone: Box<str>,
}

/// A compiled `Route.tracing`, whose samplings stand for the whole of the connection manager's.
#[derive(Debug)]
pub struct RouteTracing {
    sampling: Sampling,
    tags: CustomTags,
    operations: Operations,
}

/// The names of spans, where configuration makes them: then neither decorators nor what the other side says counts.
#[derive(Debug, Default)]
struct Operations {
    /// Of requests.
    request: Option<Format>,
    /// Of requests upstream.
    upstream: Option<Format>,
}

/// A compiled `Route.decorator`.
#[derive(Debug)]
pub struct Decorator {
    operation: Arc<str>,
    /// The other side of the call is told.
    propagate: bool,
}

impl Operations {
    fn compile(request: &str, upstream: &str, cx: &CompileContext<'_>) -> Option<Self> {
        let format = |text: &str, field| match text {
            "" => Some(None),
            text => compile_format(text, &cx.field(field)).map(Some),
        };
        let (request, upstream) = (format(request, "operation"), format(upstream, "upstream_operation"));
        Some(Self { request: request?, upstream: upstream? })
    }
}

impl TracingConfig {
    /// Compiles the message.
    pub(crate) fn compile(
        message: pb::http_connection_manager::Tracing,
        egress: bool,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Self> {
        let pb::http_connection_manager::Tracing {
            client_sampling,
            random_sampling,
            overall_sampling,
            verbose,
            max_path_tag_length,
            custom_tags,
            provider,
            spawn_upstream_span,
            operation,
            upstream_operation,
            no_context_propagation,
        } = message;
        // As in Envoy parts are cut off, of what is not quite 6 in 10,000 as well.
        let of = |percent: Option<Percent>, of: u32| {
            percent.map_or(Fraction::ALWAYS, |Percent { value }| {
                Fraction::new((f64::from(of) * (value / 100.0)) as u32, of)
            })
        };
        let client = of(client_sampling, 100);
        let (random, overall) = (of(random_sampling, 10_000), of(overall_sampling, 10_000));
        let provider = match provider {
            Some(provider) => env.tracers.compile(&provider, &cx.field("provider"), env).map(Some),
            None => Some(env.default_tracer.cloned()),
        };
        let tags = CustomTags::compile(custom_tags, cx);
        let operations = Operations::compile(&operation, &upstream_operation, cx);
        Some(Self {
            sampling: Sampling::new(client, random, overall),
            spans: Spans { egress, of_upstream: spawn_upstream_span.unwrap_or_default() },
            provider: provider?,
            verbose,
            max_path: max_path_tag_length.map_or(MAX_PATH, |most| most as usize),
            tags: tags?,
            operations: operations?,
            propagates: !no_context_propagation,
            node_id: env.node_id.into(),
            zone: env.zone.into(),
        })
    }

    /// A worker's live provider.
    pub(crate) fn start(&self, world: &Rc<crate::world::World>) -> Option<Rc<dyn Tracer>> {
        self.provider.as_ref().map(|provider| world.tracers.of(provider, world))
    }

    /// Decides about a request whose route is known. With `again` it comes of a redirect that was
    /// followed, about which was decided before. The operation that the client is to be told of with the answer.
    #[cold]
    pub(crate) fn begin(
        &self,
        hcm: &Hcm,
        headers: &mut HeaderMap,
        info: &mut StreamInfo,
        route: Option<&Arc<Route>>,
        again: bool,
    ) -> Option<Arc<str>> {
        let of_route = route.and_then(|r| r.tracing.as_deref());
        let sampling = of_route.map_or(&self.sampling, |own| &own.sampling);
        let reason = if again {
            TraceReason::NotTraceable
        } else {
            let worker = &hcm.world.worker;
            sampling.decide(hcm.config.policy.request_ids(), headers, &hcm.world.runtime, worker.rng().next())
        };
        info.trace_reason = Some(reason);
        info.span = self.span(hcm, headers, info);
        if self.operation(of_route).is_some() {
            return None;
        }
        self.decorate(headers, info.span.as_deref_mut(), route)
    }

    /// What was decided about a request, for explanations.
    #[cold]
    pub(crate) fn told(&self, hcm: &Hcm, info: &StreamInfo, route: Option<&Route>) -> Vec<Fact> {
        let places = &hcm.config.places;
        let spot = |field| places.spot(field).place;
        let of_route = route.filter(|route| route.tracing.is_some());
        let sampling = of_route.map_or_else(|| spot("tracing"), |route| route.place_of("tracing"));
        let decision = match info.trace_reason {
            None | Some(TraceReason::NotTraceable) => "not traced",
            Some(TraceReason::Sampling) => "traced: random_sampling chose it",
            Some(TraceReason::ServiceForced) => "traced: x-envoy-force-trace or its x-request-id asks for it",
            Some(TraceReason::ClientForced) => "traced: x-client-trace-id asks for it",
        };
        let mut facts = vec![Fact::new("decision", decision, sampling)];
        let Some(span) = &info.span else {
            let why = match hcm.tracer {
                None => "none: there is no provider",
                Some(_) => "none: what the request brings along cannot be read",
            };
            facts.push(Fact::new("span", why, spot("tracing/provider")));
            return facts;
        };
        let exported = match span.context.sampled {
            true => "exported",
            false => "not exported, but the next hop is told of it",
        };
        facts.push(Fact::new("span", exported, spot("tracing/provider")));
        let (name, place) = match self.operation(of_route.and_then(|route| route.tracing.as_deref())) {
            Some(_) => ("as the configured operation says", sampling),
            None => {
                let decorated = route.filter(|route| route.decorator.is_some());
                (&*span.name, decorated.map_or_else(|| spot("tracing"), |route| route.place_of("decorator")))
            }
        };
        facts.push(Fact::new("operation", name, place));
        if self.spans.of_upstream {
            let place = spot("tracing/spawn_upstream_span");
            facts.push(Fact::new("spawn_upstream_span", "each attempt has a span of its own", place));
        }
        if !self.propagates {
            facts.push(Fact::new("no_context_propagation", "the next hop is told nothing", spot("tracing")));
        }
        facts
    }

    /// The span of a request that begins.
    fn span(&self, hcm: &Hcm, headers: &HeaderMap, info: &StreamInfo) -> Option<Box<Span>> {
        let start = (info.start_wall, info.start);
        let request = Beginning { headers, spans: self.spans, chosen: info.is_traced(), start };
        let mut span = hcm.tracer.as_ref()?.begin(&request)?;
        span.tag("node_id", &self.node_id);
        span.tag("zone", &self.zone);
        Some(span)
    }

    /// The format of the names of spans of requests, where one is configured.
    fn operation<'a>(&'a self, route: Option<&'a RouteTracing>) -> Option<&'a Format> {
        let of_route = route.and_then(|own| own.operations.request.as_ref());
        of_route.or(self.operations.request.as_ref())
    }

    /// The same of requests upstream.
    fn upstream_operation<'a>(&'a self, route: Option<&'a RouteTracing>) -> Option<&'a Format> {
        let of_route = route.and_then(|own| own.operations.upstream.as_ref());
        of_route.or(self.operations.upstream.as_ref())
    }

    /// The route's decorator and the caller's word for the operation. What the client is to be told.
    fn decorate(
        &self,
        headers: &mut HeaderMap,
        span: Option<&mut Span>,
        route: Option<&Arc<Route>>,
    ) -> Option<Arc<str>> {
        let decorator = route.and_then(|r| r.decorator.as_deref()).filter(|d| !d.operation.is_empty());
        let theirs =
            headers.get(Known::XEnvoyDecoratorOperation).filter(|own| !own.is_empty() && !self.spans.egress);
        if let Some(span) = span {
            match (theirs, decorator) {
                (Some(theirs), _) => span.name = String::from_utf8_lossy(theirs).into_owned(),
                (None, Some(decorator)) => span.name = decorator.operation.to_string(),
                (None, None) => {}
            }
        }
        let overridden = theirs.is_some();
        let told = decorator.filter(|decorator| decorator.propagate);
        if self.spans.egress {
            if let Some(decorator) = told {
                headers.set(Known::XEnvoyDecoratorOperation, decorator.operation.as_bytes());
            }
            return None;
        }
        // What the caller calls it counts, and goes no further.
        headers.remove(Known::XEnvoyDecoratorOperation);
        told.filter(|_| !overridden).map(|decorator| Arc::clone(&decorator.operation))
    }

    /// The response's head goes out: the client of a server's span is told of its operation, and what a server says
    /// of its own goes no further than this client's span.
    #[cold]
    pub(crate) fn respond(
        &self,
        headers: &mut HeaderMap,
        info: &mut StreamInfo,
        route: Option<&Arc<Route>>,
        operation: Option<&Arc<str>>,
    ) {
        if self.operation(route.and_then(|r| r.tracing.as_deref())).is_some() {
            return;
        }
        if self.spans.egress {
            let theirs = headers.get(Known::XEnvoyDecoratorOperation).filter(|own| !own.is_empty());
            if let (Some(theirs), Some(span)) = (theirs, &mut info.span) {
                span.name = String::from_utf8_lossy(theirs).into_owned();
            }
            headers.remove(Known::XEnvoyDecoratorOperation);
        } else if let Some(operation) = operation {
            headers.set(Known::XEnvoyDecoratorOperation, operation.as_bytes());
        }
    }

    /// Sets the tags of both configurations; those of the route come first.
    fn tag(
        &self,
        span: &mut Span,
        route: Option<&RouteTracing>,
        cx: &nuncio_core::format::FormatContext<'_>,
    ) {
        if let Some(own) = route {
            own.tags.apply(span, cx, None);
        }
        self.tags.apply(span, cx, route.map(|own| &own.tags));
    }
}

/// Counts what was decided about a request whose response begins. A health check is not traced after all.
pub(crate) fn count(stats: &TracingStats, info: &StreamInfo) {
    match info.trace_reason.filter(|_| !info.health_check) {
        None | Some(TraceReason::NotTraceable) => stats.not_traceable.inc(),
        Some(TraceReason::Sampling) => stats.random_sampling.inc(),
        Some(TraceReason::ServiceForced) => stats.service_forced.inc(),
        Some(TraceReason::ClientForced) => stats.client_enabled.inc(),
    }
}

impl RouteTracing {
    /// Compiles the message.
    pub(crate) fn compile(message: pb_route::Tracing, cx: &CompileContext<'_>) -> Option<Self> {
        let pb_route::Tracing {
            client_sampling,
            random_sampling,
            overall_sampling,
            custom_tags,
            operation,
            upstream_operation,
        } = message;
        let of = |value: Option<FractionalPercent>| value.as_ref().map_or(Fraction::ALWAYS, fraction);
        let tags = CustomTags::compile(custom_tags, cx);
        let operations = Operations::compile(&operation, &upstream_operation, cx);
        let sampling = Sampling::new(of(client_sampling), of(random_sampling), of(overall_sampling));
        Some(Self { sampling, tags: tags?, operations: operations? })
    }
}

impl Decorator {
    /// Compiles the message.
    pub(crate) fn compile(message: pb_route::Decorator) -> Self {
        let pb_route::Decorator { operation, propagate } = message;
        Self { operation: operation.into(), propagate: propagate.unwrap_or(true) }
    }
}
