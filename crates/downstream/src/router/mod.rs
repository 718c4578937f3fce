//! The terminal filter: from a route to a cluster, a host, and back.

mod attempt;
mod attempts;
mod charge;
mod cluster_options;
mod config;
mod failure;
mod flight;
mod override_host;
mod pump;
mod redirect;
mod rehearse;
mod replay;
pub mod retry;
mod shadow;
mod timeouts;
mod upstream_filters;
mod upstream_log;

pub use cluster_options::ClusterOptionsCompiler;
pub use config::RouterConfig;
pub use override_host::{OVERRIDE_HOST, OverrideHost};
pub use redirect::{Target, target};

use crate::explain::ROUTER;
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::{Downstream, DownstreamError};
use crate::hcm::local_reply::{LocalReply, ReplyBody};
use crate::hcm::stream::{End, Stream, header_context};
use crate::hcm::upgrade;
use crate::route::{Action, ClusterAction, Priority, Route};
use crate::why;
use attempts::Attempts;
use charge::Charge;
use flight::{Flight, Limits};
use nuncio_codec::head::{Known, KnownSet, RequestHead};
use nuncio_core::config::Place;
use nuncio_core::format::FormatContext;
use nuncio_core::stream_info::{ClusterInfo, StreamInfo};
use nuncio_upstream::cluster::{Asking, Cluster, Drops, PickContext, RequestPriority};
use nuncio_upstream::dns_cache::{Arrival, Unresolved};
use nuncio_upstream::host::LB_NAMESPACE;
use nuncio_upstream::lb::Criteria;
use replay::Replay;
use retry::RetryState;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use timeouts::Timeouts;

/// Serves a stream that came through all filters, by the action of its route.
pub async fn forward<D: Downstream>(stream: &mut Stream<D>, config: &RouterConfig) -> End {
    stream.hcm.router_stats.rq_total.inc();
    if let Some(name) = config.malformed(&stream.heads.request.headers) {
        let value = stream.heads.request.headers.get(name).unwrap_or_default();
        return stream.reply(LocalReply::strict_check_failed(name.as_str(), value)).await;
    }
    let Some(route) = stream.route.clone() else {
        stream.hcm.router_stats.no_route.inc();
        why::no_route(stream);
        return stream.reply(LocalReply::no_route()).await;
    };
    match &route.action {
        Action::Cluster(action) => return to_cluster(stream, config, &route, action).await,
        // Envoy counts both here, and nothing as `rq_redirect`.
        Action::Redirect(_) | Action::ToTls | Action::DirectResponse(_) => {
            stream.hcm.router_stats.rq_direct_response.inc()
        }
        Action::NonForwarding => {
            // No filter has answered: to the router it is a route to a cluster without a name.
            stream.hcm.router_stats.no_cluster.inc();
            return stream.reply(LocalReply::cluster_not_found(503)).await;
        }
    }
    let reply = own_answer(stream, config, &route);
    stream.reply_from_route(reply, &route).await
}

/// Names the cluster that the route chose, where a log tells of a stream before the router has it.
pub fn name_cluster<D>(stream: &mut Stream<D>) {
    let known = stream.route.as_ref().and_then(|route| info_of_cluster(stream, route));
    if known.is_some() {
        stream.info.upstream.cluster = known;
    }
}

/// The cluster that a route names for a stream's request, where there is one.
fn info_of_cluster<D>(stream: &Stream<D>, route: &Route) -> Option<Rc<ClusterInfo>> {
    let name = route.action.forwards()?.cluster.name(&stream.heads.request.headers);
    stream.hcm.world.clusters.get(name).map(|cluster| Rc::clone(cluster.info()))
}

