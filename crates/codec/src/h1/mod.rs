//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), both sides, as Envoy 1.40 reads and writes them.
//!
//! A decoder is given the bytes that have arrived and not been consumed yet, and answers with at most one event
//! and how many bytes are done with. A head (and a trailer block) is taken whole: until it is complete nothing
//! of it is consumed, and the caller calls again with the same bytes and more behind them. Chunk framing and
//! body bytes are consumed as they come. However the bytes are split, the events are the same, save that body
//! bytes may come in more or fewer [`Event::Data`].

mod body;
mod connection;
mod encode;
mod error;
mod fields;
mod meter;
mod options;
mod request_head;
mod request_line;
mod status_line;

mod client;
mod server;

use std::ops::Range;

pub use body::ChunkPrefix;
pub use client::ClientCodec;
pub use encode::reason_phrase;
pub use error::{EncodeError, RequestError, ResponseError};
pub use meter::{received_header_bytes, sent_header_bytes, underscored_names};
pub use options::{ClientOptions, IgnoredUpgrades, ServerOptions};
pub use server::ServerCodec;

/// What a decoder does with a field whose name has `_` (`headers_with_underscores_action`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoreAction {
    /// It is kept.
    #[default]
    Allow,
    /// The request is refused with 400.
    RejectRequest,
    /// The field is left out.
    DropHeader,
}

/// How names are spelled on the wire (`header_key_format`), where the head does not say how its sender spelled them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderCase {
    /// In lower case.
    #[default]
    Lower,
    /// With a capital at the beginning and after every character that is neither letter nor digit.
    ProperCaseWords,
}

/// How large a head, or a trailer block, may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Bytes from the first of the start line to the end of the empty line.
    pub max_head_bytes: u32,
    /// Fields.
    pub max_headers: u32,
}

impl Default for DecoderLimits {
    /// 60 KiB and 100 fields.
    fn default() -> Self {
        Self { max_head_bytes: 60 * 1024, max_headers: 100 }
    }
}

/// One step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input are done with.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// What a decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet, or nothing until the exchange is over: call again when more bytes have come or the state
    /// has changed.
    More,
    /// The head was filled in. With `end_stream` the message is complete.
    Head {
        /// Whether no body follows.
        end_stream: bool,
    },
    /// The head of a 1xx was filled in; the true one is still to come.
    Informational,
    /// A piece of the body.
    Data {
        /// Where it stands in the input. It is part of what was consumed.
        at: Range<usize>,
        /// Whether the message is complete.
        end_stream: bool,
    },
    /// The trailers were filled in, and the message is complete.
    Trailers,
    /// The message is complete.
    End,
}

impl Decoded {
    fn more(consumed: usize) -> Self {
        Self { consumed, event: Event::More }
    }
}

#[cfg(test)]
mod tests;
