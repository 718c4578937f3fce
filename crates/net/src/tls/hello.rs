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
    /// The version before there was an extension for it (`legacy_version`).
    pub legacy_version: u16,
    /// The cipher suites, the client's favourite first.
    pub suites: Vec<u16>,
    /// `server_name`, in lower case. Any characters may stand in it.
    pub server_name: Option<Box<str>>,
    /// The protocols of ALPN in the client's order; none where the list is malformed, which the handshake will tell.
    pub alpn: Vec<Box<[u8]>>,
    /// It takes TLS 1.3 (`supported_versions`).
    pub tls13: bool,
    /// It takes session tickets (`session_ticket`).
    pub takes_tickets: bool,
    /// It asks for the certificate's OCSP response (`status_request`).
    pub wants_status: bool,
    body: Vec<u8>,
}

/// Bytes of a ClientHello, and of a record, at most.
pub const MAX_HELLO: usize = 16 * 1024;
/// Bytes of a record's head: nothing is told by fewer.
pub(super) const RECORD_HEAD: usize = 5;
/// Bytes of a handshake message's head.
const MESSAGE_HEAD: usize = 4;
/// Empty records in a row that are taken at most.
const MAX_EMPTY_RECORDS: usize = 32;

/// Bytes that are taken apart.
#[derive(Clone, Copy)]
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

    fn u16(&mut self) -> Option<u16> {
        self.number(2)?.try_into().ok()
    }

    /// What stands behind its own length of so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Bytes<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Bytes)
    }
}

/// Looks at the first bytes that a client sent.
pub fn inspect(bytes: &[u8]) -> Hello {
    examine(bytes).0
}

/// Looks at the first bytes that a client sent; also, how many of them it took to tell.
///
/// As in BoringSSL, a record is looked at when all of it is there, and a message likewise.
pub fn examine(bytes: &[u8]) -> (Hello, usize) {
    let mut message = Vec::new();
    let mut rest = Bytes(bytes);
    let mut empty = 0;
    loop {
        let Some(&[kind, major, _, high, low]) = rest.take(RECORD_HEAD) else {
            return (Hello::Incomplete, bytes.len());
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if major != 3 || length > MAX_HELLO {
            return (Hello::NotTls, bytes.len() - rest.0.len());
        }
        let Some(body) = rest.take(length) else { return (Hello::Incomplete, bytes.len()) };
        empty = if length == 0 { empty + 1 } else { 0 };
        message.extend_from_slice(body);
        let told = if kind != 22 || empty > MAX_EMPTY_RECORDS {
            Some(Hello::NotTls)
        } else {
            of_message(&mut message)
        };
        if let Some(hello) = told {
            return (hello, bytes.len() - rest.0.len());
        }
    }
}

/// What a handshake message is; none while there is too little of it.
fn of_message(message: &mut Vec<u8>) -> Option<Hello> {
    let mut bytes = Bytes(message);
    let kind = bytes.number(1)?;
    let length = bytes.number(3)?;
    if length > MAX_HELLO {
        return Some(Hello::NotTls);
    }
    bytes.take(length)?;
    if kind != 1 {
        return Some(Hello::NotTls);
    }
    message.truncate(MESSAGE_HEAD + length);
    message.drain(..MESSAGE_HEAD);
    Some(ClientHello::of(std::mem::take(message)).map_or(Hello::NotTls, Hello::Client))
}

impl ClientHello {
    fn of(body: Vec<u8>) -> Option<Self> {
        let parts = Parts::of(&body)?;
        let versions = parts.extension(43).and_then(|content| Bytes(content).vector(1));
        Some(Self {
            legacy_version: parts.legacy_version,
            suites: parts.suites().collect(),
            server_name: match parts.extension(0) {
                None => None,
                Some(content) => Some(server_name(content)?),
            },
            alpn: parts.extension(16).and_then(protocols).unwrap_or_default(),
            takes_tickets: parts.extension(35).is_some(),
            tls13: versions.is_some_and(|list| list.0.chunks_exact(2).any(|v| v == [3, 4])),
            wants_status: parts.extension(5).is_some(),
            body,
        })
    }

    /// The message, not read further.
    pub(super) fn parts(&self) -> Option<Parts<'_>> {
        Parts::of(&self.body)
    }
}

/// A ClientHello whose extensions are not read yet.
pub(super) struct Parts<'a> {
    pub(super) legacy_version: u16,
    suites: &'a [u8],
    extensions: Bytes<'a>,
}

impl<'a> Parts<'a> {
    /// `None`: malformed, or an extension comes twice.
    fn of(body: &'a [u8]) -> Option<Self> {
        let mut body = Bytes(body);
        let legacy_version = body.u16()?;
        body.take(32)?;
        let session = body.vector(1)?.0;
        let suites = body.vector(2)?.0;
        let compressions = body.vector(1)?.0;
        if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
            return None;
        }
        let extensions = if body.0.is_empty() { Bytes(&[]) } else { body.vector(2)? };
        let mut kinds = Vec::new();
        let mut rest = extensions;
        while !rest.0.is_empty() {
            kinds.push(rest.u16()?);
            rest.vector(2)?;
        }
        kinds.sort_unstable();
        let once = kinds.array_windows().all(|[one, other]| one != other);
        (body.0.is_empty() && once).then_some(Self { legacy_version, suites, extensions })
    }

    /// The cipher suites in the client's order.
    pub(super) fn suites(&self) -> impl Iterator<Item = u16> + use<'a> {
        numbers(self.suites)
    }

    /// The extensions in the client's order.
    pub(super) fn extensions(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.extensions;
        std::iter::from_fn(move || Some((rest.u16()?, rest.vector(2)?.0)))
    }

    /// What the extension of a kind holds.
    pub(super) fn extension(&self, kind: u16) -> Option<&'a [u8]> {
        self.extensions().find(|(k, _)| *k == kind).map(|(_, content)| content)
    }

    /// The bytes of the list in an extension whose content is one, behind a length of so many bytes.
    pub(super) fn list(&self, kind: u16, length: usize) -> Option<&'a [u8]> {
        Some(Bytes(self.extension(kind)?).vector(length)?.0)
    }
}

/// A list of numbers of two bytes.
pub(super) fn numbers(list: &[u8]) -> impl Iterator<Item = u16> + use<'_> {
    list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
}

/// The protocols of ALPN, unless the list is malformed.
fn protocols(content: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut content = Bytes(content);
    let mut list = content.vector(2)?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.vector(1).filter(|name| !name.0.is_empty())?.0.into());
    }
    content.0.is_empty().then_some(protocols)
}

/// The one name of `server_name`, as BoringSSL takes it: of 1 to 255 bytes (CVE-2024-32475), none of them zero.
fn server_name(content: &[u8]) -> Option<Box<str>> {
    let mut content = Bytes(content);
    let mut list = content.vector(2)?;
    let kind = list.number(1)?;
    let name = list.vector(2)?.0;
    let good = kind == 0 && matches!(name.len(), 1..=255) && !name.contains(&0);
    if !good || !list.0.is_empty() || !content.0.is_empty() {
        return None;
    }
    // What is no UTF-8 is kept byte by byte: logs mark it, and no configured name is equal to it.
    let text = match std::str::from_utf8(name) {
        Ok(text) => text.to_ascii_lowercase(),
        Err(_) => name.iter().map(|b| char::from(b.to_ascii_lowercase())).collect(),
    };
    Some(text.into())
}

#[cfg(test)]
pub(super) mod tests;
