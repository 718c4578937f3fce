//! What the router counts and notes of the upstream side: for the cluster, for the host, for the log.

use super::RouterConfig;
use super::timeouts::Timeouts;
use crate::hcm::exchange::Downstream;
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::Stream;
use crate::route::Route;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::format::is_grpc_request;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::host::Host;
use nuncio_upstream::outlier::Outcome;
use std::time::Duration;

/// Whom an answer is counted for.
#[derive(Clone, Copy)]
pub(super) struct Charge<'a> {
    pub(super) config: &'a RouterConfig,
    pub(super) route: &'a Route,
    pub(super) cluster: &'a Cluster,
    /// The host that was tried; none where nobody could be.
    pub(super) host: Option<&'a Host>,
}

impl Charge<'_> {
    /// The upstream's head has come. One that fails a WebSocket's handshake is answered in its stead, and is no answer
    /// of the upstream's by its status.
    pub(super) fn response<D: Downstream>(self, stream: &mut Stream<D>, fails_handshake: bool) {
        if self.route.virtual_host.include_attempt_count_in_response {
            let attempts = stream.info.upstream.attempts.max(1);
            stream.heads.response.headers.set_number(Known::XEnvoyAttemptCount, attempts.into());
        }
        let response = &stream.heads.response;
        if let Some(sizes) = self.cluster.size_stats() {
            sizes.upstream_rs_headers_size.record(response.headers.byte_size() as u64);
            sizes.upstream_rs_headers_count.record(response.headers.len() as u64);
        }
        if !fails_handshake {
            self.code(stream, response.status, self.is_canary(&response.headers));
        }
        if let Some(host) = self.host.filter(|_| response.status < 500) {
            host.counters().rq_success.inc();
        }
    }

    /// A 1xx has come.
    pub(super) fn interim<D: Downstream>(self, stream: &Stream<D>) {
        let response = &stream.heads.response;
        self.code(stream, response.status, self.is_canary(&response.headers));
    }

    /// The attempt ended before its response began, and the client is told `status`.
    pub(super) fn abort<D: Downstream>(self, stream: &Stream<D>, status: u16) {
        self.code(stream, status, self.host.is_some_and(Host::canary));
        if status < 500 {
            // The upstream failed, whatever the client is told.
            self.host_error();
        }
    }

    /// Tells outlier detection what came of the attempt.
    #[inline]
    pub(super) fn report(self, outcome: Outcome) {
        if let Some(host) = self.host {
            host.report(outcome);
        }
    }

    /// Tells outlier detection of the response's head; a gRPC status in it counts as its HTTP status.
    #[inline]
    pub(super) fn report_response<D: Downstream>(self, stream: &Stream<D>) {
        if let Some(outlier) = &self.cluster.config().outlier {
            let head = &stream.heads.response;
            let grpc = head
                .headers
                .get_str(Known::GrpcStatus)
                .filter(|_| is_grpc_request(&stream.heads.request.headers));
            let by_protocol = || grpc.and_then(|s| s.trim().parse().ok()).map_or(head.status, http_status);
            let status = self.cluster.config().http.judge(head).unwrap_or_else(by_protocol);
            self.report(Outcome::Response(status));
            if outlier.detect_degraded
                && status < 500
                && head.headers.contains(Known::XEnvoyDegraded)
                && let Some(host) = self.host
            {
                host.says_it_is_degraded();
            }
        }
    }

    /// The host failed.
    pub(super) fn host_error(self) {
        if let Some(host) = self.host {
            host.counters().rq_error.inc();
        }
    }

    /// The host took too long.
    pub(super) fn host_timeout(self) {
        if let Some(host) = self.host {
            host.counters().rq_timeout.inc();
        }
    }

    /// A response that another try takes the place of.
    pub(super) fn retried<D: Downstream>(self, stream: &Stream<D>, status: u16) {
        self.host_error();
        if self.counts(stream) {
            let codes = &self.cluster.stats().retry_upstream_rq;
            match self.names_codes(stream) {
                true => codes.inc(status),
                false => codes.inc_unnamed(),
            }
        }
    }

    /// A reply that tells the number of attempts where it shall.
    pub(super) fn with_attempts<D: Downstream>(self, stream: &Stream<D>, reply: LocalReply) -> LocalReply {
        if !self.route.virtual_host.include_attempt_count_in_response {
            return reply;
        }
        let attempts = stream.info.upstream.attempts.max(1);
        reply.with_header(Known::XEnvoyAttemptCount.as_str(), attempts.to_string())
    }

    /// Whether host or answer are called a canary's.
    fn is_canary(self, response: &HeaderMap) -> bool {
        response.get(Known::XEnvoyUpstreamCanary) == Some(b"true") || self.host.is_some_and(Host::canary)
    }

    fn code<D: Downstream>(self, stream: &Stream<D>, status: u16, canary: bool) {
        if !self.counts(stream) {
            return;
        }
        let stats = self.cluster.stats();
        match self.names_codes(stream) {
            true => stats.upstream_rq.inc(status),
            false => stats.upstream_rq.inc_unnamed(),
        }
        stream.count_apart(|apart| apart.upstream_rq.inc(status));
        if canary {
            stats.canary_upstream_rq.inc(status);
        }
        match stream.info.internal {
            true => stats.internal_upstream_rq.inc(status),
            false => stats.external_upstream_rq.inc(status),
        }
        if let Some(host) = self.host.filter(|_| status >= 500) {
            host.counters().rq_error.inc();
        }
    }

    /// The attempt is over: what it carried, and the share of its time that it took.
    #[inline]
    pub(super) fn sizes<D: Downstream>(self, stream: &Stream<D>, timeouts: &Timeouts) {
        if self.cluster.size_stats().is_some() || self.cluster.budget_stats().is_some() {
            self.record_sizes(stream, timeouts);
        }
    }

    #[cold]
    fn record_sizes<D: Downstream>(self, stream: &Stream<D>, timeouts: &Timeouts) {
        if let Some(sizes) = self.cluster.size_stats() {
            let request = &stream.heads.request.headers;
            sizes.upstream_rq_headers_size.record(request.byte_size() as u64);
            sizes.upstream_rq_headers_count.record(request.len() as u64);
            sizes.upstream_rq_body_size.record(stream.info.bytes_received);
            sizes.upstream_rs_body_size.record(stream.info.bytes_sent);
        }
        if let Some(budgets) = self.cluster.budget_stats()
            && let Some(begun) = stream.info.timings.downstream_rx_end
        {
            let took = stream.now().saturating_duration_since(begun);
            let share = |limit: Option<Duration>| {
                let limit = limit.map_or(0, |d| d.as_millis());
                (took.as_millis() * 100).checked_div(limit).map_or(0, |share| share as u64)
            };
            budgets.upstream_rq_timeout_budget_percent_used.record(share(timeouts.global));
            budgets.upstream_rq_timeout_budget_per_try_percent_used.record(share(timeouts.per_try));
        }
    }

    /// The upstream's response is complete.
    pub(super) fn complete<D: Downstream>(self, stream: &Stream<D>) {
        let Some(begun) = stream.info.timings.downstream_rx_end.filter(|_| self.counts(stream)) else {
            return;
        };
        let took = stream.hcm.world.worker.since(begun).as_millis() as u64;
        let stats = self.cluster.stats();
        let part = match stream.info.internal {
            true => &stats.internal_upstream_rq_time,
            false => &stats.external_upstream_rq_time,
        };
        stats.upstream_rq_time.record_both(part, took);
        stream.count_apart(|apart| apart.upstream_rq_time.record(took));
        if self.is_canary(&stream.heads.response.headers) {
            stats.canary_upstream_rq_time.record(took);
        }
    }

    /// Codes have counters of their own, unless it is gRPC and the router says no.
    fn names_codes<D: Downstream>(self, stream: &Stream<D>) -> bool {
        !(self.config.suppress_grpc_codes && is_grpc_request(&stream.heads.request.headers))
    }

    /// Codes and times are counted unless `dynamic_stats` is off; health checks never are.
    fn counts<D: Downstream>(self, stream: &Stream<D>) -> bool {
        self.config.dynamic_stats && !stream.info.health_check
    }
}

/// The HTTP status that a gRPC status counts as.
fn http_status(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
