//! One stream's life: from a decoded head to the last byte of its answer.

use super::Hcm;
use super::answer;
use super::deadlines::{Deadlines, Timeout};
use super::exchange::{Downstream, DownstreamError, RequestEvent};
use super::local_reply::{Built, LocalReply, ReplyBody, ReplyContext};
use super::normalize::Refusal;
use super::policy::Outcome;
use super::stats::count_class;
use super::stream_limits;
use super::upgrade::{self, Verdict};
use crate::filter::{Chain, Flow};
use crate::route::{
    Action, Apart, ApartStats, Found, Limit, MatchContext, PeerCertificate, Route, tls_location,
};
use crate::router;
use nuncio_codec::h1::RequestError;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead, Version};
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag, StreamInfo};
use nuncio_net::worker::Worker;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The heads of one stream, recycled from stream to stream.
#[derive(Default)]
pub struct Heads {
    /// The request's head.
    pub request: RequestHead,
    /// The request's trailers.
    pub request_trailers: HeaderMap,
    /// The response's head.
    pub response: ResponseHead,
    /// The response's trailers.
    pub response_trailers: HeaderMap,
}

/// Storage above this many bytes of text does not stay with recycled heads.
const KEEP_BYTES: usize = 4096;

impl Heads {
    /// Empties the heads and gives back excess storage.
    pub fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        for map in [
            &mut self.request.headers,
            &mut self.request_trailers,
            &mut self.response.headers,
            &mut self.response_trailers,
        ] {
            map.clear();
            map.shrink(KEEP_BYTES);
        }
    }
}

/// What a stream is born with.
pub struct StreamStart<D> {
    /// The downstream half.
    pub down: D,
    /// The heads, the request's filled in.
    pub heads: Box<Heads>,
    /// The request has no body.
    pub end_stream: bool,
    /// When the request's first byte came.
    pub started: Instant,
    /// The connection it came on.
    pub connection: Rc<ConnectionInfo>,
    /// The connection manager.
    pub hcm: Rc<Hcm>,
    /// Why there is no usable head, where there is none.
    pub bad: Option<BadHead>,
}

/// Why a request's head could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It is not HTTP, or beyond a limit.
    Codec(RequestError),
    /// The client closed within it.
    Disconnected,
    /// It was refused, and nobody is left to answer (HTTP/2): the downstream half knows why.
    Gone,
    /// `request_headers_timeout`.
    HeadersTimeout,
    /// Another timer ran out first.
    Timeout(Timeout),
}

/// What a stream leaves behind.
pub struct StreamEnd<D> {
    /// The downstream half.
    pub down: D,
    /// The heads, to be recycled.
    pub heads: Box<Heads>,
    /// How it ended.
    pub end: End,
    /// The request's last byte had come.
    pub request_complete: bool,
    /// The response was begun.
    pub responded: bool,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The response is complete and flushed.
    Complete,
    /// The client is gone.
    Disconnected,
    /// The response cannot be completed: the connection (HTTP/1) or the stream has to be reset.
    Reset,
}

/// What came of a request among the filters.
enum Filtered {
    /// They decided.
    Flow(Flow),
    /// A timer ran out while one of them waited.
    Timeout(Timeout),
    /// The client went meanwhile.
    Downstream(DownstreamError),
}

/// A stream while it lives.
pub struct Stream<D> {
    /// The downstream half.
    pub down: D,
    /// The heads.
    pub heads: Box<Heads>,
    /// The connection manager.
    pub hcm: Rc<Hcm>,
    /// What is known of the stream.
    pub info: StreamInfo,
    /// Its timers.
    pub deadlines: Deadlines,
    /// The request's last byte has come.
    pub request_complete: bool,
    /// The response's head was encoded.
    pub response_started: bool,
    /// It asks for an upgrade that may be granted.
    pub upgrading: bool,
    /// The upstream has sent a 1xx.
    pub interim_seen: bool,
    /// The route taken.
    pub route: Option<Arc<Route>>,
    /// What it is counted for apart from its cluster.
    pub apart: Apart,
    filters: Chain,
    /// When the present turn of the stream's task began.
    turn: Instant,
    local_reply_body: ReplyBody,
}

