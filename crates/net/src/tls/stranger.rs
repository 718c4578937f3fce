//! First bytes of a client that are no ClientHello, as BoringSSL judges them.

use super::error::HandshakeError;
use super::hello::RECORD_HEAD;

/// Bytes of a sealed record at most.
const MAX_SEALED: usize = 16 * 1024 + 320;

/// Why a connection's first bytes are not answered with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    number: u32,
    name: &'static str,
    alert: Option<u8>,
}

impl Stranger {
    /// What the client is instead; none where the handshake itself has to say.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..RECORD_HEAD)?;
        let &[kind, major, _, high, low] = head else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (number, name, alert) =
            if [&b"GET "[..], b"POST ", b"HEAD ", b"PUT "].iter().any(|m| head.starts_with(m)) {
                (156, "HTTP_REQUEST", None)
            } else if head == b"CONNE" {
                (155, "HTTPS_PROXY_REQUEST", None)
            } else if major != 3 {
                (247, "WRONG_VERSION_NUMBER", Some(70))
            } else if length > MAX_SEALED {
                (146, "ENCRYPTED_LENGTH_TOO_LONG", Some(22))
            } else {
                match (kind, bytes.get(RECORD_HEAD)) {
                    (21, _) | (22, None | Some(1)) => return None,
                    (22, _) => (223, "UNEXPECTED_MESSAGE", Some(10)),
                    _ => (225, "UNEXPECTED_RECORD", Some(10)),
                }
            };
        Some(Self { number, name, alert })
    }

    /// The record that tells the client, where BoringSSL tells it.
    pub(super) fn answer(self) -> Option<[u8; 7]> {
        self.alert.map(|alert| [21, 3, 1, 0, 2, 2, alert])
    }

    /// What logs say of it.
    pub(super) fn error(self) -> HandshakeError {
        HandshakeError::of(&[(self.number, self.name)])
    }
}

#[cfg(test)]
mod tests {
    use super::Stranger;

    #[test]
    fn what_is_no_hello_is_called_by_its_name_and_told_what_boringssl_tells() {
        for (bytes, want) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(("HTTP_REQUEST", None))),
            (b"CONNECT a:1", Some(("HTTPS_PROXY_REQUEST", None))),
            (b"PRI * HTTP/2.0\r\n", Some(("WRONG_VERSION_NUMBER", Some(70)))),
            (b"\x17\x03\x03\x00\x05hello", Some(("UNEXPECTED_RECORD", Some(10)))),
            (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", Some(("UNEXPECTED_MESSAGE", Some(10)))),
            (b"\x16\x03\x01\xff\xffx", Some(("ENCRYPTED_LENGTH_TOO_LONG", Some(22)))),
            (b"\x15\x03\x01\x00\x02\x02\x28", None),
            (b"\x16\x03\x01\x00\x05\x01", None),
            (b"GET", None),
        ] {
            let found = Stranger::of(bytes);
            assert_eq!(found.map(|s| (s.name, s.alert)), want, "{}", bytes.escape_ascii());
            assert_eq!(
                found.and_then(Stranger::answer).is_some(),
                want.is_some_and(|(_, alert)| alert.is_some())
            );
        }
    }
}
