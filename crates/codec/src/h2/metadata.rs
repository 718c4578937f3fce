//! METADATA frames (type 0x4d), Envoy's extension: maps of names and values that belong to a stream and to neither its
//! heads nor its body.
//!
//! A map comes as a block of HPACK in one frame or more, the last of which says so. Every block is decoded with a table of
//! its own. What is passed on is encoded anew, without a table, so that it can be written to any connection.

use super::Event;
use super::codec::{Codec, Side};
use super::error::ConnectionError;
use super::frame::{FrameHeader, MAX_PAYLOAD, flag, kind};
use super::hpack::{DEFAULT_TABLE_SIZE, Decoder, Facts, Field, literal};
use super::receive::Taken;
use super::streams::{Receive, Send, StreamKey};
use crate::head::Known;
use std::collections::{HashSet, VecDeque};

/// One map: at least one pair, each name once (of equal names the first counts), the case of names as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Box<[u8]>);

impl Metadata {
    /// Stands where one came that was refused: nothing is written for it.
    pub fn refused() -> Self {
        Self(Box::default())
    }

    /// Whether it is that.
    pub fn is_refused(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that it takes in frames.
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
impl Metadata {
    /// Its pairs, as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let take = |field: Field<'_>| {
            text += &format!("{}={},", name(&field).escape_ascii(), field.value().escape_ascii());
        };
        Decoder::new(DEFAULT_TABLE_SIZE).decode(&self.0, take).unwrap();
        text
    }
}

/// How much of the decoded names and values of a stream is taken, as a multiple of `max_metadata_size`: Huffman codes
/// make 1.6 times of their bytes at most, entries of a table any number.
const MOST_DECODED: usize = 2;
/// How much of METADATA may wait on all streams of a connection, in the same unit.
const MOST_WAITING: usize = 16;

/// What a connection knows of METADATA that came on it.
#[derive(Debug)]
pub(super) struct Maps {
    /// `max_metadata_size`: bytes of frames that a stream may bring in its life.
    most: usize,
    /// Of streams that had METADATA and are not released.
    streams: Vec<Parts>,
    /// The one of the last [`Event::Metadata`].
    done: Option<Metadata>,
}

/// What has come on one stream.
#[derive(Debug)]
struct Parts {
    key: StreamKey,
    /// Bytes of all its frames, and of what was decoded.
    total: usize,
    decoded: usize,
    /// The block whose end is still to come.
    block: Vec<u8>,
    /// Bytes of maps that were told and not read.
    unread: usize,
}

impl Maps {
    pub(super) fn new(most: u32) -> Box<Self> {
        Box::new(Self { most: most as usize, streams: Vec::new(), done: None })
    }

    /// The stream is released.
    pub(super) fn forget(&mut self, key: StreamKey) {
        self.streams.retain(|parts| parts.key != key);
    }

    fn waiting(&self) -> usize {
        self.streams.iter().map(|parts| parts.block.len() + parts.unread).sum()
    }

    fn parts(&mut self, key: StreamKey) -> Option<&mut Parts> {
        let at = self.streams.iter().position(|parts| parts.key == key).unwrap_or(self.streams.len());
        if at == self.streams.len() {
            self.streams.push(Parts { key, total: 0, decoded: 0, block: Vec::new(), unread: 0 });
        }
        self.streams.get_mut(at)
    }

    /// Takes the payload of a frame in.
    fn take(&mut self, key: StreamKey, payload: &[u8], ends: bool) -> Result<Taking, ConnectionError> {
        let (most, waiting) = (self.most, self.waiting());
        let Some(parts) = self.parts(key) else { return Ok(Taking::More) };
        parts.total += payload.len();
        if parts.total > most || waiting + payload.len() > most.saturating_mul(MOST_WAITING) {
            return Err(ConnectionError::Metadata);
        }
        parts.block.extend_from_slice(payload);
        if !ends {
            return Ok(Taking::More);
        }
        let block = std::mem::take(&mut parts.block);
        let limit = most.saturating_mul(MOST_DECODED);
        let (written, decoded) =
            rewrite(&block, limit.saturating_sub(parts.decoded)).ok_or(ConnectionError::Metadata)?;
        if written.is_empty() {
            return Ok(Taking::Empty);
        }
        parts.decoded += decoded;
        parts.unread += written.len();
        self.done = Some(Metadata(written.into()));
        Ok(Taking::Map)
    }
}

/// What a frame came to.
enum Taking {
    More,
    Empty,
    Map,
}

/// Decodes a block and encodes each name once without a table; the bytes and how many were decoded. `None`: it is no
/// HPACK, or makes more than `most` bytes.
fn rewrite(block: &[u8], most: usize) -> Option<(Vec<u8>, usize)> {
    let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
    let (mut names, mut out, mut size) = (HashSet::new(), Vec::new(), 0);
    let good = decoder.decode(block, |field| {
        let (name, value) = (name(&field), field.value());
        size += name.len() + value.len();
        if size <= most && names.insert(name.to_vec()) {
            literal(name, value, &mut out);
        }
    });
    (good.is_ok() && size <= most).then_some((out, size))
}

