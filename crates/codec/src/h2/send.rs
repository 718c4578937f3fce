//! From heads and bodies to frames.

use super::codec::{Codec, Side};
use super::error::EncodeError;
use super::frame::{self, FrameHeader, MAX_PAYLOAD, flag, kind};
use super::hpack::{Encoder, Sensitivity};
use super::streams::{Receive, Send, StreamKey};
use crate::head::{HeaderMap, Known, KnownSet, RequestHead, ResponseHead};
use crate::scan;
use smallvec::SmallVec;
use std::io::IoSlice;
use std::time::Instant;

/// With this much in the output, further body bytes wait for their turn, so that streams take turns and not whole
/// bodies.
const OUT_LIMIT: usize = 64 * 1024;
/// Pieces of a body up to this size are copied into the output; larger ones may be written from where they lie.
const COPY_MAX: usize = 4096;
/// As much of a body is offered to one write.
const GATHER: usize = 4 * MAX_PAYLOAD;
/// A caller that waits is told when no more than this waits on its stream.
const LOW: usize = 32 * 1024;

/// A DATA frame whose payload lies with the caller.
struct Frame<'a> {
    header: [u8; frame::HEADER],
    piece: &'a [u8],
    end_stream: bool,
}

/// What speaks of an HTTP/1 connection, and what a head says otherwise here.
const NOT_WRITTEN: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Http2Settings,
    Known::Host,
]);

/// The pseudo headers of a request, in the order in which they are written.
const REQUEST_PSEUDO: [Known; 5] =
    [Known::Method, Known::Scheme, Known::Authority, Known::Path, Known::Protocol];

/// What a request says by one of them.
#[inline]
fn request_pseudo(head: &RequestHead, known: Known) -> Option<&[u8]> {
    match head.headers.get(known) {
        // RFC 9113 section 8.3.1: every request but a plain CONNECT has one.
        None if known == Known::Scheme && head.headers.contains(Known::Path) => Some(b"http"),
        value => value,
    }
}

impl Codec {
    /// Writes the head of the final response. With `end_stream` the response is complete.
    pub fn encode_response(
        &mut self,
        stream: StreamKey,
        head: &ResponseHead,
        end_stream: bool,
    ) -> Result<(), EncodeError> {
        if self.streams.get(stream).is_none_or(|s| s.send != Send::Head) {
            return Ok(());
        }
        check(&head.headers)?;
        self.write_block(stream.id(), end_stream, |encoder, out| {
            encoder.status(head.status, out);
            fields(encoder, &head.headers, out);
        });
        self.wrote_head(stream, end_stream);
        Ok(())
    }

    /// Writes a 1xx. Nothing is written once the final response has begun.
    pub fn encode_informational(&mut self, stream: StreamKey, head: &ResponseHead) {
        let begun = self.streams.get(stream).is_none_or(|s| s.send != Send::Head);
        // A head that cannot be written is left out: the final one tells all that matters.
        if begun || head.status / 100 != 1 || check(&head.headers).is_err() {
            return;
        }
        self.write_block(stream.id(), false, |encoder, out| {
            encoder.status(head.status, out);
            fields(encoder, &head.headers, out);
        });
    }

    /// Opens a stream and writes its request's head. With `end_stream` the request is complete.
    pub fn open(
        &mut self,
        now: Instant,
        head: &RequestHead,
        end_stream: bool,
    ) -> Result<StreamKey, EncodeError> {
        if self.side != Side::Client || self.openable() == 0 {
            return Err(EncodeError::NoStream);
        }
        check_request(head)?;
        self.before_stream(now);
        let id = self.next_id;
        self.write_block(id, end_stream, |encoder, out| {
            for known in REQUEST_PSEUDO {
                if let Some(value) = request_pseudo(head, known) {
                    encoder.field(known, b"", value, Sensitivity::Plain, out);
                }
            }
            fields(encoder, &head.headers, out);
        });
        self.next_id += 2;
        let stream = self.insert(id);
        if let Some(s) = self.streams.get_mut(stream) {
            s.bodiless = head.method() == b"HEAD";
            s.tunnel = head.method() == b"CONNECT";
        }
        self.wrote_head(stream, end_stream);
        Ok(stream)
    }

