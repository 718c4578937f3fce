//! One HTTP/2 connection to a host: its state, which exchanges share, and the task that reads and writes it.

use crate::cluster::ClusterCore;
use crate::error::{Oddity, ResetReason};
use crate::pool::Load;
use crate::pool::connection::{ClosedBy, ConnectionCount};
use nuncio_codec::h2::{
    Codec, ConnectionError, ErrorCode, Event, Incoming, MessageError, Metadata, MetadataQueue, Place, Side,
    StreamKey,
};
use nuncio_codec::head::{HeaderMap, ResponseHead, Version};
use nuncio_core::format::header_bytes_wanted;
use nuncio_core::stream_info::{ByteCounts, UpstreamConnectionInfo};
use nuncio_core::why::Tongue;
use nuncio_net::inbuf::InBuf;
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::LazyTimer;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Shared by the pool, the exchanges and the task; borrowed for one call at a time.
pub(in crate::pool) struct Http2Connection {
    pub(super) info: Rc<UpstreamConnectionInfo>,
    pub(super) core: Rc<ClusterCore>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) codec: Codec,
    pub(super) io: Box<dyn ByteStream>,
    input: InBuf,
    pub(super) inboxes: Vec<Inbox>,
    /// Taken when the connection is closed.
    count: Option<ConnectionCount>,
    /// Streams that were given out and are not open yet.
    pub(super) reserved: usize,
    /// It takes no further stream, and ends with the last one.
    pub(super) last: bool,
    /// What the host said ended the last stream that has ended.
    pub(super) ended_by_host: bool,
    /// A write failed: what the peer said before is still to be read, and then reading says that it closed.
    write_failed: bool,
    /// Why it is closed.
    pub(super) closed: Option<Failure>,
    idle_since: Instant,
    /// When it is too old for further streams.
    too_old_at: Option<Instant>,
    task: Option<Waker>,
    woken: bool,
    spare: ResponseHead,
    spare_trailers: HeaderMap,
    seen_streams: u64,
    seen_waiting: u64,
}

/// Why a stream ended early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) reason: ResetReason,
    pub(super) details: Option<&'static str>,
    pub(super) oddity: Option<Oddity>,
}

impl Failure {
    pub(super) fn new(reason: ResetReason) -> Self {
        Self { reason, details: None, oddity: None }
    }
}

/// What came of a response's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Head {
    #[default]
    None,
    Informational,
    Final {
        end_stream: bool,
    },
}

/// Whether the response has come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    NotYet,
    /// Behind the body that is there.
    Body,
    /// Behind the body that is there, with trailers.
    Trailers,
}

/// What has come for a stream and was not read. Its storage serves one stream after another.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) waker: Option<Waker>,
    pub(super) head: ResponseHead,
    pub(super) head_state: Head,
    /// The first 1xx that is looked at, until it is read: what follows may come with it.
    pub(super) interim: Option<Box<ResponseHead>>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
    pub(super) end: End,
    pub(super) metadata: MetadataQueue,
    pub(super) failed: Option<Failure>,
    /// What was received.
    pub(super) bytes: ByteCounts,
}

/// How often a connection is read before its streams have their turn.
const READS_PER_TURN: usize = 8;

/// Storage above this many bytes does not stay with an inbox.
const KEEP_BYTES: usize = 16 * 1024;