/// The name as the peer wrote it; the decoder spells some as HTTP/1 does.
fn name<'a>(field: &Field<'a>) -> &'a [u8] {
    match field.known {
        Known::Other if field.facts.has(Facts::STATUS) => b":status",
        Known::Other => field.name(),
        known if known.is_pseudo() => known.as_str().as_bytes(),
        _ => field.name(),
    }
}

impl Codec {
    /// Whether a frame is METADATA that is wanted; others of its type are skipped.
    #[cold]
    pub(super) fn wants(&self, header: FrameHeader) -> bool {
        header.kind == kind::METADATA && self.maps.is_some()
    }

    /// A frame of a kind that is not wanted: whether there is something to tell of it.
    #[cold]
    pub(super) fn skipped(&mut self, header: FrameHeader) -> Option<Event> {
        if header.kind != kind::METADATA || self.refused_metadata {
            return None;
        }
        let stream = self.streams.find(header.stream)?;
        self.refused_metadata = true;
        Some(Event::MetadataRefused { stream })
    }

    /// A METADATA frame. One that belongs to no stream, or comes behind the message's end, says nothing.
    #[cold]
    pub(super) fn metadata(&mut self, header: FrameHeader, payload: &[u8]) -> Taken {
        let Some(stream) = self.streams.find(header.stream) else { return Ok(None) };
        let receive = self.streams.get(stream).map_or(Receive::Complete, |s| s.receive);
        let Some(maps) = self.maps.as_mut().filter(|_| receive != Receive::Complete) else { return Ok(None) };
        match maps.take(stream, payload, header.flags == flag::END_METADATA)? {
            Taking::More => Ok(None),
            Taking::Empty => {
                self.counters.metadata_empty_frames += 1;
                Ok(None)
            }
            Taking::Map => Ok(Some(Event::Metadata { stream, before_head: receive == Receive::Head })),
        }
    }

    /// The map of the last [`Event::Metadata`]. Say [`metadata_read`](Self::metadata_read) once it was passed on.
    pub fn take_metadata(&mut self) -> Option<Metadata> {
        self.maps.as_mut()?.done.take()
    }

    /// A map of the stream was passed on.
    pub fn metadata_read(&mut self, key: StreamKey, metadata: &Metadata) {
        if let Some(parts) = self.maps.as_mut().and_then(|maps| maps.parts(key)) {
            parts.unread = parts.unread.saturating_sub(metadata.len());
        }
    }

    /// Whether METADATA is allowed on this connection.
    pub fn allows_metadata(&self) -> bool {
        self.maps.is_some()
    }

    /// Writes a map at once, before body bytes that wait for windows. Nothing is written to a peer with which METADATA is
    /// not allowed, nor once our message is complete, nor before a request's head.
    pub fn encode_metadata(&mut self, key: StreamKey, metadata: &Metadata) {
        let open = self.streams.get(key).is_some_and(|s| match s.send {
            Send::Head => self.side == Side::Server,
            Send::Body => true,
            Send::Ending | Send::Complete => false,
        });
        if !open || self.maps.is_none() {
            return;
        }
        let mut pieces = metadata.0.chunks(MAX_PAYLOAD).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { flag::END_METADATA } else { 0 };
            self.frame(kind::METADATA, flags, key.id(), piece);
        }
    }
}

/// Maps of one stream that have come and were not read, each at its place in the body.
#[derive(Debug, Default)]
#[allow(
    clippy::box_collection,
    reason = "one word in the place of every stream, most of which never have any"
)]
pub struct MetadataQueue(Option<Box<VecDeque<(Place, Metadata)>>>);

/// Where in a message a map stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before its head.
    BeforeHead,
    /// Behind so many bytes of the body that are still to be read.
    Behind(usize),
}

impl MetadataQueue {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Drops all.
    #[inline]
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// One more has come.
    pub fn push(&mut self, place: Place, metadata: Metadata) {
        self.0.get_or_insert_default().push_back((place, metadata));
    }

    /// Where the first one stands.
    pub fn place(&self) -> Option<Place> {
        self.0.as_ref()?.front().map(|(place, _)| *place)
    }

    /// The first one.
    pub fn pop(&mut self) -> Option<Metadata> {
        let queue = self.0.as_mut()?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.0 = None;
        }
        first.map(|(_, metadata)| metadata)
    }

    /// Moves as much of `body` into `data`, which is empty, as stands before the first map.
    pub fn split_body(&mut self, body: &mut Vec<u8>, data: &mut Vec<u8>) {
        let Some(Place::Behind(n)) = self.place() else {
            return std::mem::swap(body, data);
        };
        let n = n.min(body.len());
        data.extend(body.drain(..n));
        for (place, _) in self.0.iter_mut().flat_map(|queue| queue.iter_mut()) {
            if let Place::Behind(at) = place {
                *at -= n.min(*at);
            }
        }
    }
}