/// The answer that a redirect or direct-response route gives itself.
fn own_answer<D: Downstream>(stream: &mut Stream<D>, config: &RouterConfig, route: &Route) -> LocalReply {
    let Stream { heads, info, hcm, .. } = stream;
    let head = &mut heads.request;
    let context = || header_context(info, &hcm.world.worker, hcm.world.worker.now());
    let status = match &route.action {
        Action::DirectResponse(answer) => answer.status,
        Action::Redirect(redirect) => redirect.status(),
        Action::ToTls => 301,
        Action::Cluster(_) | Action::NonForwarding => 500,
    };
    let mut reply = LocalReply::new(status, "direct_response");
    if let Action::DirectResponse(answer) = &route.action {
        reply = match &answer.format {
            None => reply.with_body(ReplyBody::Shared(answer.body.clone())),
            Some(format) => {
                let (request, local_reply_body) = (Some(&head.headers), &*answer.body);
                let mut body = Vec::new();
                format.line.render(&FormatContext { request, local_reply_body, ..context() }, &mut body);
                let content_type = format.content_type.clone();
                LocalReply { content_type, ..reply.with_body(ReplyBody::Owned(body)) }
            }
        };
    }
    let mut location = Vec::new();
    if route.location(head, !config.suppress_envoy_headers, context, &mut location) {
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
    if stream.has_filters()
        && let Some(name) = missing_header(&stream.heads.request)
    {
        return stream.reply_from_route(LocalReply::missing_header(name), route).await;
    }
    let Some(cluster) = hcm.world.clusters.get(action.cluster.name(&stream.heads.request.headers)) else {
        hcm.router_stats.no_cluster.inc();
        why::cluster_not_found(stream, route);
        let reply = LocalReply::cluster_not_found(action.cluster_not_found_status);
        return stream.reply_from_route(reply, route).await;
    };
    stream.apart.route = route.stats;
    if let Some((stats, name)) = route.virtual_host.virtual_cluster(&stream.heads.request.headers) {
        stream.apart.virtual_cluster = Some(stats);
        stream.info.virtual_cluster = name.cloned();
    }
    stream.info.upstream.cluster = Some(Rc::clone(cluster.info()));
    if cluster.in_maintenance(&hcm.world.runtime) {
        return in_maintenance(stream, config, route, &cluster).await;
    }
    if let Some(drops) = cluster.drops() {
        return dropped(stream, config, route, &cluster, drops).await;
    }
    // The formats of request headers count the attempt that they are for.
    stream.info.upstream.attempts = 1;
    let (timeouts, retry) = prepare_request(stream, config, route, action, &cluster);
    stream.info.upstream.attempts = 0;
    let mut cookies = Vec::new();
    let hash = cluster_options::hash(stream, action, &cluster, &mut cookies);
    // Other clusters have no use for it.
    let criteria = if cluster.picks_by_metadata() { criteria(&stream.info, action) } else { None };
    let asking = Asking { request: Some(&stream.heads.request), info: Some(&stream.info) };
    let (destination, wanted) = (cluster.destination(&asking), cluster.wanted(&asking));
    let unresolved = match destination.as_ref().and_then(|to| cluster.arrival(to)) {
        None => None,
        // The request's own time begins when it can go somewhere.
        Some(arrival) => match arrived(stream, arrival).await {
            Ok(answer) => answer.err(),
            Err(end) => return end,
        },
    };
    stream.deadlines.response = timeouts.global;
    if stream.request_complete {
        let now = stream.now();
        stream.deadlines.request_complete(now);
    } else if stream.upgrading && upgrade::is_websocket(&stream.heads.request) {
        // Its request has no end; its answer has to come in time all the same.
        stream.deadlines.route = timeouts.global.and_then(|most| stream.now().checked_add(most));
    }
    let priority = match action.priority {
        Priority::Default => RequestPriority::Default,
        Priority::High => RequestPriority::High,
    };
    let up = cluster.config().buffer_limit();
    let limits = Limits {
        up,
        down: hcm.config.buffer_limit,
        replay: action.body_limit.unwrap_or(hcm.config.buffer_limit),
    };
    let keep = retry.as_ref().is_some_and(|r| r.enabled()) || action.redirects.is_some();
    let mirrored = !cluster_options::mirrors(action, &cluster).is_empty();
    let filters = upstream_filters::of_request(&hcm, config, &cluster);
    let mut flight = Flight {
        filters,
        mirrored,
        shadows: None,
        config,
        route,
        action,
        cluster,
        priority,
        timeouts,
        limits,
        replay: Replay::new(keep, stream.request_complete),
        retry,
        attempts: Attempts::default(),
        back_off: None,
        pick: PickContext {
            hash,
            metadata: criteria.as_deref(),
            destination: destination.as_ref(),
            wanted: wanted.as_ref(),
            ..PickContext::default()
        },
        cookies,
        carried: None,
        failed_host: None,
        unresolved,
        held_back: false,
        load_reported: false,
    };
    attempt::run(stream, &mut flight).await
}

/// What ends a wait early.
enum Interrupted {
    Downstream(DownstreamError),
    Timeout(Timeout),
}

/// Waits for the first look-up of a name. The client and the stream's timers are watched meanwhile.
#[cold]
async fn arrived<D: Downstream>(
    stream: &mut Stream<D>,
    mut arrival: Arrival,
) -> Result<Result<(), Unresolved>, End> {
    let ended = poll_fn(|cx| {
        if let Poll::Ready(answer) = arrival.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        if let Poll::Ready(error) = stream.down.poll_disconnect(cx) {
            return Poll::Ready(Err(Interrupted::Downstream(error)));
        }
        stream.poll_timers(cx).map(|timeout| Err(Interrupted::Timeout(timeout)))
    })
    .await;
    match ended {
        Ok(answer) => Ok(answer),
        Err(Interrupted::Downstream(error)) => Err(stream.downstream_failed(error).await),
        Err(Interrupted::Timeout(timeout)) => Err(stream.timed_out(timeout).await),
    }
}

/// The header without which no request can be made of the head, where a filter took it away.
fn missing_header(head: &RequestHead) -> Option<&'static str> {
    if head.method().is_empty() {
        return Some(":method");
    }
    (head.path().is_empty() && head.method() != b"CONNECT").then_some(":path")
}

