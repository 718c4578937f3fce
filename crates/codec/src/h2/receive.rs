//! From bytes to events.

use super::codec::{Codec, Side};
use super::error::{ConnectionError, ErrorCode, MessageError};
use super::frame::{self, FrameHeader, MAX_31, MAX_PAYLOAD, PREFACE, flag, kind, read_u32};
use super::message::{Builder, Built, Part};
use super::options::Options;
use super::streams::{Receive, Stream, StreamKey};
use super::{Decoded, Event, Incoming};
use crate::head::{HeaderMap, Known, Version};
use std::time::Instant;

/// Where the decoder stands between calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Before the client's preface.
    Preface,
    /// Before a frame.
    Frame,
    /// In the payload of a DATA frame.
    Data {
        /// Whose; `None` where it is dropped.
        stream: Option<StreamKey>,
        /// Body bytes, and padding behind them, that are still to come.
        left: u32,
        pad: u32,
        end_stream: bool,
    },
    /// In the payload of a frame that nobody reads.
    Skip { left: usize },
    /// After an error: nothing more is read.
    Failed,
}

/// A header block whose end is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) stream: u32,
    end_stream: bool,
    continuations: u32,
}

/// CONTINUATION frames of one block at most.
const MAX_CONTINUATIONS: u32 = 8;

/// A frame was taken, and perhaps told something.
pub(super) type Taken = Result<Option<Event>, ConnectionError>;

/// Where decoded fields go.
pub(super) struct Target<'a> {
    options: &'a Options,
    into: Incoming<'a>,
    trailers: &'a mut HeaderMap,
}