    fn wrote_head(&mut self, key: StreamKey, end_stream: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if end_stream {
            stream.send = Send::Complete;
            self.settle(key);
        } else {
            stream.send = Send::Body;
        }
    }

    /// Writes a header block in as many frames as it takes. Its fields were checked before: what is encoded enters the
    /// table, and cannot be taken back.
    fn write_block(&mut self, id: u32, end_stream: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; frame::HEADER]);
        self.encoder.begin(&mut self.out);
        write(&mut self.encoder, &mut self.out);
        let len = self.out.len() - start - frame::HEADER;
        let first = len.min(MAX_PAYLOAD);
        let mut flags = if end_stream { flag::END_STREAM } else { 0 };
        if len == first {
            flags |= flag::END_HEADERS;
        }
        let header = FrameHeader { len: first, kind: kind::HEADERS, flags, stream: id };
        if let Some(place) = self.out.get_mut(start..start + frame::HEADER) {
            place.copy_from_slice(&header.bytes());
        }
        self.budgets.wrote(false);
        if len > first {
            let rest = self.out.split_off(start + frame::HEADER + first);
            let mut pieces = rest.chunks(MAX_PAYLOAD).peekable();
            while let Some(piece) = pieces.next() {
                let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
                self.frame(kind::CONTINUATION, flags, id, piece);
            }
        }
    }

    /// Writes a piece of the body, or keeps it until windows and other streams let it go.
    pub fn encode_data(&mut self, key: StreamKey, data: &[u8], end_stream: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.send != Send::Body {
            return;
        }
        if end_stream {
            stream.send = Send::Ending;
        }
        let mut rest = data;
        if stream.waiting() == 0 && self.ready.is_empty() {
            while !rest.is_empty() {
                let n = self.room(key).min(rest.len());
                if n == 0 {
                    break;
                }
                let (piece, tail) = rest.split_at(n);
                rest = tail;
                self.data_frame(key, piece, end_stream && tail.is_empty());
            }
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        if rest.is_empty() {
            if end_stream && data.is_empty() && stream.waiting() == 0 {
                self.data_frame(key, &[], true);
            }
            return;
        }
        stream.waiting.extend_from_slice(rest);
        self.waiting_bytes += rest.len();
        if !stream.queued && stream.send_window > 0 {
            stream.queued = true;
            self.ready.push_back(key);
        }
    }

    /// As [`encode_data`](Self::encode_data), but what may go at once is offered to `write` where it lies, behind what
    /// waits: only what `write` leaves, which answers how many bytes it took, is copied.
    pub fn send_data(
        &mut self,
        key: StreamKey,
        data: &[u8],
        end_stream: bool,
        mut write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) {
        let mut rest = data;
        while rest.len() > COPY_MAX && self.may_pass(key) {
            let n = self.offer(key, rest, end_stream, &mut write);
            rest = rest.get(n..).unwrap_or_default();
            if n == 0 || !self.unsent().is_empty() {
                break;
            }
        }
        if !rest.is_empty() || data.is_empty() {
            self.encode_data(key, rest, end_stream);
        }
    }

    /// Whether the stream's body may go out before anything that waits: nothing does.
    fn may_pass(&self, key: StreamKey) -> bool {
        self.ready.is_empty()
            && self.streams.get(key).is_some_and(|s| s.send == Send::Body && s.waiting() == 0)
    }

    /// Offers as many frames as windows and one write let through; how many bytes of `data` are in them. All of them are
    /// written or in the output then.
    fn offer(
        &mut self,
        key: StreamKey,
        data: &[u8],
        end_stream: bool,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> usize,
    ) -> usize {
        let window = self.streams.get(key).map_or(0, |s| s.send_window).min(self.send_window);
        let len = if self.room(key) == 0 { 0 } else { data.len().min(window.max(0) as usize).min(GATHER) };
        let ends = end_stream && len == data.len();
        let gathered = data.get(..len).unwrap_or_default();
        let mut frames: SmallVec<[Frame<'_>; GATHER / MAX_PAYLOAD]> = SmallVec::new();
        let mut pieces = gathered.chunks(MAX_PAYLOAD).peekable();
        while let Some(piece) = pieces.next() {
            let end_stream = ends && pieces.peek().is_none();
            let flags = if end_stream { flag::END_STREAM } else { 0 };
            let header = FrameHeader { len: piece.len(), kind: kind::DATA, flags, stream: key.id() }.bytes();
            frames.push(Frame { header, piece, end_stream });
        }
        if frames.is_empty() {
            return 0;
        }
        let mut taken = {
            let mut slices: SmallVec<[IoSlice<'_>; 1 + 2 * (GATHER / MAX_PAYLOAD)]> = SmallVec::new();
            slices.push(IoSlice::new(self.unsent()));
            for frame in &frames {
                slices.extend([IoSlice::new(&frame.header), IoSlice::new(frame.piece)]);
            }
            write(&slices)
        };
        let before = taken.min(self.unsent().len());
        taken -= before;
        self.sent(before);
        for Frame { piece, end_stream, .. } in frames {
            if taken >= frame::HEADER + piece.len() {
                taken -= frame::HEADER + piece.len();
                self.data_written(key, piece.len(), end_stream);
            } else {
                self.data_frame(key, piece, end_stream);
                self.sent(std::mem::take(&mut taken));
            }
        }
        len
    }

    /// How long a frame of the stream may be now.
    #[inline]
    fn room(&self, key: StreamKey) -> usize {
        let window = self.streams.get(key).map_or(0, |s| s.send_window).min(self.send_window);
        let output = if self.unsent().len() < OUT_LIMIT { MAX_PAYLOAD } else { 0 };
        (window.max(0) as usize).min(output)
    }

    /// Writes a DATA frame and counts it; with `end_stream` our message is complete.
    #[inline]
    fn data_frame(&mut self, key: StreamKey, piece: &[u8], end_stream: bool) {
        let flags = if end_stream { flag::END_STREAM } else { 0 };
        self.frame(kind::DATA, flags, key.id(), piece);
        self.data_written(key, piece.len(), end_stream);
    }

    #[inline]
    fn data_written(&mut self, key: StreamKey, n: usize, end_stream: bool) {
        self.budgets.data_sent(self.open);
        self.send_window -= n as i64;
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.send_window -= n as i64;
        if end_stream {
            stream.send = Send::Complete;
            self.settle(key);
        }
    }

    /// Ends the body with trailers.
    pub fn encode_trailers(&mut self, key: StreamKey, trailers: &HeaderMap) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.send != Send::Body {
            return;
        }
        stream.send = Send::Ending;
        if stream.waiting() > 0 {
            stream.trailers = Some(Box::new(trailers.clone()));
            return;
        }
        self.write_trailers(key, trailers);
    }

    fn write_trailers(&mut self, key: StreamKey, trailers: &HeaderMap) {
        if check(trailers).is_ok() && trailers.iter().any(|(name, _)| !name.known().is_pseudo()) {
            self.write_block(key.id(), true, |encoder, out| fields(encoder, trailers, out));
        } else {
            // Without trailers that can be written the message ends all the same.
            self.frame(kind::DATA, flag::END_STREAM, key.id(), &[]);
        }
        if let Some(stream) = self.streams.get_mut(key) {
            stream.send = Send::Complete;
            self.settle(key);
        }
    }

    /// Moves body bytes that wait into the output, a frame of each stream in turn, as far as windows and the
    /// output's limit let them. Call it before the output is sent, and again when all of it was.
    pub fn fill(&mut self) {
        while self.unsent().len() < OUT_LIMIT && self.send_window > 0 {
            let Some(key) = self.ready.pop_front() else { return };
            let room = self.room(key);
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.queued = false;
            let n = room.min(stream.waiting());
            if n == 0 {
                continue;
            }
            let all = n == stream.waiting();
            let end_stream = all && stream.send == Send::Ending && stream.trailers.is_none();
            let flags = if end_stream { flag::END_STREAM } else { 0 };
            let header = FrameHeader { len: n, kind: kind::DATA, flags, stream: key.id() };
            self.out.extend_from_slice(&header.bytes());
            let at = stream.waiting_at;
            self.out.extend_from_slice(stream.waiting.get(at..at + n).unwrap_or_default());
            stream.waiting_at += n;
            if all {
                stream.waiting.clear();
                stream.waiting_at = 0;
            } else if stream.waiting_at > OUT_LIMIT {
                stream.waiting.drain(..stream.waiting_at);
                stream.waiting_at = 0;
            }
            let trailers = if all { stream.trailers.take() } else { None };
            if stream.blocked && stream.waiting() <= LOW {
                stream.blocked = false;
                self.writable.push(key);
            }
            self.waiting_bytes -= n;
            self.budgets.wrote(false);
            self.data_written(key, n, end_stream);
            if let Some(trailers) = trailers {
                self.write_trailers(key, &trailers);
            }
            if let Some(stream) = self.streams.get_mut(key).filter(|s| s.waiting() > 0 && s.send_window > 0) {
                stream.queued = true;
                self.ready.push_back(key);
            }
        }
    }

    /// Body bytes of a stream that wait.
    #[inline]
    pub fn waiting(&self, key: StreamKey) -> usize {
        self.streams.get(key).map_or(0, |s| s.waiting())
    }

    /// The caller wants to be told by [`take_writable`](Self::take_writable) when fewer wait.
    pub fn await_writable(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.blocked = true;
        }
    }

    /// Whether the peer's message has come to its end.
    pub fn received_whole(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_none_or(|s| s.receive == Receive::Complete)
    }
}

