//! Tests that drive a whole codec by bytes, under every way to split them.

mod encoding;
mod heads;
mod requests;
mod responses;
mod smuggling;

use super::*;
use crate::head::{HeaderMap, Known, KnownSet, RequestHead, ResponseHead};

/// Text of bytes, so that a failed comparison can be read.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What the connection manager removes from every request and response.
const HOP_BY_HOP: KnownSet =
    KnownSet::of(&[Known::Connection, Known::KeepAlive, Known::ProxyConnection, Known::Upgrade]);

/// Feeds `input` in the given pieces the way a connection does: what is not consumed is offered again with more
/// behind it. `step` answers how much it consumed, `None` when it is done with the connection.
pub(super) fn feed(input: &[u8], pieces: &[usize], mut step: impl FnMut(&[u8]) -> Option<usize>) {
    let (mut from, mut to) = (0, 0);
    for piece in pieces.iter().copied().chain([input.len()]) {
        to = (to + piece).min(input.len());
        loop {
            match step(&input[from..to]) {
                None => return,
                Some(0) => break,
                Some(consumed) => from += consumed,
            }
        }
    }
}

/// What a server codec makes of `input`, request after request, as the bytes that an upstream is sent for it. An
/// error ends it with `!status details`; `|close` says that the connection would not go on.
pub(super) fn serve(options: &ServerOptions, input: &[u8], pieces: &[usize]) -> String {
    let mut codec = ServerCodec::new();
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let mut seen = String::new();
    let mut body: Option<Vec<u8>> = None;
    feed(input, pieces, |bytes| {
        let decoded = match codec.decode(options, bytes, &mut head, &mut trailers) {
            Ok(decoded) => decoded,
            Err(error) => {
                seen.push_str(&format!("!{} {}", error.status(), error.details()));
                body = None;
                return None;
            }
        };
        let end;
        match decoded.event {
            Event::More => return Some(decoded.consumed),
            Event::Head { end_stream } => {
                body = Some(Vec::new());
                end = end_stream.then_some(End::Head);
            }
            Event::Data { at, end_stream } => {
                assert!(at.end <= decoded.consumed && !at.is_empty());
                body.as_mut().unwrap().extend_from_slice(&bytes[at]);
                end = end_stream.then_some(End::Data);
            }
            Event::Trailers => end = Some(End::Trailers),
            Event::End => end = Some(End::Data),
            Event::Informational => unreachable!("a request has none"),
        }
        if let Some(end) = end {
            seen.push_str(&upstream_text(&head, &body.take().unwrap(), end, &trailers));
            assert!(codec.request_complete());
            let mut out = Vec::new();
            codec.encode_head(HeaderCase::Lower, &ResponseHead::new(200), true, &mut out).unwrap();
            if !codec.keep_alive() {
                seen.push_str("|close");
            }
        }
        Some(decoded.consumed)
    });
    if let Some(body) = body {
        seen.push_str(&upstream_text(&head, &body, End::NotYet, &trailers));
    }
    seen
}

/// How far a request got.
#[derive(Clone, Copy, PartialEq)]
enum End {
    NotYet,
    Head,
    Data,
    Trailers,
}

/// The request as a client codec sends it, without the hop-by-hop headers.
fn upstream_text(head: &RequestHead, body: &[u8], end: End, trailers: &HeaderMap) -> String {
    let mut head = head.clone();
    let upgrade = head.headers.contains(Known::Upgrade)
        && head.headers.get_all(Known::Connection).any(|v| v.eq_ignore_ascii_case(b"upgrade"));
    if !upgrade {
        head.headers.remove_known(HOP_BY_HOP);
    }
    if head.headers.get(Known::Te).is_some_and(|te| te != b"trailers") {
        head.headers.remove(Known::Te);
    }
    let mut out = Vec::new();
    let mut client = ClientCodec::new();
    if let Err(error) = client.encode_head(HeaderCase::Lower, &head, end == End::Head, &mut out) {
        return format!("<{error}>");
    }
    client.encode_data(body, end == End::Data, &mut out);
    if end == End::Trailers {
        client.encode_trailers(trailers, &mut out);
    }
    text(&out)
}