/// What the formats of header values read of a stream, its heads aside.
pub fn header_context<'a>(info: &'a StreamInfo, worker: &'a Worker, now: Instant) -> FormatContext<'a> {
    FormatContext {
        info,
        request: None,
        response: None,
        trailers: None,
        local_reply_body: b"",
        log_type: LogType::NotSet,
        now,
        wall: worker.wall(),
        rng: worker.rng(),
    }
}

/// A limit of a route as a time.
fn limit(limit: Limit) -> Option<Duration> {
    match limit {
        Limit::Off => None,
        Limit::After(time) => Some(time),
    }
}

/// Leads a stream from its head to its end, and accounts for it.
pub async fn run<D: Downstream>(start: StreamStart<D>) -> StreamEnd<D> {
    let bad = start.bad;
    let mut stream = Stream::new(start);
    let end = match bad {
        None => stream.serve().await,
        Some(bad) => stream.refuse(bad).await,
    };
    stream.finish(end)
}

impl<D: Downstream> Stream<D> {
    fn new(start: StreamStart<D>) -> Self {
        let StreamStart { down, mut heads, end_stream, started, connection, hcm, bad } = start;
        let worker = &hcm.world.worker;
        let mut info = StreamInfo::new(started, worker.wall(), connection, worker.rng().next());
        // What cannot be read counts as HTTP/1.1, whatever its first line says.
        info.protocol = Some(if bad.is_some_and(|bad| bad != BadHead::Gone) {
            Version::Http11
        } else {
            heads.request.version
        });
        if bad.is_some() {
            // Nothing sees what was read of a head that is none.
            heads.request.clear();
        }
        if end_stream {
            info.timings.downstream_rx_end = Some(started);
        }
        let t = &hcm.config.timeouts;
        let deadlines = Deadlines {
            idle: t.stream_idle,
            last_event: started,
            request: t.request.filter(|_| !end_stream).and_then(|d| started.checked_add(d)),
            max_duration: t.max_stream_duration.and_then(|d| started.checked_add(d)),
            response: None,
            route: None,
            attempt: None,
            flush: hcm.config.log_times.interval.and_then(|d| started.checked_add(d)),
        };
        hcm.stats.downstream_rq_total.inc();
        hcm.stats.downstream_rq_active.inc();
        Self {
            down,
            heads,
            hcm,
            info,
            deadlines,
            request_complete: end_stream,
            response_started: false,
            upgrading: false,
            interim_seen: false,
            route: None,
            apart: Apart::default(),
            filters: Chain::default(),
            turn: started,
            local_reply_body: ReplyBody::EMPTY,
        }
    }

    async fn serve(&mut self) -> End {
        let hcm = Rc::clone(&self.hcm);
        let worker = &hcm.world.worker;
        let request = &mut self.heads.request;
        // Envoy looks once for a route, for requests that it refuses too.
        self.info.route_resolutions = 1;
        if let Outcome::Refuse(refusal) = hcm.config.policy.on_request(request, &mut self.info, worker.rng())
        {
            return self.refused(refusal).await;
        }
        if self.heads.request.headers.contains(Known::Expect) && !hcm.config.proxy_100_continue {
            self.answer_expect();
        }
        if let Some(responder) = &hcm.responder {
            return answer::serve(self, &**responder).await;
        }
        let found = self.find_route();
        if hcm.config.log_times.on_new_request {
            router::name_cluster(self);
            self.info.bytes = self.down.bytes();
            self.log(LogType::DownstreamStart, self.now());
        }
        if let Err(reply) = found {
            return self.reply(reply).await;
        }
        let config = &hcm.config;
        let chain = match upgrade::requested(&self.heads.request.headers) {
            None => &config.chain,
            Some(kind) => {
                let route = self.route.as_ref().map_or(&[][..], |route| route.upgrades());
                match config.upgrades.judge(kind, route, &config.chain) {
                    Verdict::Through(chain) => {
                        self.begin_upgrade();
                        chain
                    }
                    // Without a route it is the router that answers.
                    Verdict::Refused if self.route.is_none() => &config.chain,
                    Verdict::Refused => {
                        hcm.stats.downstream_rq_ws_on_non_ws_route.inc();
                        return self.reply(LocalReply::upgrade_failed()).await;
                    }
                }
            }
        };
        self.filters = hcm.filters(chain, self.route.as_deref());
        let end_stream = self.request_complete;
        if !self.filters.is_empty() {
            match self.filter_request(end_stream).await {
                Filtered::Flow(Flow::Continue) => {}
                Filtered::Flow(Flow::Reply(reply)) => return self.reply(reply).await,
                Filtered::Flow(Flow::ReplyAtEnd(reply)) => return self.reply_at_end(reply).await,
                Filtered::Timeout(timeout) => return self.timed_out(timeout).await,
                Filtered::Downstream(error) => return self.downstream_failed(error).await,
            }
        }
        match &chain.router {
            Some(config) => router::forward(self, config).await,
            None => self.reply(LocalReply::no_route()).await,
        }
    }

