//! One stream's life: from a decoded head to the last byte of its answer.

mod filtered;
mod respond;
mod serve;

use super::deadlines::{Deadlines, Timeout};
use super::exchange::{Downstream, DownstreamError, RequestEvent};
use super::local_reply::{LocalReply, ReplyBody};
use super::{Hcm, Routing};
use crate::filter::Chain;
use crate::route::{Apart, ApartStats, Followed, Limit, Route};
use crate::router;
use crate::tracing;
use crate::why;
use nuncio_codec::h1::RequestError;
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead, Version};
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::overload::Timer;
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag, StreamInfo};
use nuncio_net::worker::Worker;
use std::future::poll_fn;
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

/// What a redirect that is followed leaves to the request that comes after it.
#[derive(Debug, Default)]
pub struct Again {
    /// Redirects that were followed for this stream.
    pub redirects: u32,
    /// From which route to which, where a predicate asks.
    pub followed: Followed,
    /// The request's body, which is sent again.
    pub body: Vec<u8>,
    /// The present request ends in a redirect.
    goes_on: bool,
    /// The body is still to be told to whoever reads the request.
    tells: bool,
}

impl Again {
    /// The next request is ready.
    pub fn begun(&mut self) {
        self.goes_on = true;
    }

    /// The whole body at once.
    fn tell(&mut self) -> RequestEvent {
        self.tells = false;
        RequestEvent::Data { end_stream: true }
    }
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
    /// Nobody looks at it: the overload manager sheds load.
    Shed,
}

/// What a stream leaves behind.
pub struct StreamEnd<D> {
    /// The downstream half.
    pub down: D,
    /// The heads, to be recycled.
    pub heads: Box<Heads>,
    /// How it ended.
    pub end: End,
    /// The client may be sending still, or cannot know that the connection ends: it is closed with a delay.
    pub lingers: bool,
    /// The response was begun.
    pub responded: bool,
    /// The connection to the upstream failed, before or within the response (`UF`, `UC`).
    pub upstream_failed: bool,
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
    /// The response is complete, but the client does not read it.
    Unread,
}

/// A stream while it lives.
pub struct Stream<D> {
    /// The downstream half.
    pub down: D,
    /// The heads.
    pub heads: Box<Heads>,
    /// The connection manager.
    pub hcm: Rc<Hcm>,
    /// The routes that held when it began.
    pub routing: Rc<Routing>,
    /// What is known of the stream.
    pub info: StreamInfo,
    /// Its timers.
    pub deadlines: Deadlines,
    /// The request's last byte has come, and through the filters.
    pub request_complete: bool,
    /// The response's head was encoded.
    pub response_started: bool,
    /// It asks for an upgrade that may be granted.
    pub upgrading: bool,
    /// The upstream has sent a 1xx.
    pub interim_seen: bool,
    /// A local reply ends the connection.
    cut_short: bool,
    /// The route taken.
    pub route: Option<Arc<Route>>,
    /// What the client is told that the operation is, where it is traced.
    operation: Option<Arc<str>>,
    /// What it is counted for apart from its cluster.
    pub apart: Apart,
    /// What earlier requests of this stream left, which were answered by redirects that were followed.
    pub again: Option<Box<Again>>,
    filters: Option<Box<Chain>>,
    /// The filters were made.
    filtered: bool,
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

/// Leads a stream from its head to its end, and accounts for it.
pub async fn run<D: Downstream>(start: StreamStart<D>) -> StreamEnd<D> {
    let bad = start.bad;
    let mut stream = Stream::new(start);
    let end = loop {
        let end = match bad {
            None => stream.serve().await,
            Some(bad) => stream.refuse(bad).await,
        };
        if stream.again.as_ref().is_some_and(|again| again.goes_on) {
            stream = stream.redirected();
        } else {
            break end;
        }
    };
    stream.account(end);
    let lingers = !stream.request_received() || stream.cut_short || end == End::Reset;
    let flags = stream.info.flags;
    let upstream_failed = flags.contains(ResponseFlag::UpstreamConnectionFailure)
        || flags.contains(ResponseFlag::UpstreamConnectionTermination);
    let Stream { down, heads, filters, response_started: responded, .. } = stream;
    if let Some(filters) = filters {
        filters.give_back();
    }
    StreamEnd { down, heads, end, lingers, responded, upstream_failed }
}

impl<D: Downstream> Stream<D> {
    /// Inlined, so that it is made where it lives.
    #[inline(always)]
    pub(crate) fn new(start: StreamStart<D>) -> Self {
        let StreamStart { down, mut heads, end_stream, started, connection, hcm, bad } = start;
        // What cannot be read counts as HTTP/1.1, whatever its first line says.
        let protocol =
            if bad.is_some_and(|bad| bad != BadHead::Gone) { Version::Http11 } else { heads.request.version };
        if bad.is_some() {
            // Nothing sees what was read of a head that is none.
            heads.request.clear();
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
        let worker = &hcm.world.worker;
        let (wall, random) = (worker.wall(), worker.rng().next());
        let mut stream = Self {
            down,
            heads,
            routing: hcm.routing(),
            hcm,
            info: StreamInfo::new(started, wall, connection, random),
            deadlines,
            request_complete: end_stream,
            response_started: false,
            upgrading: false,
            interim_seen: false,
            cut_short: false,
            route: None,
            operation: None,
            apart: Apart::default(),
            again: None,
            filters: None,
            filtered: false,
            local_reply_body: ReplyBody::EMPTY,
        };
        stream.info.protocol = Some(protocol);
        stream.info.timings.downstream_rx_end = end_stream.then_some(started);
        stream
    }

    /// Sends everything that was encoded. The stream is over to everybody but its codec; how long the client may leave
    /// it unread is the codec's to say.
    pub async fn flush(&mut self) -> End {
        let mut since = None;
        poll_fn(|cx| {
            if let Poll::Ready(sent) = self.down.poll_flush(cx) {
                return Poll::Ready(match sent {
                    Ok(()) => End::Complete,
                    Err(error) => self.gone(error),
                });
            }
            let now = self.now();
            let since = *since.get_or_insert(now);
            let deadline = self.flush_timeout().and_then(|d| since.checked_add(d));
            self.down.poll_timer(cx, now, deadline).map(|()| End::Unread)
        })
        .await
    }

    /// How long the end of the response may wait for the client: HTTP/2's `stream_flush_timeout`, or the route's
    /// `flush_timeout`. Over HTTP/1 the connection counts as idle.
    #[cold]
    fn flush_timeout(&self) -> Option<Duration> {
        if self.info.protocol != Some(Version::Http2) {
            return self.hcm.idle_timeout();
        }
        let own = self.route.as_ref().and_then(|route| route.action.forwards()?.flush_timeout);
        let full = own.map_or(self.hcm.config.timeouts.stream_flush, Limit::time);
        self.hcm.timeout(Timer::StreamFlush, full)
    }

    /// How long the stream may be without an event under the present pressure.
    #[cold]
    fn idle_timeout(&self) -> Option<Duration> {
        let own = self.route.as_ref().and_then(|route| route.action.forwards()?.idle_timeout);
        let full = own.map_or(self.hcm.config.timeouts.stream_idle, Limit::time);
        self.hcm.timeout(Timer::StreamIdle, full)
    }

    /// The number of the filter, among those made, that has the request's head.
    pub(crate) fn waits_in(&self) -> Option<usize> {
        self.filters.as_ref().and_then(|chain| chain.holder())
    }

    /// Whether there are filters before the router.
    pub fn has_filters(&self) -> bool {
        self.filters.is_some()
    }

    /// The next piece of the request's body, through the filters: [`data`](Self::data).
    ///
    /// # Errors
    /// The client is gone, or sent what is not HTTP.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestEvent, DownstreamError>> {
        if self.filters_see_bodies() { self.poll_filtered_request(cx) } else { self.receive(cx) }
    }

