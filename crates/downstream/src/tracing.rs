//! `HttpConnectionManager.tracing`: which requests are traced, and under which operation.
//!
//! No provider is built yet, so that nobody is told of a trace; what holds without one is here: the reason in the
//! request's id, the stats, and `x-envoy-decorator-operation`. A connection manager without `tracing` has none of it.

use crate::hcm::Hcm;
use crate::hcm::request_id::{Sampling, TraceReason};
use crate::route::Route;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::{Fraction, fraction};
use nuncio_core::stream_info::StreamInfo;
use nuncio_proto::pb::envoy::config::route::v3 as pb_route;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::{FractionalPercent, Percent};
use std::sync::Arc;

/// A compiled `tracing` of a connection manager.
pub struct TracingConfig {
    sampling: Sampling,
    /// The listener's direction is OUTBOUND: the span is a client's.
    egress: bool,
}

/// A compiled `Route.tracing`, which stands for the whole of the connection manager's.
#[derive(Debug)]
pub struct RouteTracing(Sampling);

/// A compiled `Route.decorator`.
#[derive(Debug)]
pub struct Decorator {
    operation: Arc<str>,
    /// The other side of the call is told.
    propagate: bool,
}

impl TracingConfig {
    /// Compiles the message.
    pub(crate) fn compile(message: pb::http_connection_manager::Tracing, egress: bool) -> Self {
        let pb::http_connection_manager::Tracing { client_sampling, random_sampling, overall_sampling } =
            message;
        // As in Envoy parts are cut off, of what is not quite 6 in 10,000 as well.
        let of = |percent: Option<Percent>, of: u32| {
            percent.map_or(Fraction::ALWAYS, |Percent { value }| {
                Fraction::new((f64::from(of) * (value / 100.0)) as u32, of)
            })
        };
        let client = of(client_sampling, 100);
        let (random, overall) = (of(random_sampling, 10_000), of(overall_sampling, 10_000));
        Self { sampling: Sampling::new(client, random, overall), egress }
    }

    /// Decides about a request whose route is known, and counts it. With `again` it comes of a redirect that was
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
        let own = route.and_then(|r| r.tracing.as_deref()).map_or(&self.sampling, |RouteTracing(own)| own);
        let reason = if again {
            TraceReason::NotTraceable
        } else {
            let worker = &hcm.world.worker;
            own.decide(hcm.config.policy.request_ids(), headers, &hcm.world.runtime, worker.rng().next())
        };
        info.traceable = reason != TraceReason::NotTraceable;
        if let Some(stats) = &hcm.tracing_stats {
            match reason {
                TraceReason::NotTraceable => stats.not_traceable.inc(),
                TraceReason::Sampling => stats.random_sampling.inc(),
                TraceReason::ServiceForced => stats.service_forced.inc(),
                TraceReason::ClientForced => stats.client_enabled.inc(),
            }
        }
        let decorator =
            route.and_then(|r| r.decorator.as_deref()).filter(|d| d.propagate && !d.operation.is_empty());
        if self.egress {
            if let Some(decorator) = decorator {
                headers.set(Known::XEnvoyDecoratorOperation, decorator.operation.as_bytes());
            }
            return None;
        }
        // What the caller calls it counts, and goes no further.
        let overridden = headers.get(Known::XEnvoyDecoratorOperation).is_some_and(|own| !own.is_empty());
        headers.remove(Known::XEnvoyDecoratorOperation);
        decorator.filter(|_| !overridden).map(|decorator| Arc::clone(&decorator.operation))
    }

    /// The response's head goes out: the client of a server's span is told of its operation, and what a server says
    /// of its own goes no further than this client's span.
    #[cold]
    pub(crate) fn respond(&self, headers: &mut HeaderMap, operation: Option<&Arc<str>>) {
        if self.egress {
            headers.remove(Known::XEnvoyDecoratorOperation);
        } else if let Some(operation) = operation {
            headers.set(Known::XEnvoyDecoratorOperation, operation.as_bytes());
        }
    }
}

impl RouteTracing {
    /// Compiles the message.
    pub(crate) fn compile(message: pb_route::Tracing) -> Self {
        let pb_route::Tracing { client_sampling, random_sampling, overall_sampling } = message;
        let of = |value: Option<FractionalPercent>| value.as_ref().map_or(Fraction::ALWAYS, fraction);
        Self(Sampling::new(of(client_sampling), of(random_sampling), of(overall_sampling)))
    }
}

impl Decorator {
    /// Compiles the message.
    pub(crate) fn compile(message: pb_route::Decorator) -> Self {
        let pb_route::Decorator { operation, propagate } = message;
        Self { operation: operation.into(), propagate: propagate.unwrap_or(true) }
    }
}
