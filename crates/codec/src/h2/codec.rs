//! One connection: its state, what is done about time, and how it ends.

use super::error::{ConnectionError, ErrorCode};
use super::flood::Budgets;
use super::frame::{self, FrameHeader, MAX_31, PREFACE, flag, kind};
use super::hpack::{DEFAULT_TABLE_SIZE, Decoder, Encoder};
use super::metadata::Maps;
use super::options::{Keepalive, Options};
use super::receive::{Block, Reading};
use super::streams::{Owner, Receive, Send, StreamKey, Streams};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It takes requests.
    Server,
    /// It makes them.
    Client,
}

/// What happened since the counters were last taken, under the names of Envoy's `http2.` stats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Envoy's, whose documentation says what each counts")]
pub struct Counters {
    pub dropped_headers_with_underscores: u32,
    pub goaway_sent: u32,
    pub header_overflow: u32,
    pub headers_cb_no_stream: u32,
    pub inbound_empty_frames_flood: u32,
    pub inbound_priority_frames_flood: u32,
    pub inbound_window_update_frames_flood: u32,
    pub keepalive_timeout: u32,
    pub metadata_empty_frames: u32,
    pub outbound_control_flood: u32,
    pub outbound_flood: u32,
    pub requests_rejected_with_underscores_in_headers: u32,
    pub rx_messaging_error: u32,
    pub rx_reset: u32,
    pub stream_refused_errors: u32,
    pub trailers: u32,
    pub tx_reset: u32,
}

/// What the peer lets us do.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerSettings {
    pub(super) initial_window: u32,
    pub(super) max_concurrent_streams: u32,
    pub(super) connect_protocol: bool,
    pub(super) seen: bool,
}

/// Bytes of a WINDOW_UPDATE.
const WINDOW_UPDATE: u64 = frame::HEADER as u64 + 4;

/// Streams that we reset lately: what the peer had sent before it knew is dropped.
const REMEMBERED_RESETS: usize = 64;

/// The HTTP/2 state of one connection.
#[derive(Debug)]
pub struct Codec {
    pub(super) side: Side,
    pub(super) reading: Reading,
    /// The header block that is coming, in more than one frame.
    pub(super) block: Option<Block>,
    pub(super) fragments: Vec<u8>,
    /// Bytes of the present frame that no event has told of.
    pub(super) counted: u32,
    /// Of the last header block that was decoded.
    pub(super) block_text: usize,
    pub(super) cookies: Vec<u8>,
    pub(super) streams: Streams,
    /// Streams that are not over.
    pub(super) open: usize,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) budgets: Budgets,
    pub(super) counters: Counters,
    pub(super) peer: PeerSettings,
    /// How much the peer may still send on all streams, what is its most, and what was consumed and not told.
    pub(super) receive_window: i64,
    window_size: u32,
    untold: u32,
    pub(super) stream_window: u32,
    pub(super) send_window: i64,
    pub(super) out: Vec<u8>,
    out_at: usize,
    /// Streams that wait for their turn to write.
    pub(super) ready: VecDeque<StreamKey>,
    /// Streams whose callers may write again.
    pub(super) writable: Vec<StreamKey>,
    pub(super) waiting_bytes: usize,
    /// The id of the next stream of a client.
    pub(super) next_id: u32,
    /// The highest id that the peer has opened.
    pub(super) last_peer: u32,
    /// The last id that our GOAWAY lets in.
    pub(super) last_taken: Option<u32>,
    /// The last id that the peer's lets in.
    pub(super) last_allowed: Option<u32>,
    resets: VecDeque<u32>,
    pub(super) settings_acked: bool,
    settings_deadline: Option<Instant>,
    keepalive: Option<Keepalive>,
    ping: Ping,
    last_frame: Instant,
    table_size: u32,
    /// A malformed message ends its stream alone.
    pub(super) spare_connection: bool,
    /// METADATA has come where it is not allowed.
    pub(super) refused_metadata: bool,
    /// Where METADATA is allowed.
    pub(super) maps: Option<Box<Maps>>,
}

/// Where the keepalive stands.
#[derive(Clone, Copy, Debug)]
enum Ping {
    /// None is out; the next is due then.
    Next(Option<Instant>),
    /// One is out; its answer is due then.
    Out(Instant),
}

