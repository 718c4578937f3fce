//! An exchange on an HTTP/1 connection.

use super::connection::{ClosedBy, Connection, RequestHold};
use super::{Oddity, ResetReason, StreamError, UpstreamEvent};
use crate::cluster::ClusterCore;
use nuncio_codec::h1::{Decoded, Event, ResponseError, received_header_bytes, sent_header_bytes};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::format::header_bytes_wanted;
use nuncio_core::stream_info::{ByteCounts, UpstreamConnectionInfo};
use nuncio_core::why::Tongue;
use nuncio_net::inbuf::InBuf;
use nuncio_net::stream::poll_write_all;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// How the connection's write side is doing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    Open,
    /// A write failed; what the peer said before is still to be read.
    Failed,
    /// The client of a CONNECT has said all. As in Envoy, that ends the tunnel once what waits is sent.
    Ending,
}

/// How the upstream ended its side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    InOrder,
    Reset,
}

/// Pieces of a body above this size are sent from where they are, not copied.
const COPY_AT_MOST: usize = 4096;

/// What an exchange has to remember of its connection's traffic. It lies with the connection, so that an exchange,
/// which is moved from hand to hand before it begins, is a few pointers.
#[derive(Default)]
pub(crate) struct Traffic {
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

pub(super) struct Http1Exchange {
    /// Taken when the exchange ends.
    connection: Option<Box<Connection>>,
    info: Rc<UpstreamConnectionInfo>,
    hold: RequestHold,
}

/// Calls a method of the exchange's connection; the second answer is for an exchange that has ended, which nobody asks.
macro_rules! on {
    ($connection:expr, $c:ident => $call:expr, $ended:expr) => {
        match $connection {
            Some($c) => $call,
            None => $ended,
        }
    };
}

impl Http1Exchange {
    #[inline]
    pub(super) fn new(mut connection: Box<Connection>, hold: RequestHold) -> Self {
        connection.begin_traffic();
        Self { info: Rc::clone(&connection.info), connection: Some(connection), hold }
    }

    #[inline]
    pub(super) fn info(&self) -> &Rc<UpstreamConnectionInfo> {
        &self.info
    }

    pub(super) fn reused(&self) -> bool {
        on!(&self.connection, c => c.reused(), false)
    }

    #[inline]
    pub(super) fn bytes(&self) -> ByteCounts {
        on!(&self.connection, c => c.traffic.bytes, ByteCounts::default())
    }

    /// Closes the connection instead of giving it back.
    pub(super) fn abandon(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.hold.release();
        let host = &self.hold.host;
        if let Some(pool) = host.existing_pool(self.hold.priority) {
            pool.cut(host, connection, ClosedBy::default());
        }
    }

    /// METADATA has no place here.
    pub(super) fn refuse_metadata(&self) {
        if let Some(connection) = &self.connection {
            connection.core().http1_stats().metadata_not_supported_error.inc();
        }
    }

    #[inline]
    pub(super) fn buffered(&self) -> usize {
        on!(&self.connection, c => c.buffered(), 0)
    }

    #[inline]
    pub(super) fn wants_flush(&self) -> bool {
        self.buffered() > 0
    }

    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        on!(&self.connection, c => c.data(), &[])
    }

    pub(super) fn encode_head(
        &mut self,
        head: &RequestHead,
        end_stream: bool,
    ) -> Result<(), Box<StreamError>> {
        on!(&mut self.connection, c => c.encode_head(head, end_stream), Ok(()))
    }

    #[inline]
    pub(super) fn encode_data(&mut self, data: &[u8], end_stream: bool) {
        on!(&mut self.connection, c => c.encode_data(data, end_stream), ())
    }

    pub(super) fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        on!(&mut self.connection, c => c.send_data(cx, data, end_stream), ())
    }

    pub(super) fn encode_trailers(&mut self, trailers: &HeaderMap) {
        on!(&mut self.connection, c => c.encode_trailers(trailers), ())
    }

    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        on!(&mut self.connection, c => c.poll_flush(cx), Poll::Ready(()))
    }

    #[inline]
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<UpstreamEvent, Box<StreamError>>> {
        on!(&mut self.connection, c => c.poll_event(cx, head, trailers), Poll::Pending)
    }
}

impl Connection {
    /// Makes ready for an exchange: what the one before left is forgotten.
    #[inline]
    fn begin_traffic(&mut self) {
        let traffic = &mut self.traffic;
        debug_assert!(traffic.out.is_empty() && traffic.input.is_empty());
        traffic.data = 0..0;
        traffic.consumed = 0;
        traffic.in_message = false;
        traffic.bytes = ByteCounts::default();
    }

    #[inline]
    fn core(&self) -> &Rc<ClusterCore> {
        &self.count.core
    }

    #[inline]
    fn buffered(&self) -> usize {
        self.traffic.out.len() - self.traffic.out_at
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.traffic.input.unread().get(self.traffic.data.clone()).unwrap_or_default()
    }

    #[inline]
    fn borrow_out(&mut self) {
        if self.traffic.out.capacity() == 0 {
            self.traffic.out = self.core().worker.buffers().take();
        }
    }

