//! One HTTP/1 downstream connection: socket, codec and buffers, and the [`Downstream`] face of its stream.

use super::config::HcmConfig;
use super::exchange::{Downstream, DownstreamError, RequestEvent};
use super::stats::Http1CodecStats;
use nuncio_codec::h1::{Event, RequestError, ServerCodec, UnderscoreAction};
use nuncio_codec::h1::{received_header_bytes, sent_header_bytes, underscored_names};
use nuncio_codec::h2::Metadata;
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::format::header_bytes_wanted;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::ByteCounts;
use nuncio_net::inbuf::InBuf;
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::LazyTimer;
use nuncio_net::worker::Worker;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Pieces of a body up to this size are copied behind what already waits; larger ones are offered to the
/// socket where they lie.
const COPY_MAX: usize = 4096;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// More bytes.
    Bytes,
    /// The peer will send no more, or the connection broke.
    Closed,
}

/// What [`H1Connection::poll_head`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum NextHead {
    /// A head is decoded.
    Head {
        /// The request has no body.
        end_stream: bool,
    },
    /// The client closed between requests.
    Closed,
    /// The client closed within a head.
    Cut,
    /// What came is not HTTP/1.
    Bad(RequestError),
}

/// One HTTP/1 connection. Buffers are held only while there is something in them.
pub struct H1Connection {
    io: Box<dyn ByteStream>,
    codec: ServerCodec,
    config: Arc<HcmConfig>,
    worker: Rc<Worker>,
    codec_stats: Scope<Http1CodecStats>,
    input: InBuf,
    /// The bytes of the last data event, within `input`'s unread part.
    data: Range<usize>,
    /// What of `input` is done with once those bytes were read.
    data_end: usize,
    output: Vec<u8>,
    output_at: usize,
    closed: bool,
    /// It was closed by an error.
    was_reset: bool,
    /// Since when it drains.
    draining: Option<Instant>,
    timer: LazyTimer,
    bytes: ByteCounts,
    rx_total: u64,
    tx_total: u64,
}

impl H1Connection {
    /// A connection before its first request.
    pub fn new(
        io: Box<dyn ByteStream>,
        config: Arc<HcmConfig>,
        worker: Rc<Worker>,
        codec_stats: Scope<Http1CodecStats>,
    ) -> Self {
        Self {
            io,
            codec: ServerCodec::new(),
            config,
            worker,
            codec_stats,
            input: InBuf::default(),
            data: 0..0,
            data_end: 0,
            output: Vec::new(),
            output_at: 0,
            closed: false,
            was_reset: false,
            draining: None,
            timer: LazyTimer::default(),
            bytes: ByteCounts::default(),
            rx_total: 0,
            tx_total: 0,
        }
    }

    /// What has arrived and was not decoded.
    pub fn unread(&self) -> &[u8] {
        self.input.unread()
    }

    /// Socket and input, for another codec to go on with.
    pub fn into_parts(self) -> (Box<dyn ByteStream>, InBuf) {
        (self.io, self.input)
    }

    /// Whether the client closed before it sent anything.
    pub fn has_ended_unused(&self) -> bool {
        self.closed && self.input.is_empty()
    }

    /// Whether the connection may carry another request.
    pub fn keep_alive(&self) -> bool {
        !self.closed && self.codec.keep_alive()
    }

