//! One attempt: a host, a connection, the request up and the response down.

use super::pump::{self, Limits, Pumped};
use super::{RouterConfig, Timeouts};
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::{Downstream, DownstreamError};
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::{End, Stream};
use crate::route::{Action, HostChoice, Priority, Route, set_authority};
use nuncio_codec::head::Known;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_upstream::cluster::{Cluster, PickContext, RequestPriority};
use nuncio_upstream::host::Host;
use nuncio_upstream::pool::{Checkout, Exchange, PoolError, ResetReason, StreamError};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// What waiting for a connection came to.
enum Connected {
    Exchange(Exchange),
    Pool(PoolError),
    Downstream(DownstreamError),
    Timeout(Timeout),
}

/// Leads the request to one host of `cluster` and its response to the client.
pub async fn run<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    timeouts: Timeouts,
    cluster: &Rc<Cluster>,
) -> End {
    let Some(host) = cluster.pick(&PickContext::default()) else {
        return no_healthy_upstream(stream, cluster).await;
    };
    let Action::Cluster(action) = &route.action else {
        return no_healthy_upstream(stream, cluster).await;
    };
    if let (HostChoice::Automatic, false) = (&action.host, host.hostname().is_empty()) {
        let keep_original = !config.suppress_envoy_headers;
        let head = &mut stream.heads.request;
        set_authority(head, host.hostname().as_bytes(), action.append_x_forwarded_host, keep_original);
    }
    let priority = match action.priority {
        Priority::Default => RequestPriority::Default,
        Priority::High => RequestPriority::High,
    };
    let mut up = match connect(stream, cluster, &host, priority).await {
        Connected::Exchange(up) => up,
        Connected::Pool(error) => return pool_failed(stream, cluster, error).await,
        Connected::Downstream(error) => return stream.downstream_failed(error).await,
        Connected::Timeout(timeout) => return timed_out(stream, cluster, timeouts, timeout).await,
    };
    let limits = Limits { up: cluster.config().buffer_limit(), down: stream.hcm.config.buffer_limit };
    // No connection to a host is secured yet.
    stream.hcm.config.policy.on_upstream(&mut stream.heads.request, false);
    connected(stream, &up);
    if let Err(error) = up.encode_head(&stream.heads.request, stream.request_complete) {
        return upstream_failed(stream, cluster, error).await;
    }
    loop {
        match poll_fn(|cx| pump::poll(stream, &mut up, limits, cx)).await {
            Pumped::Head { end_stream } => {
                if let Err(reply) = respond(stream, config, route, cluster, end_stream).await {
                    return stream.reply(reply).await;
                }
                if end_stream {
                    return complete(stream, config, cluster, up).await;
                }
            }
            Pumped::Informational => informational(stream),
            Pumped::Complete => return complete(stream, config, cluster, up).await,
            Pumped::Upstream(error) => return upstream_failed(stream, cluster, error).await,
            Pumped::Downstream(error) => return stream.downstream_failed(error).await,
            Pumped::Timeout(timeout) => return timed_out(stream, cluster, timeouts, timeout).await,
        }
    }
}

/// There is a connection: the log tells which.
fn connected<D: Downstream>(stream: &mut Stream<D>, up: &Exchange) {
    let now = stream.now();
    let facts = up.connection();
    let info = &mut stream.info;
    info.upstream.connection_id = Some(facts.id);
    info.upstream.local = Some(facts.local.clone());
    info.upstream.protocol = Some(facts.protocol);
    info.timings.upstream_cx_begin = Some(facts.connect_begin);
    info.timings.upstream_cx_end = Some(facts.connect_end);
    info.timings.upstream_tx_begin = Some(now);
    if stream.request_complete {
        info.timings.upstream_tx_end = Some(now);
    }
}

/// The response is complete: its time is counted, the connection goes back, and the rest is sent.
async fn complete<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    cluster: &Cluster,
    up: Exchange,
) -> End {
    let now = stream.now();
    stream.info.timings.upstream_rx_end = Some(now);
    stream.info.upstream.bytes = up.bytes();
    drop(up);
    if config.dynamic_stats {
        let since = stream.info.timings.downstream_rx_end.unwrap_or(stream.info.start);
        let elapsed = now.saturating_duration_since(since).as_millis() as u64;
        let stats = cluster.stats();
        stats.upstream_rq_time.record(elapsed);
        if stream.info.internal {
            stats.internal_upstream_rq_time.record(elapsed);
        } else {
            stats.external_upstream_rq_time.record(elapsed);
        }
    }
    stream.flush().await
}