/// What a client codec makes of the response `input` to a request with `method`; `eof` closes after it.
pub(super) fn answer(
    options: &ClientOptions,
    method: &[u8],
    input: &[u8],
    pieces: &[usize],
    eof: bool,
) -> String {
    let mut codec = ClientCodec::new();
    let mut request = RequestHead::new();
    request.headers.append(Known::Method, method);
    request.headers.append(Known::Path, b"/");
    request.headers.append(Known::Authority, b"a:1");
    if method == b"UPGRADE" {
        request.headers.set(Known::Method, b"GET");
        request.headers.append(Known::Connection, b"upgrade");
        request.headers.append(Known::Upgrade, b"websocket");
    }
    codec.encode_head(HeaderCase::Lower, &request, true, &mut Vec::new()).unwrap();
    let (mut head, mut trailers) = (ResponseHead::new(0), HeaderMap::new());
    let mut seen = String::new();
    let mut body = Vec::new();
    let mut failed = false;
    feed(input, pieces, |bytes| {
        let decoded = match codec.decode(options, bytes, &mut head, &mut trailers) {
            Ok(decoded) => decoded,
            Err(error) => {
                body.extend_from_slice(format!("!{}", error.details()).as_bytes());
                failed = true;
                return None;
            }
        };
        match decoded.event {
            Event::More => return Some(decoded.consumed),
            Event::Head { .. } | Event::Informational => {
                body.extend_from_slice(format!("{} ", head.status).as_bytes());
                for (name, value) in head.headers.iter() {
                    body.extend_from_slice(&[name.as_bytes(), b": ", value, b"; "].concat());
                }
            }
            Event::Data { at, .. } => {
                assert!(at.end <= decoded.consumed && !at.is_empty());
                body.extend_from_slice(&bytes[at]);
            }
            Event::Trailers => {
                for (name, value) in trailers.iter() {
                    body.extend_from_slice(&[b"+", name.as_bytes(), b": ", value].concat());
                }
            }
            Event::End => {}
        }
        Some(decoded.consumed)
    });
    seen.push_str(&text(&body));
    if eof && !failed {
        match codec.eof() {
            Ok(Some(_)) => seen.push_str("|end"),
            Ok(None) => {}
            Err(error) => seen.push_str(&format!("!eof {}", error.details())),
        }
    }
    match (codec.response_complete(), codec.reusable()) {
        (true, true) => seen.push_str("|reuse"),
        (true, false) => seen.push_str("|done"),
        (false, _) if codec.upgraded() => seen.push_str("|tunnel"),
        (false, _) => {}
    }
    seen
}

/// Numbers of a fixed sequence, for splits that are the same in every run.
pub(super) struct Sequence(pub u64);

impl Sequence {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }

    /// Piece lengths that add up to at least `len`.
    pub(super) fn pieces(&mut self, len: usize) -> Vec<usize> {
        let (mut pieces, mut sum) = (Vec::new(), 0);
        let most = [2, 5, 20, 200][self.below(4)];
        while sum < len {
            let piece = 1 + self.below(most);
            pieces.push(piece);
            sum += piece;
        }
        pieces
    }
}

/// Runs `transcript` over every way to cut `input` in two, byte by byte, and some random ways; all must give what
/// the whole gives.
pub(super) fn under_all_splits(name: &str, input: &[u8], transcript: impl Fn(&[usize]) -> String) {
    let whole = transcript(&[input.len()]);
    for cut in 1..input.len().min(400) {
        assert_eq!(transcript(&[cut, input.len()]), whole, "{name}, cut at {cut}");
    }
    if input.len() <= 2000 {
        assert_eq!(transcript(&vec![1; input.len()]), whole, "{name}, byte by byte");
    }
    let mut sequence = Sequence(input.len() as u64);
    for _ in 0..20 {
        let pieces = sequence.pieces(input.len());
        assert_eq!(transcript(&pieces), whole, "{name}, pieces {pieces:?}");
    }
}