    /// Leads the request's head through the filters. While one of them waits, the client and the timers are
    /// watched.
    async fn filter_request(&mut self, end_stream: bool) -> Filtered {
        let mut waited = false;
        let filtered = {
            let Self { filters, heads, info, down, deadlines, hcm, .. } = self;
            let mut flow = pin!(filters.decode(&mut heads.request, end_stream, info));
            poll_fn(|cx| {
                if let Poll::Ready(flow) = flow.as_mut().poll(cx) {
                    return Poll::Ready(Filtered::Flow(flow));
                }
                waited = true;
                let now = hcm.world.worker.now();
                if down.poll_timer(cx, now, deadlines.next()).is_ready() {
                    return Poll::Ready(Filtered::Timeout(
                        deadlines.expired(now).unwrap_or(Timeout::StreamIdle),
                    ));
                }
                down.poll_disconnect(cx).map(Filtered::Downstream)
            })
            .await
        };
        if waited && matches!(filtered, Filtered::Flow(Flow::Reply(_))) {
            self.discard_what_came().await;
        }
        filtered
    }

    /// Takes in what has come of a body that nobody wants, so that a request that is complete counts as such.
    async fn discard_what_came(&mut self) {
        poll_fn(|cx| {
            while !self.request_complete && matches!(self.poll_request(cx), Poll::Ready(Ok(_))) {}
            Poll::Ready(())
        })
        .await;
    }

    /// The request may become a tunnel.
    #[cold]
    fn begin_upgrade(&mut self) {
        self.upgrading = true;
        self.hcm.stats.downstream_cx_upgrades_total.inc();
        self.hcm.stats.downstream_cx_upgrades_active.inc();
    }

    /// Answers once the request is complete; its body is thrown away.
    async fn reply_at_end(&mut self, reply: LocalReply) -> End {
        while !self.request_complete {
            let event = poll_fn(|cx| match self.poll_timers(cx) {
                Poll::Ready(timeout) => Poll::Ready(Err(timeout)),
                Poll::Pending => self.poll_request(cx).map(Ok),
            })
            .await;
            match event {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.downstream_failed(error).await,
                Err(timeout) => return self.timed_out(timeout).await,
            }
        }
        self.reply(reply).await
    }

    /// The request policy answers.
    async fn refused(&mut self, refusal: Refusal) -> End {
        let stats = &self.hcm.stats;
        let reply = match refusal {
            Refusal::Reply(reply) => reply,
            Refusal::NonRelativePath(reply) => {
                stats.downstream_rq_non_relative_path.inc();
                reply
            }
            Refusal::FailedPathNormalization(reply) => {
                stats.downstream_rq_failed_path_normalization.inc();
                reply
            }
            Refusal::RedirectedWithNormalizedPath(reply) => {
                stats.downstream_rq_redirected_with_normalized_path.inc();
                reply
            }
            Refusal::RejectedViaIpDetection(reply) => {
                stats.downstream_rq_rejected_via_ip_detection.inc();
                reply
            }
        };
        self.reply(reply).await
    }

    /// There is no head to serve.
    async fn refuse(&mut self, bad: BadHead) -> End {
        match bad {
            BadHead::Codec(error) => {
                let (status, details) = (error.status(), error.details());
                self.downstream_failed(DownstreamError::Protocol { status, details }).await
            }
            BadHead::Disconnected => self.disconnected(),
            BadHead::Gone => {
                let error = poll_fn(|cx| self.down.poll_disconnect(cx)).await;
                self.gone(error)
            }
            BadHead::HeadersTimeout => {
                self.hcm.stats.downstream_rq_header_timeout.inc();
                // A stream without a whole head ends with its connection, and counts as reset by the client.
                self.hcm.stats.downstream_rq_rx_reset.inc();
                self.reply(LocalReply::request_headers_timeout()).await
            }
            BadHead::Timeout(timeout) => {
                self.hcm.stats.downstream_rq_rx_reset.inc();
                self.timed_out(timeout).await
            }
        }
    }

