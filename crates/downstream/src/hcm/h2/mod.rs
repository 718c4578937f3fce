//! One HTTP/2 downstream connection: a task that reads, polls the streams that have something to do, and writes once
//! per turn.

mod link;
mod premature;
mod stream;

pub(super) use stream::take_connect;

pub(super) use stream::H2Stream;

use super::Hcm;
use super::conn::{ClosedBy, ConnectionGuard};
use super::exchange::DownstreamError;
use super::live::H2Slot;
use super::stream::{BadHead, End, Heads, StreamEnd, StreamStart};
use crate::why;
use link::Link;
use nuncio_codec::h2::{Codec, ConnectionError, ErrorCode, Event, Incoming, MessageError, Side, StreamKey};
use nuncio_codec::head::Version;
use nuncio_core::format::round_trip_wanted;
use nuncio_core::overload::Overload;
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag};
use nuncio_net::drain::DrainWatch;
use nuncio_net::inbuf::InBuf;
use nuncio_net::mailbox::{Mailbox, NumberedWaker};
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::LazyTimer;
use premature::PrematureResets;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What serves a connection until it ends.
struct Driver {
    input: InBuf,
    link: Rc<Link>,
    hcm: Rc<Hcm>,
    connection: Rc<ConnectionInfo>,
    /// By the slot of the stream's key.
    places: Vec<Place>,
    mailbox: Arc<Mailbox>,
    /// Streams that have something to do.
    ready: Vec<usize>,
    active: usize,
    served: u64,
    spare: Option<Box<Heads>>,
    timer: LazyTimer,
    /// Taken when it has told.
    drain: Option<DrainWatch>,
    /// Since when there is no stream.
    idle_since: Instant,
    premature: PrematureResets,
    /// No further stream is taken: the connection ends with the last one.
    shut: bool,
    over: Option<Over>,
    streams_seen: u64,
    waiting_seen: u64,
    /// The overload manager's generation that streams know.
    pressure_seen: u64,
    /// GOAWAY was sent on behalf of the overload manager.
    sent_go_away: bool,
}

/// Where one stream lives.
struct Place {
    slot: Option<H2Slot>,
    key: Option<StreamKey>,
    started: Instant,
    queued: bool,
    waker: NumberedWaker,
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The peer is gone.
    Remote,
    /// What is written goes out, and the peer may read it.
    Local,
    /// At once.
    Idle,
}

/// Serves a connection on which `input` has arrived already.
pub(super) async fn serve(
    io: Box<dyn ByteStream>,
    input: InBuf,
    hcm: Rc<Hcm>,
    connection: Rc<ConnectionInfo>,
    guard: &ConnectionGuard,
) {
    let now = hcm.world.worker.now();
    let codec = Codec::new(Side::Server, &hcm.config.h2, now);
    let mut driver = Driver {
        input,
        link: Link::new(io, codec),
        connection,
        places: Vec::new(),
        mailbox: Mailbox::new(),
        ready: Vec::new(),
        active: 0,
        served: 0,
        spare: None,
        timer: LazyTimer::new(),
        drain: Some(hcm.draining.watch()),
        idle_since: now,
        premature: PrematureResets::default(),
        shut: false,
        over: None,
        streams_seen: 0,
        waiting_seen: 0,
        pressure_seen: hcm.overload.as_ref().map_or(0, |overload| overload.generation()),
        sent_go_away: false,
        hcm,
    };
    // Envoy says which of its codecs serves a connection; ours stands for the one that is its default.
    driver.hcm.h2_codec_stats().nghttp2_downstream_connections.inc();
    driver.decode();
    match poll_fn(|cx| driver.turn(cx)).await {
        Over::Remote => guard.closed_by_peer(),
        Over::Local => match poll_fn(|cx| driver.linger(cx)).await {
            ClosedBy::Us => guard.closed_by_us(),
            ClosedBy::Peer => guard.closed_by_peer(),
        },
        Over::Idle => guard.closed_by_us(),
    }
}