/// What our keepalive's PINGs carry, so that other PINGs' answers are not taken for theirs.
const KEEPALIVE: [u8; 8] = *b"nuncioka";

impl Codec {
    /// The state of a fresh connection: the client's preface, SETTINGS and WINDOW_UPDATE wait to be sent.
    pub fn new(side: Side, options: &Options, now: Instant) -> Self {
        let mut codec = Self {
            side,
            reading: if side == Side::Server { Reading::Preface } else { Reading::Frame },
            block: None,
            fragments: Vec::new(),
            counted: 0,
            block_text: 0,
            cookies: Vec::new(),
            streams: Streams::default(),
            open: 0,
            decoder: Decoder::new(DEFAULT_TABLE_SIZE.max(options.hpack_table_size)),
            encoder: Encoder::new(options.hpack_table_size),
            budgets: Budgets::new(options.flood),
            counters: Counters::default(),
            peer: PeerSettings {
                initial_window: 65_535,
                max_concurrent_streams: u32::MAX,
                connect_protocol: false,
                seen: false,
            },
            receive_window: i64::from(options.initial_connection_window.max(65_535)),
            window_size: options.initial_connection_window.max(65_535),
            untold: 0,
            stream_window: options.initial_stream_window,
            send_window: 65_535,
            out: Vec::new(),
            out_at: 0,
            ready: VecDeque::new(),
            writable: Vec::new(),
            waiting_bytes: 0,
            next_id: 1,
            last_peer: 0,
            last_taken: None,
            last_allowed: None,
            resets: VecDeque::new(),
            settings_acked: false,
            settings_deadline: now.checked_add(options.settings_timeout),
            keepalive: options.keepalive,
            ping: Ping::Next(None),
            last_frame: now,
            table_size: options.hpack_table_size,
            spare_connection: options.stream_error_on_invalid_message,
            refused_metadata: false,
            maps: options.metadata.map(Maps::new),
        };
        codec.greet(options);
        codec.ping = Ping::Next(codec.keepalive.and_then(|k| now.checked_add(k.interval?)));
        codec
    }

