//! One attempt: a host, a connection, the request up and the response down.

use super::charge::{self, Charge};
use super::pump::{self, Limits, Pumped};
use super::{RouterConfig, Timeouts};
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::{Downstream, DownstreamError, RequestEvent};
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::{End, Stream};
use crate::route::{Action, ClusterAction, HostChoice, Route, set_authority};
use nuncio_codec::head::Known;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_upstream::cluster::{Cluster, PickContext, RequestPriority};
use nuncio_upstream::host::Host;
use nuncio_upstream::pool::{Checkout, Exchange, PoolError, ResetReason, StreamError};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

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
    priority: RequestPriority,
    cluster: &Rc<Cluster>,
) -> End {
    charge::name_cluster(&mut stream.info.upstream, cluster);
    stream.info.upstream.attempts += 1;
    let Some(host) = cluster.pick(&PickContext::default()) else {
        return no_healthy_upstream(stream, Charge { config, route, cluster, host: None }).await;
    };
    let charge = Charge { config, route, cluster, host: Some(&host) };
    if let Action::Cluster(action) = &route.action {
        rewrite_host_automatically(stream, config, action, &host);
    }
    let bodiless = stream.request_complete;
    let mut early = EarlyBody::default();
    let mut up = match connect(stream, cluster, &host, priority, &mut early).await {
        Connected::Exchange(up) => up,
        Connected::Pool(error) => return pool_failed(stream, charge, error).await,
        Connected::Downstream(error) => return stream.downstream_failed(error).await,
        Connected::Timeout(timeout) => return timed_out(stream, charge, timeouts, timeout).await,
    };
    charge::name_connection(&mut stream.info, &up);
    let limits = Limits { up: cluster.config().buffer_limit(), down: stream.hcm.config.buffer_limit };
    // No connection to a host is secured yet.
    stream.hcm.config.policy.on_upstream(&mut stream.heads.request, false);
    stream.begin_upstream();
    if let Err(error) = up.encode_head(&stream.heads.request, bodiless) {
        return upstream_failed(stream, charge, error).await;
    }
    early.send(stream, &mut up);
    let end = loop {
        let pumped = poll_fn(|cx| pump::poll(stream, &mut up, limits, cx)).await;
        stream.info.upstream.bytes = up.bytes();
        match pumped {
            Pumped::Head { end_stream } => {
                if let Err(reply) = respond(stream, charge, end_stream).await {
                    break AttemptEnd::Reply(reply);
                }
                if end_stream {
                    break AttemptEnd::Complete;
                }
            }
            Pumped::Informational => informational(stream),
            Pumped::Complete => break AttemptEnd::Complete,
            Pumped::Upstream(error) => break AttemptEnd::Upstream(error),
            Pumped::Downstream(error) => break AttemptEnd::Downstream(error),
            Pumped::Timeout(timeout) => break AttemptEnd::Timeout(timeout),
        }
    };
    // The upstream is free, or rid of this request, before a slow client has its answer.
    drop(up);
    match end {
        AttemptEnd::Reply(reply) => stream.reply(reply).await,
        AttemptEnd::Complete => complete(stream, charge).await,
        AttemptEnd::Upstream(error) => upstream_failed(stream, charge, error).await,
        AttemptEnd::Downstream(error) => stream.downstream_failed(error).await,
        AttemptEnd::Timeout(timeout) => timed_out(stream, charge, timeouts, timeout).await,
    }
}

/// What an exchange came to.
enum AttemptEnd {
    Complete,
    Reply(LocalReply),
    Upstream(StreamError),
    Downstream(DownstreamError),
    Timeout(Timeout),
}

/// The response is complete: what is left of it is sent.
async fn complete<D: Downstream>(stream: &mut Stream<D>, charge: Charge<'_>) -> End {
    stream.info.timings.upstream_rx_end = Some(stream.now());
    charge.complete(stream);
    stream.flush().await
}

/// `auto_host_rewrite`: the request goes to the picked host under the host's own name, if it has one.
fn rewrite_host_automatically<D>(
    stream: &mut Stream<D>,
    config: &RouterConfig,
    action: &ClusterAction,
    host: &Host,
) {
    if matches!(action.host, HostChoice::Automatic) && !host.hostname().is_empty() {
        let head = &mut stream.heads.request;
        let name = host.hostname().as_bytes();
        set_authority(head, name, action.append_x_forwarded_host, !config.suppress_envoy_headers);
    }
}

