//! What language the first bytes of a peer are.

use std::fmt;

/// What a peer speaks, by its first bytes, where that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// HTTP/1.
    Http1,
    /// HTTP/2: a client's preface, or a server's SETTINGS or GOAWAY.
    Http2,
    /// TLS: a handshake record or an alert.
    Tls,
}

impl Tongue {
    /// What a client's first bytes are.
    pub fn of_client(bytes: &[u8]) -> Option<Self> {
        let method = bytes.iter().position(|b| *b == b' ').and_then(|at| bytes.get(..at));
        if bytes.starts_with(b"PRI * HTTP/2") {
            Some(Self::Http2)
        } else if is_tls(bytes) {
            Some(Self::Tls)
        } else if method
            .is_some_and(|m| !m.is_empty() && m.len() <= 16 && m.iter().all(u8::is_ascii_uppercase))
        {
            Some(Self::Http1)
        } else {
            None
        }
    }

    /// What a server's first bytes are.
    pub fn of_server(bytes: &[u8]) -> Option<Self> {
        // SETTINGS (type 4) or GOAWAY (type 7) on stream 0, of a plausible length.
        let is_frame = matches!(bytes, [0, _, _, 4 | 7, _, 0, 0, 0, 0, ..]);
        if bytes.starts_with(b"HTTP/1.") {
            Some(Self::Http1)
        } else if is_tls(bytes) {
            Some(Self::Tls)
        } else {
            is_frame.then_some(Self::Http2)
        }
    }
}

/// A record of a handshake (22) or an alert (21), of any version from SSL 3 on.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [21 | 22, 3, 0..=4, ..])
}

impl fmt::Display for Tongue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
            Self::Tls => "TLS",
        })
    }
}