    /// What both sides send first, in Envoy's order.
    fn greet(&mut self, options: &Options) {
        if self.side == Side::Client {
            self.out.extend_from_slice(PREFACE);
        }
        let mut settings = Vec::with_capacity(6 * (5 + options.custom_settings.len()));
        let mut put = |id: u16, value: u32| {
            settings.extend_from_slice(&id.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        };
        if self.side == Side::Client {
            put(2, 0);
        }
        for &(id, value) in &options.custom_settings {
            put(id, value);
        }
        put(1, options.hpack_table_size);
        put(8, u32::from(options.allow_connect));
        put(3, options.max_concurrent_streams);
        put(4, options.initial_stream_window);
        self.frame(kind::SETTINGS, 0, 0, &settings);
        if self.side == Side::Client {
            self.announce_window();
        }
    }

    /// Says how large the connection's window is, where it is not the usual one. A server does so behind its
    /// acknowledgement of the client's SETTINGS, as Envoy.
    pub(super) fn announce_window(&mut self) {
        if self.window_size > 65_535 {
            self.window_update(0, self.window_size - 65_535);
        }
    }

    /// Whether nothing was received of the peer's SETTINGS yet.
    pub fn awaits_settings(&self) -> bool {
        !self.peer.seen
    }

    /// The bytes that wait to be sent.
    #[inline]
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.out_at..).unwrap_or_default()
    }

    /// So many of them were.
    #[inline]
    pub fn sent(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        let end = self.out_at + n;
        if end >= self.out.len() {
            self.out.clear();
            self.out_at = 0;
            (self.budgets.outbound, self.budgets.outbound_control) = (0, 0);
        } else {
            self.out_at = end;
            self.recount();
        }
    }

    /// Counts the frames that are still to be sent, one of which may have begun.
    #[cold]
    fn recount(&mut self) {
        // Frames are found from the beginning, where the preface may stand.
        let mut at = if self.out.starts_with(PREFACE) { PREFACE.len() } else { 0 };
        let (mut all, mut control) = (0, 0);
        let mut whole = 0;
        while let Some(header) = FrameHeader::read(self.out.get(at..).unwrap_or_default()) {
            let next = at + frame::HEADER + header.len;
            if next > self.out_at {
                all += 1;
                control += u32::from(frame::is_control(header.kind));
            } else {
                whole = next;
            }
            at = next;
        }
        (self.budgets.outbound, self.budgets.outbound_control) = (all, control);
        // What was sent leaves the buffer, so that it is not counted again.
        if whole > 0 {
            self.out.drain(..whole);
            self.out_at -= whole;
        }
    }

    /// Takes a buffer for output, where the codec has none of its own.
    #[inline]
    pub fn lend(&mut self, take: impl FnOnce() -> Vec<u8>) {
        if self.out.capacity() == 0 {
            self.out = take();
        }
    }

    /// Gives the output buffer back, if nothing waits in it.
    #[inline]
    pub fn take_buffer(&mut self) -> Option<Vec<u8>> {
        (self.out.capacity() > 0 && self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// Whether more waits to be sent than may; asked where a write left some of it.
    ///
    /// # Errors
    /// It does, and the connection must end.
    #[inline]
    pub fn check_unsent(&mut self) -> Result<(), ConnectionError> {
        self.budgets.outbound().map_err(|error| self.fail(error))
    }

    /// Bytes of the names and values in the header block that was decoded last, up to the first that was at fault.
    pub fn block_text(&self) -> u64 {
        self.block_text as u64
    }

    /// What happened since the last call.
    #[inline]
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Streams that are not over.
    #[inline]
    pub fn open_streams(&self) -> usize {
        self.open
    }

    /// Streams that are not released.
    #[inline]
    pub fn held_streams(&self) -> usize {
        self.streams.len()
    }

    /// The streams that are not released.
    pub fn streams(&self) -> impl Iterator<Item = StreamKey> {
        self.streams.keys()
    }

    /// Body bytes that wait for windows or their turn, of all streams.
    #[inline]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether the peer takes extended CONNECT (RFC 8441).
    pub fn peer_takes_connect(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Whether the peer's first SETTINGS have come.
    pub fn peer_spoke(&self) -> bool {
        self.peer.seen
    }

    /// How many more streams a client can open now.
    #[inline]
    pub fn openable(&self) -> usize {
        if self.last_allowed.is_some() || self.next_id > MAX_31 || self.last_taken.is_some() {
            return 0;
        }
        (self.peer.max_concurrent_streams as usize).saturating_sub(self.open)
    }

    /// A stream whose caller was told to wait and may write again.
    #[inline]
    pub fn take_writable(&mut self) -> Option<StreamKey> {
        self.writable.pop()
    }

    /// When [`tick`](Self::tick) is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let ping = match self.ping {
            Ping::Next(at) => at,
            Ping::Out(at) => Some(at),
        };
        match (ping, self.settings_deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what is due. `chance` spreads the keepalive's intervals.
    pub fn tick(&mut self, now: Instant, chance: u64) -> Result<(), ConnectionError> {
        if self.settings_deadline.is_some_and(|at| at <= now) {
            self.settings_deadline = None;
            return Err(self.fail(ConnectionError::SettingsTimeout));
        }
        match self.ping {
            Ping::Out(at) if at <= now => {
                self.ping = Ping::Next(None);
                self.counters.keepalive_timeout += 1;
                Err(self.fail(ConnectionError::KeepaliveTimeout))
            }
            Ping::Next(Some(at)) if at <= now => {
                self.send_ping(now, chance);
                Ok(())
            }
            Ping::Out(_) | Ping::Next(_) => Ok(()),
        }
    }

    fn send_ping(&mut self, now: Instant, chance: u64) {
        let Some(keepalive) = self.keepalive else { return };
        // The jitter of the interval that follows is kept with the deadline's own spread.
        let most =
            keepalive.interval.map_or(0, |i| i.as_millis() as u64 * u64::from(keepalive.jitter) / 10_000);
        self.keepalive_spread(chance.checked_rem(most.max(1)).unwrap_or(0));
        self.frame(kind::PING, 0, 0, &KEEPALIVE);
        self.ping = match now.checked_add(keepalive.timeout) {
            Some(at) => Ping::Out(at),
            None => Ping::Next(None),
        };
    }

    fn keepalive_spread(&mut self, millis: u64) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.spread = Duration::from_millis(millis);
        }
    }

    /// A PING's answer came.
    pub(super) fn pong(&mut self, payload: &[u8], now: Instant) {
        if payload == KEEPALIVE
            && let Ping::Out(_) = self.ping
        {
            let next = self.keepalive.and_then(|k| now.checked_add(k.interval? + k.spread));
            self.ping = Ping::Next(next);
        }
    }

    /// The peer has acknowledged our SETTINGS.
    pub(super) fn settings_ack(&mut self) {
        self.settings_acked = true;
        self.settings_deadline = None;
        self.decoder.set_offered(self.table_size);
    }

    /// A frame came.
    #[inline]
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_frame = now;
    }

    /// A stream is about to be opened: after a long silence a PING goes before it (`connection_idle_interval`).
    pub fn before_stream(&mut self, now: Instant) {
        let idle = self.keepalive.and_then(|k| k.idle_interval);
        if let (Some(idle), Ping::Next(_)) = (idle, self.ping)
            && now.saturating_duration_since(self.last_frame) >= idle
        {
            self.send_ping(now, 0);
        }
    }

    /// Tells the peer that the connection goes away, and that streams which are on their way are still taken: the
    /// first of two steps.
    pub fn announce_shutdown(&mut self) {
        if self.last_taken.is_none() {
            self.counters.goaway_sent += 1;
            self.goaway(MAX_31, ErrorCode::NO_ERROR);
        }
    }

    /// Tells the peer that no further stream is taken.
    pub fn shut_down(&mut self) {
        if self.last_taken.is_none_or(|last| last > self.last_peer) {
            self.last_taken = Some(self.last_peer);
            self.counters.goaway_sent += 1;
            self.goaway(self.last_peer, ErrorCode::NO_ERROR);
        }
    }

    fn goaway(&mut self, last: u32, code: ErrorCode) {
        let mut payload = [0; 8];
        let (first, second) = payload.split_at_mut(4);
        first.copy_from_slice(&last.to_be_bytes());
        second.copy_from_slice(&code.0.to_be_bytes());
        self.frame(kind::GOAWAY, 0, 0, &payload);
    }

    /// The connection must end: writes what is to be said, counts it, and reads nothing more.
    pub(super) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.reading = Reading::Failed;
        let c = &mut self.counters;
        match error {
            ConnectionError::EmptyFramesFlood { .. } => c.inbound_empty_frames_flood += 1,
            ConnectionError::PriorityFlood => c.inbound_priority_frames_flood += 1,
            ConnectionError::WindowUpdateFlood => c.inbound_window_update_frames_flood += 1,
            ConnectionError::OutboundFlood => c.outbound_flood += 1,
            ConnectionError::OutboundControlFlood => c.outbound_control_flood += 1,
            // A peer that speaks something else hears nothing of ours that was not sent yet, as from Envoy.
            ConnectionError::Preface => self.out.truncate(self.out_at),
            _ => {}
        }
        if let Some(code) = error.goaway() {
            // A stream counts from the first piece of its head on.
            let last = self.block.map_or(self.last_peer, |block| block.stream.max(self.last_peer));
            self.goaway(if self.side == Side::Server { last } else { 0 }, code);
        }
        error
    }

    /// Makes a stream.
    pub(super) fn insert(&mut self, id: u32) -> StreamKey {
        self.open += 1;
        self.budgets.opened(self.open);
        self.streams.insert(id, self.stream_window, self.peer.initial_window)
    }

    /// Whether we reset the stream lately.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.resets.contains(&id)
    }

    /// The stream's message is complete on one side: it is over where it is on both.
    #[inline]
    pub(super) fn settle(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.is_over() {
            if stream.owner == Owner::Nobody && stream.send == Send::Complete {
                let code = self.unwanted();
                self.reset_stream(key, code);
            }
            return;
        }
        self.open -= 1;
        if stream.owner == Owner::Nobody {
            self.remove(key);
        }
    }

    /// Why a message that is still coming is not wanted any more.
    fn unwanted(&self) -> ErrorCode {
        if self.side == Side::Server { ErrorCode::NO_ERROR } else { ErrorCode::CANCEL }
    }

    /// Both messages are as good as complete: nothing more is sent, and what comes is dropped.
    pub(super) fn cut(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        self.waiting_bytes -= stream.waiting();
        stream.waiting.clear();
        stream.waiting_at = 0;
        stream.trailers = None;
        if stream.is_over() {
            return;
        }
        stream.receive = Receive::Complete;
        stream.send = Send::Complete;
        self.open -= 1;
        if stream.owner == Owner::Nobody {
            self.remove(key);
        }
    }

    /// Resets a stream that is not over, and forgets what waits on it.
    pub(super) fn reset_stream(&mut self, key: StreamKey, code: ErrorCode) {
        if self.streams.get(key).is_none_or(|s| s.is_over()) {
            return;
        }
        self.rst_stream(key.id(), code);
        self.cut(key);
    }

    /// Writes RST_STREAM, and remembers it.
    pub(super) fn rst_stream(&mut self, id: u32, code: ErrorCode) {
        self.counters.tx_reset += 1;
        if code == ErrorCode::REFUSED_STREAM {
            self.counters.stream_refused_errors += 1;
        }
        if self.resets.len() >= REMEMBERED_RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
        self.frame(kind::RST_STREAM, 0, id, &code.0.to_be_bytes());
    }

    fn remove(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        let (unconsumed, waiting) = (stream.unconsumed, stream.waiting());
        self.waiting_bytes -= waiting;
        self.streams.remove(key);
        if let Some(maps) = &mut self.maps {
            maps.forget(key);
        }
        self.consumed_on_connection(unconsumed);
    }

    /// The caller is done with a stream. Where `reset` says so it ends now, else once what waits was written; a
    /// message of the peer that is not complete then is not wanted (NO_ERROR from a server, CANCEL from a client).
    pub fn finish(&mut self, key: StreamKey, reset: Option<ErrorCode>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.owner = Owner::Nobody;
        if stream.is_over() {
            return self.remove(key);
        }
        let code = match (reset, stream.send) {
            (Some(code), _) => code,
            (None, Send::Ending) => return,
            (None, Send::Complete) => self.unwanted(),
            // Nobody is there to complete it.
            (None, Send::Head | Send::Body) => ErrorCode::INTERNAL_ERROR,
        };
        self.reset_stream(key, code);
    }

    /// So many bytes of body were passed on: the peer may send as many more, and is told when it is worth a frame. The
    /// bytes of such a frame of the stream.
    #[inline]
    pub fn consumed(&mut self, key: StreamKey, n: usize) -> u64 {
        let Some(stream) = self.streams.get_mut(key) else { return 0 };
        let mut wrote = 0;
        let n = (n as u32).min(stream.unconsumed);
        stream.unconsumed -= n;
        stream.untold += n;
        if stream.untold >= (self.stream_window / 2).max(1) && stream.receive != Receive::Complete {
            let told = std::mem::take(&mut stream.untold);
            stream.receive_window += i64::from(told);
            self.window_update(key.id(), told);
            wrote = WINDOW_UPDATE;
        }
        self.consumed_on_connection(n);
        wrote
    }

    /// As [`consumed`](Self::consumed), for the connection's window alone.
    pub(super) fn consumed_on_connection(&mut self, n: u32) {
        self.untold += n;
        if self.untold >= self.window_size / 2 {
            let told = std::mem::take(&mut self.untold);
            self.receive_window += i64::from(told);
            self.window_update(0, told);
        }
    }

    fn window_update(&mut self, stream: u32, n: u32) {
        self.frame(kind::WINDOW_UPDATE, 0, stream, &n.to_be_bytes());
    }

    /// Writes a frame.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend_from_slice(&FrameHeader { len: payload.len(), kind, flags, stream }.bytes());
        self.out.extend_from_slice(payload);
        self.budgets.wrote(frame::is_control(kind));
    }

    /// Writes the acknowledgement of SETTINGS or PING.
    pub(super) fn acknowledge(&mut self, kind: u8, payload: &[u8]) {
        self.frame(kind, flag::ACK, 0, payload);
    }
}