    /// Looks the route up, and takes it.
    fn find_route(&mut self) -> Result<(), LocalReply> {
        let hcm = Rc::clone(&self.hcm);
        let routes = &hcm.config.routes;
        if !self.info.internal {
            for name in routes.internal_only_headers() {
                self.heads.request.headers.remove(&**name);
            }
        }
        let context = MatchContext {
            info: &self.info,
            runtime: &hcm.world.runtime,
            peer_certificate: PeerCertificate::of(&self.info.connection),
        };
        match routes.find(&self.heads.request, &context) {
            Found::Route(route) => self.take_route(Arc::clone(route)),
            Found::RedirectToTls(_) => {
                let mut location = Vec::new();
                tls_location(&self.heads.request, &mut location);
                return Err(LocalReply::new(301, "").with_header("location", location));
            }
            Found::NoRoute(_) | Found::NoVirtualHost => {}
        }
        Ok(())
    }

    fn take_route(&mut self, route: Arc<Route>) {
        self.info.route_name = Some(Arc::clone(&route.name)).filter(|n| !n.is_empty());
        self.info.route_metadata = route.metadata.clone();
        self.info.virtual_host_metadata = route.virtual_host.metadata.clone();
        if let Action::Cluster(action) = &route.action {
            if let Some(idle) = action.idle_timeout {
                self.deadlines.idle = limit(idle);
            }
            if let Some(limits) = &action.stream_limits {
                let usual = self.hcm.config.timeouts.max_stream_duration;
                let most = stream_limits::duration(limits, usual, &mut self.heads.request.headers);
                self.deadlines.max_duration = most.and_then(|most| self.info.start.checked_add(most));
            }
        }
        self.route = Some(route);
    }

    /// `Expect: 100-continue` is answered here and goes no further.
    fn answer_expect(&mut self) {
        let expects = self
            .heads
            .request
            .headers
            .get(Known::Expect)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
        if expects {
            self.heads.request.headers.remove(Known::Expect);
            self.down.encode_informational(&ResponseHead::new(100));
        }
    }

    /// Answers with a local reply: through the filters, the response policy and the codec, and flushed.
    pub async fn reply(&mut self, reply: LocalReply) -> End {
        self.reply_with(reply, None).await
    }

    /// Answers with what a route or the router on its behalf says: the route's response headers are added.
    pub async fn reply_from_route(&mut self, reply: LocalReply, route: &Route) -> End {
        self.reply_with(reply, Some(route)).await
    }

