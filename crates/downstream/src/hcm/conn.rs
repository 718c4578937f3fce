//! One downstream connection: from accept to the protocol it speaks, and to its close; one stream after another
//! where that is HTTP/1.

use super::config::CodecType;
use super::deadlines::{Timeout, sooner};
use super::exchange::Downstream;
use super::h1::{H1Connection, NextHead, Read};
use super::stream::{BadHead, End, Heads, StreamEnd, StreamStart};
use super::{Hcm, h2};
use crate::why;
use nuncio_codec::h2::PREFACE;
use nuncio_codec::head::Version;
use nuncio_core::format::round_trip_wanted;
use nuncio_core::overload::Timer;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::ByteStream;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Serves a connection until it is closed. Its future is small: what a request needs is borrowed from the
/// worker while there is one.
pub async fn serve(io: Box<dyn ByteStream>, hcm: Rc<Hcm>, connection: Rc<ConnectionInfo>) {
    let guard = ConnectionGuard::new(Rc::clone(&hcm), Rc::clone(&connection));
    let worker = Rc::clone(&hcm.world.worker);
    let codec_stats = hcm.codec_stats.clone();
    let mut down = Box::new(H1Connection::new(io, Arc::clone(&hcm.config), worker, codec_stats));
    let mut served = 0_u64;
    let close = loop {
        match idle(&mut down, &hcm, &connection, &guard, served).await {
            Idle::Readable => {}
            Idle::Close(close) => break close,
        }
        if served == 0 {
            if down.has_ended_unused() {
                // Nothing came, so that nothing is known of its protocol.
                return guard.closed_by_peer();
            }
            if let Some(overload) = &hcm.overload
                && overload.points.hcm_ondata_creating_codec.sheds(hcm.world.worker.rng())
            {
                hcm.stats.downstream_rq_overload_close.inc();
                break Close::Now;
            }
            match first_bytes(&mut down, &hcm).await {
                Some(Codec::Http1) => guard.speaks(Version::Http11),
                Some(Codec::Http2) => {
                    guard.speaks(Version::Http2);
                    guard.count_bytes(&mut down);
                    let (io, input) = down.into_parts();
                    return Box::pin(h2::serve(io, input, hcm, connection, &guard)).await;
                }
                None => break Close::Now,
            }
        }
        let Some(mut start) = next_request(down, &hcm, &connection).await else {
            return guard.closed_by_peer();
        };
        served += 1;
        if guard.is_soft_draining() {
            start.down.close_after();
        }
        let (returned, end, lingers) = one_stream(start, &hcm, served).await;
        down = returned;
        guard.count_bytes(&mut down);
        if end == End::Disconnected {
            guard.cut_by_peer();
            return match connection.state.local_close.get() {
                Some(_) => guard.closed_by_us(),
                None => guard.closed_by_peer(),
            };
        }
        if matches!(end, End::Reset | End::Unread) || !down.keep_alive() {
            break if lingers { Close::Delayed } else { Close::Now };
        }
        let drained_at = |since| hcm.config.timeouts.drained_at(since, &connection);
        if down.draining_since().and_then(drained_at).is_some_and(|at| at <= hcm.world.worker.now()) {
            break Close::Delayed;
        }
        down.rest();
    };
    if connection.state.flags.get().is_empty() {
        connection.state.local_close.set(Some("deferred_close_on_drained_connection"));
    }
    match close {
        Close::Delayed if delayed_close(&mut down, &hcm, &connection).await == ClosedBy::Peer => {
            guard.left_by_peer();
        }
        Close::Delayed | Close::Now => guard.closed_by_us(),
    }
}

/// Who closes a connection on which nothing more is served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedBy {
    Us,
    Peer,
}

/// A connection's protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codec {
    Http1,
    Http2,
}

