//! What the route, its retry policy and the steering headers say about time, and what follows when it is over.

use super::RouterConfig;
use super::attempt::{decide, plan, retries_overflow};
use super::failure::Failure;
use super::flight::{Flight, TimeoutRetry};
use super::retry::{Decision, hedging_asked};
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::Downstream;
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::{End, Stream};
use crate::hcm::stream_limits;
use crate::route::ClusterAction;
use crate::why;
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::format::is_grpc_request;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::outlier::Outcome;
use std::time::Duration;

/// Time limits of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeouts {
    /// From the complete request to the complete response; `None`: no limit.
    pub(super) global: Option<Duration>,
    /// Of one attempt, until its response begins; `None`: no limit but the global one.
    pub(super) per_try: Option<Duration>,
    /// Of one attempt without any event.
    pub(super) per_try_idle: Option<Duration>,
    /// Of one attempt from its connection to its last byte: `x-envoy-upstream-stream-duration-ms`, or the
    /// `max_stream_duration` of the cluster that the host is of.
    pub(super) stream: Option<Duration>,
    /// `stream` is not the request's own.
    pub(super) stream_by_cluster: bool,
    /// An attempt that is out of time runs on while another one is begun beside it.
    pub(super) hedge: bool,
    /// A time-out is answered 204 without a body (`x-envoy-upstream-rq-timeout-alt-response`).
    pub(super) alt_response: bool,
    /// The request's own `x-envoy-expected-rq-timeout-ms` is in force, and goes on.
    pub(super) expected: bool,
    /// The upstream is told its time in `grpc-timeout` too.
    pub(super) tells_grpc: bool,
    /// The time of the request and of its tries is what the route says.
    by_route: bool,
}

impl Timeouts {
    /// The route's. With `steered` the request has headers that override them.
    pub(super) fn new(
        config: &RouterConfig,
        action: &ClusterAction,
        cluster: &Cluster,
        head: &RequestHead,
        steered: bool,
    ) -> Self {
        // A cluster's own policy times no attempts.
        let retry = action.retry.as_deref();
        let grpc = action.grpc_timeout.filter(|_| is_grpc_request(&head.headers));
        let mut all = Self {
            global: grpc.map_or(action.timeout, |limits| stream_limits::asked(limits, &head.headers)),
            per_try: retry.and_then(|r| r.per_try_timeout),
            per_try_idle: retry.and_then(|r| r.per_try_idle_timeout),
            stream: cluster.config().http.max_stream_duration,
            stream_by_cluster: true,
            hedge: action.hedge_on_per_try_timeout,
            alt_response: false,
            expected: false,
            tells_grpc: grpc.is_some(),
            by_route: !steered && grpc.is_none(),
        };
        if config.respect_expected_rq_timeout
            && let Some(ms) = millis(head, Known::XEnvoyExpectedRqTimeoutMs)
        {
            all.expected = true;
            all.by_route = false;
            all.global = limit(ms);
        }
        if steered {
            if let Some(ms) = millis(head, Known::XEnvoyUpstreamRqTimeoutMs).filter(|_| !all.expected) {
                all.global = limit(ms);
            }
            if let Some(ms) = millis(head, Known::XEnvoyUpstreamRqPerTryTimeoutMs) {
                all.per_try = limit(ms);
            }
            all.hedge = hedging_asked(head).unwrap_or(all.hedge);
        }
        if all.global.is_some_and(|global| all.per_try.is_some_and(|per_try| per_try >= global)) {
            all.per_try = None;
        }
        all
    }

    /// Reads what counts as the route's own changes have left it.
    #[cold]
    pub(super) fn take_changed(&mut self, head: &RequestHead) {
        if let Some(ms) = millis(head, Known::XEnvoyUpstreamStreamDurationMs) {
            (self.stream, self.stream_by_cluster) = (limit(ms), false);
        }
        self.alt_response = head.headers.contains(Known::XEnvoyUpstreamRqTimeoutAltResponse);
    }

    /// Whether an attempt has a time of its own.
    #[inline]
    pub(super) fn times_attempts(&self) -> bool {
        self.per_try.is_some() || self.per_try_idle.is_some() || self.stream.is_some()
    }

    /// The status that a time-out is answered with.
    pub(super) fn status(&self) -> u16 {
        if self.alt_response { 204 } else { 504 }
    }

    /// Tells the upstream how long it has (`x-envoy-expected-rq-timeout-ms`), `elapsed` after the request was
    /// complete.
    #[inline(always)]
    pub(super) fn announce(
        &self,
        config: &RouterConfig,
        action: &ClusterAction,
        head: &mut RequestHead,
        elapsed: Duration,
    ) {
        let usual = self.by_route && elapsed.is_zero() && !config.suppress_envoy_headers;
        if usual && !head.headers.contains(Known::XEnvoyExpectedRqTimeoutMs) {
            // What most requests have is a line at hand; one of nothing is not appended.
            head.headers.append_line(Known::XEnvoyExpectedRqTimeoutMs, &action.timeout_line);
        } else {
            self.work_out_and_announce(config, head, elapsed);
        }
    }

