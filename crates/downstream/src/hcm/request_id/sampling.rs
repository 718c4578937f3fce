//! Whether a request is traced: sampling and what forces it (`HttpConnectionManager.tracing`).

use super::{RequestIds, sampling_number, set_trace_reason, trace_reason};
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::Fraction;
use nuncio_core::runtime::{Runtime, RuntimeFraction};
use nuncio_core::trace::TraceReason;

/// The three samplings of a connection manager, or of a route in their stead.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// `client_sampling`: of the requests with `x-client-trace-id`.
    client: RuntimeFraction,
    /// `random_sampling`: of all others.
    random: RuntimeFraction,
    /// `overall_sampling`: of what the other two chose.
    overall: RuntimeFraction,
}

impl Sampling {
    /// These, unless Envoy's runtime keys say otherwise.
    pub fn new(client: Fraction, random: Fraction, overall: Fraction) -> Self {
        Self {
            client: RuntimeFraction::new("tracing.client_enabled", client),
            random: RuntimeFraction::new("tracing.random_sampling", random),
            overall: RuntimeFraction::new("tracing.global_enabled", overall),
        }
    }

    /// Decides for a request whose headers are cleaned already (`x-envoy-force-trace` comes from internal clients
    /// only), and writes the reason into its id. A reason that the id brings along stays unless
    /// [`overall`](Self::overall) takes it away. `random` is any number by chance.
    pub fn decide(
        &self,
        ids: &RequestIds,
        headers: &mut HeaderMap,
        runtime: &Runtime,
        random: u64,
    ) -> TraceReason {
        if !ids.trace_sampling {
            return TraceReason::Sampling;
        }
        let Some(id) = headers.get(Known::XRequestId) else { return TraceReason::NotTraceable };
        let Some(number) = sampling_number(id) else { return TraceReason::NotTraceable };
        let brought = trace_reason(id).unwrap_or(TraceReason::NotTraceable);
        let mut reason = brought;
        if brought == TraceReason::NotTraceable {
            if headers.contains(Known::XClientTraceId) && self.client.enabled(runtime, random) {
                reason = TraceReason::ClientForced;
            } else if headers.contains(Known::XEnvoyForceTrace) {
                reason = TraceReason::ServiceForced;
            } else if self.random.enabled(runtime, number) {
                reason = TraceReason::Sampling;
            }
        }
        if reason != TraceReason::NotTraceable && !self.overall.enabled(runtime, number) {
            reason = TraceReason::NotTraceable;
        }
        if reason != brought && ids.pack_trace_reason {
            set_trace_reason(headers, reason);
        }
        reason
    }
}
