//! An exchange on an HTTP/1 connection.

use super::connection::{ClosedBy, Connection, ConnectionFacts, RequestHold};
use super::{Oddity, ResetReason, StreamError, UpstreamEvent};
use crate::cluster::ClusterCore;
use nuncio_codec::h1::{Decoded, Event, ResponseError, received_header_bytes, sent_header_bytes};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::format::header_bytes_wanted;
use nuncio_core::stream_info::ByteCounts;
use nuncio_core::why::Tongue;
use nuncio_net::inbuf::InBuf;
use nuncio_net::stream::poll_write_all;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// How the connection's write side is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// A write failed; what the peer said before is still to be read.
    Failed,
}

/// Pieces of a body above this size are sent from where they are, not copied.
const COPY_AT_MOST: usize = 4096;

pub(super) struct Http1Exchange {
    /// Taken when the exchange ends.
    connection: Option<Box<Connection>>,
    facts: Rc<ConnectionFacts>,
    hold: RequestHold,
    out: Vec<u8>,
    out_at: usize,
    input: InBuf,
    /// The last event's bytes, in the unread input; they leave it with the next poll.
    data: Range<usize>,
    consumed: usize,
    writing: Writing,
    closed_by: ClosedBy,
    /// Bytes of the response have come, after any 1xx.
    in_message: bool,
    bytes: ByteCounts,
}

impl Http1Exchange {
    #[inline]
    pub(super) fn new(connection: Box<Connection>, hold: RequestHold) -> Self {
        Self {
            facts: Rc::clone(&connection.facts),
            connection: Some(connection),
            hold,
            out: Vec::new(),
            out_at: 0,
            input: InBuf::default(),
            data: 0..0,
            consumed: 0,
            writing: Writing::Open,
            closed_by: ClosedBy::Local,
            in_message: false,
            bytes: ByteCounts::default(),
        }
    }

    #[inline]
    fn core(&self) -> &Rc<ClusterCore> {
        self.hold.host.core()
    }

    #[inline]
    pub(super) fn facts(&self) -> &ConnectionFacts {
        &self.facts
    }

