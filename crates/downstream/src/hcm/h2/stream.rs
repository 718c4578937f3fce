//! The downstream half of an HTTP/2 stream.

use super::link::{End, Inbox, Link, State};
use crate::hcm::exchange::{Downstream, DownstreamError, RequestEvent};
use crate::hcm::sanitize::is_upgrade;
use nuncio_codec::h2::{Metadata, MetadataQueue, Place, StreamKey, response_text, trailers_text};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::stream_info::ByteCounts;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Bytes of a frame's header, and the most of a body in one frame, as wire bytes are counted.
const FRAME: u64 = 9;
const FRAME_BODY: u64 = 16_384;

/// One stream, as its life sees it. The connection's task polls that life whenever something came for it.
pub(in crate::hcm) struct H2Stream {
    link: Rc<Link>,
    /// `None` where the request's head was refused: nothing can be answered.
    key: Option<StreamKey>,
    tunnel: Tunnel,
    /// What was taken from the inbox last.
    data: Vec<u8>,
    /// METADATA that was told and not taken.
    metadata: MetadataQueue,
    /// Why it is gone, where that was known from the start. Boxed, for it is rare, and the stream is moved.
    refused: Option<Box<DownstreamError>>,
    sent: ByteCounts,
}

/// Whether the stream is a tunnel, or may become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hcm) enum Tunnel {
    /// It is an ordinary request.
    None,
    /// It was asked for by CONNECT: what follows the head is not read until it is granted.
    Connect,
    /// The same by extended CONNECT, which to everybody else is an upgrade as HTTP/1 has them.
    Upgrade,
    /// The upgrade is refused, and what follows the head is its body.
    Refused,
    /// It is one.
    Granted,
}

/// Makes an upgrade, as HTTP/1 has them, of an extended CONNECT (RFC 8441).
pub(in crate::hcm) fn take_connect(head: &mut RequestHead) -> Tunnel {
    if head.method() != b"CONNECT" {
        return Tunnel::None;
    }
    let Some(protocol) = head.headers.get(Known::Protocol).map(<[u8]>::to_vec) else {
        return Tunnel::Connect;
    };
    if protocol == b"bytestream" {
        // A CONNECT like any other, in this form.
        return Tunnel::Connect;
    }
    head.headers.remove(Known::Protocol);
    head.headers.set(Known::Method, b"GET");
    head.headers.set(Known::Upgrade, &protocol);
    head.headers.set(Known::Connection, b"upgrade");
    Tunnel::Upgrade
}

impl H2Stream {
    pub(super) fn new(link: Rc<Link>, key: Option<StreamKey>, refused: Option<DownstreamError>) -> Self {
        Self {
            link,
            key,
            tunnel: Tunnel::None,
            data: Vec::new(),
            metadata: MetadataQueue::default(),
            refused: refused.map(Box::new),
            sent: ByteCounts::default(),
        }
    }

    /// A stream whose request is as [`take_connect`] says.
    pub(super) fn tunnel(self, tunnel: Tunnel) -> Self {
        Self { tunnel, ..self }
    }

    /// What is known of a head that was refused: how much of it was read.
    pub(super) fn was_refused(&mut self) {
        self.sent.received_block(0, self.link.state.borrow().codec.block_text());
    }

    /// The storage of what it read last.
    pub(super) fn into_storage(self) -> Vec<u8> {
        self.data
    }

