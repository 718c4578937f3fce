//! Message heads as every protocol shares them: the header map, and the request and response heads around it.

mod joined;
mod known;
mod map;
mod spelling;

pub(crate) use joined::{REQUEST_JOINED, RESPONSE_JOINED, TRAILERS_JOINED};
pub use known::Known;
pub use map::{HeaderMap, KnownSet, Name};
pub use spelling::{PreserveCase, Spelling, proper_case};

/// The protocol version that a message was sent with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0 (and 0.9, which is answered as 1.0).
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Version {
    /// The spelling of access logs (`%PROTOCOL%`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// A request's head. The pseudo headers `:method`, `:scheme`, `:authority` and `:path` are entries of the
/// map like any other (matchers, mutations and log operators name them so); encoders know where they go.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The version it arrived with.
    pub version: Version,
    /// Pseudo headers and headers.
    pub headers: HeaderMap,
    /// How the client spelled their names, where that was kept.
    pub spelling: Option<Box<Spelling>>,
}

impl RequestHead {
    /// An empty head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the head and keeps its storage.
    pub fn clear(&mut self) {
        self.version = Version::default();
        self.headers.clear();
        self.spelling = None;
    }

    /// `:method`, empty when absent.
    #[inline]
    pub fn method(&self) -> &[u8] {
        self.headers.get_at(0, Known::Method).unwrap_or_default()
    }

    /// `:path` with its query, empty when absent.
    #[inline]
    pub fn path(&self) -> &[u8] {
        self.headers.get_at(1, Known::Path).unwrap_or_default()
    }

    /// `:authority`, empty when absent.
    pub fn authority(&self) -> &[u8] {
        self.headers.get(Known::Authority).unwrap_or_default()
    }

    /// `:scheme`, empty when absent.
    pub fn scheme(&self) -> &[u8] {
        self.headers.get(Known::Scheme).unwrap_or_default()
    }

    /// `:path` without its query and fragment.
    pub fn path_without_query(&self) -> &[u8] {
        let path = self.path();
        let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
        path.get(..end).unwrap_or_default()
    }
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The version it arrived with.
    pub version: Version,
    /// The status code, 100 to 999.
    pub status: u16,
    /// Headers; no pseudo header stands among them.
    pub headers: HeaderMap,
    /// How the upstream spelled their names, where that was kept.
    pub spelling: Option<Box<Spelling>>,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self { version: Version::default(), status: 200, headers: HeaderMap::default(), spelling: None }
    }
}

impl ResponseHead {
    /// A head with `status` and no headers.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Whether it is a 1xx that a proxy may pass on ahead of the answer: 100, 102, 103 or 104.
    pub fn is_passed_on_early(&self) -> bool {
        matches!(self.status, 100 | 102..=104)
    }

    /// Empties the head and keeps its storage.
    pub fn clear(&mut self) {
        self.version = Version::default();
        self.status = 200;
        self.headers.clear();
        self.spelling = None;
    }
}

#[cfg(test)]
mod tests;