/// Waits for a stream on a connection to `host`, watching the client and the timers meanwhile.
async fn connect<D: Downstream>(
    stream: &mut Stream<D>,
    cluster: &Rc<Cluster>,
    host: &Rc<Host>,
    priority: RequestPriority,
    early: &mut EarlyBody,
) -> Connected {
    charge::name_host(&mut stream.info.upstream, host);
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
        match early.poll(stream, cluster.config().buffer_limit(), cx) {
            Poll::Ready(error) => Poll::Ready(Connected::Downstream(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What of a request's body came while its connection was being made. It is decoded as it comes, so that a
/// request that is no HTTP is refused before any of it goes upstream.
#[derive(Default)]
struct EarlyBody {
    data: Vec<u8>,
    end: Option<RequestEvent>,
}

impl EarlyBody {
    /// Takes what there is, up to `limit` bytes; ready when the client has failed.
    fn poll<D: Downstream>(
        &mut self,
        stream: &mut Stream<D>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<DownstreamError> {
        while !stream.request_complete && self.data.len() <= limit {
            match ready!(stream.poll_request(cx)) {
                Err(error) => return Poll::Ready(error),
                Ok(event) => {
                    if let RequestEvent::Data { .. } = event {
                        self.data.extend_from_slice(stream.down.data());
                    }
                    self.end = Some(event);
                }
            }
        }
        stream.down.poll_disconnect(cx).map(|()| DownstreamError::Disconnected)
    }

    /// Hands it on behind the head.
    fn send<D: Downstream>(self, stream: &mut Stream<D>, up: &mut Exchange) {
        match self.end {
            None => return,
            Some(RequestEvent::Data { end_stream }) => up.encode_data(&self.data, end_stream),
            Some(RequestEvent::Trailers) => {
                up.encode_data(&self.data, false);
                up.encode_trailers(&stream.heads.request_trailers);
            }
            Some(RequestEvent::End) => up.encode_data(&self.data, true),
        }
        stream.request_sent();
    }
}

/// The response's head came: stats, headers, filters, and on to the client.
///
/// # Errors
/// A filter answers in the upstream's stead.
async fn respond<D: Downstream>(
    stream: &mut Stream<D>,
    charge: Charge<'_>,
    end_stream: bool,
) -> Result<(), LocalReply> {
    let now = stream.now();
    stream.info.timings.upstream_rx_begin = Some(now);
    stream.info.details = Some("via_upstream".into());
    // The formats of response headers read it.
    stream.info.response_code = Some(stream.heads.response.status);
    if let Some(since) =
        stream.info.timings.downstream_rx_end.filter(|_| !charge.config.suppress_envoy_headers)
    {
        let elapsed = now.saturating_duration_since(since).as_millis();
        let headers = &mut stream.heads.response.headers;
        headers.set_number(Known::XEnvoyUpstreamServiceTime, elapsed as u64);
    }
    charge.response(stream);
    stream.mutate_response(charge.route, now);
    stream.filter_response(end_stream).await?;
    stream.start_response(end_stream);
    Ok(())
}

/// A 1xx: only 100 is passed on, where the connection manager says so.
fn informational<D: Downstream>(stream: &mut Stream<D>) {
    stream.interim_seen = true;
    if stream.heads.response.status == 100 && stream.hcm.config.proxy_100_continue {
        stream.down.encode_informational(&stream.heads.response);
    }
    stream.heads.response.clear();
}

/// The pool gave no stream.
async fn pool_failed<D: Downstream>(stream: &mut Stream<D>, charge: Charge<'_>, error: PoolError) -> End {
    let transport = error.transport_failure().map(Box::from);
    stream.info.upstream.transport_failure = transport;
    let charge = if error.names_host() {
        charge
    } else {
        charge::name_no_host(&mut stream.info.upstream);
        Charge { host: None, ..charge }
    };
    if error == PoolError::PoolOverflow {
        return no_healthy_upstream(stream, charge).await;
    }
    reset(stream, charge, error.reason()).await
}

async fn no_healthy_upstream<D: Downstream>(stream: &mut Stream<D>, charge: Charge<'_>) -> End {
    let reply = LocalReply::no_healthy_upstream();
    let reply = charge.local_reply(stream, reply);
    stream.reply(reply).await
}

/// The exchange broke: answered where the response was not begun, else the client's stream breaks too.
async fn upstream_failed<D: Downstream>(
    stream: &mut Stream<D>,
    charge: Charge<'_>,
    error: StreamError,
) -> End {
    stream.info.upstream.stale_reuse = error.stale_reuse;
    reset(stream, charge, error.reason).await
}

async fn reset<D: Downstream>(stream: &mut Stream<D>, charge: Charge<'_>, reason: ResetReason) -> End {
    if stream.response_started {
        stream.hcm.router_stats.rq_reset_after_downstream_response_started.inc();
        stream.info.flags.set(reason.flag());
        let reason = reason.as_str().replace(' ', "_");
        let details = format!("upstream_reset_after_response_started{{{reason}}}");
        stream.info.details = Some(details.into());
        return stream.abort().await;
    }
    let transport = stream.info.upstream.transport_failure.as_deref();
    let mut reply = LocalReply::upstream_reset(reason, transport, stream.info.upstream.attempts > 1);
    if stream.interim_seen {
        // To the log a 1xx is a response that has started, although the client gets another.
        reply.details = reply.details.replacen("_before_", "_after_", 1).into();
    }
    let reply = charge.local_reply(stream, reply);
    stream.reply(reply).await
}

/// A timer ran out while the upstream was waited for.
async fn timed_out<D: Downstream>(
    stream: &mut Stream<D>,
    charge: Charge<'_>,
    timeouts: Timeouts,
    timeout: Timeout,
) -> End {
    if timeout != Timeout::Route {
        return stream.timed_out(timeout).await;
    }
    charge.timed_out();
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
    let reply = charge.local_reply(stream, reply);
    stream.reply(reply).await
}
