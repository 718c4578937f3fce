//! The downstream half of one stream, as every protocol offers it to the stream's life.

use crate::explain::Script;
use nuncio_codec::h2::Metadata;
use nuncio_codec::head::{HeaderMap, ResponseHead};
use nuncio_core::stream_info::{ByteCounts, ResponseFlag};
use std::borrow::Cow;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// What came next of a request after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// Body bytes, to be read by [`Downstream::data`] before the next event is polled.
    Data {
        /// The request is complete with them.
        end_stream: bool,
    },
    /// METADATA: [`Downstream::take_metadata`].
    Metadata,
    /// Trailers are in the map that was handed in; the request is complete.
    Trailers,
    /// The request is complete.
    End,
}

/// Why the downstream side of a stream ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownstreamError {
    /// The client closed or reset the connection. Nobody is left to answer. `DC`.
    #[error("downstream remote disconnect")]
    Disconnected,
    /// The stream is gone for another reason; the connection may go on. Nobody is left to answer.
    #[error("{details}")]
    Gone {
        /// The response flag it sets.
        flag: ResponseFlag,
        /// Envoy's response code details.
        details: Cow<'static, str>,
    },
    /// The client's bytes are not HTTP. Answered where no response was begun. `DPE`.
    #[error("{details}")]
    Protocol {
        /// The status to answer with.
        status: u16,
        /// Envoy's response code details.
        details: &'static str,
    },
}

/// The downstream half of one stream. The head was read before; bytes are pulled with
/// [`poll_request`](Self::poll_request) and written with the `encode_` functions, which only fill a buffer
/// that [`poll_flush`](Self::poll_flush) empties.
pub trait Downstream {
    /// The next piece of the request's body. Not to be polled after the request is complete.
    ///
    /// # Errors
    /// The client is gone, or sent what is not HTTP.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<RequestEvent, DownstreamError>>;

    /// The bytes of the last [`RequestEvent::Data`].
    fn data(&self) -> &[u8];

    /// The next map of METADATA that was told by [`RequestEvent::Metadata`] or gathered, and not taken.
    #[inline]
    fn take_metadata(&mut self) -> Option<Metadata> {
        None
    }

    /// Lets METADATA that has come leave first, whatever body it came behind: the head was held back meanwhile.
    fn gather_metadata(&mut self) {}

    /// Whether METADATA stands before the next piece of the body.
    #[inline]
    fn metadata_is_next(&self) -> bool {
        false
    }

    /// Writes METADATA of the response, where the protocol has it; false where the connection manager would have to allow
    /// it.
    fn encode_metadata(&mut self, metadata: &Metadata) -> bool;

    /// How many bytes have come for a tunnel that is not granted: they are not read as the request's body.
    fn held_back(&self) -> usize {
        0
    }

    /// Has such bytes read as the request's body, whatever becomes of the tunnel.
    fn let_through(&mut self) {}

    /// With a complete request: ready when the client, or the stream, is gone.
    fn poll_disconnect(&mut self, cx: &mut Context<'_>) -> Poll<DownstreamError>;

    /// Writes an informational (1xx) response.
    fn encode_informational(&mut self, head: &ResponseHead);

    /// Writes the response's head. With `end_stream` there is no body.
    fn encode_head(&mut self, head: &ResponseHead, end_stream: bool);

    /// Writes body bytes. Large ones are offered to the socket at once and only the rest is kept.
    fn encode_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool);

    /// Writes trailers; the response is complete.
    fn encode_trailers(&mut self, trailers: &HeaderMap);

    /// Bytes that wait for the socket.
    fn buffered(&self) -> usize;

    /// Sends what waits.
    ///
    /// # Errors
    /// The client is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamError>>;

    /// Ready once `deadline` has passed; without one, never. `now` is the present time.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant, deadline: Option<Instant>) -> Poll<()>;

    /// Ends the connection after this stream (HTTP/1: `connection: close`).
    fn close_after(&mut self);

    /// Begins to drain the connection: it still serves what comes, and says with every response that it will
    /// end. False where it drains already.
    fn begin_drain(&mut self, now: Instant) -> bool;

    /// Whether it drains.
    fn draining(&self) -> bool;

    /// What the codec adds to the response's head about the connection, once that is encoded.
    fn connection_header(&self) -> Option<&'static [u8]>;

    /// Bytes of this stream so far.
    fn bytes(&self) -> ByteCounts;

    /// Whom the stream tells what it meets, where it is only rehearsed: then it ends before a host is connected to.
    /// For every protocol there is nobody, so that the question is compiled away.
    #[inline(always)]
    fn script(&self) -> Option<&Rc<Script>> {
        None
    }
}

impl<D: Downstream + ?Sized> Downstream for Box<D> {
    #[inline]
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<RequestEvent, DownstreamError>> {
        (**self).poll_request(cx, trailers)
    }

    #[inline]
    fn data(&self) -> &[u8] {
        (**self).data()
    }

    #[inline]
    fn take_metadata(&mut self) -> Option<Metadata> {
        (**self).take_metadata()
    }

    fn gather_metadata(&mut self) {
        (**self).gather_metadata();
    }

    #[inline]
    fn metadata_is_next(&self) -> bool {
        (**self).metadata_is_next()
    }

    fn encode_metadata(&mut self, metadata: &Metadata) -> bool {
        (**self).encode_metadata(metadata)
    }

    fn held_back(&self) -> usize {
        (**self).held_back()
    }

    fn let_through(&mut self) {
        (**self).let_through();
    }

    #[inline]
    fn poll_disconnect(&mut self, cx: &mut Context<'_>) -> Poll<DownstreamError> {
        (**self).poll_disconnect(cx)
    }

    fn encode_informational(&mut self, head: &ResponseHead) {
        (**self).encode_informational(head);
    }

    #[inline]
    fn encode_head(&mut self, head: &ResponseHead, end_stream: bool) {
        (**self).encode_head(head, end_stream);
    }

    #[inline]
    fn encode_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        (**self).encode_data(cx, data, end_stream);
    }

    fn encode_trailers(&mut self, trailers: &HeaderMap) {
        (**self).encode_trailers(trailers);
    }

    #[inline]
    fn buffered(&self) -> usize {
        (**self).buffered()
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        (**self).poll_flush(cx)
    }

    #[inline]
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant, deadline: Option<Instant>) -> Poll<()> {
        (**self).poll_timer(cx, now, deadline)
    }

    fn close_after(&mut self) {
        (**self).close_after();
    }

    fn begin_drain(&mut self, now: Instant) -> bool {
        (**self).begin_drain(now)
    }

    #[inline]
    fn draining(&self) -> bool {
        (**self).draining()
    }

    fn connection_header(&self) -> Option<&'static [u8]> {
        (**self).connection_header()
    }

    fn bytes(&self) -> ByteCounts {
        (**self).bytes()
    }

    #[inline(always)]
    fn script(&self) -> Option<&Rc<Script>> {
        (**self).script()
    }
}
