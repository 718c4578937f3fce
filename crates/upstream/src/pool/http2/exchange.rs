//! An exchange on an HTTP/2 connection.

use super::Turned;
use super::connection::{End, Failure, Head, Http2Connection, Inbox, State};
use crate::pool::connection::RequestHold;
use crate::pool::{Oddity, ResetReason, StreamError, UpstreamEvent};
use nuncio_codec::h2::{
    Codec, EncodeError, ErrorCode, Metadata, Place, StreamKey, request_text, trailers_text,
};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::stream_info::{ByteCounts, UpstreamConnectionInfo};
use nuncio_net::stream::ByteStream;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes of a frame's header, and the most of a body in one frame, as wire bytes are counted.
const FRAME: u64 = 9;
const FRAME_BODY: u64 = 16_384;

/// Where the exchange stands.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A stream is promised.
    Reserved,
    /// It is open.
    Open(StreamKey),
    /// The response was read to its end.
    Complete(StreamKey),
    /// There is no stream to speak of.
    Failed(Failure),
}

/// An upgrade, as HTTP/1 has them, that goes out as extended CONNECT (RFC 8441).
#[derive(Debug)]
enum Upgrade {
    None,
    /// It was asked for, with this protocol.
    Asked(Box<[u8]>),
    Granted,
}

pub(in crate::pool) struct Http2Exchange {
    connection: Rc<Http2Connection>,
    hold: RequestHold,
    step: Step,
    /// What was taken from the inbox last.
    data: Vec<u8>,
    /// What was told of METADATA last.
    metadata: Option<Metadata>,
    bytes: ByteCounts,
    upgrade: Upgrade,
    /// The connection had served requests before this one.
    reused: bool,
    /// The request was said to its end.
    said_all: bool,
}

impl Http2Exchange {
    /// `connection` has promised a stream.
    pub(in crate::pool) fn new(connection: Rc<Http2Connection>, hold: RequestHold) -> Self {
        let reused = connection.reused();
        Self {
            connection,
            hold,
            step: Step::Reserved,
            data: Vec::new(),
            metadata: None,
            bytes: ByteCounts::default(),
            upgrade: Upgrade::None,
            reused,
            said_all: false,
        }
    }

    pub(in crate::pool) fn info(&self) -> &Rc<UpstreamConnectionInfo> {
        &self.connection.info
    }

    pub(in crate::pool) fn reused(&self) -> bool {
        self.reused
    }

    pub(in crate::pool) fn bytes(&self) -> ByteCounts {
        let received = self.with(|state, key| state.inboxes.get(key.slot()).map(|i| i.bytes));
        received.flatten().map_or(self.bytes, |received| self.bytes.plus(received))
    }

    fn key(&self) -> Option<StreamKey> {
        match self.step {
            Step::Open(key) | Step::Complete(key) => Some(key),
            Step::Reserved | Step::Failed(_) => None,
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut State, StreamKey) -> R) -> Option<R> {
        self.key().map(|key| f(&mut self.connection.state.borrow_mut(), key))
    }

    pub(in crate::pool) fn encode_head(
        &mut self,
        head: &RequestHead,
        end_stream: bool,
    ) -> Result<(), Box<StreamError>> {
        let now = self.connection.core.worker.now();
        self.said_all = end_stream;
        let state = &mut *self.connection.state.borrow_mut();
        state.reserved = state.reserved.saturating_sub(1);
        if let Some(failure) = state.closed {
            self.step = Step::Failed(failure);
            return Ok(());
        }
        let buffers = self.connection.core.worker.buffers();
        state.codec.lend(|| buffers.take());
        let before = state.codec.unsent().len();
        let connect = extended_connect(head);
        if let Some((_, protocol)) = &connect {
            self.upgrade = Upgrade::Asked(protocol.clone());
        }
        let head = connect.as_ref().map_or(head, |(head, _)| head);
        match state.codec.open(now, head, end_stream) {
            Ok(key) => {
                state.open_inbox(key);
                let n = (state.codec.unsent().len() - before) as u64;
                self.bytes.sent_block(n, || request_text(head));
                self.step = Step::Open(key);
                state.wake_task();
                Ok(())
            }
            Err(EncodeError::NoStream) => {
                // The peer said so between the promise and now: the request may go elsewhere.
                let reason = ResetReason::RemoteRefusedStreamReset;
                self.step = Step::Failed(Failure::new(reason));
                state.released(now);
                Ok(())
            }
            Err(EncodeError::Header | EncodeError::Pseudo) => {
                let details = Some("http2.invalid_request_head");
                let failure = Failure { details, ..Failure::new(ResetReason::LocalReset) };
                self.step = Step::Failed(failure);
                state.released(now);
                Err(Box::new(StreamError {
                    reason: failure.reason,
                    codec_details: details,
                    request_sent: false,
                    response_begun: false,
                    stale_reuse: false,
                    oddity: None,
                }))
            }
        }
    }