impl Inbox {
    fn reset(&mut self) {
        self.waker = None;
        self.head.clear();
        self.head_state = Head::None;
        self.interim = None;
        self.body.clear();
        self.body.shrink_to(KEEP_BYTES);
        self.trailers.clear();
        self.end = End::NotYet;
        self.metadata.clear();
        self.failed = None;
        self.bytes = ByteCounts::default();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl State {
    /// Streams that are open or promised.
    pub(super) fn used(&self) -> usize {
        self.codec.open_streams() + self.reserved
    }

    /// Sees to it that the task writes what was encoded.
    #[inline]
    pub(super) fn wake_task(&mut self) {
        if !self.woken {
            self.woken = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// An empty inbox for a new stream.
    pub(super) fn open_inbox(&mut self, key: StreamKey) {
        while self.inboxes.len() <= key.slot() {
            self.inboxes.push(Inbox::default());
        }
        if let Some(inbox) = self.inboxes.get_mut(key.slot()) {
            inbox.reset();
        }
    }

    /// The exchange of a stream is over; `data` is the storage that it had of its inbox.
    pub(super) fn finish(&mut self, key: StreamKey, reset: Option<ErrorCode>, now: Instant, data: Vec<u8>) {
        if let Some(inbox) = self.inboxes.get_mut(key.slot()) {
            inbox.waker = None;
            if inbox.body.capacity() == 0 && data.capacity() <= KEEP_BYTES {
                inbox.body = data;
                inbox.body.clear();
            }
        }
        self.codec.finish(key, reset);
        self.released(now);
    }

    /// A stream, or the promise of one, is gone.
    pub(super) fn released(&mut self, now: Instant) {
        if self.used() == 0 {
            self.idle_since = now;
        }
        self.wake_task();
    }

    fn fail(&mut self, key: StreamKey, failure: Failure) {
        if let Some(inbox) = self.inboxes.get_mut(key.slot()) {
            inbox.failed.get_or_insert(failure);
            inbox.wake();
        }
    }

    /// METADATA has come for the stream.
    #[cold]
    fn metadata_came(&mut self, key: StreamKey, before_head: bool, metadata: Metadata) {
        let Some(inbox) = self.inboxes.get_mut(key.slot()) else { return };
        let place = if before_head { Place::BeforeHead } else { Place::Behind(inbox.body.len()) };
        inbox.metadata.push(place, metadata);
        inbox.wake();
    }

    fn inbox(&mut self, key: StreamKey) -> Option<&mut Inbox> {
        self.inboxes.get_mut(key.slot())
    }
}

impl Http2Connection {
    pub(super) fn new(io: Box<dyn ByteStream>, count: ConnectionCount, now: Instant) -> Rc<Self> {
        let core = Rc::clone(&count.core);
        let info = Rc::new(UpstreamConnectionInfo {
            id: core.worker.next_connection_id(),
            local: io.local_address().clone(),
            peer: io.peer_address().clone(),
            protocol: Some(Version::Http2),
            connect_begin: count.born(),
            connect_end: now,
            tls: count.tls.clone(),
        });
        let state = State {
            codec: Codec::new(Side::Client, &core.config().http.h2, now),
            io,
            input: InBuf::default(),
            inboxes: Vec::new(),
            count: Some(count),
            reserved: 0,
            last: false,
            ended_by_host: false,
            write_failed: false,
            closed: None,
            idle_since: now,
            too_old_at: core.config().http.too_old_at(now, core.worker.rng()),
            task: None,
            woken: false,
            spare: ResponseHead::default(),
            spare_trailers: HeaderMap::new(),
            seen_streams: 0,
            seen_waiting: 0,
        };
        Rc::new(Self { info, core, state: RefCell::new(state) })
    }

    /// Promises a stream, if one can be had.
    pub(super) fn reserve(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        if state.last || state.closed.is_some() || self.room(state) == 0 {
            return false;
        }
        let http = &self.core.config().http;
        state.reserved += 1;
        if let Some(count) = &mut state.count {
            let requests = count.begin_request();
            if http.max_requests.is_some_and(|max| requests >= u64::from(max)) {
                self.core.stats.upstream_cx_max_requests.inc();
                state.last = true;
            }
        }
        true
    }

    /// Its streams, and how many more it may be asked for.
    pub(super) fn load(&self) -> Load {
        let state = self.state.borrow();
        let open = !state.last && state.closed.is_none();
        Load { pending: 0, active: state.used(), room: if open { self.room(&state) } else { 0 } }
    }

    /// Streams that may be promised: up to the smaller of the configured and the peer's limit.
    fn room(&self, state: &State) -> usize {
        let own = self.core.config().http.h2.max_concurrent_streams as usize;
        let openable = state.codec.openable().min(own.saturating_sub(state.codec.open_streams()));
        openable.saturating_sub(state.reserved)
    }

    /// Gives a promise back.
    pub(in crate::pool) fn unreserve(&self) {
        let state = &mut *self.state.borrow_mut();
        state.reserved = state.reserved.saturating_sub(1);
        state.released(self.core.worker.now());
    }

    /// Nobody will ask for streams any more: it ends with the last one.
    pub(super) fn abandon(&self) {
        let state = &mut *self.state.borrow_mut();
        state.last = true;
        state.wake_task();
    }

    /// Whether it is over.
    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().closed.is_some()
    }

    /// Whether it had served requests before the present one.
    pub(super) fn reused(&self) -> bool {
        self.state.borrow().count.as_ref().is_some_and(|c| c.requests() > 1)
    }

    /// One turn of the task; ready when the connection is closed. `freed` is called, with nothing borrowed, when
    /// streams may have become available.
    pub(super) fn turn(&self, cx: &mut Context<'_>, timer: &mut LazyTimer, freed: impl Fn()) -> Poll<()> {
        {
            let state = &mut *self.state.borrow_mut();
            state.woken = false;
            if !state.task.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                state.task = Some(cx.waker().clone());
            }
            let mut reads = 0;
            while state.closed.is_none() && self.receive(state, cx) {
                reads += 1;
                if reads == READS_PER_TURN {
                    // Those whom it is for take it away first, while it is in the processor's cache.
                    cx.waker().wake_by_ref();
                    break;
                }
            }
            self.send(state, cx);
            if let Err(error) = state.codec.check_unsent()
                && state.closed.is_none()
            {
                self.broken(state, error, cx);
            }
            self.timers(state, cx, timer);
            if state.last && state.used() == 0 && state.codec.held_streams() == 0 {
                let by = if state.write_failed { ClosedBy::Remote } else { ClosedBy::Local };
                if state.closed.is_none() && state.ended_by_host {
                    // Envoy closes it while it decodes, and takes that for an error of what it decodes.
                    self.core.stats.upstream_cx_protocol_error.inc();
                }
                self.close(state, by, Failure::new(ResetReason::ConnectionTermination));
            }
            self.rest(state);
        }
        freed();
        if self.state.borrow().closed.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads once and decodes what came; whether anything did.
    fn receive(&self, state: &mut State, cx: &mut Context<'_>) -> bool {
        match state.input.poll_fill(cx, &*state.io, self.core.worker.buffers()) {
            Poll::Pending => return false,
            Poll::Ready(Ok(n)) if n > 0 => self.core.stats.upstream_cx_rx_bytes_total.add(n as u64),
            Poll::Ready(_) => {
                self.close(state, ClosedBy::Remote, Failure::new(ResetReason::ConnectionTermination));
                return false;
            }
        }
        let now = self.core.worker.now();
        loop {
            let State { codec, input, spare, spare_trailers, .. } = &mut *state;
            let options = &self.core.config().http.h2;
            let into = Incoming::Response(spare);
            let decoded = match codec.decode(now, options, input.unread(), into, spare_trailers) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.broken(state, error, cx);
                    return false;
                }
            };
            let more = decoded.event == Event::More;
            self.deliver(state, decoded.event, decoded.wire);
            state.input.consume(decoded.consumed);
            if more {
                return true;
            }
        }
    }

    fn deliver(&self, state: &mut State, event: Event, wire: u32) {
        let bytes = u64::from(wire);
        let text = if header_bytes_wanted() { state.codec.block_text() } else { 0 };
        match event {
            Event::More | Event::Settings | Event::Refused { .. } => {}
            Event::Head { stream, end_stream } => {
                let State { inboxes, spare, .. } = state;
                let Some(inbox) = heard(inboxes, stream) else { return };
                std::mem::swap(&mut inbox.head, spare);
                inbox.head_state = Head::Final { end_stream };
                inbox.bytes.received_block(bytes, text);
                inbox.wake();
            }
            Event::Informational { stream } => {
                let State { inboxes, spare, .. } = state;
                let Some(inbox) = heard(inboxes, stream) else { return };
                if inbox.interim.is_none() && spare.is_passed_on_early() {
                    inbox.interim = Some(Box::new(std::mem::take(spare)));
                    inbox.head_state = Head::Informational;
                }
                inbox.bytes.received_block(bytes, text);
                inbox.wake();
            }
            Event::Data { stream, at, end_stream } => {
                let State { inboxes, input, .. } = state;
                let Some(inbox) = heard(inboxes, stream) else { return };
                inbox.body.extend_from_slice(input.unread().get(at).unwrap_or_default());
                inbox.bytes.wire_received += bytes;
                if end_stream {
                    inbox.end = End::Body;
                }
                inbox.wake();
            }
            Event::Trailers { stream } => {
                let State { inboxes, spare_trailers, .. } = state;
                let Some(inbox) = heard(inboxes, stream) else { return };
                std::mem::swap(&mut inbox.trailers, spare_trailers);
                inbox.end = End::Trailers;
                inbox.bytes.received_block(bytes, text);
                inbox.wake();
            }
            Event::Reset { stream, code } => {
                let reason = match code {
                    ErrorCode::REFUSED_STREAM => ResetReason::RemoteRefusedStreamReset,
                    ErrorCode::CONNECT_ERROR => ResetReason::ConnectError,
                    ErrorCode::PROTOCOL_ERROR => ResetReason::ProtocolError,
                    _ => ResetReason::RemoteReset,
                };
                match reason {
                    ResetReason::RemoteReset => self.core.stats.upstream_rq_rx_reset.inc(),
                    ResetReason::ProtocolError => self.core.stats.upstream_rq_tx_reset.inc(),
                    // Envoy counts neither here.
                    _ => {}
                }
                let complete = state.inbox(stream).is_some_and(|inbox| {
                    inbox.bytes.wire_received += bytes;
                    inbox.end != End::NotYet
                });
                if !complete {
                    state.fail(stream, Failure::new(reason));
                }
            }
            Event::Failed { stream, error } => {
                let details = error.map(|e| e.details());
                // As in Envoy, headers beyond a limit are a reset like the host's own.
                let reason = match error {
                    Some(MessageError::TooManyHeaders | MessageError::HeadersTooLarge) => {
                        self.core.stats.upstream_rq_rx_reset.inc();
                        ResetReason::RemoteReset
                    }
                    _ => {
                        self.core.stats.upstream_cx_protocol_error.inc();
                        self.core.stats.upstream_rq_tx_reset.inc();
                        ResetReason::ProtocolError
                    }
                };
                state.fail(stream, Failure { details, ..Failure::new(reason) });
            }
            Event::GoAway { last, .. } => self.go_away(state, last),
            Event::Metadata { stream, before_head } => {
                if let Some(metadata) = state.codec.take_metadata() {
                    state.metadata_came(stream, before_head, metadata);
                }
            }
            Event::MetadataRefused { stream } => state.metadata_came(stream, false, Metadata::refused()),
        }
    }

    /// The peer looks at no stream above `last`: those may go elsewhere, the others go on.
    fn go_away(&self, state: &mut State, last: u32) {
        if !state.last {
            self.core.stats.upstream_cx_close_notify.inc();
        }
        state.last = true;
        let refused: Vec<StreamKey> = state.codec.streams().filter(|key| key.id() > last).collect();
        for key in refused {
            state.fail(key, Failure::new(ResetReason::RemoteRefusedStreamReset));
        }
    }

    /// What the peer sends is not HTTP/2.
    #[cold]
    fn broken(&self, state: &mut State, error: ConnectionError, cx: &mut Context<'_>) {
        // What is to be said about it goes out if the socket takes it now.
        self.send(state, cx);
        let (reason, details) = match error {
            ConnectionError::KeepaliveTimeout | ConnectionError::SettingsTimeout => {
                (ResetReason::ConnectionTermination, None)
            }
            ConnectionError::Message { error, .. } => (ResetReason::ProtocolError, Some(error.details())),
            _ => (ResetReason::ProtocolError, Some("http2.codec_error")),
        };
        if reason == ResetReason::ProtocolError {
            self.core.stats.upstream_cx_protocol_error.inc();
        }
        let tongue = Tongue::of_server(state.input.unread()).filter(|tongue| *tongue != Tongue::Http2);
        self.close(state, ClosedBy::Local, Failure { reason, details, oddity: tongue.map(Oddity::Speaks) });
    }

    /// Sends what waits, and lets exchanges write that were waiting.
    fn send(&self, state: &mut State, cx: &mut Context<'_>) {
        while !state.write_failed {
            state.codec.fill();
            while let Some(key) = state.codec.take_writable() {
                if let Some(inbox) = state.inboxes.get(key.slot()) {
                    inbox.wake();
                }
            }
            if state.codec.unsent().is_empty() {
                return;
            }
            match state.io.poll_write(cx, state.codec.unsent()) {
                Poll::Pending => return,
                Poll::Ready(Ok(n)) if n > 0 => {
                    state.codec.sent(n);
                    self.core.stats.upstream_cx_tx_bytes_total.add(n as u64);
                }
                // It takes no further stream either.
                Poll::Ready(_) => (state.write_failed, state.last) = (true, true),
            }
        }
    }

    fn timers(&self, state: &mut State, cx: &mut Context<'_>, timer: &mut LazyTimer) {
        let http = &self.core.config().http;
        let now = self.core.worker.now();
        loop {
            let idle = state.used() == 0;
            let idle_at = http.idle_timeout.filter(|_| idle).and_then(|d| state.idle_since.checked_add(d));
            let max_at = state.too_old_at.filter(|_| !state.last);
            let codec = state.codec.deadline();
            let deadline = [idle_at, max_at, codec].into_iter().flatten().min();
            if state.closed.is_some() || timer.poll(cx, now, deadline).is_pending() {
                return;
            }
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if due(codec) {
                let chance = self.core.worker.rng().next();
                if let Err(error) = state.codec.tick(now, chance) {
                    self.broken(state, error, cx);
                } else {
                    self.send(state, cx);
                }
            }
            if due(max_at) {
                self.core.stats.upstream_cx_max_duration_reached.inc();
                state.last = true;
            } else if due(idle_at) {
                self.core.stats.upstream_cx_idle_timeout.inc();
                self.close(state, ClosedBy::Local, Failure::new(ResetReason::ConnectionTermination));
            }
        }
    }

    /// The connection is over: whoever has a stream on it is told.
    fn close(&self, state: &mut State, by: ClosedBy, mut failure: Failure) {
        if state.closed.is_some() {
            return;
        }
        if by == ClosedBy::Remote && !state.codec.peer_spoke() {
            failure.oddity = Some(Oddity::Silent);
        }
        state.closed = Some(failure);
        let keys: Vec<StreamKey> = state.codec.streams().collect();
        let mut cut = state.reserved > 0;
        let broken = failure.reason == ResetReason::ProtocolError;
        for key in keys {
            if let Some(inbox) = state.inbox(key).filter(|inbox| inbox.end == End::NotYet) {
                self.core.stats.upstream_rq_tx_reset.add(u64::from(broken));
                let ended = matches!(inbox.head_state, Head::Final { end_stream: true });
                cut |= !ended && inbox.waker.is_some();
            }
            state.fail(key, failure);
        }
        if let Some(mut count) = state.count.take() {
            // A broken rule ends the streams before the connection, so that none of them counts as cut by its end.
            count.closed(by, cut && !broken);
        }
    }

    /// Before a wait: buffers go back, and the stats say how things are.
    fn rest(&self, state: &mut State) {
        let buffers = self.core.worker.buffers();
        state.input.release(buffers);
        if let Some(buffer) = state.codec.take_buffer() {
            buffers.give(buffer);
        }
        let closed = state.closed.is_some();
        let stats = self.core.http2_stats();
        stats.add(state.codec.take_counters());
        let (streams, waiting) = if closed {
            (0, 0)
        } else {
            (state.codec.open_streams() as u64, state.codec.waiting_bytes() as u64)
        };
        stats.streams_active.add(streams.saturating_sub(state.seen_streams));
        stats.streams_active.sub(state.seen_streams.saturating_sub(streams));
        stats.pending_send_bytes.add(waiting.saturating_sub(state.seen_waiting));
        stats.pending_send_bytes.sub(state.seen_waiting.saturating_sub(waiting));
        (state.seen_streams, state.seen_waiting) = (streams, waiting);
    }
}

/// The inbox of a stream that has not failed: what comes behind a GOAWAY that refuses a stream is for nobody.
#[inline]
fn heard(inboxes: &mut [Inbox], stream: StreamKey) -> Option<&mut Inbox> {
    inboxes.get_mut(stream.slot()).filter(|inbox| inbox.failed.is_none())
}
