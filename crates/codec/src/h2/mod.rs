//! HTTP/2 (RFC 9113), both sides, as Envoy 1.40 speaks it.
//!
//! A [`Codec`] is one connection. It is given the bytes that have arrived and not been consumed yet, and answers with
//! at most one event and how many bytes are done with. Frames are taken whole, but for DATA, whose bytes are handed
//! on as they come. However the bytes are split, the events are the same, save that body bytes may come in more or
//! fewer [`Event::Data`]. What is to be sent gathers in the codec's output: [`unsent`](Codec::unsent) and
//! [`sent`](Codec::sent), once per turn of the connection's task.
//!
//! Streams are named by [`StreamKey`]. A caller that is told of a stream, or opens one, owns it until it calls
//! [`finish`](Codec::finish).

mod codec;
mod error;
mod flood;
mod frame;
mod hpack;
mod message;
mod metadata;
mod options;
mod receive;
mod send;
mod streams;

use crate::head::{RequestHead, ResponseHead};
use std::ops::Range;

pub use codec::{Codec, Counters, Side};
pub use error::{ConnectionError, EncodeError, ErrorCode, MessageError};
pub use frame::PREFACE;
pub use metadata::{Metadata, MetadataQueue, Place};
pub use options::{FloodLimits, Keepalive, Options};
pub use send::{request_text, response_text, trailers_text};
pub use streams::StreamKey;

/// Where the decoder puts heads.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// On a server.
    Request(&'a mut RequestHead),
    /// On a client.
    Response(&'a mut ResponseHead),
}

/// One step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input are done with.
    pub consumed: usize,
    /// How many bytes the event's stream brought in HEADERS, CONTINUATION and DATA, as Envoy counts them: whole frames,
    /// but for the headers of CONTINUATION.
    pub wire: u32,
    /// What they were.
    pub event: Event,
}

/// What a decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: call again when more bytes have come.
    More,
    /// The head was filled in. On a server it is a new stream.
    Head {
        /// Whose.
        stream: StreamKey,
        /// Whether no body follows.
        end_stream: bool,
    },
    /// The head of a 1xx was filled in; the true one is still to come.
    Informational {
        /// Whose.
        stream: StreamKey,
    },
    /// A piece of a body. Tell [`Codec::consumed`] when it was passed on, so that the peer may send more.
    Data {
        /// Whose.
        stream: StreamKey,
        /// Where it stands in the input. It is part of what was consumed.
        at: Range<usize>,
        /// Whether the message is complete.
        end_stream: bool,
    },
    /// The trailers were filled in, and the message is complete.
    Trailers {
        /// Whose.
        stream: StreamKey,
    },
    /// METADATA has come: [`Codec::take_metadata`].
    Metadata {
        /// Whose.
        stream: StreamKey,
        /// The response's head is still to come.
        before_head: bool,
    },
    /// METADATA has come for the stream, the first on this connection, where it is not allowed; it is skipped.
    MetadataRefused {
        /// Whose.
        stream: StreamKey,
    },
    /// The peer ended the stream. Nothing more comes or can be sent on it.
    Reset {
        /// Which.
        stream: StreamKey,
        /// Why.
        code: ErrorCode,
    },
    /// What came on the stream cannot be taken, and the stream was reset.
    Failed {
        /// Which.
        stream: StreamKey,
        /// Why, where it is the message's fault.
        error: Option<MessageError>,
    },
    /// A request's head cannot be taken. There is no stream; the peer was told.
    Refused {
        /// The id it would have had.
        id: u32,
        /// Why.
        error: MessageError,
    },
    /// The peer's limits are known, or have changed.
    Settings,
    /// The peer will look at no stream above `last`; those that are above can be tried again elsewhere.
    GoAway {
        /// The last one it looks at.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
}

#[cfg(test)]
mod tests;
