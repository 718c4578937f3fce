//! What each failure looks like to the client, in the log and in the stats; and how such an answer is put
//! together (`HttpConnectionManager.local_reply_config`).
//!
//! A [`LocalReply`] says what happened. [`LocalReplies::build`] makes the response of it, in Envoy's order:
//! the status, the headers that came with the reply, the configured rewrite, the form that gRPC wants.

mod build;
mod config;
mod grpc;
mod table;

pub use build::{Built, LocalReplies, ReplyContext};
pub use config::BodyFormat;
pub use table::reason_phrase;

use bytes::Bytes;
use nuncio_core::stream_info::ResponseFlag;
use std::borrow::Cow;

/// The body of a local reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// Text that is known when the program is built; empty for no body.
    Static(&'static str),
    /// A text that configuration holds and answers share.
    Shared(Bytes),
    /// A text made for this answer.
    Owned(Vec<u8>),
}

impl ReplyBody {
    /// No body.
    pub const EMPTY: Self = Self::Static("");
}

impl std::ops::Deref for ReplyBody {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Static(text) => text.as_bytes(),
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// An answer that the proxy gives itself.
///
/// Details are Envoy's `%RESPONSE_CODE_DETAILS%`; the flag, if any, is set on the stream when the reply is
/// built. The constructors in `table` are the one list of failures; filters make their own with
/// [`new`](Self::new).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// The HTTP status; a gRPC client sees 200 and `grpc-status` instead.
    pub status: u16,
    /// The flag that goes with it.
    pub flag: Option<ResponseFlag>,
    /// Why, for the log.
    pub details: Cow<'static, str>,
    /// The body, `text/plain` unless [`headers`](Self::headers) or the configuration say otherwise.
    pub body: ReplyBody,
    /// The body's type, whatever headers say.
    pub content_type: Option<Cow<'static, [u8]>>,
    /// Headers of the answer, in order: lower-case names, values without control characters.
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// The gRPC status where it is not the one that [`grpc_status`] maps the HTTP status to.
    pub grpc_status: Option<u8>,
    /// The connection (HTTP/1) ends with this answer, and the answer says so.
    pub close: bool,
    /// The route's response headers do not touch it.
    pub whole: bool,
    /// A filter of the upstream's side gives it, whose limits the connection manager does not count.
    pub of_upstream: bool,
}

impl LocalReply {
    /// A reply without flag, body and headers.
    pub fn new(status: u16, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            flag: None,
            details: details.into(),
            body: ReplyBody::EMPTY,
            content_type: None,
            headers: Vec::new(),
            grpc_status: None,
            close: false,
            whole: false,
            of_upstream: false,
        }
    }

    /// The same with a response flag.
    #[must_use]
    pub fn with_flag(mut self, flag: ResponseFlag) -> Self {
        self.flag = Some(flag);
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: ReplyBody) -> Self {
        self.body = body;
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with an explicit gRPC status.
    #[must_use]
    pub fn with_grpc_status(mut self, status: u8) -> Self {
        self.grpc_status = Some(status);
        self
    }

    /// The same, with a head that no route changes, as that of an upstream which a filter stands for.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// The same, from the upstream's side.
    #[must_use]
    pub fn of_upstream(mut self) -> Self {
        self.of_upstream = true;
        self
    }

    /// The same, ending the connection.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

pub use grpc::{grpc_status, message as grpc_message};

/// `n` in decimal digits, at the end of `digits`.
pub(super) fn decimal(n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = n;
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            return digits.get(at..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