    fn encode_head(&mut self, head: &RequestHead, end_stream: bool) -> Result<(), Box<StreamError>> {
        self.borrow_out();
        let case = self.core().config().http.header_case;
        let Traffic { out, bytes, .. } = &mut self.traffic;
        let start = out.len();
        match self.codec.encode_head(case, head, end_stream, out) {
            Ok(()) => {
                if header_bytes_wanted() {
                    bytes.header_sent += sent_header_bytes(out.get(start..).unwrap_or_default());
                }
                Ok(())
            }
            Err(_) => Err(Box::new(StreamError {
                reason: ResetReason::LocalReset,
                codec_details: Some("http1.invalid_request_head"),
                request_sent: false,
                response_begun: false,
                stale_reuse: false,
                oddity: None,
            })),
        }
    }

    #[inline]
    fn encode_data(&mut self, data: &[u8], end_stream: bool) {
        self.borrow_out();
        self.codec.encode_data(data, end_stream, &mut self.traffic.out);
        if end_stream && self.codec.connected() {
            self.traffic.writing = Writing::Ending;
        }
    }

    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        if data.len() <= COPY_AT_MOST || self.codec.room() < data.len() as u64 {
            return self.encode_data(data, end_stream);
        }
        let (before, behind) = self.codec.data_framing(data.len(), end_stream);
        let Traffic { out, out_at, writing, .. } = &mut self.traffic;
        let waiting = out.get(*out_at..).unwrap_or_default();
        let pieces: [&[u8]; 4] = [waiting, &before, data, behind];
        let mut sent = 0;
        if *writing == Writing::Open {
            match self.stream.poll_write_vectored(cx, &pieces.map(IoSlice::new)) {
                Poll::Ready(Ok(n)) => sent = n,
                Poll::Ready(Err(_)) => *writing = Writing::Failed,
                Poll::Pending => {}
            }
        }
        let mut skip = sent.saturating_sub(waiting.len());
        *out_at += sent.min(waiting.len());
        self.count_sent(sent);
        self.borrow_out();
        for piece in [&*before, data, behind] {
            let rest = piece.get(skip.min(piece.len())..).unwrap_or_default();
            self.traffic.out.extend_from_slice(rest);
            skip = skip.saturating_sub(piece.len());
        }
        if self.buffered() == 0 {
            self.return_out();
        }
    }

    fn encode_trailers(&mut self, trailers: &HeaderMap) {
        self.borrow_out();
        let Traffic { out, bytes, .. } = &mut self.traffic;
        if self.count.core.config().http.h1.enable_trailers {
            self.codec.encode_trailers(trailers, out);
            if header_bytes_wanted() {
                bytes.header_sent += trailers.written_size();
            }
        } else {
            self.codec.encode_data(b"", true, out);
        }
    }

    #[inline]
    fn count_sent(&mut self, n: usize) {
        self.traffic.bytes.wire_sent += n as u64;
        self.core().stats.upstream_cx_tx_bytes_total.add(n as u64);
    }

    #[inline]
    fn return_out(&mut self) {
        self.traffic.out_at = 0;
        let out = std::mem::take(&mut self.traffic.out);
        self.core().worker.buffers().give(out);
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.traffic.out.capacity() == 0 {
            return Poll::Ready(());
        }
        if self.traffic.writing != Writing::Failed {
            let Traffic { out, out_at, .. } = &mut self.traffic;
            let before = *out_at;
            let written = poll_write_all(&*self.stream, cx, out, out_at);
            let sent = *out_at - before;
            self.count_sent(sent);
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                // What the peer said before it closed is still to be read; then reading says that it closed.
                Poll::Ready(Err(_)) => self.traffic.writing = Writing::Failed,
            }
        }
        self.return_out();
        Poll::Ready(())
    }

    #[inline]
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<UpstreamEvent, Box<StreamError>>> {
        self.traffic.input.consume(std::mem::take(&mut self.traffic.consumed));
        self.traffic.data = 0..0;
        if self.traffic.writing == Writing::Ending && self.buffered() == 0 {
            return Poll::Ready(Err(self.failed(ResetReason::ConnectionTermination, None)));
        }
        loop {
            if !self.traffic.input.is_empty() {
                let options = &self.count.core.config().http.h1;
                match self.codec.decode(options, self.traffic.input.unread(), head, trailers) {
                    Ok(decoded) => {
                        if let Some(event) = self.take(decoded) {
                            return Poll::Ready(Ok(event));
                        }
                    }
                    Err(error) => return Poll::Ready(Err(self.malformed(error))),
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(self.ended(End::InOrder)),
                Ok(n) => {
                    self.traffic.in_message = true;
                    self.traffic.bytes.wire_received += n as u64;
                    self.core().stats.upstream_cx_rx_bytes_total.add(n as u64);
                }
                // A reset shows as an end does, in Envoy too: what had begun is cut or complete.
                Err(_) => return Poll::Ready(self.ended(End::Reset)),
            }
        }
    }

    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let buffers = self.count.core.worker.buffers();
        let input = &mut self.traffic.input;
        let filled = input.poll_fill(cx, &*self.stream, buffers);
        if filled.is_pending() {
            // Nothing is held while the upstream thinks.
            input.release(buffers);
        }
        filled
    }

    /// What the decoder found, as the caller shall see it.
    #[inline]
    fn take(&mut self, decoded: Decoded) -> Option<UpstreamEvent> {
        let Decoded { consumed, event } = decoded;
        if let Event::Data { at, end_stream } = event {
            self.traffic.data = at;
            self.traffic.consumed = consumed;
            return Some(UpstreamEvent::Data { end_stream });
        }
        if header_bytes_wanted() {
            self.meter(&event, consumed);
        }
        self.traffic.input.consume(consumed);
        match event {
            Event::More | Event::Data { .. } => None,
            Event::Head { end_stream } => {
                if self.codec.close_announced() {
                    self.core().stats.upstream_cx_close_notify.inc();
                }
                Some(UpstreamEvent::Head { end_stream })
            }
            Event::Informational => {
                self.traffic.in_message = !self.traffic.input.is_empty();
                Some(UpstreamEvent::Informational)
            }
            Event::Trailers => Some(UpstreamEvent::Trailers),
            Event::End => Some(UpstreamEvent::End),
        }
    }

    /// Counts the head or trailers that the unread input begins with.
    #[cold]
    fn meter(&mut self, event: &Event, len: usize) {
        let text = self.traffic.input.unread().get(..len).unwrap_or_default();
        match event {
            Event::Head { .. } | Event::Informational => {
                self.traffic.bytes.received_head(received_header_bytes(text))
            }
            Event::Trailers => self.traffic.bytes.header_received += received_header_bytes(text),
            Event::More | Event::Data { .. } | Event::End => {}
        }
    }

    /// The upstream closed its side.
    #[cold]
    fn ended(&mut self, end: End) -> Result<UpstreamEvent, Box<StreamError>> {
        if self.codec.upgraded() {
            // Nothing ends a tunnel in order. Envoy counts the end of a CONNECT's as its own, for it waits for both halves.
            if end == End::Reset || !self.codec.connected() {
                self.traffic.closed_by = ClosedBy::Remote;
            }
            return Err(self.failed(ResetReason::ConnectionTermination, None));
        }
        self.traffic.closed_by = ClosedBy::Remote;
        match self.codec.eof() {
            Ok(Some(_)) => Ok(UpstreamEvent::End),
            Err(error) if self.traffic.in_message => Err(self.malformed(error)),
            _ => Err(self.failed(ResetReason::ConnectionTermination, None)),
        }
    }

    #[cold]
    fn malformed(&mut self, error: ResponseError) -> Box<StreamError> {
        self.core().stats.upstream_cx_protocol_error.inc();
        if error.stands_behind_the_fields() && header_bytes_wanted() {
            self.meter(&Event::Head { end_stream: true }, self.traffic.input.unread().len());
        }
        let tongue = Tongue::of_server(self.traffic.input.unread()).filter(|tongue| *tongue != Tongue::Http1);
        let failed = self.failed(ResetReason::ProtocolError, Some(error.details()));
        Box::new(StreamError { oddity: tongue.map(Oddity::Speaks), ..*failed })
    }

    #[cold]
    fn failed(&self, reason: ResetReason, codec_details: Option<&'static str>) -> Box<StreamError> {
        let response_begun = self.traffic.bytes.wire_received > 0;
        let by_peer = reason == ResetReason::ConnectionTermination;
        Box::new(StreamError {
            reason,
            codec_details,
            request_sent: self.traffic.bytes.wire_sent > 0,
            response_begun,
            stale_reuse: by_peer && !response_begun && self.reused(),
            oddity: None,
        })
    }
}

