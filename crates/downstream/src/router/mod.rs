//! The terminal filter: from a route to a cluster, a host, and back.

mod attempt;
mod charge;
mod config;
mod pump;

pub use config::RouterConfig;

use crate::hcm::exchange::Downstream;
use crate::hcm::local_reply::{LocalReply, ReplyBody};
use crate::hcm::stream::{End, Stream, header_context};
use crate::route::{Action, ClusterAction, Priority, Route};
use nuncio_codec::head::{Known, KnownSet};
use nuncio_upstream::cluster::RequestPriority;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Serves a stream that came through all filters, by the action of its route.
pub async fn forward<D: Downstream>(stream: &mut Stream<D>, config: &RouterConfig) -> End {
    stream.hcm.router_stats.rq_total.inc();
    let Some(route) = stream.route.clone() else {
        stream.hcm.router_stats.no_route.inc();
        return stream.reply(LocalReply::no_route()).await;
    };
    match &route.action {
        Action::Cluster(action) => return to_cluster(stream, config, &route, action).await,
        // Envoy counts both here, and nothing as `rq_redirect`.
        Action::Redirect(_) | Action::DirectResponse(_) => stream.hcm.router_stats.rq_direct_response.inc(),
        Action::NonForwarding => {
            // No filter has answered: to the router it is a route to a cluster without a name.
            stream.hcm.router_stats.no_cluster.inc();
            return stream.reply(LocalReply::cluster_not_found(503)).await;
        }
    }
    let reply = own_answer(stream, config, &route);
    stream.reply_from_route(reply, &route).await
}

/// The answer that a redirect or direct-response route gives itself.
fn own_answer<D: Downstream>(stream: &mut Stream<D>, config: &RouterConfig, route: &Route) -> LocalReply {
    let (status, body) = match &route.action {
        Action::DirectResponse(answer) => (answer.status, ReplyBody::Shared(answer.body.clone())),
        Action::Redirect(redirect) => (redirect.status(), ReplyBody::EMPTY),
        Action::Cluster(_) | Action::NonForwarding => (500, ReplyBody::EMPTY),
    };
    let mut reply = LocalReply::new(status, "direct_response").with_body(body);
    let mut location = Vec::new();
    if route.location(&mut stream.heads.request, !config.suppress_envoy_headers, &mut location) {
        reply = reply.with_header("location", location);
    }
    reply
}

async fn to_cluster<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Arc<Route>,
    action: &ClusterAction,
) -> End {
    let hcm = Rc::clone(&stream.hcm);
    let Some(cluster) = hcm.world.clusters.get(action.cluster.name(&stream.heads.request.headers)) else {
        hcm.router_stats.no_cluster.inc();
        return stream.reply(LocalReply::cluster_not_found(action.cluster_not_found_status)).await;
    };
    let timeouts = prepare_request(stream, config, route, action);
    stream.deadlines.response = timeouts.global;
    if stream.request_complete {
        let now = stream.now();
        stream.deadlines.request_complete(now);
    }
    let priority = match action.priority {
        Priority::Default => RequestPriority::Default,
        Priority::High => RequestPriority::High,
    };
    attempt::run(stream, config, route, timeouts, priority, &cluster).await
}

/// Request headers that steer the router and go no further.
const STEERING: KnownSet = KnownSet::of(&[
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyUpstreamAltStatName,
    Known::XEnvoyUpstreamStreamDurationMs,
]);

/// What the route and the steering headers say about time.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// From the complete request to the complete response; `None`: no limit.
    global: Option<Duration>,
    /// A time-out is answered 204 without a body (`x-envoy-upstream-rq-timeout-alt-response`).
    alt_response: bool,
}

/// Cleans and completes the request's head for the upstream, and works out its time limits.
///
/// Order as Envoy's: steering headers are consumed, the expected time-out is announced, then the route's
/// header mutations run, then host and path are rewritten.
fn prepare_request<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    action: &ClusterAction,
) -> Timeouts {
    let now = stream.now();
    let Stream { heads, info, hcm, .. } = stream;
    let head = &mut heads.request;
    let mut timeouts = Timeouts { global: action.timeout, alt_response: false };
    if head.headers.contains_any(STEERING) {
        if let Some(ms) = millis(head, Known::XEnvoyUpstreamRqTimeoutMs) {
            timeouts.global = Some(Duration::from_millis(ms)).filter(|d| !d.is_zero());
        }
        timeouts.alt_response = head.headers.contains(Known::XEnvoyUpstreamRqTimeoutAltResponse);
        head.headers.remove_known(STEERING);
    }
    if !config.suppress_envoy_headers {
        match timeouts.global {
            Some(d) => {
                head.headers.set_number(Known::XEnvoyExpectedRqTimeoutMs, d.as_millis() as u64);
            }
            None => {
                head.headers.remove(Known::XEnvoyExpectedRqTimeoutMs);
            }
        }
    }
    if route.virtual_host.include_request_attempt_count {
        head.headers.set(Known::XEnvoyAttemptCount, b"1");
    }
    route.mutate_request(head, &header_context(info, &hcm.world.worker, now));
    route.rewrite_request(head, !config.suppress_envoy_headers);
    timeouts
}

/// A header's value as milliseconds; `None` where it is absent or no number.
fn millis(head: &nuncio_codec::head::RequestHead, name: Known) -> Option<u64> {
    head.headers.get_str(name)?.trim().parse().ok()
}
