//! The streams of a connection: a slab, and an index by wire id without hashing.

use super::frame::MAX_31;
use crate::head::HeaderMap;

/// Names a stream of a connection: where it stands, and its wire id as a guard against a place that was reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    slot: u32,
    id: u32,
}

impl StreamKey {
    /// The place: small, dense, and reused once the stream is released.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The id on the wire.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// What has come of the peer's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// Nothing but informational heads (a client's stream).
    Head,
    /// The head.
    Body,
    /// All of it.
    Complete,
}

/// What was written of our message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// Nothing but informational heads (a server's stream).
    Head,
    /// The head; the body's end was not handed in.
    Body,
    /// All was handed in, some of it waits.
    Ending,
    /// All of it.
    Complete,
}

/// Who still cares for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The caller.
    Caller,
    /// Nobody: it goes as soon as what waits is written.
    Nobody,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// 0 where the slot is free.
    pub(super) id: u32,
    pub(super) receive: Receive,
    pub(super) send: Send,
    pub(super) owner: Owner,
    /// It stands in the queue of those that have something to write.
    pub(super) queued: bool,
    /// The caller waits until less is waiting.
    pub(super) blocked: bool,
    /// The message has no body whatever its length says (a response to HEAD).
    pub(super) bodiless: bool,
    /// It is a tunnel: no length counts.
    pub(super) tunnel: bool,
    /// How much the peer may still send.
    pub(super) receive_window: i64,
    /// What came and was not consumed.
    pub(super) unconsumed: u32,
    /// What was consumed and not told to the peer.
    pub(super) untold: u32,
    /// How much we may still send.
    pub(super) send_window: i64,
    /// What is still to come by content-length.
    pub(super) length: Option<u64>,
    /// Body bytes that wait for a window or for their turn.
    pub(super) waiting: Vec<u8>,
    pub(super) waiting_at: usize,
    /// Trailers that wait behind them.
    pub(super) trailers: Option<Box<HeaderMap>>,
}

impl Stream {
    fn new(id: u32, receive_window: u32, send_window: u32) -> Self {
        Self {
            id,
            receive: Receive::Head,
            send: Send::Head,
            owner: Owner::Caller,
            queued: false,
            blocked: false,
            bodiless: false,
            tunnel: false,
            receive_window: i64::from(receive_window),
            unconsumed: 0,
            untold: 0,
            send_window: i64::from(send_window),
            length: None,
            waiting: Vec::new(),
            waiting_at: 0,
            trailers: None,
        }
    }

    /// Body bytes that wait.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() - self.waiting_at
    }

    /// Whether both messages are complete.
    pub(super) fn is_over(&self) -> bool {
        self.receive == Receive::Complete && self.send == Send::Complete
    }
}

/// Storage above this many bytes does not stay with a free slot.
const KEEP_BYTES: usize = 16 * 1024;

/// All streams that are not closed and released.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// By id, with linear probing: slots counted from 1, 0 where there is none. A power of two, twice the number
    /// of streams at least. Entries stand in the order of their places, so that one that stands in its own tells
    /// that none behind it was pushed on past it: ids in a row cost one step each, however many there are.
    index: Vec<u32>,
    active: usize,
}

impl Streams {
    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.active
    }

    fn place(&self, id: u32) -> usize {
        (id >> 1) as usize & (self.index.len().wrapping_sub(1))
    }

    /// The stream with this id.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        let mut at = self.place(id);
        loop {
            let slot = (*self.index.get(at)?).checked_sub(1)?;
            if self.slots.get(slot as usize)?.id == id {
                return Some(StreamKey { slot, id });
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    /// A stream, unless it is gone.
    #[inline]
    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key.slot as usize).filter(|s| s.id == key.id)
    }

    /// A stream, unless it is gone.
    #[inline]
    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key.slot as usize).filter(|s| s.id == key.id)
    }

    /// Makes a stream, in a free slot where there is one.
    pub(super) fn insert(&mut self, id: u32, receive_window: u32, send_window: u32) -> StreamKey {
        debug_assert!(id != 0 && id <= MAX_31);
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(stream) = self.slots.get_mut(slot as usize) {
                    let mut waiting = std::mem::take(&mut stream.waiting);
                    waiting.clear();
                    *stream = Stream { waiting, ..Stream::new(id, receive_window, send_window) };
                }
                slot
            }
            None => {
                self.slots.push(Stream::new(id, receive_window, send_window));
                self.slots.len() as u32 - 1
            }
        };
        self.active += 1;
        if self.active * 2 > self.index.len() {
            self.grow();
        } else {
            self.enter(id, slot);
        }
        StreamKey { slot, id }
    }

    fn grow(&mut self) {
        let size = (self.active * 4).next_power_of_two().max(16);
        self.index.clear();
        self.index.resize(size, 0);
        for slot in 0..self.slots.len() as u32 {
            let id = self.slots.get(slot as usize).map_or(0, |s| s.id);
            if id != 0 {
                self.enter(id, slot);
            }
        }
    }

    fn enter(&mut self, id: u32, slot: u32) {
        let mask = self.index.len().wrapping_sub(1);
        let (mut entry, mut home) = (slot + 1, self.place(id));
        let mut at = home;
        loop {
            let Some(there) = self.index.get(at).copied() else { return };
            let Some(other) = there.checked_sub(1) else { break };
            let its_home = self.slots.get(other as usize).map_or(at, |s| self.place(s.id));
            // Who was pushed on further stands first.
            if (at.wrapping_sub(its_home) & mask) < (at.wrapping_sub(home) & mask) {
                if let Some(place) = self.index.get_mut(at) {
                    *place = entry;
                }
                (entry, home) = (there, its_home);
            }
            at = (at + 1) & mask;
        }
        if let Some(place) = self.index.get_mut(at) {
            *place = entry;
        }
    }

    /// Frees the slot.
    pub(super) fn remove(&mut self, key: StreamKey) {
        let mask = self.index.len().wrapping_sub(1);
        let mut hole = self.place(key.id);
        while self.index.get(hole).is_some_and(|slot| *slot != key.slot + 1) {
            if self.index.get(hole) == Some(&0) {
                return;
            }
            hole = (hole + 1) & mask;
        }
        // Whoever was pushed on moves back, up to the first that stands in its own place.
        loop {
            let at = (hole + 1) & mask;
            let Some(slot) = self.index.get(at).and_then(|slot| slot.checked_sub(1)) else { break };
            if self.slots.get(slot as usize).is_none_or(|s| self.place(s.id) == at) {
                break;
            }
            if let Some(entry) = self.index.get_mut(hole) {
                *entry = slot + 1;
            }
            hole = at;
        }
        if let Some(entry) = self.index.get_mut(hole) {
            *entry = 0;
        }
        if let Some(stream) = self.slots.get_mut(key.slot as usize) {
            stream.id = 0;
            stream.trailers = None;
            if stream.waiting.capacity() > KEEP_BYTES {
                stream.waiting = Vec::new();
            }
        }
        self.free.push(key.slot);
        self.active -= 1;
    }

    /// Every stream.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream)> {
        let streams = self.slots.iter_mut().enumerate().filter(|(_, s)| s.id != 0);
        streams.map(|(slot, s)| (StreamKey { slot: slot as u32, id: s.id }, s))
    }

    /// The keys of every stream, in the order of their slots.
    pub(super) fn keys(&self) -> impl Iterator<Item = StreamKey> {
        let streams = self.slots.iter().enumerate().filter(|(_, s)| s.id != 0);
        streams.map(|(slot, s)| StreamKey { slot: slot as u32, id: s.id })
    }
}

#[cfg(test)]
mod tests;