/// What a request must have to be written at all.
fn check_request(head: &RequestHead) -> Result<(), EncodeError> {
    let map = &head.headers;
    let method = head.method();
    if !scan::is_name(method) {
        return Err(EncodeError::Pseudo);
    }
    let plain_connect = method == b"CONNECT" && !map.contains(Known::Protocol);
    if !plain_connect && !scan::is_word(head.path()) {
        return Err(EncodeError::Pseudo);
    }
    if map.get(Known::Authority).is_some_and(|a| !a.is_empty() && !scan::is_word(a)) {
        return Err(EncodeError::Pseudo);
    }
    check(map)
}

/// Names that are tokens, values without control characters: checked before anything is encoded.
fn check(map: &HeaderMap) -> Result<(), EncodeError> {
    let fit = map.iter_checked().all(|(known, name, value, clean)| {
        clean || ((known != Known::Other || scan::is_name(name)) && scan::is_text(value))
    });
    if fit { Ok(()) } else { Err(EncodeError::Header) }
}

/// Encodes the fields that are no pseudo headers.
#[inline]
fn fields(encoder: &mut Encoder, map: &HeaderMap, out: &mut Vec<u8>) {
    for (known, name, value) in written(map) {
        encoder.field(known, name, value, Sensitivity::of(known, name, value), out);
    }
}