/// What the client's first bytes make the connection; `None` where the time is over before they say.
async fn first_bytes(down: &mut H1Connection, hcm: &Hcm) -> Option<Codec> {
    match hcm.config.codec_type {
        CodecType::Http1 => return Some(Codec::Http1),
        CodecType::Http2 => return Some(Codec::Http2),
        CodecType::Auto => {}
    }
    let since = hcm.world.worker.now();
    poll_fn(|cx| {
        let deadline = hcm.idle_timeout().and_then(|d| since.checked_add(d));
        loop {
            match begins_http2(down.unread()) {
                Some(true) => return Poll::Ready(Some(Codec::Http2)),
                Some(false) => return Poll::Ready(Some(Codec::Http1)),
                None => {}
            }
            match down.poll_fill(cx) {
                Poll::Ready(Read::Bytes) => {}
                Poll::Ready(Read::Closed) => return Poll::Ready(Some(Codec::Http1)),
                Poll::Pending => {
                    return down.timer().poll(cx, hcm.world.worker.now(), deadline).map(|()| None);
                }
            }
        }
    })
    .await
}

/// `PRI * HTTP/2`
const SNIFF: usize = 12;

/// Whether a connection's first bytes are HTTP/2's preface, of which, as in Envoy, that much is enough; `None`: there
/// are too few to tell.
pub(super) fn begins_http2(bytes: &[u8]) -> Option<bool> {
    let wanted = PREFACE.get(..SNIFF).unwrap_or_default();
    let len = bytes.len().min(SNIFF);
    if bytes.get(..len) != wanted.get(..len) {
        return Some(false);
    }
    (len == SNIFF).then_some(true)
}

/// How a connection is closed from our side.
enum Close {
    /// At once: everything was sent and nothing is expected.
    Now,
    /// When the client closes or `delayed_close_timeout` has passed, so that a client that still sends reads
    /// its answer before it meets a reset.
    Delayed,
}

enum Idle {
    Readable,
    Close(Close),
}

/// Waits for a request's first byte, holding no buffer. A connection that was used is not closed at once when
/// its time is over: it drains, in case a request is on its way.
async fn idle(
    down: &mut H1Connection,
    hcm: &Hcm,
    connection: &ConnectionInfo,
    guard: &ConnectionGuard,
    served: u64,
) -> Idle {
    let timeouts = &hcm.config.timeouts;
    let since = hcm.world.worker.now();
    poll_fn(|cx| {
        if down.poll_readable(cx).is_ready() {
            return Poll::Ready(Idle::Readable);
        }
        let now = hcm.world.worker.now();
        loop {
            let idle_at = hcm.idle_timeout().and_then(|d| since.checked_add(d));
            let max_at = match guard.is_soft_draining() {
                true => None,
                false => hcm.max_duration_of(connection).and_then(|d| connection.accepted.checked_add(d)),
            };
            let drained_at = down.draining_since().and_then(|since| timeouts.drained_at(since, connection));
            let nearest = sooner(idle_at, max_at);
            let deadline = drained_at.or(nearest);
            if down.timer().poll(cx, now, deadline).is_pending() {
                break;
            }
            if drained_at.is_some() {
                return Poll::Ready(Idle::Close(Close::Delayed));
            }
            if max_at == deadline {
                hcm.stats.downstream_cx_max_duration_reached.inc();
            } else {
                hcm.stats.downstream_cx_idle_timeout.inc();
            }
            if served == 0 {
                return Poll::Ready(Idle::Close(Close::Now));
            }
            if max_at == deadline && timeouts.http1_safe_max_duration {
                guard.begin_soft_drain();
                continue;
            }
            down.begin_drain(now);
        }
        Poll::Pending
    })
    .await
}