impl Codec {
    /// Decodes at most one event from `input`: the bytes that arrived and are not consumed yet.
    ///
    /// `into` and `trailers` are filled in, in place of what they held, before the events that say so; what they hold
    /// after other events means nothing. After an error the connection must end; what is to be sent about it is
    /// [`unsent`](Self::unsent).
    pub fn decode(
        &mut self,
        now: Instant,
        options: &Options,
        input: &[u8],
        into: Incoming<'_>,
        trailers: &mut HeaderMap,
    ) -> Result<Decoded, ConnectionError> {
        let mut target = Target { options, into, trailers };
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let step = match self.reading {
                Reading::Frame => self.decode_frame(now, rest, &mut target),
                Reading::Data { stream, left, pad, end_stream } => {
                    Ok(self.decode_data(stream, left, pad, end_stream, rest))
                }
                Reading::Skip { left } => {
                    let n = left.min(rest.len());
                    let left = left - n;
                    self.reading = if left == 0 { Reading::Frame } else { Reading::Skip { left } };
                    Ok((n, (left > 0).then_some(Event::More)))
                }
                Reading::Preface => self.decode_preface(rest),
                Reading::Failed => Ok((rest.len(), Some(Event::More))),
            };
            let (taken, event) =
                step.and_then(|step| self.budgets.outbound().map(|()| step)).map_err(|e| self.fail(e))?;
            let start = at;
            at += taken;
            match event {
                None => {}
                Some(Event::Data { stream, at: data, end_stream }) => {
                    let data = data.start + start..data.end + start;
                    let wire = std::mem::take(&mut self.counted);
                    let event = Event::Data { stream, at: data, end_stream };
                    return Ok(Decoded { consumed: at, wire, event });
                }
                Some(Event::More) => return Ok(Decoded { consumed: at, wire: 0, event: Event::More }),
                Some(event) => {
                    return Ok(Decoded { consumed: at, wire: std::mem::take(&mut self.counted), event });
                }
            }
        }
    }

    fn decode_preface(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), ConnectionError> {
        let len = input.len().min(PREFACE.len());
        if input.get(..len) != PREFACE.get(..len) {
            return Err(ConnectionError::Preface);
        }
        if len < PREFACE.len() {
            return Ok((0, Some(Event::More)));
        }
        self.reading = Reading::Frame;
        Ok((len, None))
    }

    fn decode_frame(
        &mut self,
        now: Instant,
        input: &[u8],
        target: &mut Target<'_>,
    ) -> Result<(usize, Option<Event>), ConnectionError> {
        let Some(header) = FrameHeader::read(input) else { return Ok((0, Some(Event::More))) };
        if header.len > MAX_PAYLOAD {
            return Err(ConnectionError::FrameSize);
        }
        if !self.peer.seen && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(ConnectionError::Protocol);
        }
        match self.block {
            Some(block) if header.kind != kind::CONTINUATION || header.stream != block.stream => {
                return Err(ConnectionError::Protocol);
            }
            None if header.kind == kind::CONTINUATION => return Err(ConnectionError::Protocol),
            _ => {}
        }
        if header.kind != kind::CONTINUATION {
            self.counted = 0;
        }
        if header.kind == kind::DATA {
            return self.begin_data(input, header);
        }
        if header.kind > kind::CONTINUATION && !self.wants(header) {
            self.heard(now);
            self.reading = Reading::Skip { left: header.len };
            return Ok((frame::HEADER, self.skipped(header)));
        }
        let end = frame::HEADER + header.len;
        let Some(payload) = input.get(frame::HEADER..end) else { return Ok((0, Some(Event::More))) };
        self.heard(now);
        let event = match header.kind {
            kind::HEADERS => self.headers(header, payload, target)?,
            kind::CONTINUATION => self.continuation(header, payload, target)?,
            kind::PRIORITY => self.priority(header, payload)?,
            kind::RST_STREAM => self.reset(now, header, payload)?,
            kind::SETTINGS => self.settings(header, payload)?,
            kind::PING => self.ping(now, header, payload)?,
            kind::GOAWAY => self.go_away(header, payload)?,
            kind::WINDOW_UPDATE => self.update_window(header, payload)?,
            kind::METADATA => self.metadata(header, payload)?,
            // A client may not push, and we have forbidden it to servers.
            _ => return Err(ConnectionError::Stray { stream: header.stream }),
        };
        Ok((end, event))
    }

    /// The beginning of a DATA frame: everything about it is judged here, before its bytes have come.
    fn begin_data(
        &mut self,
        input: &[u8],
        header: FrameHeader,
    ) -> Result<(usize, Option<Event>), ConnectionError> {
        let padded = header.has(flag::PADDED);
        let pad = match input.get(frame::HEADER) {
            _ if !padded => 0,
            _ if header.len == 0 => return Err(ConnectionError::FrameSize),
            None => return Ok((0, Some(Event::More))),
            Some(&pad) => usize::from(pad),
        };
        let overhead = usize::from(padded);
        let Some(body) = header.len.checked_sub(pad + overhead) else {
            return Err(ConnectionError::Protocol);
        };
        if header.stream == 0 {
            return Err(ConnectionError::Protocol);
        }
        let end_stream = header.has(flag::END_STREAM);
        self.budgets.payload(header.stream, body == 0 && !end_stream)?;
        self.receive_window -= header.len as i64;
        if self.receive_window < 0 {
            return Err(ConnectionError::FlowControl);
        }
        let (stream, event) = self.judge_data(header, body as u32)?;
        match stream {
            // The padding is consumed as it comes, a dropped body too.
            None => self.consumed_on_connection(header.len as u32),
            Some(key) => {
                if let Some(s) = self.streams.get_mut(key) {
                    s.unconsumed += header.len as u32;
                }
                self.consumed(key, pad + overhead);
                self.counted = (frame::HEADER + overhead) as u32;
            }
        }
        self.reading = Reading::Data { stream, left: body as u32, pad: pad as u32, end_stream };
        Ok((frame::HEADER + overhead, event))
    }

    /// Whose data it is, if it is wanted.
    fn judge_data(
        &mut self,
        header: FrameHeader,
        body: u32,
    ) -> Result<(Option<StreamKey>, Option<Event>), ConnectionError> {
        let end_stream = header.has(flag::END_STREAM);
        let Some(key) = self.streams.find(header.stream) else {
            if self.is_idle(header.stream) {
                return Err(ConnectionError::Protocol);
            }
            if !self.was_reset(header.stream) {
                self.rst_stream(header.stream, ErrorCode::STREAM_CLOSED);
            }
            return Ok((None, None));
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok((None, None)) };
        match stream.receive {
            Receive::Body => {}
            Receive::Complete => {
                return if self.was_reset(header.stream) {
                    Ok((None, None))
                } else {
                    Err(ConnectionError::StreamClosed)
                };
            }
            // A client's stream: a body without a head.
            Receive::Head => return Err(ConnectionError::Protocol),
        }
        stream.receive_window -= header.len as i64;
        if stream.receive_window < 0 {
            return Ok((None, self.fault(key, ErrorCode::FLOW_CONTROL_ERROR, None)?));
        }
        if !count_length(stream, u64::from(body), end_stream) {
            let error = Some(MessageError::Messaging);
            return Ok((None, self.fault(key, ErrorCode::PROTOCOL_ERROR, error)?));
        }
        Ok((Some(key), None))
    }

    /// A stream cannot go on: it is reset, or the connection ends where the message is malformed and nothing spares
    /// it.
    fn fault(&mut self, stream: StreamKey, code: ErrorCode, error: Option<MessageError>) -> Taken {
        if let Some(error) = error {
            self.message_error(stream.id(), error)?;
        }
        self.reset_stream(stream, code);
        Ok(Some(Event::Failed { stream, error }))
    }

    /// Counts a message that is wrong; `Err` where the connection ends for it.
    fn message_error(&mut self, stream: u32, error: MessageError) -> Result<(), ConnectionError> {
        let c = &mut self.counters;
        match error {
            MessageError::TooManyHeaders | MessageError::HeadersTooLarge => c.header_overflow += 1,
            MessageError::Underscore => c.requests_rejected_with_underscores_in_headers += 1,
            MessageError::Field | MessageError::ConnectProtocol | MessageError::Messaging => {
                c.rx_messaging_error += 1
            }
        }
        if error.is_malformed() && !self.spare_connection {
            return Err(ConnectionError::Message { stream, error });
        }
        Ok(())
    }

    fn decode_data(
        &mut self,
        stream: Option<StreamKey>,
        left: u32,
        pad: u32,
        end_stream: bool,
        input: &[u8],
    ) -> (usize, Option<Event>) {
        let body = (left as usize).min(input.len());
        let left = left - body as u32;
        let padding = if left == 0 { (pad as usize).min(input.len() - body) } else { 0 };
        let pad = pad - padding as u32;
        let done = left == 0 && pad == 0;
        self.reading = if done { Reading::Frame } else { Reading::Data { stream, left, pad, end_stream } };
        let taken = body + padding;
        let ends = done && end_stream;
        let Some(stream) = stream else { return (taken, (!done).then_some(Event::More)) };
        self.counted += taken as u32;
        if ends {
            self.received_all(stream);
        }
        if body > 0 || done {
            return (taken, Some(Event::Data { stream, at: 0..body, end_stream: ends }));
        }
        (taken, (!done).then_some(Event::More))
    }

    /// The peer's message is complete.
    fn received_all(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.receive != Receive::Complete
        {
            stream.receive = Receive::Complete;
            self.settle(key);
        }
    }

    /// Whether no frame of the stream was ever to come.
    fn is_idle(&self, id: u32) -> bool {
        match self.side {
            Side::Server => id.is_multiple_of(2) || id > self.last_peer,
            Side::Client => id.is_multiple_of(2) || id >= self.next_id,
        }
    }

    fn headers(&mut self, header: FrameHeader, payload: &[u8], target: &mut Target<'_>) -> Taken {
        self.counted = (frame::HEADER + payload.len()) as u32;
        let mut fragment = payload;
        let mut pad = 0;
        if header.has(flag::PADDED) {
            let Some((&n, rest)) = fragment.split_first() else { return Err(ConnectionError::FrameSize) };
            (pad, fragment) = (usize::from(n), rest);
        }
        if header.has(flag::PRIORITY) {
            let Some((priority, rest)) = fragment.split_first_chunk::<5>() else {
                return Err(ConnectionError::FrameSize);
            };
            if read_u32(priority) & MAX_31 == header.stream {
                return Err(ConnectionError::Protocol);
            }
            fragment = rest;
        }
        let Some(len) = fragment.len().checked_sub(pad) else { return Err(ConnectionError::Protocol) };
        let fragment = fragment.get(..len).unwrap_or_default();
        if header.stream.is_multiple_of(2) {
            return Err(ConnectionError::Forbidden);
        }
        let end_stream = header.has(flag::END_STREAM);
        self.budgets.payload(header.stream, len == 0 && !end_stream)?;
        if header.has(flag::END_HEADERS) {
            return self.block(header.stream, end_stream, fragment, target);
        }
        self.fragments.clear();
        self.fragments.extend_from_slice(fragment);
        self.block = Some(Block { stream: header.stream, end_stream, continuations: 0 });
        Ok(None)
    }

    fn continuation(&mut self, header: FrameHeader, payload: &[u8], target: &mut Target<'_>) -> Taken {
        self.budgets.payload(header.stream, payload.is_empty())?;
        self.counted += payload.len() as u32;
        let Some(block) = &mut self.block else { return Err(ConnectionError::Protocol) };
        block.continuations += 1;
        let most = target.options.limits.max_head_bytes as usize + MAX_PAYLOAD;
        if block.continuations > MAX_CONTINUATIONS || self.fragments.len() + payload.len() > most {
            return Err(ConnectionError::BlockTooLong);
        }
        self.fragments.extend_from_slice(payload);
        if !header.has(flag::END_HEADERS) {
            return Ok(None);
        }
        let Block { stream, end_stream, .. } = *block;
        self.block = None;
        let fragments = std::mem::take(&mut self.fragments);
        self.block(stream, end_stream, &fragments, target)
    }

    /// A whole header block.
    fn block(&mut self, id: u32, end_stream: bool, block: &[u8], target: &mut Target<'_>) -> Taken {
        let Some(key) = self.streams.find(id) else {
            return match self.side {
                Side::Server => self.request(id, end_stream, block, target),
                // RFC 9113 section 5.1: what was on its way when we reset the stream is dropped.
                Side::Client if self.is_idle(id) => Err(ConnectionError::Forbidden),
                Side::Client => {
                    self.counters.headers_cb_no_stream += 1;
                    self.drop_block(block)
                }
            };
        };
        let receive = self.streams.get(key).map_or(Receive::Complete, |s| s.receive);
        match receive {
            Receive::Head => self.response(key, end_stream, block, target),
            Receive::Body => {
                // As in Envoy, those of requests alone, be they good or not.
                self.counters.trailers += u32::from(self.side == Side::Server);
                let built = self.build(Part::Trailers, block, target)?;
                let complete = self.streams.get_mut(key).is_some_and(|s| count_length(s, 0, true));
                let error = match built {
                    Err(error) => Some(error),
                    Ok(_) if !end_stream || !complete => Some(MessageError::Messaging),
                    Ok(_) => None,
                };
                if let Some(error) = error {
                    // As in Envoy, trailers of responses that are too large count nowhere.
                    if self.side == Side::Client && error == MessageError::HeadersTooLarge {
                        self.reset_stream(key, error.code());
                        return Ok(Some(Event::Failed { stream: key, error: Some(error) }));
                    }
                    return self.fault(key, error.code(), Some(error));
                }
                self.received_all(key);
                Ok(Some(Event::Trailers { stream: key }))
            }
            Receive::Complete if self.was_reset(id) => self.drop_block(block),
            Receive::Complete => Err(ConnectionError::StreamClosed),
        }
    }

    /// Decodes a block that nobody reads, because the table follows from it.
    fn drop_block(&mut self, block: &[u8]) -> Taken {
        self.decoder.decode(block, |_| ()).map_err(|_| ConnectionError::Compression)?;
        Ok(None)
    }

    /// Decodes a block into the target; what is wrong with its message is the inner error.
    fn build(
        &mut self,
        part: Part,
        block: &[u8],
        target: &mut Target<'_>,
    ) -> Result<Result<Built, MessageError>, ConnectionError> {
        let map = match (part, &mut target.into) {
            (Part::Trailers, _) => &mut *target.trailers,
            (_, Incoming::Request(head)) => {
                head.clear();
                head.version = Version::Http2;
                &mut head.headers
            }
            (_, Incoming::Response(head)) => {
                head.clear();
                head.version = Version::Http2;
                &mut head.headers
            }
        };
        let mut builder = Builder::new(part, target.options, map, &mut self.cookies);
        let decoded = self.decoder.decode(block, |field| builder.take(field));
        decoded.map_err(|_| ConnectionError::Compression)?;
        self.block_text = builder.text();
        self.counters.dropped_headers_with_underscores += builder.dropped().underscores;
        Ok(builder.finish())
    }

    /// The head of a new request.
    fn request(&mut self, id: u32, end_stream: bool, block: &[u8], target: &mut Target<'_>) -> Taken {
        if id <= self.last_peer {
            if self.was_reset(id) {
                return self.drop_block(block);
            }
            return Err(ConnectionError::StreamClosed);
        }
        // As in Envoy, who says GOAWAY is taken at its word and begins nothing either.
        if self.last_taken.is_some_and(|last| id > last) || self.last_allowed.is_some() {
            return self.drop_block(block);
        }
        self.last_peer = id;
        if self.open >= target.options.max_concurrent_streams as usize {
            if self.settings_acked {
                return Err(ConnectionError::Protocol);
            }
            self.rst_stream(id, ErrorCode::REFUSED_STREAM);
            return self.drop_block(block);
        }
        let built = match self.build(Part::Request, block, target)? {
            // A body must come where one is announced.
            Ok(Built { length: Some(1..), .. }) if end_stream => Err(MessageError::Messaging),
            built => built,
        };
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                self.message_error(id, error)?;
                self.rst_stream(id, error.code());
                return Ok(Some(Event::Refused { id, error }));
            }
        };
        let Incoming::Request(head) = &target.into else { return Err(ConnectionError::Protocol) };
        let connect = head.headers.get(Known::Method) == Some(b"CONNECT");
        let stream = self.insert(id);
        if let Some(s) = self.streams.get_mut(stream) {
            s.receive = Receive::Body;
            s.length = built.length.filter(|_| !connect);
            s.tunnel = connect;
            s.bodiless = head.headers.get(Known::Method) == Some(b"HEAD");
        }
        if end_stream {
            self.received_all(stream);
        }
        Ok(Some(Event::Head { stream, end_stream }))
    }

    /// The head of a response, informational or final.
    fn response(
        &mut self,
        stream: StreamKey,
        end_stream: bool,
        block: &[u8],
        target: &mut Target<'_>,
    ) -> Taken {
        let built = match self.build(Part::Response, block, target)? {
            Ok(Built { status: 100..=199, .. }) if end_stream => Err(MessageError::Messaging),
            built => built,
        };
        let built = match built {
            Ok(built) => built,
            Err(error) => return self.fault(stream, error.code(), Some(error)),
        };
        if let Incoming::Response(head) = &mut target.into {
            head.status = built.status;
        }
        if built.status < 200 {
            return Ok(Some(Event::Informational { stream }));
        }
        if let Some(s) = self.streams.get_mut(stream) {
            // What has no body may say how long it would be.
            let none = s.bodiless || matches!(built.status, 204 | 304);
            s.length = if none { Some(0) } else { built.length }.filter(|_| !s.tunnel);
            s.receive = Receive::Body;
            if end_stream && !count_length(s, 0, true) {
                return self.fault(stream, ErrorCode::PROTOCOL_ERROR, Some(MessageError::Messaging));
            }
        }
        if end_stream {
            self.received_all(stream);
        }
        Ok(Some(Event::Head { stream, end_stream }))
    }

    fn priority(&mut self, header: FrameHeader, payload: &[u8]) -> Taken {
        if header.stream == 0 {
            return Err(ConnectionError::Forbidden);
        }
        if payload.len() != 5 {
            return Err(ConnectionError::FrameSize);
        }
        if read_u32(payload) & MAX_31 == header.stream {
            return Err(ConnectionError::Protocol);
        }
        self.budgets.priority()?;
        Ok(None)
    }

    fn reset(&mut self, now: Instant, header: FrameHeader, payload: &[u8]) -> Taken {
        if payload.len() != 4 {
            return Err(ConnectionError::FrameSize);
        }
        if header.stream == 0 || self.is_idle(header.stream) {
            return Err(ConnectionError::Forbidden);
        }
        if self.side == Side::Server {
            self.budgets.reset(now)?;
        }
        self.counted = (frame::HEADER + payload.len()) as u32;
        let Some(stream) = self.streams.find(header.stream) else { return Ok(None) };
        if self.streams.get(stream).is_none_or(Stream::is_over) {
            return Ok(None);
        }
        self.counters.rx_reset += 1;
        self.cut(stream);
        if self.streams.get(stream).is_none() {
            return Ok(None);
        }
        Ok(Some(Event::Reset { stream, code: ErrorCode(read_u32(payload)) }))
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Taken {
        if header.stream != 0 {
            return Err(ConnectionError::Stray { stream: header.stream });
        }
        if header.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(ConnectionError::FrameSize);
            }
            self.settings_ack();
            return Ok(None);
        }
        if !payload.len().is_multiple_of(6) {
            return Err(ConnectionError::FrameSize);
        }
        for &[i1, i0, v3, v2, v1, v0] in payload.as_chunks::<6>().0 {
            self.setting(u16::from_be_bytes([i1, i0]), u32::from_be_bytes([v3, v2, v1, v0]))?;
        }
        let first = !std::mem::replace(&mut self.peer.seen, true);
        self.acknowledge(kind::SETTINGS, &[]);
        if first && self.side == Side::Server {
            self.announce_window();
        }
        Ok(Some(Event::Settings))
    }

    fn setting(&mut self, id: u16, value: u32) -> Result<(), ConnectionError> {
        match (id, value) {
            (1, size) => self.encoder.set_peer_max(size),
            (2, 0) => {}
            (2, 1) if self.side == Side::Server => {}
            (3, most) => self.peer.max_concurrent_streams = most,
            (4, 0..=MAX_31) => self.set_initial_window(value)?,
            (4, _) => return Err(ConnectionError::Window),
            (5, 0x4000..=0xff_ffff) => {}
            (8, 0 | 1) => self.peer.connect_protocol = value == 1,
            (2 | 5 | 8, _) => return Err(ConnectionError::Forbidden),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9113 section 6.9.2: the windows of open streams change by the difference, and may become negative.
    fn set_initial_window(&mut self, size: u32) -> Result<(), ConnectionError> {
        let change = i64::from(size) - i64::from(self.peer.initial_window);
        self.peer.initial_window = size;
        for (key, stream) in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > i64::from(MAX_31) {
                return Err(ConnectionError::FlowControl);
            }
            if stream.waiting() > 0 && stream.send_window > 0 && !stream.queued {
                stream.queued = true;
                self.ready.push_back(key);
            }
        }
        Ok(())
    }

    fn ping(&mut self, now: Instant, header: FrameHeader, payload: &[u8]) -> Taken {
        if payload.len() != 8 {
            return Err(ConnectionError::FrameSize);
        }
        if header.stream != 0 {
            return Err(ConnectionError::Stray { stream: header.stream });
        }
        if header.has(flag::ACK) {
            self.pong(payload, now);
        } else {
            self.acknowledge(kind::PING, payload);
        }
        Ok(None)
    }

    fn go_away(&mut self, header: FrameHeader, payload: &[u8]) -> Taken {
        if header.stream != 0 {
            return Err(ConnectionError::Stray { stream: header.stream });
        }
        let Some((last, rest)) = payload.split_first_chunk::<4>() else {
            return Err(ConnectionError::FrameSize);
        };
        if rest.len() < 4 {
            return Err(ConnectionError::FrameSize);
        }
        let last = read_u32(last) & MAX_31;
        // RFC 9113 section 6.8: a later one may let in fewer streams, never more.
        let more = self.last_allowed.is_some_and(|before| last > before);
        // The streams that are counted are ours: a client's have odd numbers, a server's even ones.
        if more || last > 0 && last.is_multiple_of(2) == (self.side == Side::Client) {
            return Err(ConnectionError::Forbidden);
        }
        self.last_allowed = Some(last);
        Ok(Some(Event::GoAway { last, code: ErrorCode(read_u32(rest)) }))
    }

    fn update_window(&mut self, header: FrameHeader, payload: &[u8]) -> Taken {
        if payload.len() != 4 {
            return Err(ConnectionError::FrameSize);
        }
        self.budgets.window_update()?;
        let more = i64::from(read_u32(payload) & MAX_31);
        if more == 0 {
            return Err(ConnectionError::EmptyUpdate { stream: header.stream });
        }
        if header.stream == 0 {
            self.send_window += more;
            if self.send_window > i64::from(MAX_31) {
                return Err(ConnectionError::FlowControl);
            }
            return Ok(None);
        }
        let Some(key) = self.streams.find(header.stream) else {
            return if self.is_idle(header.stream) { Err(ConnectionError::Window) } else { Ok(None) };
        };
        let Some(stream) = self.streams.get_mut(key).filter(|s| !s.is_over()) else { return Ok(None) };
        stream.send_window += more;
        if stream.send_window > i64::from(MAX_31) {
            return self.fault(key, ErrorCode::FLOW_CONTROL_ERROR, None);
        }
        if stream.waiting() > 0 && stream.send_window > 0 && !stream.queued {
            stream.queued = true;
            self.ready.push_back(key);
        }
        Ok(None)
    }
}

/// Counts body bytes against the announced length; whether they agree so far.
#[inline]
fn count_length(stream: &mut Stream, body: u64, end_stream: bool) -> bool {
    let Some(left) = stream.length else { return true };
    let Some(left) = left.checked_sub(body) else { return false };
    stream.length = Some(left);
    !end_stream || left == 0
}