impl Driver {
    /// One turn of the task.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.mailbox.register(cx.waker());
        self.link.state.borrow_mut().codec.lend(|| self.hcm.world.worker.buffers().take());
        loop {
            let read = self.over.is_none() && self.receive(cx);
            self.collect();
            let polled = self.poll_streams();
            let sent = self.send(cx);
            if self.shut && self.active == 0 {
                self.over.get_or_insert(Over::Local);
            }
            if let Some(over) = self.over {
                self.rest();
                return Poll::Ready(over);
            }
            if !(read || polled || sent || !self.ready.is_empty() || self.timers(cx)) {
                break;
            }
        }
        self.rest();
        if let Some(over) = self.over { Poll::Ready(over) } else { Poll::Pending }
    }

    /// Reads once and decodes what came; whether anything did.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        if self.link.state.borrow().codec.unsent().len() > OUT_LIMIT {
            return false;
        }
        match self.input.poll_fill(cx, &*self.link.io, self.hcm.world.worker.buffers()) {
            Poll::Pending => return false,
            Poll::Ready(Ok(n)) if n > 0 => self.hcm.stats.downstream_cx_rx_bytes_total.add(n as u64),
            Poll::Ready(_) => {
                self.over = Some(Over::Remote);
                self.end_all(&DownstreamError::Disconnected);
                return true;
            }
        }
        self.decode();
        true
    }

    fn decode(&mut self) {
        if let Some(overload) = self.hcm.overload.clone()
            && self.is_shed(&overload)
        {
            return;
        }
        let now = self.hcm.world.worker.now();
        while self.over.is_none() {
            let mut heads = self.spare.take().unwrap_or_else(|| self.hcm.take_heads());
            let link = Rc::clone(&self.link);
            let mut borrowed = link.state.borrow_mut();
            let state = &mut *borrowed;
            let Heads { request, request_trailers, .. } = &mut *heads;
            let unread = self.input.unread();
            let into = Incoming::Request(request);
            let decoded = match state.codec.decode(now, &self.hcm.config.h2, unread, into, request_trailers) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.spare = Some(heads);
                    drop(borrowed);
                    return self.failed(error);
                }
            };
            let (consumed, wire) = (decoded.consumed, u64::from(decoded.wire));
            match decoded.event {
                Event::More => {
                    self.input.consume(consumed);
                    self.spare = Some(heads);
                    return;
                }
                Event::Head { stream, end_stream } => {
                    state.open_inbox(stream, end_stream);
                    state.block_came(stream, wire);
                    self.input.consume(consumed);
                    drop(borrowed);
                    self.start(stream, heads, end_stream, now);
                    continue;
                }
                Event::Data { stream, at, end_stream } => {
                    if let Some(inbox) = state.inboxes.get_mut(stream.slot()) {
                        inbox.body.extend_from_slice(unread.get(at).unwrap_or_default());
                        inbox.bytes.wire_received += wire;
                        if end_stream {
                            inbox.end = link::End::Body;
                        }
                    }
                    mark(&mut self.places, &mut self.ready, stream.slot());
                }
                Event::Trailers { stream } => {
                    if let Some(inbox) = state.inboxes.get_mut(stream.slot()) {
                        std::mem::swap(&mut inbox.trailers, request_trailers);
                        inbox.end = link::End::Trailers;
                    }
                    state.block_came(stream, wire);
                    mark(&mut self.places, &mut self.ready, stream.slot());
                }
                Event::Metadata { stream, .. } => {
                    state.metadata_came(stream);
                    mark(&mut self.places, &mut self.ready, stream.slot());
                }
                Event::MetadataRefused { .. } => why::metadata_refused(&self.hcm, &self.connection),
                Event::Reset { stream, code } => {
                    let details = match code {
                        ErrorCode::REFUSED_STREAM => "http2.remote_refuse",
                        _ => "http2.remote_reset",
                    };
                    let flag = match code {
                        ErrorCode::PROTOCOL_ERROR => ResponseFlag::DownstreamProtocolError,
                        _ => ResponseFlag::DownstreamRemoteReset,
                    };
                    let gone = DownstreamError::Gone { flag, details: details.into() };
                    tell_gone(state, &mut self.places, &mut self.ready, stream, &gone);
                }
                Event::Failed { stream, error } => {
                    if let Some(error) = error {
                        why::refused_head(&self.hcm, &self.connection, error);
                    }
                    let gone = failed_stream(error);
                    tell_gone(state, &mut self.places, &mut self.ready, stream, &gone);
                }
                Event::Refused { error, .. } => {
                    self.input.consume(consumed);
                    self.spare = Some(heads);
                    drop(borrowed);
                    why::refused_head(&self.hcm, &self.connection, error);
                    self.log_refused(failed_stream(Some(error)));
                    continue;
                }
                Event::Informational { .. } | Event::Settings | Event::GoAway { .. } => {}
            }
            self.input.consume(consumed);
            self.spare = Some(heads);
        }
    }

    /// Gives a new stream its life.
    fn start(&mut self, key: StreamKey, mut heads: Box<Heads>, end_stream: bool, now: Instant) {
        let slot = key.slot();
        while self.places.len() <= slot {
            let waker = self.mailbox.waker(self.places.len());
            self.places.push(Place { slot: None, key: None, started: now, queued: false, waker });
        }
        self.count_request(now);
        let tunnel = stream::take_connect(&mut heads.request);
        let down = H2Stream::new(Rc::clone(&self.link), Some(key), None).tunnel(tunnel);
        let mut life = self.hcm.take_h2_slot();
        life.as_mut().start(self.birth(down, heads, end_stream, now, None));
        if let Some(place) = self.places.get_mut(slot) {
            (place.slot, place.key, place.started) = (Some(life), Some(key), now);
            self.active += 1;
        }
        mark(&mut self.places, &mut self.ready, slot);
    }

    fn birth(
        &self,
        down: H2Stream,
        heads: Box<Heads>,
        end_stream: bool,
        started: Instant,
        bad: Option<BadHead>,
    ) -> StreamStart<H2Stream> {
        if round_trip_wanted() {
            self.connection.state.round_trip.set(self.link.io.round_trip());
        }
        let (connection, hcm) = (Rc::clone(&self.connection), Rc::clone(&self.hcm));
        StreamStart { down, heads, end_stream, started, connection, hcm, bad }
    }

    fn count_request(&mut self, now: Instant) {
        self.served += 1;
        self.hcm.stats.downstream_rq_http2_total.inc();
        if self.hcm.config.max_requests_per_connection.is_some_and(|max| self.served >= max) {
            let draining = &mut self.link.state.borrow_mut();
            if draining.begin_drain(now) {
                self.hcm.stats.downstream_cx_max_requests_reached.inc();
            }
        }
    }

    /// A request that never became a stream has a line in the log all the same.
    fn log_refused(&mut self, gone: DownstreamError) {
        let now = self.hcm.world.worker.now();
        self.count_request(now);
        let mut heads = self.hcm.take_heads();
        heads.request.version = Version::Http2;
        let mut down = H2Stream::new(Rc::clone(&self.link), None, Some(gone));
        down.was_refused();
        let mut life = self.hcm.take_h2_slot();
        life.as_mut().start(self.birth(down, heads, false, now, Some(BadHead::Gone)));
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Some(end)) = life.as_mut().poll(&mut cx) {
            self.hcm.give_heads(end.heads);
        }
        self.hcm.give_h2_slot(life);
    }

    /// The connection cannot go on: its streams end with it.
    #[cold]
    fn failed(&mut self, error: ConnectionError) {
        if error == ConnectionError::KeepaliveTimeout {
            // Nobody has broken a rule.
            self.connection.state.local_close.set(Some("http2_ping_timeout"));
            self.over = Some(Over::Local);
            return self.end_all(&DownstreamError::Gone {
                flag: ResponseFlag::DownstreamConnectionTermination,
                details: "downstream_local_disconnect(http2_ping_timeout)".into(),
            });
        }
        self.hcm.stats.downstream_cx_protocol_error.inc();
        let text = error.to_string().replace(' ', "_");
        let gone = DownstreamError::Gone {
            flag: ResponseFlag::DownstreamProtocolError,
            details: format!("codec_error:{text}").into(),
        };
        why::broken_http2(&self.hcm, &self.connection, error, self.input.unread());
        if let Some((id, own)) = at_fault(error) {
            match self.places.iter().filter_map(|p| p.key).find(|key| key.id() == id) {
                Some(key) => {
                    let link = Rc::clone(&self.link);
                    tell_gone(&mut link.state.borrow_mut(), &mut self.places, &mut self.ready, key, &own);
                }
                None if matches!(error, ConnectionError::Message { .. }) => {
                    self.log_refused(own);
                    if self.active == 0 {
                        // To Envoy the refused one is a stream of the connection.
                        self.count_cut(&gone);
                    }
                }
                None => {}
            }
        }
        self.over = Some(Over::Local);
        self.end_all(&gone);
    }

    /// Tells every stream that nobody is left to answer, and lets it end.
    fn end_all(&mut self, gone: &DownstreamError) {
        let link = Rc::clone(&self.link);
        let keys: Vec<StreamKey> = self.places.iter().filter_map(|p| p.key).collect();
        if !keys.is_empty() {
            self.count_cut(gone);
        }
        for key in keys {
            tell_gone(&mut link.state.borrow_mut(), &mut self.places, &mut self.ready, key, gone);
        }
        self.poll_streams();
    }

    /// The connection ends with streams on it.
    fn count_cut(&self, gone: &DownstreamError) {
        self.hcm.stats.downstream_cx_destroy_active_rq.inc();
        match gone {
            DownstreamError::Disconnected => self.hcm.stats.downstream_cx_destroy_remote_active_rq.inc(),
            _ => self.hcm.stats.downstream_cx_destroy_local_active_rq.inc(),
        }
    }

    /// Notes who was woken from outside.
    fn collect(&mut self) {
        let known = self.ready.len();
        self.mailbox.take(&mut self.ready);
        let mut at = known;
        while let Some(&slot) = self.ready.get(at) {
            match self.places.get_mut(slot) {
                Some(place) if place.slot.is_some() && !place.queued => {
                    place.queued = true;
                    at += 1;
                }
                place => {
                    if let Some(place) = place {
                        place.waker.listen();
                    }
                    self.ready.swap_remove(at);
                }
            }
        }
    }

    /// Polls the streams that have something to do; whether there were any.
    fn poll_streams(&mut self) -> bool {
        let mut ready = std::mem::take(&mut self.ready);
        let any = !ready.is_empty();
        for slot in ready.drain(..) {
            let Some(place) = self.places.get_mut(slot) else { continue };
            place.queued = false;
            let mut cx = Context::from_waker(place.waker.listen());
            let Some(life) = &mut place.slot else { continue };
            if let Poll::Ready(end) = life.as_mut().poll(&mut cx) {
                self.ended(slot, end);
            }
        }
        // What was marked meanwhile is for the next round; the list's storage stays.
        if self.ready.is_empty() {
            self.ready = ready;
        }
        any
    }

    /// A stream's life is over.
    fn ended(&mut self, slot: usize, end: Option<StreamEnd<H2Stream>>) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let (life, key) = (place.slot.take(), place.key.take());
        let started = place.started;
        if let Some(life) = life {
            self.hcm.give_h2_slot(life);
        }
        self.active -= 1;
        let now = self.hcm.world.worker.now();
        if self.active == 0 {
            self.idle_since = now;
        }
        let Some(end) = end else { return };
        let reset = reset_code(&end);
        let StreamEnd { down, heads, end, responded, .. } = end;
        if end == End::Unread {
            self.hcm.h2_codec_stats().tx_flush_timeout.inc();
        }
        self.hcm.give_heads(heads);
        // Where the connection is over, its streams are without another word.
        if let Some(key) = key.filter(|_| self.over.is_none()) {
            self.link.state.borrow_mut().finish(key, reset, down.into_storage());
        }
        let lived = now.saturating_duration_since(started);
        let unanswered = end == End::Disconnected && !responded;
        if self.premature.ended(lived, unanswered, &self.hcm.world.runtime) && self.over.is_none() {
            self.hcm.stats.downstream_rq_too_many_premature_resets.inc();
            self.over = Some(Over::Local);
            self.end_all(&DownstreamError::Gone {
                flag: ResponseFlag::DownstreamProtocolError,
                details: "too_many_premature_resets".into(),
            });
        }
    }

    /// Sends what waits, and lets streams write that were waiting; whether there is more to do.
    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        let link = Rc::clone(&self.link);
        let mut borrowed = link.state.borrow_mut();
        let state = &mut *borrowed;
        let mut woken = false;
        loop {
            state.codec.fill();
            while let Some(key) = state.codec.take_writable() {
                mark(&mut self.places, &mut self.ready, key.slot());
                woken = true;
            }
            if state.codec.unsent().is_empty() {
                break;
            }
            match link.io.poll_write(cx, state.codec.unsent()) {
                Poll::Pending => {
                    if let Err(error) = state.codec.check_unsent()
                        && self.over.is_none()
                    {
                        drop(borrowed);
                        self.failed(error);
                        return false;
                    }
                    break;
                }
                Poll::Ready(Ok(n)) if n > 0 => {
                    state.codec.sent(n);
                    self.hcm.stats.downstream_cx_tx_bytes_total.add(n as u64);
                }
                Poll::Ready(_) => {
                    if self.over.is_none() {
                        self.over = Some(Over::Remote);
                        drop(borrowed);
                        self.end_all(&DownstreamError::Disconnected);
                    }
                    return false;
                }
            }
        }
        woken
    }

    /// Looks at what is due; whether something was.
    fn timers(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.hcm.world.worker.now();
        if self.drain.as_mut().is_some_and(|drain| drain.poll(cx).is_ready()) {
            self.drain = None;
            if self.hcm.draining() && self.link.state.borrow_mut().begin_drain(now) {
                self.hcm.stats.downstream_cx_drain_close.inc();
                return true;
            }
        }
        self.follow_pressure();
        let t = &self.hcm.config.timeouts;
        let idle_at =
            self.hcm.idle_timeout().filter(|_| self.active == 0).and_then(|d| self.idle_since.checked_add(d));
        let max_at =
            self.hcm.max_duration_of(&self.connection).and_then(|d| self.connection.accepted.checked_add(d));
        let (streams, codec, draining) = {
            let state = self.link.state.borrow();
            (state.next_deadline, state.codec.deadline(), state.draining)
        };
        let drained_at = draining.and_then(|since| t.drained_at(since, &self.connection));
        let drained_at = drained_at.filter(|_| !self.shut);
        let own = if draining.is_some() { drained_at } else { [idle_at, max_at].into_iter().flatten().min() };
        let deadline = [own, streams, codec].into_iter().flatten().min();
        if self.timer.poll(cx, now, deadline).is_pending() {
            return false;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(streams) {
            self.wake_due(now);
        }
        if due(codec) {
            let chance = self.hcm.world.worker.rng().next();
            let ticked = self.link.state.borrow_mut().codec.tick(now, chance);
            if let Err(error) = ticked {
                self.failed(error);
            }
        }
        if draining.is_some() {
            if due(drained_at) {
                self.shut_down();
            }
        } else if due(own) {
            if max_at == own {
                self.hcm.stats.downstream_cx_max_duration_reached.inc();
            } else {
                self.hcm.stats.downstream_cx_idle_timeout.inc();
            }
            if self.served == 0 {
                self.over = Some(Over::Idle);
            } else {
                self.link.state.borrow_mut().begin_drain(now);
            }
        }
        true
    }

    /// Where timers became shorter or longer, every stream looks at its own.
    fn follow_pressure(&mut self) {
        let Some(overload) = &self.hcm.overload else { return };
        let generation = overload.generation();
        if std::mem::replace(&mut self.pressure_seen, generation) != generation {
            for slot in 0..self.places.len() {
                mark(&mut self.places, &mut self.ready, slot);
            }
            self.poll_streams();
        }
    }

    /// Whether the overload manager ends the connection now, which was told of it before.
    #[cold]
    fn is_shed(&mut self, overload: &Overload) -> bool {
        let rng = self.hcm.world.worker.rng();
        if overload.points.http2_server_go_away_and_close_on_dispatch.sheds(rng) {
            self.link.state.borrow_mut().codec.shut_down();
            self.over = Some(Over::Local);
            self.end_all(&DownstreamError::Gone {
                flag: ResponseFlag::DownstreamConnectionTermination,
                details: "downstream_local_disconnect".into(),
            });
            return true;
        }
        if overload.points.http2_server_go_away_on_dispatch.sheds(rng) && !self.sent_go_away {
            self.sent_go_away = true;
            self.link.state.borrow_mut().codec.announce_shutdown();
        }
        false
    }

    /// The second step of the drain: no further stream is taken.
    fn shut_down(&mut self) {
        self.link.state.borrow_mut().codec.shut_down();
        self.shut = true;
    }

    /// Polls the streams whose deadlines have come.
    fn wake_due(&mut self, now: Instant) {
        let link = Rc::clone(&self.link);
        let state = &mut *link.state.borrow_mut();
        let mut next: Option<Instant> = None;
        for (slot, inbox) in state.inboxes.iter_mut().enumerate() {
            match inbox.deadline {
                Some(at) if at <= now => {
                    inbox.deadline = None;
                    mark(&mut self.places, &mut self.ready, slot);
                }
                Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                None => {}
            }
        }
        state.next_deadline = next;
    }

    /// Before a wait: buffers go back, and the stats say how things are.
    fn rest(&mut self) {
        let worker = &self.hcm.world.worker;
        self.input.release(worker.buffers());
        let state = &mut *self.link.state.borrow_mut();
        if let Some(buffer) = state.codec.take_buffer() {
            worker.buffers().give(buffer);
        }
        self.hcm.stats.downstream_cx_tx_bytes_total.add(std::mem::take(&mut state.written));
        let stats = self.hcm.h2_codec_stats();
        stats.add(state.codec.take_counters());
        gauge(&stats.streams_active, &mut self.streams_seen, state.codec.open_streams() as u64);
        gauge(&stats.pending_send_bytes, &mut self.waiting_seen, state.codec.waiting_bytes() as u64);
    }

    /// Sends what is left, then reads and throws away until the client closes or `delayed_close_timeout` has passed.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<ClosedBy> {
        let Some(wait) = self.hcm.config.timeouts.delayed_close else { return Poll::Ready(ClosedBy::Us) };
        let now = self.hcm.world.worker.now();
        if let Over::Local = self.over.unwrap_or(Over::Idle) {
            // The wait begins with the first call.
            (self.over, self.idle_since) = (None, now);
        }
        self.send(cx);
        if self.over.is_some() {
            return Poll::Ready(ClosedBy::Peer);
        }
        if self.timer.poll(cx, now, self.idle_since.checked_add(wait)).is_ready() {
            self.hcm.stats.downstream_cx_delayed_close_timeout.inc();
            return Poll::Ready(ClosedBy::Us);
        }
        loop {
            self.input.clear();
            match self.input.poll_fill(cx, &*self.link.io, self.hcm.world.worker.buffers()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(ClosedBy::Peer),
            }
        }
    }
}