    pub(in crate::pool) fn encode_data(&mut self, data: &[u8], end_stream: bool) {
        self.encode(data, end_stream, |_, _| 0);
    }

    /// Encodes a piece of the body; large frames are offered to `write`, which says how many bytes it took.
    fn encode(
        &mut self,
        data: &[u8],
        end_stream: bool,
        mut write: impl FnMut(&dyn ByteStream, &[IoSlice<'_>]) -> usize,
    ) {
        let n = data.len() as u64;
        self.said_all |= end_stream;
        self.bytes.wire_sent += n + FRAME * n.div_ceil(FRAME_BODY).max(u64::from(end_stream));
        let core = &self.connection.core;
        self.with(|state, key| {
            let State { codec, io, .. } = state;
            codec.lend(|| core.worker.buffers().take());
            codec.send_data(key, data, end_stream, |pieces| {
                let n = write(&**io, pieces);
                core.stats.upstream_cx_tx_bytes_total.add(n as u64);
                n
            });
            state.wake_task();
        });
    }

    pub(in crate::pool) fn encode_trailers(&mut self, trailers: &HeaderMap) {
        self.said_all = true;
        let written = self.with(|state, key| {
            let before = state.codec.unsent().len();
            state.codec.encode_trailers(key, trailers);
            state.wake_task();
            state.codec.unsent().len() - before
        });
        self.bytes.sent_block(written.unwrap_or(0) as u64, || trailers_text(trailers));
    }

    pub(in crate::pool) fn buffered(&self) -> usize {
        self.with(|state, key| state.codec.waiting(key)).unwrap_or(0)
    }

    /// Ready when nothing waits for a window; the connection's task does the writing.
    pub(in crate::pool) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self.with(|state, key| {
            if state.codec.waiting(key) == 0 {
                return false;
            }
            state.codec.await_writable(key);
            if let Some(inbox) = state.inboxes.get_mut(key.slot()) {
                listen(inbox, cx);
            }
            true
        });
        if waits == Some(true) { Poll::Pending } else { Poll::Ready(()) }
    }

    pub(in crate::pool) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<UpstreamEvent, Box<StreamError>>> {
        let key = match self.step {
            Step::Open(key) => key,
            Step::Failed(failure) => return Poll::Ready(Err(self.error(failure, false, None))),
            Step::Reserved | Step::Complete(_) => return Poll::Pending,
        };
        let state = &mut *self.connection.state.borrow_mut();
        if !self.data.is_empty() {
            let before = state.codec.unsent().len();
            self.bytes.wire_sent += state.codec.consumed(key, self.data.len());
            self.data.clear();
            if state.codec.unsent().len() > before {
                state.wake_task();
            }
        }
        let Some(inbox) = state.inboxes.get_mut(key.slot()) else { return Poll::Pending };
        if inbox.metadata.place() == Some(Place::BeforeHead) {
            return Poll::Ready(Ok(Self::next_with_metadata(&mut self.data, &mut self.metadata, inbox)));
        }
        let came = std::mem::take(&mut inbox.head_state);
        if came != Head::None
            && let Some(interim) = inbox.interim.take()
        {
            *head = *interim;
            inbox.head_state = came;
            return Poll::Ready(Ok(UpstreamEvent::Informational));
        }
        match came {
            Head::None | Head::Informational => {}
            Head::Final { end_stream } => {
                std::mem::swap(head, &mut inbox.head);
                if let (Upgrade::Asked(protocol), 200) = (&self.upgrade, head.status) {
                    head.status = 101;
                    head.headers.remove(Known::ContentLength);
                    head.headers.set(Known::Upgrade, protocol);
                    head.headers.set(Known::Connection, b"upgrade");
                    self.upgrade = Upgrade::Granted;
                }
                if end_stream {
                    self.step = Step::Complete(key);
                }
                return Poll::Ready(Ok(UpstreamEvent::Head { end_stream }));
            }
        }
        if !inbox.metadata.is_empty() {
            return Poll::Ready(Ok(Self::next_with_metadata(&mut self.data, &mut self.metadata, inbox)));
        }
        if !inbox.body.is_empty() {
            std::mem::swap(&mut self.data, &mut inbox.body);
            let end_stream = inbox.end == End::Body;
            if end_stream {
                self.step = Step::Complete(key);
            }
            return Poll::Ready(Ok(UpstreamEvent::Data { end_stream }));
        }
        match inbox.end {
            End::Trailers => {
                std::mem::swap(trailers, &mut inbox.trailers);
                self.step = Step::Complete(key);
                return Poll::Ready(Ok(UpstreamEvent::Trailers));
            }
            End::Body => {
                self.step = Step::Complete(key);
                return Poll::Ready(Ok(UpstreamEvent::End));
            }
            End::NotYet => {}
        }
        let Some(failure) = inbox.failed else {
            listen(inbox, cx);
            return Poll::Pending;
        };
        let begun = inbox.bytes.header_received > 0;
        let lacking = lacks_connect(&state.codec);
        Poll::Ready(Err(self.error(failure, begun, lacking)))
    }

    /// What comes next where METADATA waits: a map, or what stands of the body before it.
    #[cold]
    fn next_with_metadata(
        data: &mut Vec<u8>,
        told: &mut Option<Metadata>,
        inbox: &mut Inbox,
    ) -> UpstreamEvent {
        if matches!(inbox.metadata.place(), Some(Place::BeforeHead | Place::Behind(0))) {
            *told = inbox.metadata.pop();
            return UpstreamEvent::Metadata;
        }
        inbox.metadata.split_body(&mut inbox.body, data);
        UpstreamEvent::Data { end_stream: false }
    }

    pub(in crate::pool) fn encode_metadata(&mut self, metadata: &Metadata) -> bool {
        // Envoy counts it among no bytes of the stream.
        let allowed = self.with(|state, key| {
            state.codec.encode_metadata(key, metadata);
            state.wake_task();
            state.codec.allows_metadata()
        });
        allowed.unwrap_or(true)
    }

    pub(in crate::pool) fn take_metadata(&mut self) -> Option<Metadata> {
        let metadata = self.metadata.take()?;
        self.with(|state, key| state.codec.metadata_read(key, &metadata));
        Some(metadata)
    }

    /// `lacking` is what an upgrade would have needed of the peer.
    fn error(&self, failure: Failure, response_begun: bool, lacking: Option<Oddity>) -> Box<StreamError> {
        let cut = failure.reason == ResetReason::ConnectionTermination;
        let asked = matches!(self.upgrade, Upgrade::Asked(_));
        Box::new(StreamError {
            oddity: failure.oddity.or(lacking.filter(|_| asked)),
            reason: failure.reason,
            codec_details: failure.details,
            request_sent: self.bytes.wire_sent > 0,
            response_begun,
            stale_reuse: cut && !response_begun && self.reused,
        })
    }

    /// As [`encode_data`](Self::encode_data), but what the socket takes at once is not copied.
    pub(in crate::pool) fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        self.encode(data, end_stream, |io, pieces| match io.poll_write_vectored(cx, pieces) {
            Poll::Ready(Ok(n)) => n,
            // The connection's task finds out.
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        });
    }

