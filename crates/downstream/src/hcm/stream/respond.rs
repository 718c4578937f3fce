//! The way of a response's head back to the client, from an upstream or made here: filters, route, policy, codec.

use super::{End, Heads, Stream, header_context};
use crate::filter::Instead;
use crate::hcm::Hcm;
use crate::hcm::exchange::Downstream;
use crate::hcm::local_reply::{Built, LocalReply, ReplyBody, ReplyContext};
use crate::hcm::stats::count_class;
use crate::hcm::upgrade;
use crate::route::{Action, Route};
use crate::tracing;
use nuncio_codec::head::{Known, Version};
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::stream_info::StreamInfo;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// Begins to drain a connection that is old enough, or that the overload manager would rather not keep.
#[cold]
fn drain_in_time<D: Downstream>(hcm: &Hcm, down: &mut D, info: &StreamInfo, now: Instant) {
    let worker = &hcm.world.worker;
    if let Some(overload) = &hcm.overload
        && !down.draining()
        && overload.disable_http_keepalive.strikes(worker.rng())
        && down.begin_drain(now)
    {
        hcm.stats.downstream_cx_overload_disable_keepalive.inc();
    }
    let connection = &info.connection;
    let safe = hcm.config.timeouts.http1_safe_max_duration && info.protocol != Some(Version::Http2);
    if hcm.max_duration_of(connection).is_some_and(|most| worker.since(connection.accepted) >= most)
        && !safe
        && down.begin_drain(now)
    {
        hcm.stats.downstream_cx_max_duration_reached.inc();
    }
}

impl<D: Downstream> Stream<D> {
    /// Answers with a local reply: through the filters, the response policy and the codec, and flushed. The response headers
    /// of a route to a cluster are added, whoever answers in its stead.
    pub async fn reply(&mut self, reply: LocalReply) -> End {
        let changes = |route: &Arc<Route>| !reply.whole && matches!(route.action, Action::Cluster(_));
        let route = self.route.clone().filter(changes);
        self.reply_with(reply, route.as_deref()).await
    }

    /// Answers with what a route or the router on its behalf says: the route's response headers are added.
    pub async fn reply_from_route(&mut self, reply: LocalReply, route: &Route) -> End {
        self.reply_with(reply, Some(route)).await
    }

    async fn reply_with(&mut self, mut reply: LocalReply, mut route: Option<&Route>) -> End {
        if self.has_response() {
            // The filters have seen a response; what takes its place goes out as it is.
            self.filters = None;
        }
        if !self.filtered {
            self.make_filters();
        }
        loop {
            self.count_too_large(&reply);
            let built = self.build_reply(reply, route.take());
            if built.close {
                self.down.close_after();
                self.cut_short = true;
            }
            self.local_reply_body = built.body;
            let end_stream = self.local_reply_body.is_empty();
            let mut sent = self.respond(end_stream);
            if sent.is_ok() && !end_stream {
                poll_fn(|cx| {
                    let body = std::mem::replace(&mut self.local_reply_body, ReplyBody::EMPTY);
                    self.send_own_body(cx, &body);
                    Poll::Ready(())
                })
                .await;
            }
            if sent.is_ok() {
                match self.settle().await {
                    Ok(end) => return end,
                    Err(other) => sent = Err(other),
                }
            }
            let Err(other) = sent else { return End::Complete };
            if self.response_started {
                return self.abort().await;
            }
            reply = match other {
                Instead::Reply(reply) => reply,
                Instead::Again => return self.begin_again(Vec::new()),
            };
            // As above.
            self.filters = None;
        }
    }

    /// A body outgrew what may wait for a filter.
    fn count_too_large(&self, reply: &LocalReply) {
        match &*reply.details {
            _ if reply.of_upstream => {}
            "request_payload_too_large" => self.hcm.stats.downstream_rq_too_large.inc(),
            "response_payload_too_large" => self.hcm.stats.rs_too_large.inc(),
            _ => {}
        }
    }

    /// A filter puts something in the stead of a response that was on its way; `body` is what is kept of the request's.
    pub async fn put_instead(&mut self, instead: Instead, body: Vec<u8>) -> End {
        let reply = match instead {
            Instead::Reply(reply) => reply,
            Instead::Again => return self.begin_again(body),
        };
        if !self.response_started {
            return self.reply(reply).await;
        }
        if let Some(flag) = reply.flag {
            self.info.flags.set(flag);
        }
        self.info.details = Some(reply.details);
        self.abort().await
    }