/// With this much unsent, nothing more is read: what it would make us say has no room.
const OUT_LIMIT: usize = 256 * 1024;

impl Drop for Driver {
    fn drop(&mut self) {
        let stats = self.hcm.h2_codec_stats();
        stats.streams_active.sub(self.streams_seen);
        stats.pending_send_bytes.sub(self.waiting_seen);
        if let Ok(mut state) = self.link.state.try_borrow_mut() {
            stats.add(state.codec.take_counters());
        }
    }
}

/// What a stream ends with that did not come to its end; a response that ends before its request says so itself.
fn reset_code(end: &StreamEnd<H2Stream>) -> Option<ErrorCode> {
    // RFC 9113 section 8.5: a tunnel's client is told that its connection to the host failed.
    if end.down.is_tunnel() && end.upstream_failed && (end.end != End::Complete || end.lingers) {
        return Some(ErrorCode::CONNECT_ERROR);
    }
    matches!(end.end, End::Reset | End::Unread).then_some(ErrorCode::INTERNAL_ERROR)
}

/// A stream has something to do.
fn mark(places: &mut [Place], ready: &mut Vec<usize>, slot: usize) {
    if let Some(place) = places.get_mut(slot)
        && place.slot.is_some()
        && !place.queued
    {
        place.queued = true;
        ready.push(slot);
    }
}