/// The fields that are no pseudo headers and may be said in HTTP/2.
#[inline]
fn written(map: &HeaderMap) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
    let skips = map.contains_any(NOT_WRITTEN);
    map.iter_checked().filter_map(move |(known, name, value, _)| {
        let left_out = known.is_pseudo()
            || (skips && NOT_WRITTEN.contains(known))
            || (known == Known::Te && !value.eq_ignore_ascii_case(b"trailers"));
        (!left_out).then_some((known, name, value))
    })
}

/// Bytes of the names and values that are written of these fields, pseudo headers aside.
fn text_of(map: &HeaderMap) -> usize {
    written(map).map(|(known, name, value)| known.as_str().len() + name.len() + value.len()).sum()
}

/// Bytes of the names and values that a response's head has on the wire, before compression.
pub fn response_text(head: &ResponseHead) -> usize {
    b":status200".len() + text_of(&head.headers)
}

/// The same of a request's head.
pub fn request_text(head: &RequestHead) -> usize {
    let pseudo = REQUEST_PSEUDO.iter().filter_map(|&known| Some((known, request_pseudo(head, known)?)));
    pseudo.map(|(known, value)| known.as_str().len() + value.len()).sum::<usize>() + text_of(&head.headers)
}

/// The same of trailers.
pub fn trailers_text(trailers: &HeaderMap) -> usize {
    text_of(trailers)
}