    /// Whether it was asked to become a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel != Tunnel::None
    }

    fn with<R>(&self, f: impl FnOnce(&mut State, StreamKey) -> R) -> Option<R> {
        self.key.map(|key| f(&mut self.link.state.borrow_mut(), key))
    }

    /// The same where the stream has an inbox.
    fn with_inbox<R>(&self, f: impl FnOnce(&mut Inbox) -> R) -> Option<R> {
        self.with(|state, key| state.inboxes.get_mut(key.slot()).map(f)).flatten()
    }

    /// Writes what HTTP/1 says of an upgrade: a 101 is a 200 here (RFC 8441 section 5), and a length of nothing goes, as in
    /// Envoy, whether the upgrade is granted or refused.
    #[cold]
    fn encode_upgrade(&mut self, mut head: ResponseHead, end_stream: bool) {
        if head.status == 101 {
            self.tunnel = Tunnel::Granted;
            head.status = 200;
        }
        head.headers.remove(Known::Upgrade);
        if head.headers.get(Known::ContentLength) == Some(b"0") {
            head.headers.remove(Known::ContentLength);
        }
        self.encode_head(&head, end_stream);
    }

    fn gone(&self) -> Option<DownstreamError> {
        match self.key {
            Some(_) => self.with_inbox(|inbox| inbox.gone.clone()).flatten(),
            None => self.refused.as_deref().cloned(),
        }
    }

    /// Runs `write` and counts what it puts into the connection's output as a header block of `text` bytes.
    fn write_block(&mut self, text: impl FnOnce() -> usize, write: impl FnOnce(&mut State, StreamKey)) {
        let n = self.with(|state, key| {
            let before = state.codec.unsent().len();
            write(state, key);
            (state.codec.unsent().len() - before) as u64
        });
        self.sent.sent_block(n.unwrap_or(0), text);
    }
}

/// What comes next where METADATA waits: a map, or what stands of the body before it.
#[cold]
fn next_with_metadata(inbox: &mut Inbox, data: &mut Vec<u8>, told: &mut MetadataQueue) -> RequestEvent {
    if inbox.metadata.place() == Some(Place::Behind(0))
        && let Some(metadata) = inbox.metadata.pop()
    {
        told.push(Place::BeforeHead, metadata);
        return RequestEvent::Metadata;
    }
    inbox.metadata.split_body(&mut inbox.body, data);
    RequestEvent::Data { end_stream: false }
}

