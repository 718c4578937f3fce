//! What a client would send first.

use super::Question;
use nuncio_codec::h1::{ClientCodec, HeaderCase};
use nuncio_codec::h2::{Codec, Options, Side};
use nuncio_codec::head::RequestHead;
use nuncio_upstream::pool::extended_connect;
use std::time::Instant;

/// The bytes of a question's request, in both protocols.
pub(super) struct Wire {
    hello: Option<Vec<u8>>,
    h1: Vec<u8>,
    h2: Vec<u8>,
    prior_knowledge: bool,
}

impl Wire {
    pub(super) fn of(question: &Question, now: Instant) -> Result<Self, &'static str> {
        let Question { head, body, tls, sni, alpn, prior_knowledge, .. } = question;
        let hello = tls.then(|| client_hello(sni.as_deref(), alpn));
        let mut h1 = Vec::new();
        let mut codec = ClientCodec::new();
        let spoken = codec.encode_head(HeaderCase::Lower, head, body.is_none(), &mut h1);
        spoken.map_err(|_| "a header has a character that HTTP does not allow")?;
        let h2 = http2(head, body.is_none(), now)?;
        Ok(Self { hello, h1, h2, prior_knowledge: *prior_knowledge })
    }

    /// What comes first on the connection.
    pub(super) fn first(&self) -> &[u8] {
        match &self.hello {
            Some(hello) => hello,
            None => self.request(self.prior_knowledge),
        }
    }

    /// What comes first once the connection is secured, where it is to be.
    pub(super) fn request(&self, http2: bool) -> &[u8] {
        if http2 { &self.h2 } else { &self.h1 }
    }
}

/// The request over HTTP/2; an upgrade as extended CONNECT.
fn http2(head: &RequestHead, end_stream: bool, now: Instant) -> Result<Vec<u8>, &'static str> {
    let mut codec = Codec::new(Side::Client, &Options::default(), now);
    let connect = extended_connect(head);
    let (head, ends) = match &connect {
        Some((head, _)) => (head, false),
        None => (head, end_stream),
    };
    codec.open(now, head, ends).map_err(|_| "a header has a character that HTTP does not allow")?;
    Ok(codec.unsent().to_vec())
}

/// The offers of a ClientHello: what stands in it besides names and protocols.
const SUITES: [u16; 7] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030];
const GROUPS: [u16; 2] = [0x001d, 0x0017];
const SCHEMES: [u16; 6] = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501];

/// A ClientHello (RFC 8446, section 4.1.2) as clients of today send them. Nobody has its key: it is looked at, and
/// never answered to the end.
fn client_hello(sni: Option<&str>, alpn: &[&str]) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, content: Vec<u8>| {
        extensions.extend_from_slice(&kind.to_be_bytes());
        extensions.extend(sized(2, &content));
    };
    if let Some(name) = sni {
        extension(0, sized(2, &[&[0], &*sized(2, name.as_bytes())].concat()));
    }
    extension(10, sized(2, &numbers(&GROUPS)));
    extension(11, sized(1, &[0]));
    extension(13, sized(2, &numbers(&SCHEMES)));
    if !alpn.is_empty() {
        let all: Vec<u8> = alpn.iter().flat_map(|p| sized(1, p.as_bytes())).collect();
        extension(16, sized(2, &all));
    }
    extension(23, Vec::new());
    extension(43, sized(1, &numbers(&[0x0304, 0x0303])));
    extension(45, sized(1, &[1]));
    // The base point of X25519 is a public key like any other.
    let mut key = [0; 32];
    key[0] = 9;
    extension(51, sized(2, &[&numbers(&[0x001d]), &*sized(2, &key)].concat()));
    let body = [
        &[3, 3][..],
        &[0x5a; 32],
        &sized(1, &[]),
        &sized(2, &numbers(&SUITES)),
        &sized(1, &[0]),
        &sized(2, &extensions),
    ]
    .concat();
    let message = [&[1][..], &sized(3, &body)].concat();
    [&[22, 3, 1][..], &sized(2, &message)].concat()
}

/// `content` behind its length in so many bytes.
fn sized(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    let length = length.get(4 - bytes..).unwrap_or_default();
    [length, content].concat()
}

fn numbers(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|n| n.to_be_bytes()).collect()
}
