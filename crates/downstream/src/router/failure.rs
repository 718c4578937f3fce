//! Attempts that end without a whole response: what is counted and logged, whether another one is made, what the client
//! is told, and what explains it.

use super::attempt::{decide, plan, retries_overflow};
use super::flight::Flight;
use super::retry::Decision;
use super::timeouts;
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::Downstream;
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::{End, Stream};
use crate::why::{self, Fault};
use nuncio_codec::head::Known;
use nuncio_core::format::is_grpc_request;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_upstream::error::ResetReason;
use nuncio_upstream::outlier::Outcome;
use nuncio_upstream::pool::{Oddity, PoolError, StreamError};

/// Why an attempt ended without a (complete) response.
pub(super) struct Failure {
    /// The attempt, where one was begun.
    at: Option<usize>,
    kind: FailureKind,
    /// The request was begun on a connection.
    sent: bool,
    /// Logs name the host.
    names_host: bool,
    transport: Option<Box<str>>,
    stale_reuse: bool,
    odd: Odd,
}

/// What explains a failure.
#[derive(Clone, Copy, Default)]
enum Odd {
    #[default]
    Nothing,
    /// This circuit breaker refused.
    Breaker(&'static str),
    /// The host.
    Host(Oddity),
    /// The codec's details.
    Codec(&'static str),
}

enum FailureKind {
    Reset(ResetReason),
    /// A time of the attempt ran out; the details say which.
    Timeout(&'static str),
    /// The cluster's `max_stream_duration` of the attempt ran out.
    StreamDuration,
    /// No host may be used.
    NoHost,
}

impl Failure {
    /// No host may be used.
    pub(super) fn no_host() -> Self {
        let (kind, odd) = (FailureKind::NoHost, Odd::Nothing);
        Self { at: None, kind, sent: false, names_host: true, transport: None, stale_reuse: false, odd }
    }

    /// No connection came.
    pub(super) fn pool(at: Option<usize>, error: PoolError) -> Self {
        let kind = match error {
            PoolError::PoolOverflow => FailureKind::NoHost,
            _ => FailureKind::Reset(error.reason()),
        };
        let transport = error.transport_failure().map(Box::from);
        let odd = error.breaker().map(Odd::Breaker).unwrap_or_default();
        Self { at, kind, sent: false, names_host: error.names_host(), transport, stale_reuse: false, odd }
    }

    /// The exchange broke.
    pub(super) fn stream(at: usize, error: &StreamError) -> Self {
        let kind = FailureKind::Reset(error.reason);
        let stale_reuse = error.stale_reuse;
        let odd = match (error.oddity, error.codec_details) {
            (Some(oddity), _) => Odd::Host(oddity),
            (None, Some(details)) => Odd::Codec(details),
            (None, None) => Odd::Nothing,
        };
        Self { at: Some(at), kind, sent: true, names_host: true, transport: None, stale_reuse, odd }
    }

    /// The attempt took longer than the cluster lets streams take.
    pub(super) fn stream_duration(at: usize) -> Self {
        Self { kind: FailureKind::StreamDuration, ..Self::timeout(at, "") }
    }

    /// A time of the attempt ran out.
    pub(super) fn timeout(at: usize, details: &'static str) -> Self {
        let kind = FailureKind::Timeout(details);
        let (sent, odd) = (true, Odd::Nothing);
        Self { at: Some(at), kind, sent, names_host: true, transport: None, stale_reuse: false, odd }
    }

    /// Explains it.
    #[cold]
    fn explain<D: Downstream>(&self, stream: &Stream<D>, flight: &Flight<'_>) {
        let fault = match (&self.kind, self.odd) {
            (FailureKind::Timeout(details), _) => {
                return why::timed_out(stream, Timeout::Attempt, details);
            }
            (_, Odd::Breaker(field)) => Fault::Breaker(field),
            (FailureKind::NoHost, _) => Fault::NoHost,
            (_, Odd::Host(oddity)) => Fault::Odd(oddity, stream.info.upstream.tls()),
            (_, Odd::Codec(details)) if details.contains("too_") => Fault::HeadersTooLarge(details),
            (FailureKind::Reset(ResetReason::ConnectionTimeout), _) => Fault::ConnectTimeout,
            _ if self.stale_reuse => Fault::Stale,
            _ => match &self.transport {
                Some(text) => Fault::Connect(text),
                None => return,
            },
        };
        why::of_stream(stream, &flight.cluster, fault);
    }
}

/// What a log says of an attempt that was reset.
pub(super) fn flag_of(reason: ResetReason) -> Option<ResponseFlag> {
    LocalReply::upstream_reset(reason, None, false).flag
}

/// An attempt failed: another one is planned, others may still answer, or the client is told.
pub(super) async fn failed<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    failure: Failure,
) -> Option<End> {
    let Failure { at, ref kind, sent, names_host, stale_reuse, .. } = failure;
    stream.info.upstream.transport_failure.clone_from(&failure.transport);
    stream.info.upstream.stale_reuse = stale_reuse;
    let reason = match *kind {
        FailureKind::NoHost => {
            failure.explain(stream, flight);
            return Some(no_healthy_upstream(stream, flight, names_host).await);
        }
        FailureKind::Reset(reason) => reason,
        FailureKind::Timeout(_) | FailureKind::StreamDuration => ResetReason::LocalReset,
    };
    if let Some(span) = at.and_then(|at| flight.span(at)) {
        match kind {
            FailureKind::NoHost => {}
            FailureKind::Reset(reason) => span.broke(*reason),
            FailureKind::Timeout(_) => span.timed_out(ResponseFlag::UpstreamRequestTimeout),
            FailureKind::StreamDuration => span.timed_out(ResponseFlag::UpstreamMaxStreamDurationReached),
        }
    }
    let timed_out = matches!(kind, FailureKind::Timeout(_));
    let outcome = match kind {
        FailureKind::Timeout(_) => Some(Outcome::TimedOut(flight.timeouts.status())),
        // Neither says anything of the host.
        FailureKind::Reset(ResetReason::Overflow) | FailureKind::StreamDuration => None,
        FailureKind::Reset(_) | FailureKind::NoHost => Some(Outcome::Failed),
    };
    if let Some(log) = at.and_then(|at| flight.log(at)) {
        log.failed(if timed_out { Some(ResponseFlag::UpstreamRequestTimeout) } else { flag_of(reason) });
    }
    if let Some(outcome) = outcome {
        flight.charge_failed(at).report(outcome);
    }
    let hedged = at.and_then(|at| flight.attempts.get(at)).is_some_and(|a| a.hedged);
    if let Some(retry) = flight.retry.as_ref().filter(|_| !stream.has_response() && !hedged) {
        let wanted = retry.wants_reset(reason, sent);
        match decide(stream, flight, wanted, false) {
            Decision::Retry(delay) => {
                flight.charge_failed(at).host_error();
                plan(stream, flight, at, delay, timed_out);
                return None;
            }
            Decision::No => {}
            Decision::Overflow => retries_overflow(stream, flight),
            Decision::LimitExceeded => stream.info.flags.set(ResponseFlag::UpstreamRetryLimitExceeded),
        }
    }
    failure.explain(stream, flight);
    if !names_host {
        stream.info.upstream.host = None;
        flight.failed_host = None;
    }
    let mut reply = match *kind {
        FailureKind::Timeout(details) => timeouts::reply(flight, details),
        FailureKind::StreamDuration => LocalReply::upstream_max_stream_duration(stream.request_received()),
        _ => {
            let transport = stream.info.upstream.transport_failure.as_deref();
            LocalReply::upstream_reset(reason, transport, stream.info.upstream.attempts > 1)
        }
    };
    if stream.interim_seen {
        // To the log a 1xx is a response that has started, although the client gets another.
        reply.details = reply.details.replacen("_before_", "_after_", 1).into();
    }
    if stream.has_response() {
        flight.end_all(stream);
        return Some(
            break_off(stream, &reply, reason, timed_out || matches!(kind, FailureKind::StreamDuration)).await,
        );
    }
    let charge = if names_host { flight.charge_failed(at) } else { flight.charge_nobody() };
    if !stream.interim_seen {
        charge.abort(stream, reply.status);
    }
    let reply = charge.with_attempts(stream, reply);
    if let Some(at) = at {
        flight.end(stream, at);
    }
    if !timed_out && (!flight.attempts.is_empty() || flight.back_off.is_some()) {
        // Another attempt may still be answered.
        return None;
    }
    flight.end_all(stream);
    Some(stream.reply_from_route(reply, flight.route).await)
}

/// The response had begun: the client's stream breaks too.
async fn break_off<D: Downstream>(
    stream: &mut Stream<D>,
    reply: &LocalReply,
    reason: ResetReason,
    timed_out: bool,
) -> End {
    if is_grpc_request(&stream.heads.request.headers)
        && !stream.heads.response.headers.contains(Known::GrpcStatus)
    {
        // As Envoy: only of answers whose success was to come in the trailers.
        stream.hcm.router_stats.rq_reset_after_downstream_response_started.inc();
    }
    if let Some(flag) = reply.flag {
        stream.info.flags.set(flag);
    }
    stream.info.details = Some(if timed_out {
        reply.details.clone()
    } else {
        let reason = reason.as_str().replace(' ', "_");
        format!("upstream_reset_after_response_started{{{reason}}}").into()
    });
    stream.abort().await
}

async fn no_healthy_upstream<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    names_host: bool,
) -> End {
    if !names_host {
        stream.info.upstream.host = None;
    }
    let charge = flight.charge_nobody();
    let mut reply = LocalReply::no_healthy_upstream();
    if let Some(unresolved) = &flight.unresolved {
        reply.details = unresolved.details().into();
    } else if let Some(found) = flight.pick.destination.and_then(|to| flight.cluster.found_without_host(to)) {
        reply.details = found.into();
    }
    charge.abort(stream, reply.status);
    let reply = charge.with_attempts(stream, reply);
    flight.end_all(stream);
    stream.reply_from_route(reply, flight.route).await
}