impl Downstream for H2Stream {
    fn poll_request(
        &mut self,
        _: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<RequestEvent, DownstreamError>> {
        let Some(key) = self.key else {
            return Poll::Ready(Err(self
                .refused
                .as_deref()
                .cloned()
                .unwrap_or(DownstreamError::Disconnected)));
        };
        let state = &mut *self.link.state.borrow_mut();
        if !self.data.is_empty() {
            // Read beyond what was given last: that was passed on, and the client may send as much again.
            self.sent.wire_sent += state.codec.consumed(key, self.data.len());
            self.data.clear();
        }
        let Some(inbox) = state.inboxes.get_mut(key.slot()) else { return Poll::Pending };
        if let Tunnel::Connect | Tunnel::Upgrade = self.tunnel {
            return inbox.gone.clone().map_or(Poll::Pending, |gone| Poll::Ready(Err(gone)));
        }
        if !inbox.metadata.is_empty() {
            let told = next_with_metadata(inbox, &mut self.data, &mut self.metadata);
            return Poll::Ready(Ok(told));
        }
        if !inbox.body.is_empty() {
            std::mem::swap(&mut self.data, &mut inbox.body);
            let end_stream = inbox.end == End::Body;
            if end_stream {
                inbox.end = End::Told;
            }
            return Poll::Ready(Ok(RequestEvent::Data { end_stream }));
        }
        if let Some(gone) = &inbox.gone {
            return Poll::Ready(Err(gone.clone()));
        }
        match std::mem::replace(&mut inbox.end, End::Told) {
            End::NotYet => {
                inbox.end = End::NotYet;
                Poll::Pending
            }
            End::Trailers => {
                std::mem::swap(trailers, &mut inbox.trailers);
                Poll::Ready(Ok(RequestEvent::Trailers))
            }
            End::Body | End::Told => Poll::Ready(Ok(RequestEvent::End)),
        }
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    #[inline]
    fn take_metadata(&mut self) -> Option<Metadata> {
        if self.metadata.is_empty() {
            return None;
        }
        let metadata = self.metadata.pop()?;
        self.with(|state, key| state.codec.metadata_read(key, &metadata));
        Some(metadata)
    }

    fn gather_metadata(&mut self) {
        let Some(key) = self.key else { return };
        let state = &mut *self.link.state.borrow_mut();
        let Some(inbox) = state.inboxes.get_mut(key.slot()) else { return };
        while let Some(metadata) = inbox.metadata.pop() {
            self.metadata.push(Place::BeforeHead, metadata);
        }
    }

    fn metadata_is_next(&self) -> bool {
        self.with_inbox(|inbox| inbox.metadata.place() == Some(Place::Behind(0))).unwrap_or(false)
    }

    fn encode_metadata(&mut self, metadata: &Metadata) -> bool {
        // Envoy counts it among no bytes of the stream.
        let allowed = self.with(|State { codec, .. }, key| {
            codec.encode_metadata(key, metadata);
            codec.allows_metadata()
        });
        allowed.unwrap_or(true)
    }

    fn held_back(&self) -> usize {
        match self.tunnel {
            Tunnel::Connect | Tunnel::Upgrade => self.with_inbox(|inbox| inbox.body.len()).unwrap_or(0),
            Tunnel::None | Tunnel::Refused | Tunnel::Granted => 0,
        }
    }

    fn let_through(&mut self) {
        if self.tunnel == Tunnel::Upgrade {
            self.tunnel = Tunnel::Refused;
        }
    }

    fn poll_disconnect(&mut self, _: &mut Context<'_>) -> Poll<DownstreamError> {
        match self.gone() {
            Some(gone) => Poll::Ready(gone),
            None => Poll::Pending,
        }
    }

    fn encode_informational(&mut self, head: &ResponseHead) {
        self.write_block(|| response_text(head), |state, key| state.codec.encode_informational(key, head));
    }

    fn encode_head(&mut self, head: &ResponseHead, end_stream: bool) {
        match (self.tunnel, head.status) {
            (Tunnel::Upgrade | Tunnel::Refused, _) if is_upgrade(&head.headers) => {
                return self.encode_upgrade(head.clone(), end_stream);
            }
            (Tunnel::Connect, 200..=299) => self.tunnel = Tunnel::Granted,
            _ => {}
        }
        let write = |state: &mut State, key| {
            if state.codec.encode_response(key, head, end_stream).is_err() {
                // A head that must not be written was caught before it got here; without one there is no answer.
                state.codec.finish(key, Some(nuncio_codec::h2::ErrorCode::INTERNAL_ERROR));
            }
        };
        self.write_block(|| response_text(head), write);
    }

    fn encode_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        let n = data.len() as u64;
        self.sent.wire_sent += n + FRAME * n.div_ceil(FRAME_BODY).max(u64::from(end_stream));
        self.with(|State { codec, written, .. }, key| {
            codec.send_data(key, data, end_stream, |pieces| {
                // What the socket does not take now, or never, is the connection's task's concern.
                let Poll::Ready(Ok(n)) = self.link.io.poll_write_vectored(cx, pieces) else { return 0 };
                *written += n as u64;
                n
            });
        });
    }

    fn encode_trailers(&mut self, trailers: &HeaderMap) {
        self.write_block(|| trailers_text(trailers), |state, key| state.codec.encode_trailers(key, trailers));
    }

    fn buffered(&self) -> usize {
        self.with(|state, key| {
            let waiting = state.codec.waiting(key);
            if waiting > 0 {
                state.codec.await_writable(key);
            }
            waiting
        })
        .unwrap_or(0)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        if let Some(gone) = self.gone() {
            return Poll::Ready(Err(gone));
        }
        if self.buffered() == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_timer(&mut self, _: &mut Context<'_>, now: Instant, deadline: Option<Instant>) -> Poll<()> {
        if deadline.is_some_and(|at| at <= now) {
            return Poll::Ready(());
        }
        self.with(|state, key| state.watch(key.slot(), deadline));
        Poll::Pending
    }

    fn close_after(&mut self) {
        // A connection outlives the failures of its streams.
    }

    fn begin_drain(&mut self, now: Instant) -> bool {
        self.link.state.borrow_mut().begin_drain(now)
    }

    fn draining(&self) -> bool {
        self.link.state.borrow().draining.is_some()
    }

    fn connection_header(&self) -> Option<&'static [u8]> {
        None
    }

    fn bytes(&self) -> ByteCounts {
        self.with_inbox(|inbox| inbox.bytes).map_or(self.sent, |received| self.sent.plus(received))
    }
}