impl Drop for Http1Exchange {
    #[inline]
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // Before the connection goes to the next request, which may be waiting for this one's permit.
        self.hold.release();
        let host = &self.hold.host;
        let buffers = host.core().worker.buffers();
        let Traffic { out, out_at, input, consumed, writing, closed_by, .. } = &mut connection.traffic;
        let closed_by = *closed_by;
        input.consume(*consumed);
        let excess = !input.is_empty();
        let clean = *out_at == out.len() && *writing == Writing::Open && !excess;
        if out.capacity() > 0 {
            buffers.give(std::mem::take(out));
        }
        input.clear();
        input.release(buffers);
        let Some(pool) = host.existing_pool(self.hold.priority) else { return };
        let answered = connection.codec.response_complete();
        if excess && answered {
            // What stands behind a whole response answers nothing.
            host.core().stats.upstream_cx_protocol_error.inc();
        }
        if !answered || !connection.codec.request_complete() {
            return pool.cut(host, connection, closed_by);
        }
        let (sound, last) = (clean && connection.codec.reusable(), connection.last);
        pool.check_in(host, connection, sound && !last, closed_by);
        if sound && last && pool.waiting.is_awaited() {
            // As Envoy, which first takes it for one that serves those who wait, and looks for them once more.
            pool.open_as_needed(host);
        }
    }
}
