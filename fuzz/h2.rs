//! The bodies of the HTTP/2 targets. The first four bytes of the data choose options, splits and what we answer; the
//! rest is what the peer sends. However it is split, the codec must see the same, and all that it writes are frames.
#![allow(dead_code, reason = "each target uses its own part")]

use nuncio_codec::h1::DecoderLimits;
use nuncio_codec::h2::{Codec, ConnectionError, Decoded, ErrorCode, Event, Incoming, Options, PREFACE, Side};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use std::fmt::Write;
use std::time::Instant;

/// Choices that follow from a seed.
#[derive(Clone)]
struct Script(u32);

impl Script {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (self.0 >> 13) % limit
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn options(&mut self) -> Options {
        let mut options = Options::default();
        if self.flip() {
            options.limits = DecoderLimits { max_head_bytes: 200, max_headers: 6 };
        }
        if self.flip() {
            options.initial_stream_window = 10;
        }
        options.allow_connect = self.flip();
        options.stream_error_on_invalid_message = self.flip();
        options.metadata = self.flip().then_some(50);
        options.max_concurrent_streams = if self.flip() { 2 } else { 100 };
        options
    }
}

/// Every name and value is one that may be passed on.
fn clean(map: &HeaderMap) {
    for (name, value) in map.iter() {
        let name = name.as_bytes();
        assert!(!name.is_empty() && !name.iter().any(|b| b.is_ascii_uppercase() || *b <= b' '), "{name:?}");
        assert!(!value.iter().any(|b| b.is_ascii_control() && *b != b'\t'), "{value:?}");
    }
}

/// All that was written are whole frames.
fn framed(mut bytes: &[u8]) {
    bytes = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    while !bytes.is_empty() {
        assert!(bytes.len() >= 9, "a frame without its head");
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        assert!(len <= 16_384 && bytes.len() >= 9 + len, "a frame without its end");
        bytes = &bytes[9 + len..];
    }
}

/// What a fresh connection makes of `input`, offered in these pieces.
fn see(side: Side, script: &Script, input: &[u8], pieces: &mut dyn FnMut() -> usize, now: Instant) -> String {
    let mut script = script.clone();
    let options = script.options();
    let mut codec = Codec::new(side, &options, now);
    let (mut request, mut response, mut trailers) =
        (RequestHead::new(), ResponseHead::default(), HeaderMap::new());
    if side == Side::Client {
        for (name, value) in [(Known::Method, "GET"), (Known::Scheme, "http"), (Known::Path, "/")] {
            request.headers.append(name, value.as_bytes());
        }
        for _ in 0..3 {
            codec.open(now, &request, script.flip()).expect("a good head");
        }
    }
    let (mut seen, mut body) = (String::new(), Vec::new());
    let (mut from, mut to) = (0, 0);
    while to < input.len() {
        to = (to + pieces().max(1)).min(input.len());
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns <= 4 * (input.len() + 4), "no progress");
            let into = match side {
                Side::Server => Incoming::Request(&mut request),
                Side::Client => Incoming::Response(&mut response),
            };
            let Decoded { consumed, event, .. } =
                match codec.decode(now, &options, &input[from..to], into, &mut trailers) {
                    Ok(decoded) => decoded,
                    Err(error) => {
                        framed(codec.unsent());
                        let _ = write!(seen, "{body:?} !{error:?}");
                        return seen;
                    }
                };
            assert!(consumed <= to - from, "consumed more than there was");
            if let Event::Data { stream, at, end_stream } = &event {
                body.extend_from_slice(&input[from + at.start..from + at.end]);
                codec.consumed(*stream, at.len());
                if *end_stream {
                    let _ = write!(seen, "{body:?} end{} ", stream.id());
                    body.clear();
                }
            }
            from += consumed;
            match event {
                Event::More => break,
                Event::Data { .. } | Event::Settings => continue,
                Event::Head { stream, end_stream } => {
                    let map = if side == Side::Server { &request.headers } else { &response.headers };
                    clean(map);
                    let _ = write!(seen, "{body:?} head{}/{end_stream}/{} ", stream.id(), map.len());
                    if side == Side::Server && script.flip() {
                        let answer = ResponseHead::new(200);
                        codec.encode_response(stream, &answer, false).expect("a good head");
                        codec.encode_data(stream, &[b'x'; 100], true);
                        codec.finish(stream, None);
                    } else if script.below(4) == 0 {
                        codec.finish(stream, Some(ErrorCode::CANCEL));
                    }
                }
                Event::Trailers { stream } => {
                    clean(&trailers);
                    let _ = write!(seen, "{body:?} trailers{} ", stream.id());
                }
                Event::Metadata { stream, before_head } => {
                    let metadata = codec.take_metadata().expect("the map that was told");
                    codec.encode_metadata(stream, &metadata);
                    codec.metadata_read(stream, &metadata);
                    let _ = write!(seen, "{body:?} metadata{}/{before_head}:{metadata:?} ", stream.id());
                }
                Event::Reset { stream, code } => {
                    let _ = write!(seen, "{body:?} reset{}:{} ", stream.id(), code.0);
                    codec.finish(stream, None);
                }
                Event::Failed { stream, error } => {
                    let _ = write!(seen, "{body:?} failed{}:{error:?} ", stream.id());
                    codec.finish(stream, None);
                }
                other => {
                    let _ = write!(seen, "{body:?} {other:?} ");
                }
            }
            body.clear();
        }
    }
    codec.fill();
    framed(codec.unsent());
    assert!(codec.open_streams() <= codec.held_streams());
    let _ = write!(seen, "{body:?}");
    seen
}

