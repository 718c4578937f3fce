//! A look at a ClientHello (RFC 8446, section 4.1.2) before anybody answers it.

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Too few bytes to tell.
    Incomplete,
    /// No TLS.
    NotTls,
    /// A client's first message.
    Client(ClientHello),
}

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The cipher suites, the client's favourite first.
    pub suites: Vec<u16>,
    /// `server_name`, in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocols of ALPN in the client's order.
    pub alpn: Vec<Box<[u8]>>,
    /// It takes TLS 1.3 (`supported_versions`).
    pub tls13: bool,
    /// It asks for the certificate's OCSP response (`status_request`).
    pub wants_status: bool,
}

/// Bytes of a ClientHello at most.
pub const MAX_HELLO: usize = 16 * 1024;

/// Bytes that are taken apart.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    /// What stands behind its own length of so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Bytes<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Bytes)
    }
}

/// Looks at the first bytes that a client sent.
pub fn inspect(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = bytes;
    // The message may be spread over records.
    loop {
        match rest {
            [] => return Hello::Incomplete,
            [22] | [22, 3] => return Hello::Incomplete,
            [22, 3, minor, tail @ ..] if *minor <= 4 => match tail {
                [high, low, body @ ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    if length == 0 || length > MAX_HELLO {
                        return Hello::NotTls;
                    }
                    let (now, later) = body.split_at_checked(length).unwrap_or((body, &[]));
                    message.extend_from_slice(now);
                    if message.first().is_some_and(|kind| *kind != 1) {
                        return Hello::NotTls;
                    }
                    if let Some(whole) = whole(&message) {
                        return parse(whole).map_or(Hello::NotTls, Hello::Client);
                    }
                    if message.len() > MAX_HELLO {
                        return Hello::NotTls;
                    }
                    rest = later;
                }
                _ => return Hello::Incomplete,
            },
            _ => return Hello::NotTls,
        }
    }
}

/// The body of a handshake message that has all come.
fn whole(message: &[u8]) -> Option<&[u8]> {
    let mut bytes = Bytes(message);
    bytes.take(1)?;
    bytes.vector(3).map(|body| body.0)
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut body = Bytes(body);
    body.take(2 + 32)?;
    body.vector(1)?;
    let suites = body.vector(2)?.0.as_chunks::<2>().0;
    body.vector(1)?;
    let suites = suites.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let mut hello = ClientHello { suites, ..ClientHello::default() };
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = body.vector(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut content = extensions.vector(2)?;
        match kind {
            0 => {
                let mut names = content.vector(2)?;
                while !names.0.is_empty() {
                    let kind = names.number(1)?;
                    let name = names.vector(2)?;
                    if kind == 0 {
                        hello.server_name = server_name(name.0);
                    }
                }
            }
            16 => {
                let mut protocols = content.vector(2)?;
                while !protocols.0.is_empty() {
                    hello.alpn.push(protocols.vector(1)?.0.into());
                }
            }
            5 => hello.wants_status = true,
            43 => {
                let versions = content.vector(1)?;
                hello.tls13 = versions.0.chunks_exact(2).any(|v| v == [3, 4]);
            }
            _ => {}
        }
    }
    Some(hello)
}

/// A name of at most 255 bytes (CVE-2024-32475) without anything that has no place in logs.
fn server_name(bytes: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let good = !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
    good.then(|| text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these extensions in one record.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([0; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    const SNI: &[u8] = b"\0\0\0\x0e\0\x0c\0\0\x09A.Example";
    const ALPN: &[u8] = b"\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1";

    #[test]
    fn names_and_protocols_are_found_and_names_are_in_lower_case() {
        let Hello::Client(seen) = inspect(&hello(&[SNI, ALPN].concat())) else { panic!() };
        assert_eq!(seen.server_name.as_deref(), Some("a.example"));
        assert_eq!(seen.alpn, [Box::from(&b"h2"[..]), Box::from(&b"http/1.1"[..])]);
        assert_eq!((seen.tls13, seen.wants_status), (false, false));
        let Hello::Client(seen) = inspect(&hello(b"\0\x2b\0\x05\x04\x03\x03\x03\x04\0\x05\0\0")) else {
            panic!()
        };
        assert_eq!((seen.tls13, seen.wants_status), (true, true));
    }

    #[test]
    fn every_prefix_of_a_hello_is_incomplete_and_other_bytes_are_no_tls() {
        let whole = hello(SNI);
        for n in 0..whole.len() {
            assert_eq!(inspect(&whole[..n]), Hello::Incomplete, "{n}");
        }
        assert_eq!(inspect(b"GET / HTTP/1.1\r\n"), Hello::NotTls);
        assert_eq!(inspect(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Hello::NotTls);
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        for (length, some) in [(255, true), (256, false), (4000, false)] {
            let name = vec![b'a'; length];
            let of = |n: usize| (n as u16).to_be_bytes();
            let sni = [&[0, 0][..], &of(length + 5), &of(length + 3), &[0], &of(length), &name].concat();
            let Hello::Client(seen) = inspect(&hello(&sni)) else { panic!() };
            assert_eq!(seen.server_name.is_some(), some, "{length}");
        }
    }

    #[test]
    fn no_bytes_are_too_odd_to_be_looked_at() {
        let whole = hello(&[SNI, ALPN, b"\0\x2b\0\x05\x04\x03\x03\x03\x04"].concat());
        let mut state = 1_u64;
        let mut next = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        };
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next(4) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            bytes.truncate(1 + next(bytes.len()));
            if let Hello::Client(seen) = inspect(&bytes) {
                assert!(
                    seen.server_name
                        .is_none_or(|n| n.len() <= 255 && n.bytes().all(|b| b.is_ascii_graphic()))
                );
            }
        }
    }

    #[test]
    fn a_name_with_bytes_that_logs_must_not_see_is_none() {
        let Hello::Client(seen) = inspect(&hello(b"\0\0\0\x08\0\x06\0\0\x03a\0b")) else { panic!() };
        assert_eq!(seen.server_name, None);
    }
}