    fn work_out_and_announce(&self, config: &RouterConfig, head: &mut RequestHead, elapsed: Duration) {
        let own = self.per_try.filter(|_| !self.hedge).or(self.global);
        let left = self.global.map(|global| global.saturating_sub(elapsed).max(Duration::from_millis(1)));
        let time = own.map(|own| left.map_or(own, |left| own.min(left)));
        if let Some(time) = time.filter(|_| self.tells_grpc) {
            stream_limits::tell(time, &mut head.headers);
        }
        if config.suppress_envoy_headers || self.expected {
            return;
        }
        match time {
            Some(time) => {
                head.headers.set_number(Known::XEnvoyExpectedRqTimeoutMs, time.as_millis() as u64);
            }
            None => {
                head.headers.remove(Known::XEnvoyExpectedRqTimeoutMs);
            }
        }
    }
}

/// A limit in which 0 means none.
fn limit(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms)).filter(|d| !d.is_zero())
}

/// A header's value as milliseconds; `None` where it is absent or no number.
fn millis(head: &RequestHead, name: Known) -> Option<u64> {
    head.headers.get_str(name)?.trim().parse().ok()
}

/// The request's head says which attempt it is, and how much time is left.
pub(super) fn announce_retry<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &Flight<'_>,
    because_of_timeout: TimeoutRetry,
) {
    let complete = stream.info.timings.downstream_rx_end;
    let elapsed = complete.map_or(Duration::ZERO, |at| stream.hcm.world.worker.since(at));
    let attempts = stream.info.upstream.attempts + 1;
    let head = &mut stream.heads.request;
    let host = &flight.route.virtual_host;
    if host.include_request_attempt_count {
        head.headers.set_number(Known::XEnvoyAttemptCount, attempts.into());
    }
    if host.include_is_timeout_retry_header {
        let text: &[u8] = if because_of_timeout { b"true" } else { b"false" };
        head.headers.set(Known::XEnvoyIsTimeoutRetry, text);
    }
    flight.timeouts.announce(flight.config, flight.action, head, elapsed);
}

/// `per_try_timeout` of an attempt ran out; `None` where it runs on beside another one.
pub(super) fn per_try<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    at: usize,
) -> Option<Failure> {
    if let Some(log) = flight.log(at) {
        log.failed(Some(ResponseFlag::UpstreamRequestTimeout));
    }
    if flight.timeouts.hedge {
        hedge(stream, flight, at);
        return None;
    }
    flight.cluster.stats().upstream_rq_per_try_timeout.inc();
    flight.charge(at).host_timeout();
    Some(Failure::timeout(at, "upstream_per_try_timeout"))
}

/// Begins another attempt beside one that is out of time, whatever the conditions say.
fn hedge<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>, at: usize) {
    flight.charge(at).report(Outcome::TimedOut(flight.timeouts.status()));
    flight.hedge(at);
    match decide(stream, flight, true, false) {
        Decision::Retry(delay) => plan(stream, flight, None, delay, true),
        Decision::No => flight.unhedge(at),
        Decision::Overflow => {
            flight.unhedge(at);
            retries_overflow(stream, flight);
        }
        Decision::LimitExceeded => {
            flight.unhedge(at);
            stream.info.flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
        }
    }
}

/// `per_try_idle_timeout` of an attempt ran out.
pub(super) fn per_try_idle<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    at: usize,
) -> Failure {
    let _ = stream;
    flight.cluster.stats().upstream_rq_per_try_idle_timeout.inc();
    flight.charge(at).host_timeout();
    Failure::timeout(at, "upstream_per_try_idle_timeout")
}

/// The cluster's `max_stream_duration` of an attempt ran out.
pub(super) fn stream_duration(flight: &Flight<'_>, at: usize) -> Failure {
    flight.cluster.stats().upstream_rq_max_duration_reached.inc();
    Failure::stream_duration(at)
}

/// The answer to a time-out.
pub(super) fn reply(flight: &Flight<'_>, details: &'static str) -> LocalReply {
    if flight.timeouts.alt_response {
        LocalReply::upstream_timeout_alt(details)
    } else {
        LocalReply::upstream_timeout(details)
    }
}

/// The route's time ran out: for all attempts at once.
pub(super) async fn route<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> End {
    let reply = reply(flight, "response_timeout");
    why::timed_out(stream, Timeout::Route, &reply.details);
    for at in 0..flight.attempts.len() {
        flight.cluster.stats().upstream_rq_timeout.inc();
        stream.count_apart(|apart| apart.upstream_rq_timeout.inc());
        let charge = flight.charge(at);
        charge.host_timeout();
        if !stream.response_started {
            if !flight.is_counted_slow(at) {
                charge.report(Outcome::TimedOut(flight.timeouts.status()));
            }
            charge.abort(stream, reply.status);
        }
        charge.sizes(stream, &flight.timeouts);
    }
    if stream.response_started {
        flight.end_all(stream);
        stream.info.flags.set(ResponseFlag::UpstreamRequestTimeout);
        stream.info.details = Some(reply.details);
        return stream.abort().await;
    }
    let reply = flight.charge_nobody().with_attempts(stream, reply);
    flight.end_all(stream);
    stream.reply_from_route(reply, flight.route).await
}