    /// Bytes received and sent on the socket since the last call.
    pub fn take_totals(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.rx_total), std::mem::take(&mut self.tx_total))
    }

    /// Ready when bytes or the end have arrived; no buffer is held meanwhile. The kernel's word that there is
    /// something is not enough (for a fresh connection it is often wrong): a read decides.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.input.is_empty() {
            return Poll::Ready(());
        }
        self.poll_fill(cx).map(|_| ())
    }

    /// Reads once. The buffer is given back when nothing came and nothing is in it.
    #[inline]
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        if self.closed {
            return Poll::Ready(Read::Closed);
        }
        match self.input.poll_fill(cx, &*self.io, self.worker.buffers()) {
            Poll::Pending => {
                self.input.release(self.worker.buffers());
                Poll::Pending
            }
            Poll::Ready(Ok(n)) if n > 0 => {
                self.rx_total += n as u64;
                self.bytes.wire_received += n as u64;
                Poll::Ready(Read::Bytes)
            }
            Poll::Ready(end) => {
                self.closed = true;
                self.was_reset = end.is_err();
                Poll::Ready(Read::Closed)
            }
        }
    }

    /// Decodes the next request's head into `head`, reading as needed.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        trailers: &mut HeaderMap,
    ) -> Poll<NextHead> {
        loop {
            if !self.input.is_empty() {
                match self.codec.decode(&self.config.h1, self.input.unread(), head, trailers) {
                    Err(e) => {
                        if e.stands_behind_the_fields() && header_bytes_wanted() {
                            self.meter_head(self.input.unread().len());
                        }
                        if e == RequestError::Underscore {
                            self.codec_stats.requests_rejected_with_underscores_in_headers.inc();
                        }
                        return Poll::Ready(NextHead::Bad(e));
                    }
                    Ok(decoded) => {
                        if let Event::Head { .. } = decoded.event {
                            self.count_fields(decoded.consumed);
                            if header_bytes_wanted() {
                                self.meter_head(decoded.consumed);
                            }
                        }
                        self.input.consume(decoded.consumed);
                        if let Event::Head { end_stream } = decoded.event {
                            return Poll::Ready(NextHead::Head { end_stream });
                        }
                    }
                }
            }
            match ready!(self.poll_fill(cx)) {
                Read::Bytes => {}
                Read::Closed if self.bytes.wire_received > 0 || !self.input.is_empty() => {
                    return Poll::Ready(NextHead::Cut);
                }
                Read::Closed => return Poll::Ready(NextHead::Closed),
            }
        }
    }

    /// Makes ready for the next request and gives empty buffers back.
    pub fn rest(&mut self) {
        // What a stream read last of its request's body and did not poll beyond is no part of the next one.
        self.consume_data();
        // What is there already came while another request had the connection; it counts for both, as in Envoy.
        let wire_received = self.input.unread().len() as u64;
        self.bytes = ByteCounts { wire_received, ..ByteCounts::default() };
        self.input.release(self.worker.buffers());
        if self.buffered() == 0 {
            self.release_output();
        }
    }

    /// All was sent: the buffer goes to whoever writes next, for this connection may be a tunnel that says nothing for hours.
    #[inline]
    fn release_output(&mut self) {
        self.output_at = 0;
        if self.output.capacity() > 0 {
            self.worker.buffers().give(std::mem::take(&mut self.output));
        }
    }

    /// The timer of the connection.
    pub fn timer(&mut self) -> &mut LazyTimer {
        &mut self.timer
    }

    /// Since when it drains.
    pub fn draining_since(&self) -> Option<Instant> {
        self.draining
    }

    /// Reads and throws away, until the peer closes. As in Envoy, a reset is not noticed then.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.input.clear();
            if ready!(self.poll_fill(cx)) == Read::Closed {
                return if self.was_reset { Poll::Pending } else { Poll::Ready(()) };
            }
        }
    }

    /// Takes an output buffer where none is held.
    fn out(&mut self) {
        if self.output.capacity() == 0 {
            self.output = self.worker.buffers().take();
        }
    }

    /// Counts the head that the unread input begins with.
    #[cold]
    fn meter_head(&mut self, len: usize) {
        let head = self.input.unread().get(..len).unwrap_or_default();
        self.bytes.received_head(received_header_bytes(head));
    }

    /// Counts the fields that were dropped of the head or the trailers that the unread input begins with.
    #[inline]
    fn count_fields(&self, len: usize) {
        if self.config.h1.underscores == UnderscoreAction::DropHeader {
            let fields = self.input.unread().get(..len).unwrap_or_default();
            self.codec_stats.dropped_headers_with_underscores.add(underscored_names(fields));
        }
    }

    /// Counts the trailers that the unread input begins with; the last chunk's line is no field.
    #[cold]
    fn meter_trailers(&mut self, len: usize) {
        let trailers = self.input.unread().get(..len).unwrap_or_default();
        self.bytes.header_received += received_header_bytes(trailers);
    }

    /// The connection's round-trip time, where the kernel measures it.
    pub fn round_trip(&self) -> Option<Duration> {
        self.io.round_trip()
    }

    /// Counts the head that the output ends with.
    fn meter_sent_head(&mut self, from: usize) {
        let head = self.output.get(from..).unwrap_or_default();
        self.bytes.wire_sent += head.len() as u64;
        if header_bytes_wanted() {
            self.bytes.header_sent += sent_header_bytes(head);
        }
    }

    #[inline]
    fn consume_data(&mut self) {
        if self.data_end > 0 {
            self.data = 0..0;
            self.input.consume(std::mem::take(&mut self.data_end));
        }
    }
}