/// Waits for a stream on a connection to `host`, watching the client and the timers meanwhile.
async fn connect<D: Downstream>(
    stream: &mut Stream<D>,
    cluster: &Rc<Cluster>,
    host: &Rc<Host>,
    priority: RequestPriority,
) -> Connected {
    stream.info.upstream.attempts += 1;
    stream.info.upstream.host = Some(host.address().clone());
    let mut pending = match cluster.checkout(host, priority) {
        Ok(Checkout::Ready(up)) => return Connected::Exchange(up),
        Ok(Checkout::Wait(pending)) => pending,
        Err(error) => return Connected::Pool(error),
    };
    poll_fn(|cx| {
        if let Poll::Ready(done) = pending.poll(cx) {
            return Poll::Ready(match done {
                Ok(up) => Connected::Exchange(up),
                Err(error) => Connected::Pool(error),
            });
        }
        if let Poll::Ready(timeout) = stream.poll_timers(cx) {
            return Poll::Ready(Connected::Timeout(timeout));
        }
        match stream.down.poll_disconnect(cx) {
            Poll::Ready(()) => Poll::Ready(Connected::Downstream(DownstreamError::Disconnected)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The response's head came: stats, headers, filters, and on to the client.
///
/// # Errors
/// A filter answers in the upstream's stead.
async fn respond<D: Downstream>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    route: &Route,
    cluster: &Cluster,
    end_stream: bool,
) -> Result<(), LocalReply> {
    let now = stream.now();
    stream.info.timings.upstream_rx_begin = Some(now);
    stream.info.details = Some("via_upstream".into());
    if config.dynamic_stats {
        count_code(stream, cluster, stream.heads.response.status);
    }
    if !config.suppress_envoy_headers {
        let since = stream.info.timings.downstream_rx_end.unwrap_or(stream.info.start);
        let elapsed = now.saturating_duration_since(since).as_millis();
        let mut text = itoa::Buffer::new();
        let headers = &mut stream.heads.response.headers;
        headers.set(Known::XEnvoyUpstreamServiceTime, text.format(elapsed as u64).as_bytes());
    }
    stream.mutate_response(route, now);
    stream.filter_response(end_stream).await?;
    stream.start_response(end_stream);
    Ok(())
}

/// Counts a response by its code, and by where its client stands.
fn count_code<D>(stream: &Stream<D>, cluster: &Cluster, status: u16) {
    let stats = cluster.stats();
    stats.upstream_rq.inc(status);
    if stream.info.internal {
        stats.internal_upstream_rq.inc(status);
    } else {
        stats.external_upstream_rq.inc(status);
    }
    if stream.heads.response.headers.get(Known::XEnvoyUpstreamCanary) == Some(b"true") {
        stats.canary_upstream_rq.inc(status);
    }
}

/// A 1xx: only 100 is passed on, where the connection manager says so.
fn informational<D: Downstream>(stream: &mut Stream<D>) {
    if stream.heads.response.status == 100 && stream.hcm.config.proxy_100_continue {
        stream.down.encode_informational(&stream.heads.response);
    }
    stream.heads.response.clear();
}

/// The pool gave no stream.
async fn pool_failed<D: Downstream>(stream: &mut Stream<D>, cluster: &Cluster, error: PoolError) -> End {
    let transport = error.transport_failure().map(Box::from);
    stream.info.upstream.transport_failure = transport;
    if !error.names_host() {
        stream.info.upstream.host = None;
    }
    if error == PoolError::PoolOverflow {
        return no_healthy_upstream(stream, cluster).await;
    }
    reset(stream, cluster, error.reason()).await
}

async fn no_healthy_upstream<D: Downstream>(stream: &mut Stream<D>, cluster: &Cluster) -> End {
    let reply = LocalReply::no_healthy_upstream();
    count_code(stream, cluster, reply.status);
    stream.reply(reply).await
}

/// The exchange broke: answered where the response was not begun, else the client's stream breaks too.
async fn upstream_failed<D: Downstream>(
    stream: &mut Stream<D>,
    cluster: &Cluster,
    error: StreamError,
) -> End {
    stream.info.upstream.stale_reuse = error.stale_reuse;
    reset(stream, cluster, error.reason).await
}

async fn reset<D: Downstream>(stream: &mut Stream<D>, cluster: &Cluster, reason: ResetReason) -> End {
    if stream.response_started {
        stream.hcm.stats.rq_reset_after_downstream_response_started.inc();
        stream.info.flags.set(reason.flag());
        let details = format!("upstream_reset_after_response_started{{{}}}", reason.as_str());
        stream.info.details = Some(details.into());
        return stream.abort().await;
    }
    let transport = stream.info.upstream.transport_failure.as_deref();
    let reply = LocalReply::upstream_reset(reason, transport, stream.info.upstream.attempts > 1);
    count_code(stream, cluster, reply.status);
    stream.reply(reply).await
}

/// A timer ran out while the upstream was waited for.
async fn timed_out<D: Downstream>(
    stream: &mut Stream<D>,
    cluster: &Cluster,
    timeouts: Timeouts,
    timeout: Timeout,
) -> End {
    if timeout != Timeout::Route {
        return stream.timed_out(timeout).await;
    }
    cluster.stats().upstream_rq_timeout.inc();
    const DETAILS: &str = "response_timeout";
    if stream.response_started {
        stream.info.flags.set(ResponseFlag::UpstreamRequestTimeout);
        stream.info.details = Some(DETAILS.into());
        return stream.abort().await;
    }
    let reply = if timeouts.alt_response {
        LocalReply::upstream_timeout_alt(DETAILS)
    } else {
        LocalReply::upstream_timeout(DETAILS)
    };
    count_code(stream, cluster, reply.status);
    stream.reply(reply).await
}