    #[inline]
    pub(in crate::pool) fn wants_flush(&self) -> bool {
        self.buffered() > 0
    }

    pub(in crate::pool) fn data(&self) -> &[u8] {
        &self.data
    }
}

/// That the peer takes no extended CONNECT, once it has said what it takes.
fn lacks_connect(codec: &Codec) -> Option<Oddity> {
    (codec.peer_spoke() && !codec.peer_takes_connect()).then_some(Oddity::WithoutConnect)
}

/// The extended CONNECT (RFC 8441) of an upgrade, and its protocol; `None` where no upgrade is asked for.
pub fn extended_connect(head: &RequestHead) -> Option<(RequestHead, Box<[u8]>)> {
    let protocol = head.headers.get(Known::Upgrade)?;
    let mut connect = head.clone();
    connect.headers.set(Known::Method, b"CONNECT");
    connect.headers.set(Known::Protocol, protocol);
    if connect.headers.get(Known::ContentLength) == Some(b"0") {
        connect.headers.remove(Known::ContentLength);
    }
    Some((connect, protocol.into()))
}

/// Names the task that waits.
#[inline]
fn listen(inbox: &mut Inbox, cx: &Context<'_>) {
    if !inbox.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
        inbox.waker = Some(cx.waker().clone());
    }
}

impl Drop for Http2Exchange {
    fn drop(&mut self) {
        // Before the stream's place goes to the next request, which may be waiting for this one's permit.
        self.hold.release();
        let now = self.connection.core.worker.now();
        let data = std::mem::take(&mut self.data);
        match self.step {
            Step::Reserved => self.connection.unreserve(),
            Step::Failed(_) => {}
            Step::Open(key) => {
                let state = &mut *self.connection.state.borrow_mut();
                let failed = state.inboxes.get(key.slot()).is_none_or(|inbox| inbox.failed.is_some());
                state.ended_by_host = state.last && failed;
                if !failed {
                    self.connection.core.stats.upstream_rq_tx_reset.inc();
                }
                state.finish(key, Some(ErrorCode::INTERNAL_ERROR), now, data);
            }
            Step::Complete(key) => {
                if !self.said_all {
                    self.connection.core.stats.upstream_rq_tx_reset.inc();
                }
                let state = &mut *self.connection.state.borrow_mut();
                state.ended_by_host = state.last;
                state.finish(key, None, now, data);
            }
        }
        let host = &self.hold.host;
        if let Some(pool) = host.existing_http2_pool(self.hold.priority) {
            pool.serve(host, Turned::Stream);
        }
    }
}