    async fn reply_with(&mut self, mut reply: LocalReply, mut route: Option<&Route>) -> End {
        loop {
            let built = self.build_reply(reply, route.take());
            if built.close {
                self.down.close_after();
            }
            self.local_reply_body = built.body;
            let end_stream = self.local_reply_body.is_empty();
            if let Err(other) = self.filter_response(end_stream).await {
                // The filters have had their say once; what one of them answers instead goes out as it is.
                self.filters = Chain::default();
                reply = other;
                continue;
            }
            self.start_response(end_stream);
            if !end_stream {
                poll_fn(|cx| {
                    self.info.bytes_sent += self.local_reply_body.len() as u64;
                    self.down.encode_data(cx, &self.local_reply_body, true);
                    Poll::Ready(())
                })
                .await;
            }
            return self.flush().await;
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

    /// Leads an upstream's response head through the filters; `Err` is the reply that a filter put in its
    /// place.
    ///
    /// # Errors
    /// A filter answers in the upstream's stead.
    pub async fn filter_response(&mut self, end_stream: bool) -> Result<(), LocalReply> {
        if self.filters.is_empty() {
            return Ok(());
        }
        match self.filters.encode(&mut self.heads.response, end_stream, &mut self.info).await {
            Flow::Continue => Ok(()),
            Flow::Reply(reply) | Flow::ReplyAtEnd(reply) => Err(reply),
        }
    }

    /// Gives the response head its last headers and encodes it.
    pub fn start_response(&mut self, end_stream: bool) {
        let hcm = &self.hcm;
        let Heads { request, response, .. } = &mut *self.heads;
        let worker = &hcm.world.worker;
        let now = worker.now();
        let date = worker.date_now();
        hcm.config.policy.on_response(response, request, date.as_bytes());
        if !self.request_complete {
            hcm.stats.downstream_rq_response_before_rq_complete.inc();
            self.down.close_after();
        }
        if hcm.draining() && self.down.begin_drain(now) {
            hcm.stats.downstream_cx_drain_close.inc();
        }
        let accepted = self.info.connection.accepted;
        if hcm.config.timeouts.max_connection_duration.is_some_and(|most| worker.since(accepted) >= most)
            && self.down.begin_drain(now)
        {
            hcm.stats.downstream_cx_max_duration_reached.inc();
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
    }

    /// Sends everything that was encoded, under the stream's timers.
    pub async fn flush(&mut self) -> End {
        poll_fn(|cx| {
            if let Poll::Ready(sent) = self.down.poll_flush(cx) {
                return Poll::Ready(match sent {
                    Ok(()) => End::Complete,
                    Err(error) => self.gone(error),
                });
            }
            self.poll_timers(cx).map(|_| End::Reset)
        })
        .await
    }

    /// The next piece of the request's body, accounted for.
    ///
    /// # Errors
    /// The client is gone, or sent what is not HTTP.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestEvent, DownstreamError>> {
        let event = std::task::ready!(self.down.poll_request(cx, &mut self.heads.request_trailers))?;
        let now = self.turn;
        self.deadlines.last_event = now;
        let complete = match event {
            RequestEvent::Data { end_stream } => {
                self.info.bytes_received += self.down.data().len() as u64;
                end_stream
            }
            RequestEvent::Trailers | RequestEvent::End => true,
        };
        if complete {
            self.request_complete = true;
            self.deadlines.request_complete(now);
            self.info.timings.downstream_rx_end = Some(now);
        }
        Poll::Ready(Ok(event))
    }

    /// Ready when one of the stream's timers ran out.
    pub fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Timeout> {
        let now = self.now();
        self.turn = now;
        loop {
            if self.down.poll_timer(cx, now, self.deadlines.next()).is_pending() {
                return Poll::Pending;
            }
            if let Some(timeout) = self.deadlines.expired(now) {
                return Poll::Ready(timeout);
            }
            let Some(interval) = self.hcm.config.log_times.interval else {
                return Poll::Ready(Timeout::StreamIdle);
            };
            self.info.bytes = self.down.bytes();
            self.log(LogType::DownstreamPeriodic, now);
            self.deadlines.flush = now.checked_add(interval);
        }
    }

    /// The worker's time.
    pub fn now(&self) -> Instant {
        self.hcm.world.worker.now()
    }

    /// The client is gone: flags and details say so.
    pub fn disconnected(&mut self) -> End {
        self.info.flags.set(ResponseFlag::DownstreamConnectionTermination);
        self.info.details = Some("downstream_remote_disconnect".into());
        End::Disconnected
    }

    /// Nobody is left to answer: flags and details say why.
    fn gone(&mut self, error: DownstreamError) -> End {
        match error {
            DownstreamError::Disconnected => self.disconnected(),
            DownstreamError::Gone { flag, details } => {
                self.info.flags.set(flag);
                self.info.details = Some(details);
                End::Disconnected
            }
            DownstreamError::Protocol { details, .. } => {
                self.info.flags.set(ResponseFlag::DownstreamProtocolError);
                self.info.details = Some(details.into());
                End::Disconnected
            }
        }
    }

    /// The downstream side failed: answered where that is still possible.
    pub async fn downstream_failed(&mut self, error: DownstreamError) -> End {
        match error {
            DownstreamError::Disconnected | DownstreamError::Gone { .. } => self.gone(error),
            DownstreamError::Protocol { status, details } => {
                self.hcm.stats.downstream_cx_protocol_error.inc();
                let mut flags = self.info.connection.state.flags.get();
                flags.set(ResponseFlag::DownstreamProtocolError);
                self.info.connection.state.flags.set(flags);
                if self.response_started {
                    self.info.flags.set(ResponseFlag::DownstreamProtocolError);
                    self.info.details = Some(details.into());
                    return self.abort().await;
                }
                self.reply(LocalReply::codec_error(status, details)).await
            }
        }
    }

    /// A timer of the stream ran out: answered where that is still possible.
    pub async fn timed_out(&mut self, timeout: Timeout) -> End {
        let stats = &self.hcm.stats;
        let reply = match timeout {
            Timeout::StreamIdle => {
                stats.downstream_rq_idle_timeout.inc();
                LocalReply::stream_idle(self.request_complete)
            }
            Timeout::Request => {
                stats.downstream_rq_timeout.inc();
                LocalReply::request_timeout()
            }
            Timeout::MaxDuration => {
                stats.downstream_rq_max_duration_reached.inc();
                LocalReply::max_stream_duration(self.request_complete)
            }
            // The router keeps these and answers them itself.
            Timeout::Route | Timeout::Attempt => LocalReply::upstream_timeout("response_timeout"),
        };
        if self.response_started {
            if let Some(flag) = reply.flag {
                self.info.flags.set(flag);
            }
            self.info.details = Some(reply.details);
            return self.abort().await;
        }
        self.reply(reply).await
    }

    /// The response cannot be completed: what is buffered goes out, then the stream is reset.
    pub async fn abort(&mut self) -> End {
        match self.flush().await {
            End::Disconnected => End::Disconnected,
            End::Complete | End::Reset => End::Reset,
        }
    }

    /// Body bytes of the response, on their way to the client.
    pub fn send_body(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        self.info.bytes_sent += data.len() as u64;
        self.down.encode_data(cx, data, end_stream);
    }

    /// The request begins to go upstream.
    pub fn begin_upstream(&mut self) {
        let now = self.now();
        self.info.timings.upstream_tx_begin = Some(now);
        if self.request_complete {
            self.info.timings.upstream_tx_end = Some(now);
        }
    }

    /// A piece of the request was handed to the upstream connection.
    pub fn request_sent(&mut self) {
        let now = self.deadlines.last_event;
        if self.request_complete {
            self.info.timings.upstream_tx_end = Some(now);
        }
    }

    /// Counts the stream for its virtual cluster and its route, where they have stats.
    #[inline]
    pub fn count_apart(&self, count: impl Fn(&ApartStats)) {
        for number in [self.apart.virtual_cluster, self.apart.route].into_iter().flatten() {
            if let Some(stats) = self.hcm.apart_stats.get(number as usize) {
                count(stats);
            }
        }
    }

    /// Something happened on the stream: its idle time begins anew.
    pub fn touch(&mut self) {
        self.deadlines.last_event = self.turn;
    }

    /// What formats read of this stream as it stands.
    pub fn format_context(&self, log_type: LogType, now: Instant) -> FormatContext<'_> {
        let worker = &self.hcm.world.worker;
        let code = self.info.response_code.filter(|_| self.response_started);
        let responded = code.map(|code| (&self.heads.response.headers, code));
        FormatContext {
            info: &self.info,
            request: Some(&self.heads.request.headers),
            response: responded,
            trailers: Some(&self.heads.response_trailers),
            // Only `local_reply_config` sees it.
            local_reply_body: b"",
            log_type,
            now,
            wall: worker.wall(),
            rng: worker.rng(),
        }
    }

    fn log(&self, log_type: LogType, now: Instant) {
        if self.hcm.config.access_logs.is_empty() {
            return;
        }
        let context = self.format_context(log_type, now);
        for log in &self.hcm.config.access_logs {
            log.log(&context, self.hcm.world.worker.id() as usize);
        }
    }

    fn finish(mut self, end: End) -> StreamEnd<D> {
        let now = self.now();
        if end == End::Complete {
            self.info.timings.downstream_tx_end = Some(now);
        }
        self.info.bytes = self.down.bytes();
        let stats = &self.hcm.stats;
        stats.downstream_rq_active.dec();
        if self.upgrading {
            stats.downstream_cx_upgrades_active.dec();
        }
        match end {
            End::Complete => {}
            End::Disconnected => stats.downstream_rq_rx_reset.inc(),
            End::Reset => stats.downstream_rq_tx_reset.inc(),
        }
        let elapsed = self.hcm.world.worker.since(self.info.start);
        stats.downstream_rq_time.record(elapsed.as_millis() as u64);
        self.log(LogType::DownstreamEnd, now);
        StreamEnd {
            down: self.down,
            heads: self.heads,
            end,
            request_complete: self.request_complete,
            responded: self.response_started,
        }
    }
}