    /// The next piece of the request's body as it comes, accounted for.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestEvent, DownstreamError>> {
        let event = match &mut self.again {
            Some(again) if again.tells => again.tell(),
            _ => std::task::ready!(self.down.poll_request(cx, &mut self.heads.request_trailers))?,
        };
        let now = self.now();
        self.deadlines.last_event = now;
        let complete = match event {
            RequestEvent::Data { end_stream } => {
                self.info.bytes_received += self.received().len() as u64;
                end_stream
            }
            RequestEvent::Metadata => false,
            RequestEvent::Trailers | RequestEvent::End => true,
        };
        if complete {
            self.info.timings.downstream_rx_end = Some(now);
            match &mut self.filters {
                Some(chain) if chain.sees_bodies() => {
                    self.deadlines.request = None;
                    chain.received();
                }
                _ => {
                    self.request_complete = true;
                    self.deadlines.request_complete(now);
                }
            }
        }
        Poll::Ready(Ok(event))
    }

    /// Ready when one of the stream's timers ran out.
    pub fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Timeout> {
        let now = self.now();
        if self.hcm.overload.is_some() {
            self.deadlines.idle = self.idle_timeout();
        }
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
        self.info.details = Some(match self.info.connection.state.local_close.get() {
            Some(reason) => format!("downstream_local_disconnect({reason})").into(),
            None => "downstream_remote_disconnect".into(),
        });
        if self.info.upstream.cluster.is_none() {
            // A filter had the request still.
            router::name_cluster(self);
        }
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
                LocalReply::stream_idle(self.request_received())
            }
            Timeout::Request => {
                stats.downstream_rq_timeout.inc();
                LocalReply::request_timeout()
            }
            Timeout::MaxDuration => {
                stats.downstream_rq_max_duration_reached.inc();
                LocalReply::max_stream_duration(self.request_received())
            }
            // The router keeps these and answers them itself.
            Timeout::Route | Timeout::Attempt => LocalReply::upstream_timeout("response_timeout"),
        };
        why::timed_out(self, timeout, &reply.details);
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
            End::Complete | End::Reset | End::Unread => End::Reset,
        }
    }

    /// Body bytes of an upstream's response, on their way to the client.
    pub fn send_body(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        if self.filters_see_bodies() {
            return self.send_filtered_body(cx, data, end_stream);
        }
        self.encode_body(cx, data, end_stream);
    }

    /// The body of an answer that is made here.
    fn send_own_body(&mut self, cx: &mut Context<'_>, data: &[u8]) {
        match self.filters_see_bodies() {
            true => self.send_filtered(cx, data, true),
            false => self.encode_body(cx, data, true),
        }
    }

    #[inline]
    fn encode_body(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
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
    #[inline(always)]
    pub fn count_apart(&self, count: impl Fn(&ApartStats)) {
        if !self.apart.is_nobody() {
            self.count_for(&count);
        }
    }

    #[cold]
    fn count_for(&self, count: &dyn Fn(&ApartStats)) {
        for number in [self.apart.virtual_cluster, self.apart.route].into_iter().flatten() {
            if let Some(stats) = self.routing.apart_stats.get(number as usize) {
                count(stats);
            }
        }
    }

    /// Something happened on the stream: its idle time begins anew.
    pub fn touch(&mut self) {
        self.deadlines.last_event = self.now();
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
        if self.hcm.config.access_logs.is_empty() || self.down.script().is_some() {
            return;
        }
        let context = self.format_context(log_type, now);
        for log in &self.hcm.config.access_logs {
            log.log(&context, self.hcm.world.worker.id() as usize);
        }
    }

    /// The bytes of the last piece of the body that was received.
    #[inline]
    fn received(&self) -> &[u8] {
        match &self.again {
            Some(again) => &again.body,
            None => self.down.data(),
        }
    }

    /// The request that stands in the heads takes this one's place, with `body`; it is complete.
    #[cold]
    pub fn begin_again(&mut self, body: Vec<u8>) -> End {
        let mut again = self.again.take().unwrap_or_default();
        again.body = body;
        again.begun();
        self.again = Some(again);
        self.info.details = Some("internal_redirect".into());
        self.info.response_code = Some(self.heads.response.status);
        End::Complete
    }

    /// A redirect is followed: this request is accounted for, and the next one takes its place.
    #[cold]
    fn redirected(mut self) -> Self {
        let now = self.now();
        self.info.bytes = self.down.bytes();
        let stats = &self.hcm.stats;
        stats.downstream_rq_active.dec();
        let elapsed = self.hcm.world.worker.since(self.info.start);
        stats.downstream_rq_time.record(elapsed.as_millis() as u64);
        // To the log it is answered.
        self.response_started = true;
        self.log(LogType::DownstreamEnd, now);
        match self.info.protocol {
            Some(Version::Http2) => stats.downstream_rq_http2_total.inc(),
            _ => stats.downstream_rq_http1_total.inc(),
        }
        if self.info.span.is_some() {
            tracing::finish(&mut self);
        }
        if self.hcm.config.tracing.is_some() {
            self.hcm.tracing_stats.iter().for_each(|stats| tracing::count(stats, &self.info));
        }
        let Self { down, mut heads, hcm, info, again, filters, .. } = self;
        if let Some(filters) = filters {
            filters.give_back();
        }
        heads.response.clear();
        heads.response.headers.clear();
        heads.response_trailers.clear();
        heads.request_trailers.clear();
        let again = again.map(|again| Box::new(Again { goes_on: false, tells: true, ..*again }));
        let end_stream = again.as_ref().is_none_or(|again| again.body.is_empty());
        let connection = Rc::clone(&info.connection);
        let start = StreamStart { down, heads, end_stream, started: now, connection, hcm, bad: None };
        let mut next = Self::new(start);
        next.info.take_lasting_state(&info);
        // What the request policy found out holds on, and what came of the body counts again.
        next.info.remote = info.remote;
        next.info.internal = info.internal;
        next.info.trace_reason = info.trace_reason;
        next.info.bytes_received = info.bytes_received;
        next.again = again;
        next
    }

    /// Its end, in stats and log.
    fn account(&mut self, end: End) {
        let now = self.now();
        if matches!(end, End::Complete | End::Unread) {
            self.info.timings.downstream_tx_end = Some(now);
        }
        self.info.bytes = self.down.bytes();
        let stats = &self.hcm.stats;
        stats.downstream_rq_active.dec();
        if self.upgrading {
            stats.downstream_cx_upgrades_active.dec();
            if self.filters.is_some() || self.info.upstream.attempts > 0 {
                // They came while somebody had the request, and went nowhere.
                self.info.bytes_received += self.down.held_back() as u64;
            }
        }
        if matches!(end, End::Disconnected | End::Reset) || !self.request_received() {
            // Envoy counts a stream here that ends before both messages do, whoever ends it.
            stats.downstream_rq_rx_reset.inc();
        }
        if end == End::Reset {
            stats.downstream_rq_tx_reset.inc();
        }
        if self.info.health_check
            && let Some(tracing) = &self.hcm.tracing_stats
        {
            tracing.health_check.inc();
        }
        let elapsed = self.hcm.world.worker.since(self.info.start);
        stats.downstream_rq_time.record(elapsed.as_millis() as u64);
        self.log(LogType::DownstreamEnd, now);
        if self.info.span.is_some() {
            tracing::finish(self);
        }
    }
}