    /// A reply that comes before the filters were made passes them all the same.
    fn make_filters(&mut self) {
        self.filtered = true;
        if self.hcm.responder.is_none() {
            let hcm = &self.hcm;
            self.filters = hcm.filters(&hcm.config.chain, self.route.as_ref(), &self.routing.table);
        }
    }

    fn build_reply(&mut self, reply: LocalReply, route: Option<&Route>) -> Built {
        let Self { heads, info, hcm, .. } = self;
        let Heads { request, response, .. } = &mut **heads;
        let worker = &hcm.world.worker;
        let now = worker.now();
        let cx = ReplyContext { request, response, info, now, wall: worker.wall(), rng: worker.rng() };
        hcm.config.local_replies.build(reply, cx, |response, info| {
            if let Some(route) = route {
                let request = Some(&request.headers);
                route.mutate_response(
                    response,
                    &FormatContext { request, ..header_context(info, worker, now) },
                );
            }
        })
    }

    /// Changes the response's headers as the route says.
    pub fn mutate_response(&mut self, route: &Route, now: Instant) {
        let Self { heads, info, hcm, .. } = self;
        let request = Some(&heads.request.headers);
        let context = FormatContext { request, ..header_context(info, &hcm.world.worker, now) };
        route.mutate_response(&mut heads.response, &context);
    }

    /// Passes the 1xx in the stream's heads on to the client.
    pub fn inform(&mut self) {
        let Heads { request, response, .. } = &mut *self.heads;
        self.hcm.config.policy.on_interim(response, request);
        let status = response.status;
        self.down.encode_informational(response);
        self.was_informed(status);
    }

    /// A 1xx went to the client. To the stats it is an answer of its own; formats read it until the final one has come.
    pub fn was_informed(&mut self, status: u16) {
        self.info.response_code = Some(status);
        count_class!(self.hcm.stats, 100);
        count_class!(self.hcm.listener_stats, 100);
    }

    /// Gives the response head its last headers and encodes it.
    pub fn start_response(&mut self, end_stream: bool) {
        let received = self.request_received();
        let hcm = &self.hcm;
        let Heads { request, response, .. } = &mut *self.heads;
        let worker = &hcm.world.worker;
        let now = worker.now();
        let date = worker.date_now();
        hcm.config.policy.on_response(response, request, date.as_bytes());
        if let Some(status) = &hcm.config.proxy_status {
            status.tell(response, &self.info);
        }
        if let Some(tracing) = &hcm.config.tracing {
            let (route, operation) = (self.route.as_ref(), self.operation.as_ref());
            tracing.respond(&mut response.headers, &mut self.info, route, operation);
            hcm.tracing_stats.iter().for_each(|stats| tracing::count(stats, &self.info));
        }
        if !received {
            hcm.stats.downstream_rq_response_before_rq_complete.inc();
            self.down.close_after();
        }
        if hcm.draining() && self.down.begin_drain(now) {
            hcm.stats.downstream_cx_drain_close.inc();
        }
        if hcm.overload.is_some() || hcm.config.timeouts.max_connection_duration.is_some() {
            drain_in_time(hcm, &mut self.down, &self.info, now);
        }
        let switches = self.upgrading && upgrade::switches(response, request);
        if switches {
            // From now on only the idle timer counts.
            self.deadlines.route = None;
        } else if self.down.draining() {
            response.headers.set(Known::Connection, b"close");
        }
        // Where a response is on its way the request has no more time limit of its own.
        self.deadlines.request = None;
        self.info.response_code = Some(response.status);
        if !self.info.health_check {
            count_class!(hcm.stats, response.status);
            count_class!(hcm.listener_stats, response.status);
        }
        self.info.timings.downstream_tx_begin = Some(now);
        self.down.encode_head(response, end_stream);
        // Logs see it too.
        if let Some(value) = self.down.connection_header()
            && !response.headers.contains(Known::Connection)
        {
            response.headers.append(Known::Connection, value);
        }
        self.response_started = true;
        if switches && self.hcm.config.log_times.on_tunnel {
            self.info.bytes = self.down.bytes();
            self.log(LogType::DownstreamTunnelSuccessfullyEstablished, now);
        }
    }
}