fn invariant(side: Side, data: &[u8], beginning: &[u8], now: Instant) {
    let Some((seed, rest)) = data.split_first_chunk() else { return };
    let script = Script(u32::from_le_bytes(*seed));
    let input = [beginning, rest].concat();
    let whole = see(side, &script, &input, &mut || usize::MAX / 2, now);
    assert_eq!(see(side, &script, &input, &mut || 1, now), whole, "byte by byte");
    let mut random = script.clone();
    let most = [3, 16, 100][random.below(3) as usize];
    let pieces = &mut || 1 + random.below(most) as usize;
    assert_eq!(see(side, &script, &input, pieces, now), whole, "in pieces");
}

/// SETTINGS without any.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A whole connection, seen by the server.
pub fn server_conn(data: &[u8], now: Instant) {
    invariant(Side::Server, data, &[PREFACE, SETTINGS].concat(), now);
}

/// A whole connection, seen by the client.
pub fn client_conn(data: &[u8], now: Instant) {
    invariant(Side::Client, data, SETTINGS, now);
}

/// Header blocks alone: everything behind the seed is one HEADERS frame after another.
pub fn hpack(data: &[u8], now: Instant) {
    let Some((seed, rest)) = data.split_first_chunk::<4>() else { return };
    let mut wire = seed.to_vec();
    for (i, block) in rest.chunks(40).enumerate() {
        wire.extend_from_slice(&[0, 0, block.len() as u8, 1, 5]);
        wire.extend_from_slice(&(2 * i as u32 + 1).to_be_bytes());
        wire.extend_from_slice(block);
    }
    invariant(Side::Server, &wire, &[PREFACE, SETTINGS].concat(), now);
}

/// `www.example.com`, Huffman-coded (RFC 7541, C.4.1).
const HUFFMAN: &[u8] = &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];

/// Appends a string: as it is, or Huffman-coded.
fn string(choice: u8, out: &mut Vec<u8>) {
    if choice.is_multiple_of(5) {
        out.push(0x80 | HUFFMAN.len() as u8);
        out.extend_from_slice(HUFFMAN);
    } else {
        let text = &b"x-abcdefghijklmnopqrstuvwxyz"[..3 + usize::from(choice % 24)];
        out.push(text.len() as u8);
        out.extend_from_slice(text);
    }
}

/// A header block of a GET whose further fields, and what stands between them, follow from `choices`.
fn block(choices: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(size) = choices.first().filter(|c| **c % 4 == 0) {
        // The table's size, at most what was agreed on: below 31, or 31 and more in a second byte.
        if size % 8 == 0 {
            out.push(0x20 | (size >> 3).min(30))
        } else {
            out.extend_from_slice(&[0x3f, size & 0x7f])
        }
    }
    out.extend_from_slice(&[0x82, 0x86, 0x84, 0x01, 0x01, b'a']);
    for pair in choices.chunks(2) {
        let (kind, choice) = (pair[0], *pair.last().unwrap_or(&0));
        match kind % 6 {
            // With a place in the table, without, and for nobody's table.
            0 | 1 => out.push(0x40),
            2 => out.push(0),
            3 => out.push(0x10),
            // A field of the table, whole or its name.
            4 => {
                out.push(0xbe + choice % 12);
                continue;
            }
            _ => {
                out.push(0x7e);
                string(choice, &mut out);
                continue;
            }
        }
        string(choice.rotate_left(3) | 1, &mut out);
        string(choice, &mut out);
    }
    out
}

/// Header blocks on one connection, which have to come to the same fields, or to an error, as another decoder has them.
pub fn hpack_differential(data: &[u8], now: Instant) {
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now);
    let mut other = loona_hpack::Decoder::new();
    let (mut request, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let mut feed = |wire: &[u8], request: &mut RequestHead| {
        let mut at = 0;
        loop {
            let into = Incoming::Request(&mut *request);
            let Decoded { consumed, event, .. } =
                codec.decode(now, &options, &wire[at..], into, &mut trailers)?;
            at += consumed;
            if let Event::Head { stream, .. } = event {
                codec.encode_response(stream, &ResponseHead::new(200), true).expect("a good head");
                codec.finish(stream, None);
                return Ok(());
            }
            if event == Event::More {
                return Ok(());
            }
        }
    };
    let greeting = [PREFACE, SETTINGS].concat();
    let greeted: Result<(), ConnectionError> = feed(&greeting, &mut request);
    greeted.expect("a good greeting");
    for (i, choices) in data.chunks(12).take(90).enumerate() {
        let block = block(choices);
        let mut wire = vec![0, 0, block.len() as u8, 1, 5];
        wire.extend_from_slice(&(2 * i as u32 + 1).to_be_bytes());
        wire.extend_from_slice(&block);
        request.clear();
        match (feed(&wire, &mut request), other.decode(&block)) {
            (Ok(()), Ok(want)) => {
                let got = request.headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.to_vec()));
                let mut got: Vec<_> = got.filter(|(n, _)| n[0] != b':').collect();
                let mut want: Vec<_> = want.into_iter().filter(|(n, _)| n[0] != b':').collect();
                got.sort();
                want.sort();
                assert_eq!(got, want, "{block:x?}");
            }
            (Err(ConnectionError::Compression), Err(_)) => return,
            (got, want) => panic!("{got:?} where the other has {want:?}: {block:x?}"),
        }
    }
}