/// Reads a request's head; `None` where the client closed without one.
async fn next_request(
    mut down: Box<H1Connection>,
    hcm: &Rc<Hcm>,
    connection: &Rc<ConnectionInfo>,
) -> Option<StreamStart<Box<H1Connection>>> {
    let mut heads = hcm.take_heads();
    let started = hcm.world.worker.now();
    if let Some(overload) = &hcm.overload
        && overload.points.http1_server_abort_dispatch.sheds(hcm.world.worker.rng())
    {
        let (connection, hcm, bad) = (Rc::clone(connection), Rc::clone(hcm), Some(BadHead::Shed));
        return Some(StreamStart { down, heads, end_stream: false, started, connection, hcm, bad });
    }
    let next = poll_fn(|cx| {
        let Heads { request, request_trailers, .. } = &mut *heads;
        if let Poll::Ready(next) = down.poll_head(cx, request, request_trailers) {
            return Poll::Ready(Ok(next));
        }
        // Most heads come as a whole: how long one may take is worked out for the others.
        let (deadline, late) = head_deadline(hcm, started);
        down.timer().poll(cx, hcm.world.worker.now(), deadline).map(|()| Err(late))
    })
    .await;
    let (end_stream, bad) = match next {
        Ok(NextHead::Head { end_stream }) => (end_stream, None),
        Ok(NextHead::Bad(error)) => {
            why::bad_head(hcm, connection, down.unread(), error);
            (false, Some(BadHead::Codec(error)))
        }
        Ok(NextHead::Closed) => {
            hcm.give_heads(heads);
            return None;
        }
        Ok(NextHead::Cut) => (false, Some(BadHead::Disconnected)),
        Err(late) => (false, Some(late)),
    };
    if !matches!(bad, Some(BadHead::Codec(_))) {
        connection.state.protocol.set(Some(heads.request.version));
    }
    if round_trip_wanted() {
        connection.state.round_trip.set(down.round_trip());
    }
    let (connection, hcm) = (Rc::clone(connection), Rc::clone(hcm));
    Some(StreamStart { down, heads, end_stream, started, connection, hcm, bad })
}

/// When a head that was begun at `started` has to be whole, and what it is where it is not.
#[cold]
fn head_deadline(hcm: &Hcm, started: Instant) -> (Option<Instant>, BadHead) {
    let timeouts = &hcm.config.timeouts;
    let after = |limit: Option<Duration>| limit.and_then(|d| started.checked_add(d));
    let head_at = after(timeouts.request_headers);
    let request_at = after(timeouts.request);
    let idle = hcm.timeout(Timer::StreamIdle, timeouts.stream_idle);
    let deadline = sooner(sooner(head_at, request_at), after(idle));
    let late = match deadline {
        at if at == head_at => BadHead::HeadersTimeout,
        at if at == request_at => BadHead::Timeout(Timeout::Request),
        _ => BadHead::Timeout(Timeout::StreamIdle),
    };
    (deadline, late)
}

/// Runs one stream in a slot that the worker lends.
async fn one_stream(
    mut start: StreamStart<Box<H1Connection>>,
    hcm: &Hcm,
    served: u64,
) -> (Box<H1Connection>, End, bool) {
    let config = &hcm.config;
    hcm.stats.downstream_rq_http1_total.inc();
    if config.max_requests_per_connection.is_some_and(|max| served >= max) {
        hcm.stats.downstream_cx_max_requests_reached.inc();
        start.down.close_after();
    }
    let mut slot = hcm.take_slot();
    slot.as_mut().start(start);
    let mut waited = false;
    let ended = poll_fn(|cx| {
        let polled = slot.as_mut().poll(cx);
        waited |= polled.is_pending();
        polled
    })
    .await;
    hcm.give_slot(slot);
    // A slot that was just started always ends with its stream's end.
    let Some(StreamEnd { down, heads, end, lingers, responded: _, upstream_failed: _ }) = ended else {
        unreachable!()
    };
    hcm.give_heads(heads);
    // As Envoy: what is answered while the head is decoded counts as a request of which more may come.
    (down, end, lingers || !waited)
}