/// What the host's metadata shall have: what the route says, overridden by the stream's dynamic metadata.
fn criteria(info: &StreamInfo, action: &ClusterAction) -> Option<Arc<Criteria>> {
    let of_route = action.metadata_match.as_ref();
    let of_stream = info.dynamic_metadata().and_then(|m| m.get(LB_NAMESPACE)).map(Criteria::new);
    match (of_route, of_stream) {
        (Some(route), Some(stream)) => Some(Arc::new(route.merged(&stream))),
        (route, stream) => stream.map(Arc::new).or_else(|| route.cloned()),
    }
}

/// The cluster's assignment drops the request.
#[cold]
async fn dropped<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    cluster: &Cluster,
    drops: Drops,
) -> End {
    why::dropped(stream, cluster.config(), drops);
    refuse(stream, config, route, cluster, LocalReply::dropped(drops)).await
}

/// A runtime key takes the cluster out of service.
async fn in_maintenance<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    cluster: &Cluster,
) -> End {
    why::maintenance(stream, cluster.name());
    cluster.stats().upstream_rq_maintenance_mode.inc();
    refuse(stream, config, route, cluster, LocalReply::maintenance_mode()).await
}

/// The cluster takes no request, or not this one: it is answered in its name.
#[cold]
async fn refuse<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    cluster: &Cluster,
    reply: LocalReply,
) -> End {
    Charge { config, route, cluster, host: None }.abort(stream, reply.status);
    stream.reply_from_route(reply, route).await
}

/// Request headers that steer the router and go no further.
const STEERING: KnownSet = KnownSet::of(&[
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyUpstreamAltStatName,
]);

/// Those that are read and removed behind the route's own changes, which may therefore ask for retries.
const STEERING_CHANGED: KnownSet = KnownSet::of(&[
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyUpstreamStreamDurationMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyHedgeOnPerTryTimeout,
]);

/// Cleans and completes the request's head for the upstream, and works out its time limits and retries.
///
/// Order as Envoy's: steering headers are consumed, the expected time-out is announced, then the route's
/// header mutations run, then host and path are rewritten, then what asks for retries is consumed.
#[inline(always)]
fn prepare_request<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    action: &ClusterAction,
    cluster: &Cluster,
) -> (Timeouts, Option<RetryState>) {
    let now = stream.now();
    let Stream { heads, info, hcm, down, .. } = stream;
    let told = |by: &'static str, place: Option<Place>, head: &RequestHead| {
        if let Some(script) = down.script() {
            script.stage(by, place, head);
        }
    };
    let head = &mut heads.request;
    let steered = head.headers.contains_any(STEERING);
    let mut timeouts = Timeouts::new(config, action, cluster, head, steered);
    if steered {
        let kept =
            head.headers.get(Known::XEnvoyUpstreamRqTimeoutMs).filter(|_| timeouts.expected).map(Box::from);
        head.headers.remove_known(STEERING);
        if let Some(kept) = kept {
            // Nobody has looked at it.
            let kept: Box<[u8]> = kept;
            head.headers.append(Known::XEnvoyUpstreamRqTimeoutMs, &kept);
        }
    }
    timeouts.announce(config, action, head, Duration::ZERO);
    if route.virtual_host.include_request_attempt_count {
        head.headers.set(Known::XEnvoyAttemptCount, b"1");
    }
    told(ROUTER, None, head);
    if route.mutates_requests() {
        let context = header_context(info, &hcm.world.worker, now);
        route.mutate_request(head, &context, |level, place, head| told(level.as_str(), place, head));
    }
    if let Some(port) = info.connect_port.filter(|_| head.method() == b"CONNECT") {
        let mut authority = head.authority().to_vec();
        authority.extend_from_slice(format!(":{port}").as_bytes());
        head.headers.set(Known::Authority, &authority);
    }
    let context = || header_context(info, &hcm.world.worker, now);
    route.rewrite_request(head, !config.suppress_envoy_headers, context, told);
    let policy = cluster_options::retry(action, cluster);
    let asked = head.headers.contains_any(STEERING_CHANGED);
    let retry = if asked || policy.is_some() { RetryState::new(policy, &head.headers, asked) } else { None };
    if asked {
        timeouts.take_changed(head);
        head.headers.remove_known(STEERING_CHANGED);
    }
    (timeouts, retry)
}