/// Nobody is left to answer on the stream.
fn tell_gone(
    state: &mut link::State,
    places: &mut [Place],
    ready: &mut Vec<usize>,
    key: StreamKey,
    gone: &DownstreamError,
) {
    if let Some(inbox) = state.inboxes.get_mut(key.slot()) {
        inbox.gone.get_or_insert_with(|| gone.clone());
    }
    mark(places, ready, key.slot());
}

/// The stream that a connection fails for, and how it ends; the others end with the connection.
fn at_fault(error: ConnectionError) -> Option<(u32, DownstreamError)> {
    let (stream, details) = match error {
        ConnectionError::Message { stream, error } => return Some((stream, failed_stream(Some(error)))),
        ConnectionError::EmptyFramesFlood { stream } => (stream, "http2.inbound_empty_frames_flood"),
        ConnectionError::EmptyUpdate { stream: stream @ 1.. }
        | ConnectionError::Stray { stream: stream @ 1.. } => (stream, "http2.unknown.nghttp2.error"),
        _ => return None,
    };
    let flag = ResponseFlag::DownstreamProtocolError;
    Some((stream, DownstreamError::Gone { flag, details: details.into() }))
}

/// How a stream ends on which something came that cannot be taken.
fn failed_stream(error: Option<MessageError>) -> DownstreamError {
    let flag = match error {
        Some(error) if !error.is_malformed() => ResponseFlag::DownstreamRemoteReset,
        _ => ResponseFlag::DownstreamProtocolError,
    };
    DownstreamError::Gone { flag, details: error.map_or("http2.remote_reset", MessageError::details).into() }
}

/// Moves a gauge from what this connection added before to what it adds now.
fn gauge(gauge: &nuncio_core::stats::Gauge, seen: &mut u64, now: u64) {
    if now > *seen {
        gauge.add(now - *seen);
    } else if now < *seen {
        gauge.sub(*seen - now);
    }
    *seen = now;
}
