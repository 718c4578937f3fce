//! What an HTTP/2 connection and its streams share.

use crate::hcm::exchange::DownstreamError;
use nuncio_codec::h2::{Codec, ErrorCode, MetadataQueue, Place, StreamKey};
use nuncio_codec::head::HeaderMap;
use nuncio_core::format::header_bytes_wanted;
use nuncio_core::stream_info::ByteCounts;
use nuncio_net::stream::ByteStream;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// Shared by the connection's task and its streams, which that task polls: it is borrowed for one call at a time.
pub(super) struct Link {
    pub(super) io: Box<dyn ByteStream>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) codec: Codec,
    /// By the slot of the stream's key.
    pub(super) inboxes: Vec<Inbox>,
    /// No stream's deadline is before this.
    pub(super) next_deadline: Option<Instant>,
    /// Bytes that streams wrote themselves, not counted yet.
    pub(super) written: u64,
    /// Since when the connection drains.
    pub(super) draining: Option<Instant>,
}

/// What has come for a stream and was not read by it. Its storage serves one stream after another.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
    pub(super) end: End,
    pub(super) metadata: MetadataQueue,
    /// Why nothing more comes, and nobody is left to answer.
    pub(super) gone: Option<DownstreamError>,
    /// When the stream wants to be polled at the latest.
    pub(super) deadline: Option<Instant>,
    /// What was received.
    pub(super) bytes: ByteCounts,
}

/// Whether the request has come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    NotYet,
    /// Behind the body that is there.
    Body,
    /// Behind the body that is there, with trailers.
    Trailers,
    /// The stream knows.
    Told,
}

/// Storage above this many bytes does not stay with an inbox.
const KEEP_BYTES: usize = 16 * 1024;

impl Inbox {
    /// Makes ready for another stream.
    fn reset(&mut self) {
        self.body.clear();
        self.body.shrink_to(KEEP_BYTES);
        self.trailers.clear();
        self.trailers.shrink(KEEP_BYTES);
        self.end = End::NotYet;
        self.metadata.clear();
        self.gone = None;
        self.deadline = None;
        self.bytes = ByteCounts::default();
    }
}

impl Link {
    pub(super) fn new(io: Box<dyn ByteStream>, codec: Codec) -> Rc<Self> {
        let state = State { codec, inboxes: Vec::new(), next_deadline: None, written: 0, draining: None };
        Rc::new(Self { io, state: RefCell::new(state) })
    }
}

impl State {
    /// An empty inbox for a new stream.
    pub(super) fn open_inbox(&mut self, key: StreamKey, end_stream: bool) {
        while self.inboxes.len() <= key.slot() {
            self.inboxes.push(Inbox::default());
        }
        if let Some(inbox) = self.inboxes.get_mut(key.slot()) {
            inbox.reset();
            if end_stream {
                inbox.end = End::Told;
            }
        }
    }

    /// A stream is over; `data` is the storage that it had of its inbox.
    pub(super) fn finish(&mut self, key: StreamKey, reset: Option<ErrorCode>, data: Vec<u8>) {
        if let Some(inbox) = self.inboxes.get_mut(key.slot())
            && inbox.body.capacity() == 0
            && data.capacity() <= KEEP_BYTES
        {
            inbox.body = data;
            inbox.body.clear();
        }
        self.codec.finish(key, reset);
    }

    /// A header block of `wire` bytes has come for the stream.
    #[inline]
    pub(super) fn block_came(&mut self, key: StreamKey, wire: u64) {
        let text = if header_bytes_wanted() { self.codec.block_text() } else { 0 };
        if let Some(inbox) = self.inboxes.get_mut(key.slot()) {
            inbox.bytes.received_block(wire, text);
        }
    }

    /// METADATA has come for the stream.
    #[cold]
    pub(super) fn metadata_came(&mut self, key: StreamKey) {
        let Some(metadata) = self.codec.take_metadata() else { return };
        if let Some(inbox) = self.inboxes.get_mut(key.slot()) {
            inbox.metadata.push(Place::Behind(inbox.body.len()), metadata);
        }
    }

    /// Begins the drain sequence; whether it was not on.
    pub(super) fn begin_drain(&mut self, now: Instant) -> bool {
        if self.draining.is_some() {
            return false;
        }
        self.draining = Some(now);
        self.codec.announce_shutdown();
        true
    }

    /// Names a deadline of a stream; the connection's timer is never later.
    #[inline]
    pub(super) fn watch(&mut self, slot: usize, deadline: Option<Instant>) {
        let Some(inbox) = self.inboxes.get_mut(slot) else { return };
        inbox.deadline = deadline;
        if let Some(at) = deadline
            && self.next_deadline.is_none_or(|next| at < next)
        {
            self.next_deadline = Some(at);
        }
    }
}