impl Downstream for H1Connection {
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<RequestEvent, DownstreamError>> {
        self.consume_data();
        // The decoder writes a head only where a message begins, which is never within a body.
        let mut unused = RequestHead::new();
        loop {
            let decoded = self
                .codec
                .decode(&self.config.h1, self.input.unread(), &mut unused, trailers)
                .map_err(|e| DownstreamError::Protocol { status: e.status(), details: e.details() })?;
            match decoded.event {
                Event::Data { at, end_stream } => {
                    self.data = at;
                    self.data_end = decoded.consumed;
                    return Poll::Ready(Ok(RequestEvent::Data { end_stream }));
                }
                Event::Trailers => {
                    self.count_fields(decoded.consumed);
                    if header_bytes_wanted() {
                        self.meter_trailers(decoded.consumed);
                    }
                    self.input.consume(decoded.consumed);
                    return Poll::Ready(Ok(RequestEvent::Trailers));
                }
                Event::End => {
                    if self.config.h1.enable_trailers {
                        // Trailers of which nothing is left are none.
                        self.count_fields(decoded.consumed);
                    }
                    self.input.consume(decoded.consumed);
                    return Poll::Ready(Ok(RequestEvent::End));
                }
                Event::More | Event::Head { .. } | Event::Informational => {
                    self.input.consume(decoded.consumed);
                }
            }
            if self.codec.awaits_tunnel() {
                return self.poll_disconnect(cx).map(Err);
            }
            if ready!(self.poll_fill(cx)) == Read::Closed {
                return Poll::Ready(Err(DownstreamError::Disconnected));
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.input.unread().get(self.data.clone()).unwrap_or_default()
    }

    fn held_back(&self) -> usize {
        if self.codec.awaits_tunnel() { self.input.unread().len() } else { 0 }
    }

    fn let_through(&mut self) {
        self.codec.let_through();
    }

    fn poll_disconnect(&mut self, cx: &mut Context<'_>) -> Poll<DownstreamError> {
        self.consume_data();
        // A client that says nothing needs no buffer.
        self.input.release(self.worker.buffers());
        // A pipelined request is read ahead up to one buffer; beyond it the client has to wait.
        while !self.input.is_full() {
            if ready!(self.poll_fill(cx)) == Read::Closed {
                return Poll::Ready(DownstreamError::Disconnected);
            }
        }
        Poll::Pending
    }

    fn encode_metadata(&mut self, _: &Metadata) -> bool {
        self.codec_stats.metadata_not_supported_error.inc();
        true
    }

    fn encode_informational(&mut self, head: &ResponseHead) {
        self.out();
        let before = self.output.len();
        self.codec.encode_informational(self.config.header_case, head, &mut self.output);
        self.meter_sent_head(before);
    }

    fn encode_head(&mut self, head: &ResponseHead, end_stream: bool) {
        self.out();
        let before = self.output.len();
        let case = self.config.header_case;
        if self.codec.encode_head(case, head, end_stream, &mut self.output).is_err() {
            // A head that must not be written is an upstream's or a filter's fault and was caught before
            // it got here; ending the connection keeps a half-written one from being read as an answer.
            self.output.truncate(before);
            self.closed = true;
        }
        self.meter_sent_head(before);
    }

    fn encode_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        self.out();
        if data.len() <= COPY_MAX || self.codec.room() < data.len() as u64 {
            // Small, or more than the head lets out: nothing at all behind HEAD.
            let before = self.output.len();
            self.codec.encode_data(data, end_stream, &mut self.output);
            self.bytes.wire_sent += (self.output.len() - before) as u64;
            return;
        }
        let (prefix, suffix) = self.codec.data_framing(data.len(), end_stream);
        let prefix = prefix.as_ref();
        self.bytes.wire_sent += (prefix.len() + data.len() + suffix.len()) as u64;
        let waiting = self.output.get(self.output_at..).unwrap_or_default();
        let parts = [waiting, prefix, data, suffix];
        let mut sent = 0;
        if let Poll::Ready(Ok(n)) = self.io.poll_write_vectored(cx, &parts.map(IoSlice::new)) {
            sent = n;
            self.tx_total += n as u64;
        }
        let mut rest: [&[u8]; 3] = [prefix, data, suffix];
        if sent < waiting.len() {
            self.output_at += sent;
        } else {
            let mut skip = sent - waiting.len();
            for part in &mut rest {
                let n = skip.min(part.len());
                skip -= n;
                *part = part.get(n..).unwrap_or_default();
            }
            self.output.clear();
            self.output_at = 0;
        }
        for part in rest {
            self.output.extend_from_slice(part);
        }
    }

    fn encode_trailers(&mut self, trailers: &HeaderMap) {
        // Those of a protocol that always has them stop here, too.
        let none = HeaderMap::new();
        let trailers = if self.config.h1.enable_trailers { trailers } else { &none };
        self.out();
        let before = self.output.len();
        self.codec.encode_trailers(trailers, &mut self.output);
        self.bytes.wire_sent += (self.output.len() - before) as u64;
        if header_bytes_wanted() {
            self.bytes.header_sent += trailers.written_size();
        }
    }

    fn buffered(&self) -> usize {
        self.output.len() - self.output_at
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        while self.output_at < self.output.len() {
            let waiting = self.output.get(self.output_at..).unwrap_or_default();
            match ready!(self.io.poll_write(cx, waiting)) {
                Ok(n) if n > 0 => {
                    self.output_at += n;
                    self.tx_total += n as u64;
                }
                _ => {
                    self.closed = true;
                    self.output.clear();
                    self.output_at = 0;
                    return Poll::Ready(Err(DownstreamError::Disconnected));
                }
            }
        }
        self.release_output();
        Poll::Ready(Ok(()))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant, deadline: Option<Instant>) -> Poll<()> {
        self.timer.poll(cx, now, deadline)
    }

    fn close_after(&mut self) {
        self.codec.set_close();
    }

    fn begin_drain(&mut self, now: Instant) -> bool {
        let fresh = self.draining.is_none();
        self.draining.get_or_insert(now);
        fresh
    }

    fn draining(&self) -> bool {
        self.draining.is_some()
    }

    fn connection_header(&self) -> Option<&'static [u8]> {
        self.codec.connection_header()
    }

    fn bytes(&self) -> ByteCounts {
        self.bytes
    }
}