    pub(super) fn reused(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.reused())
    }

    pub(super) fn upgraded(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.codec.upgraded())
    }

    #[inline]
    pub(super) fn bytes(&self) -> ByteCounts {
        self.bytes
    }

    #[inline]
    pub(super) fn buffered(&self) -> usize {
        self.out.len() - self.out_at
    }

    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        self.input.unread().get(self.data.clone()).unwrap_or_default()
    }

    #[inline]
    fn borrow_out(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.hold.host.core().worker.buffers().take();
        }
    }

    pub(super) fn encode_head(&mut self, head: &RequestHead, end_stream: bool) -> Result<(), StreamError> {
        self.borrow_out();
        let start = self.out.len();
        let case = self.hold.host.core().config().http.header_case;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.codec.encode_head(case, head, end_stream, &mut self.out) {
            Ok(()) => {
                if header_bytes_wanted() {
                    let head = self.out.get(start..).unwrap_or_default();
                    self.bytes.header_sent += sent_header_bytes(head);
                }
                Ok(())
            }
            Err(_) => Err(StreamError {
                reason: ResetReason::LocalReset,
                codec_details: Some("http1.invalid_request_head"),
                request_sent: false,
                response_begun: false,
                stale_reuse: false,
                oddity: None,
            }),
        }
    }

    #[inline]
    pub(super) fn encode_data(&mut self, data: &[u8], end_stream: bool) {
        self.borrow_out();
        if let Some(connection) = &mut self.connection {
            connection.codec.encode_data(data, end_stream, &mut self.out);
        }
    }

    pub(super) fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        let Some(connection) = &mut self.connection else { return };
        if data.len() <= COPY_AT_MOST || connection.codec.room() < data.len() as u64 {
            return self.encode_data(data, end_stream);
        }
        let (before, behind) = connection.codec.data_framing(data.len(), end_stream);
        let waiting = self.out.get(self.out_at..).unwrap_or_default();
        let pieces: [&[u8]; 4] = [waiting, &before, data, behind];
        let mut sent = 0;
        if self.writing == Writing::Open {
            match connection.stream.poll_write_vectored(cx, &pieces.map(IoSlice::new)) {
                Poll::Ready(Ok(n)) => sent = n,
                Poll::Ready(Err(_)) => self.writing = Writing::Failed,
                Poll::Pending => {}
            }
        }
        let mut skip = sent.saturating_sub(waiting.len());
        self.out_at += sent.min(waiting.len());
        self.count_sent(sent);
        self.borrow_out();
        for piece in [&*before, data, behind] {
            self.out.extend_from_slice(piece.get(skip.min(piece.len())..).unwrap_or_default());
            skip = skip.saturating_sub(piece.len());
        }
        if self.buffered() == 0 {
            self.return_out();
        }
    }

    pub(super) fn encode_trailers(&mut self, trailers: &HeaderMap) {
        self.borrow_out();
        let http = &self.hold.host.core().config().http;
        if let Some(connection) = &mut self.connection {
            if http.h1.enable_trailers {
                connection.codec.encode_trailers(trailers, &mut self.out);
                if header_bytes_wanted() {
                    self.bytes.header_sent += trailers.written_size();
                }
            } else {
                connection.codec.encode_data(b"", true, &mut self.out);
            }
        }
    }

    #[inline]
    fn count_sent(&mut self, n: usize) {
        self.bytes.wire_sent += n as u64;
        self.core().stats.upstream_cx_tx_bytes_total.add(n as u64);
    }

    #[inline]
    fn return_out(&mut self) {
        self.out_at = 0;
        let out = std::mem::take(&mut self.out);
        self.core().worker.buffers().give(out);
    }

    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out.capacity() == 0 {
            return Poll::Ready(());
        }
        let Some(connection) = &self.connection else { return Poll::Ready(()) };
        if self.writing == Writing::Open {
            let before = self.out_at;
            let written = poll_write_all(&*connection.stream, cx, &self.out, &mut self.out_at);
            self.count_sent(self.out_at - before);
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                // What the peer said before it closed is still to be read; then reading says that it closed.
                Poll::Ready(Err(_)) => self.writing = Writing::Failed,
            }
        }
        self.return_out();
        Poll::Ready(())
    }

    #[inline]
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<UpstreamEvent, StreamError>> {
        self.input.consume(std::mem::take(&mut self.consumed));
        self.data = 0..0;
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(self.failed(ResetReason::LocalReset, None)));
            };
            if !self.input.is_empty() {
                let options = &self.hold.host.core().config().http.h1;
                match connection.codec.decode(options, self.input.unread(), head, trailers) {
                    Ok(decoded) => {
                        if let Some(event) = self.take(decoded) {
                            return Poll::Ready(Ok(event));
                        }
                    }
                    Err(error) => return Poll::Ready(Err(self.malformed(error))),
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(self.ended()),
                Ok(n) => {
                    self.in_message = true;
                    self.bytes.wire_received += n as u64;
                    self.core().stats.upstream_cx_rx_bytes_total.add(n as u64);
                }
                // A reset shows as an end does, in Envoy too: what had begun is cut or complete.
                Err(_) => return Poll::Ready(self.ended()),
            }
        }
    }

    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let Some(connection) = &self.connection else { return Poll::Ready(Ok(0)) };
        let buffers = self.hold.host.core().worker.buffers();
        let filled = self.input.poll_fill(cx, &*connection.stream, buffers);
        if filled.is_pending() {
            // Nothing is held while the upstream thinks.
            self.input.release(buffers);
        }
        filled
    }

    /// What the decoder found, as the caller shall see it.
    #[inline]
    fn take(&mut self, decoded: Decoded) -> Option<UpstreamEvent> {
        let Decoded { consumed, event } = decoded;
        if let Event::Data { at, end_stream } = event {
            self.data = at;
            self.consumed = consumed;
            return Some(UpstreamEvent::Data { end_stream });
        }
        if header_bytes_wanted() {
            self.meter(&event, consumed);
        }
        self.input.consume(consumed);
        match event {
            Event::More | Event::Data { .. } => None,
            Event::Head { end_stream } => Some(UpstreamEvent::Head { end_stream }),
            Event::Informational => {
                self.in_message = !self.input.is_empty();
                Some(UpstreamEvent::Informational)
            }
            Event::Trailers => Some(UpstreamEvent::Trailers),
            Event::End => Some(UpstreamEvent::End),
        }
    }

    /// Counts the head or trailers that the unread input begins with.
    #[cold]
    fn meter(&mut self, event: &Event, len: usize) {
        let text = self.input.unread().get(..len).unwrap_or_default();
        match event {
            Event::Head { .. } | Event::Informational => {
                self.bytes.received_head(received_header_bytes(text))
            }
            Event::Trailers => self.bytes.header_received += received_header_bytes(text),
            Event::More | Event::Data { .. } | Event::End => {}
        }
    }

    /// The upstream closed its side.
    #[cold]
    fn ended(&mut self) -> Result<UpstreamEvent, StreamError> {
        if self.upgraded() {
            // Nothing ends a tunnel in order. Envoy takes what the host said as all, and closes.
            return Err(self.failed(ResetReason::ConnectionTermination, None));
        }
        self.closed_by = ClosedBy::Remote;
        match self.connection.as_mut().map(|c| c.codec.eof()) {
            Some(Ok(Some(_))) => Ok(UpstreamEvent::End),
            Some(Err(error)) if self.in_message => Err(self.malformed(error)),
            _ => Err(self.failed(ResetReason::ConnectionTermination, None)),
        }
    }

    #[cold]
    fn malformed(&mut self, error: ResponseError) -> StreamError {
        self.core().stats.upstream_cx_protocol_error.inc();
        let tongue = Tongue::of_server(self.input.unread()).filter(|tongue| *tongue != Tongue::Http1);
        let failed = self.failed(ResetReason::ProtocolError, Some(error.details()));
        StreamError { oddity: tongue.map(Oddity::Speaks), ..failed }
    }

    #[cold]
    fn failed(&self, reason: ResetReason, codec_details: Option<&'static str>) -> StreamError {
        let response_begun = self.bytes.wire_received > 0;
        let by_peer = reason == ResetReason::ConnectionTermination;
        StreamError {
            reason,
            codec_details,
            request_sent: self.bytes.wire_sent > 0,
            response_begun,
            stale_reuse: by_peer && !response_begun && self.reused(),
            oddity: None,
        }
    }
}

impl Drop for Http1Exchange {
    #[inline]
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Before the connection goes to the next request, which may be waiting for this one's permit.
        self.hold.release();
        let host = &self.hold.host;
        let clean = self.out_at == self.out.len() && self.writing == Writing::Open;
        self.input.consume(self.consumed);
        let clean = clean && self.input.is_empty();
        let buffers = host.core().worker.buffers();
        if self.out.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.out));
        }
        self.input.clear();
        self.input.release(buffers);
        let Some(pool) = host.existing_pool(self.hold.priority) else { return };
        if !connection.codec.response_complete() {
            return pool.cut(host, connection, self.closed_by);
        }
        let may_stay = clean && connection.codec.request_complete() && !connection.last;
        let reusable = may_stay && connection.codec.reusable();
        if may_stay && !reusable && self.closed_by == ClosedBy::Local {
            // The upstream said that it would close.
            host.core().stats.upstream_cx_close_notify.inc();
        }
        pool.check_in(host, connection, reusable, self.closed_by);
    }
}
