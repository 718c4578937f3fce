//! One request and its response on one connection, as the router drives it.

use super::StreamError;
use super::connection::{Connection, RequestHold};
use super::http1::Http1Exchange;
use super::http2::{Http2Connection, Http2Exchange};
use super::tcp::{TcpConnection, TcpExchange};
use nuncio_codec::h2::Metadata;
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::stream_info::{ByteCounts, UpstreamConnectionInfo};
use std::rc::Rc;
use std::task::{Context, Poll};

/// What came from the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamEvent {
    /// The response's head, in the caller's place for it.
    Head {
        /// No body follows.
        end_stream: bool,
    },
    /// The head of a 1xx, in the same place; the true one follows.
    Informational,
    /// A piece of the body: [`Exchange::data`].
    Data {
        /// The response is complete.
        end_stream: bool,
    },
    /// METADATA: [`Exchange::take_metadata`].
    Metadata,
    /// Trailers, in the caller's place for them; the response is complete.
    Trailers,
    /// The response is complete.
    End,
}

/// One request on one connection, whatever the protocol.
///
/// One task drives both directions by polling. Dropping it gives the connection back when both messages are
/// complete and it may be used again; otherwise the connection is closed (HTTP/1), which is counted.
pub struct Exchange {
    kind: Kind,
}

// Moved once, into the caller's own state; boxing either would allocate per request.
#[allow(clippy::large_enum_variant, reason = "see above")]
enum Kind {
    Http1(Http1Exchange),
    Http2(Http2Exchange),
    /// Bytes alone: a CONNECT that ends here.
    Tcp(Box<TcpExchange>),
}

/// Calls the same method of whichever kind it is.
macro_rules! each {
    ($kind:expr, $x:ident => $call:expr) => {
        match $kind {
            Kind::Http1($x) => $call,
            Kind::Http2($x) => $call,
            Kind::Tcp($x) => $call,
        }
    };
}

impl Exchange {
    pub(super) fn http1(connection: Box<Connection>, hold: RequestHold) -> Self {
        Self { kind: Kind::Http1(Http1Exchange::new(connection, hold)) }
    }

    pub(super) fn http2(connection: Rc<Http2Connection>, hold: RequestHold) -> Self {
        Self { kind: Kind::Http2(Http2Exchange::new(connection, hold)) }
    }

    pub(super) fn tcp(connection: TcpConnection, first: Vec<u8>) -> Self {
        Self { kind: Kind::Tcp(Box::new(TcpExchange::new(connection, first))) }
    }

    /// Writes the request's head into the buffer. Call it first, once.
    ///
    /// # Errors
    /// A head that cannot be written (a local reset; nothing was sent).
    #[inline]
    pub fn encode_head(&mut self, head: &RequestHead, end_stream: bool) -> Result<(), Box<StreamError>> {
        each!(&mut self.kind, x => x.encode_head(head, end_stream))
    }

    /// Copies a piece of the body into the buffer behind what waits there.
    #[inline]
    pub fn encode_data(&mut self, data: &[u8], end_stream: bool) {
        each!(&mut self.kind, x => x.encode_data(data, end_stream))
    }

    /// As [`encode_data`](Self::encode_data), and tries to send it at once without copying: only what the
    /// socket does not take is copied. For large pieces.
    #[inline]
    pub fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        each!(&mut self.kind, x => x.send_data(cx, data, end_stream))
    }

    /// Ends the request with trailers.
    pub fn encode_trailers(&mut self, trailers: &HeaderMap) {
        each!(&mut self.kind, x => x.encode_trailers(trailers))
    }

    /// Writes METADATA of the request, where the protocol has it; false where the cluster would have to allow it.
    pub fn encode_metadata(&mut self, metadata: &Metadata) -> bool {
        match &mut self.kind {
            Kind::Http1(x) => x.refuse_metadata(),
            Kind::Http2(x) => return x.encode_metadata(metadata),
            Kind::Tcp(_) => {}
        }
        true
    }

    /// What the last [`UpstreamEvent::Metadata`] told of; once. It may be that METADATA was [refused](Metadata::refused).
    pub fn take_metadata(&mut self) -> Option<Metadata> {
        match &mut self.kind {
            Kind::Http2(x) => x.take_metadata(),
            Kind::Http1(_) | Kind::Tcp(_) => None,
        }
    }

    /// Bytes that wait to be sent. Above the cluster's buffer limit the caller stops reading its client.
    #[inline]
    pub fn buffered(&self) -> usize {
        each!(&self.kind, x => x.buffered())
    }

    /// Whether there is something for [`poll_flush`](Self::poll_flush) to do.
    #[inline]
    pub fn wants_flush(&self) -> bool {
        each!(&self.kind, x => x.wants_flush())
    }

    /// Sends what waits; ready when nothing does. A failed write is not told here but by
    /// [`poll_event`](Self::poll_event), after whatever the upstream has answered before it closed.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(&mut self.kind, x => x.poll_flush(cx))
    }

    /// The request will not be made after all, of which nothing was encoded: the connection ends as with one that is
    /// broken off.
    pub fn abandon(&mut self) {
        match &mut self.kind {
            Kind::Http1(x) => x.abandon(),
            // Others lose a stream that they have not opened.
            Kind::Http2(_) | Kind::Tcp(_) => {}
        }
    }

    /// The next event of the response; heads and trailers are filled in where it is one of those. Not to be
    /// called again once the response is complete.
    ///
    /// # Errors
    /// The stream ended early.
    #[inline]
    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        trailers: &mut HeaderMap,
    ) -> Poll<Result<UpstreamEvent, Box<StreamError>>> {
        each!(&mut self.kind, x => x.poll_event(cx, head, trailers))
    }

    /// The bytes of the last [`UpstreamEvent::Data`], until the next event is polled.
    #[inline]
    pub fn data(&self) -> &[u8] {
        each!(&self.kind, x => x.data())
    }

    /// The connection.
    #[inline]
    pub fn connection(&self) -> &Rc<UpstreamConnectionInfo> {
        each!(&self.kind, x => x.info())
    }

    /// Whether the connection had served requests before this one.
    pub fn reused(&self) -> bool {
        each!(&self.kind, x => x.reused())
    }

    /// Bytes of this exchange.
    #[inline]
    pub fn bytes(&self) -> ByteCounts {
        each!(&self.kind, x => x.bytes())
    }
}
