//! One HTTP/2 downstream connection: a task that reads, polls the streams that have something to do, and writes once
//! per turn.

mod ends;
mod events;
mod link;
mod premature;
mod stream;
mod timers;

pub(super) use stream::{H2Stream, take_connect};

use super::Hcm;
use super::conn::{ClosedBy, ConnectionGuard};
use super::exchange::DownstreamError;
use super::live::H2Slot;
use super::stream::{End, Heads, StreamEnd};
use ends::reset_code;
use link::Link;
use nuncio_codec::h2::{Codec, Side, StreamKey};
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
use std::task::{Context, Poll};
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
        Over::Remote if driver.connection.state.local_close.get().is_some() => guard.closed_by_us(),
        Over::Remote => guard.closed_by_peer(),
        Over::Local => match poll_fn(|cx| driver.linger(cx)).await {
            ClosedBy::Us => guard.closed_by_us(),
            ClosedBy::Peer => guard.left_by_peer(),
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

/// Moves a gauge from what this connection added before to what it adds now.
fn gauge(gauge: &nuncio_core::stats::Gauge, seen: &mut u64, now: u64) {
    if now > *seen {
        gauge.add(now - *seen);
    } else if now < *seen {
        gauge.sub(*seen - now);
    }
    *seen = now;
}