/// Reads and throws away until the client closes or the time is over. As in Envoy, no FIN is sent before.
async fn delayed_close(down: &mut H1Connection, hcm: &Hcm, connection: &ConnectionInfo) -> ClosedBy {
    let Some(wait) = hcm.config.timeouts.delayed_close else { return ClosedBy::Us };
    let deadline = hcm.world.worker.now().checked_add(wait);
    let timed_out = poll_fn(|cx| {
        if down.timer().poll(cx, hcm.world.worker.now(), deadline).is_ready() {
            return Poll::Ready(true);
        }
        down.poll_discard(cx).map(|()| false)
    })
    .await;
    if timed_out {
        hcm.stats.downstream_cx_delayed_close_timeout.inc();
        connection.state.local_close.set(Some("triggered_delayed_close_timeout"));
        return ClosedBy::Us;
    }
    ClosedBy::Peer
}

/// Raises the connection gauges and lowers them when the connection is gone, whatever the reason.
pub(super) struct ConnectionGuard {
    hcm: Rc<Hcm>,
    connection: Rc<ConnectionInfo>,
    speaks: Cell<Option<Version>>,
    soft_draining: Cell<bool>,
}

impl ConnectionGuard {
    fn new(hcm: Rc<Hcm>, connection: Rc<ConnectionInfo>) -> Self {
        let stats = &hcm.stats;
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        stats.downstream_cx_rx_bytes_buffered.add(0);
        if connection.tls().is_some() {
            stats.downstream_cx_ssl_total.inc();
            stats.downstream_cx_ssl_active.inc();
        }
        Self { hcm, connection, speaks: Cell::new(None), soft_draining: Cell::new(false) }
    }

    /// The protocol is known.
    fn speaks(&self, version: Version) {
        let stats = &self.hcm.stats;
        self.speaks.set(Some(version));
        if version == Version::Http2 {
            stats.downstream_cx_http2_total.inc();
            stats.downstream_cx_http2_active.inc();
        } else {
            stats.downstream_cx_http1_total.inc();
            stats.downstream_cx_http1_active.inc();
        }
    }

    /// Its time is over: it ends with its next answer.
    fn begin_soft_drain(&self) {
        self.soft_draining.set(true);
        self.hcm.stats.downstream_cx_http1_soft_drain.inc();
    }

    fn is_soft_draining(&self) -> bool {
        self.soft_draining.get()
    }

    fn count_bytes(&self, down: &mut H1Connection) {
        let (rx, tx) = down.take_totals();
        self.hcm.stats.downstream_cx_rx_bytes_total.add(rx);
        self.hcm.stats.downstream_cx_tx_bytes_total.add(tx);
    }

    /// The peer closed while a stream was active.
    fn cut_by_peer(&self) {
        self.hcm.stats.downstream_cx_destroy_active_rq.inc();
        self.hcm.stats.downstream_cx_destroy_remote_active_rq.inc();
    }

    /// The peer closed it, unless a filter before the connection manager did.
    pub(super) fn closed_by_peer(&self) {
        if self.connection.state.local_close.get().is_some() {
            return self.closed_by_us();
        }
        self.left_by_peer();
    }

    /// The peer closed it while we waited for that, whatever made us wait.
    pub(super) fn left_by_peer(&self) {
        self.hcm.stats.downstream_cx_destroy_remote.inc();
    }

    pub(super) fn closed_by_us(&self) {
        self.hcm.stats.downstream_cx_destroy_local.inc();
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let stats = &self.hcm.stats;
        stats.downstream_cx_active.dec();
        if self.connection.tls().is_some() {
            stats.downstream_cx_ssl_active.dec();
        }
        match self.speaks.get() {
            Some(Version::Http2) => stats.downstream_cx_http2_active.dec(),
            Some(_) => stats.downstream_cx_http1_active.dec(),
            None => {}
        }
        if self.soft_draining.get() {
            stats.downstream_cx_http1_soft_drain.dec();
        }
        stats.downstream_cx_destroy.inc();
        let now = self.hcm.world.worker.now();
        let lived = now.saturating_duration_since(self.connection.accepted);
        stats.downstream_cx_length_ms.record(lived.as_millis() as u64);
    }
}
