//! Tests that drive whole connections by frames, under every way to split them.

mod bodies;
mod floods;
mod heads;
mod metadata;
mod pair;
mod protocol;

use super::frame::{self, FrameHeader, MAX_PAYLOAD, flag, kind};
use super::hpack::{Encoder, Sensitivity};
use super::*;
use crate::head::{HeaderMap, Known, RequestHead, ResponseHead};
use std::fmt::Write;
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A peer's bytes.
#[derive(Clone, Default)]
pub(super) struct Wire(pub(super) Vec<u8>);

impl Wire {
    /// A client's beginning.
    pub(super) fn client() -> Self {
        Self(PREFACE.to_vec()).frame(kind::SETTINGS, 0, 0, &[]).frame(kind::SETTINGS, flag::ACK, 0, &[])
    }

    /// A server's beginning.
    pub(super) fn server() -> Self {
        Self::default().frame(kind::SETTINGS, 0, 0, &[]).frame(kind::SETTINGS, flag::ACK, 0, &[])
    }

    pub(super) fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        self.0.extend_from_slice(&FrameHeader { len: payload.len(), kind, flags, stream }.bytes());
        self.0.extend_from_slice(payload);
        self
    }

    pub(super) fn head(self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        self.frame(kind::HEADERS, flags | flag::END_HEADERS, stream, &block(fields))
    }

    pub(super) fn get(self, stream: u32) -> Self {
        self.head(stream, flag::END_STREAM, GET)
    }

    pub(super) fn post(self, stream: u32, more: &[(&str, &str)]) -> Self {
        let mut fields = POST.to_vec();
        fields.extend_from_slice(more);
        self.head(stream, 0, &fields)
    }

    pub(super) fn data(self, stream: u32, flags: u8, data: &[u8]) -> Self {
        self.frame(kind::DATA, flags, stream, data)
    }
}

pub(super) const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub(super) const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

/// A block without any use of a table.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(4096), Vec::new());
    for (name, value) in fields {
        encoder.field(Known::Other, name.as_bytes(), value.as_bytes(), Sensitivity::NeverIndexed, &mut out);
    }
    out
}

/// What a peer reads of our bytes.
pub(super) fn frames(mut bytes: &[u8]) -> String {
    let mut seen = String::new();
    if let Some(rest) = bytes.strip_prefix(PREFACE) {
        bytes = rest;
        seen.push_str("PREFACE ");
    }
    while let Some(header) = FrameHeader::read(bytes) {
        let payload = &bytes[frame::HEADER..frame::HEADER + header.len];
        bytes = &bytes[frame::HEADER + header.len..];
        let (stream, flags) = (header.stream, header.flags);
        let word = |at: usize| frame::read_u32(&payload[at..]);
        let _ = match header.kind {
            kind::DATA => write!(seen, "DATA{stream}/{flags}:{} ", header.len),
            kind::HEADERS => write!(seen, "HEADERS{stream}/{flags} "),
            kind::RST_STREAM => write!(seen, "RST{stream}:{} ", word(0)),
            kind::SETTINGS if flags == 1 => write!(seen, "ACK "),
            kind::SETTINGS => write!(seen, "SETTINGS "),
            kind::PING => write!(seen, "PING/{flags} "),
            kind::GOAWAY => write!(seen, "GOAWAY:{}:{} ", word(0), word(4)),
            kind::WINDOW_UPDATE => write!(seen, "WINDOW{stream}:{} ", word(0)),
            other => write!(seen, "?{other} "),
        };
    }
    seen
}

/// The codec's output since the last call.
pub(super) fn output(codec: &mut Codec) -> String {
    codec.fill();
    let seen = frames(codec.unsent());
    codec.sent(codec.unsent().len());
    seen
}

fn fields(map: &HeaderMap) -> String {
    map.iter()
        .map(|(n, v)| format!("{}={},", n.as_bytes().escape_ascii(), v.escape_ascii()))
        .collect::<String>()
}

/// Feeds `input` in the given pieces, and tells the events as text. Neighbouring pieces of one body are one.
pub(super) fn feed(codec: &mut Codec, options: &Options, input: &[u8], pieces: &[usize]) -> String {
    let (mut request, mut response, mut trailers) =
        (RequestHead::new(), ResponseHead::default(), HeaderMap::new());
    let side = codec.side;
    let (mut seen, mut body) = (String::new(), None::<(u32, Vec<u8>)>);
    let (mut from, mut to) = (0, 0);
    let at = now();
    for piece in pieces.iter().copied().chain([input.len()]) {
        to = (to + piece).min(input.len());
        loop {
            let into = match side {
                Side::Server => Incoming::Request(&mut request),
                Side::Client => Incoming::Response(&mut response),
            };
            let decoded = codec.decode(at, options, &input[from..to], into, &mut trailers);
            let mut event = String::new();
            match &decoded {
                Err(error) => {
                    flush(&mut seen, &mut body);
                    let _ = write!(seen, "!{error:?}");
                    return seen;
                }
                Ok(Decoded { consumed, event: what, .. }) => {
                    let _ = match what {
                        Event::More => Ok(()),
                        Event::Head { stream, end_stream } => match side {
                            Side::Server => {
                                write!(
                                    event,
                                    "head{}/{end_stream}[{}] ",
                                    stream.id(),
                                    fields(&request.headers)
                                )
                            }
                            Side::Client => write!(
                                event,
                                "head{}/{end_stream}[{} {}] ",
                                stream.id(),
                                response.status,
                                fields(&response.headers)
                            ),
                        },
                        Event::Informational { stream } => {
                            write!(event, "info{}[{}] ", stream.id(), response.status)
                        }
                        Event::Data { stream, at, end_stream } => {
                            let data = &input[from + at.start..from + at.end];
                            match &mut body {
                                Some((id, bytes)) if *id == stream.id() => bytes.extend_from_slice(data),
                                _ => {
                                    flush(&mut seen, &mut body);
                                    body = Some((stream.id(), data.to_vec()));
                                }
                            }
                            codec.consumed(*stream, data.len());
                            if *end_stream { write!(event, "end{} ", stream.id()) } else { Ok(()) }
                        }
                        Event::Trailers { stream } => {
                            write!(event, "trailers{}[{}] ", stream.id(), fields(&trailers))
                        }
                        Event::Metadata { stream, before_head } => {
                            let metadata = codec.take_metadata().unwrap();
                            codec.metadata_read(*stream, &metadata);
                            let place = if *before_head { "before" } else { "behind" };
                            write!(event, "metadata{}/{place}[{}] ", stream.id(), metadata.text())
                        }
                        Event::MetadataRefused { stream } => write!(event, "unmetadata{} ", stream.id()),
                        Event::Reset { stream, code } => write!(event, "reset{}:{} ", stream.id(), code.0),
                        Event::Failed { stream, error } => write!(event, "failed{}:{error:?} ", stream.id()),
                        Event::Refused { id, error } => write!(event, "refused{id}:{error:?} "),
                        Event::Settings => Ok(()),
                        Event::GoAway { last, code } => write!(event, "goaway{last}:{} ", code.0),
                    };
                    from += consumed;
                }
            }
            if !event.is_empty() {
                flush(&mut seen, &mut body);
                seen.push_str(&event);
            }
            if matches!(decoded, Ok(Decoded { event: Event::More, .. })) {
                break;
            }
        }
    }
    flush(&mut seen, &mut body);
    seen
}

fn flush(seen: &mut String, body: &mut Option<(u32, Vec<u8>)>) {
    if let Some((id, bytes)) = body.take()
        && !bytes.is_empty()
    {
        let text = if bytes.len() > 40 { bytes.len().to_string() } else { bytes.escape_ascii().to_string() };
        let _ = write!(seen, "data{id}[{text}] ");
    }
}

/// What a fresh connection makes of the bytes: its events, and what it sends. Every way to split them gives the same.
pub(super) fn run_with(side: Side, options: &Options, wire: &Wire) -> (String, String) {
    let see = |pieces: &[usize]| {
        let mut codec = Codec::new(side, options, now());
        if side == Side::Client {
            codec.peer.max_concurrent_streams = 100;
            let head = request(POST);
            codec.open(now(), &head, false).unwrap();
        }
        output(&mut codec);
        let events = feed(&mut codec, options, &wire.0, pieces);
        // A server's greeting ends behind its first acknowledgement.
        let sent = output(&mut codec).replacen("ACK WINDOW0:25100289 ", "ACK ", 1);
        (events, sent)
    };
    let whole = see(&[]);
    assert_eq!(see(&vec![1; wire.0.len()]), whole, "byte by byte");
    for size in [2, 3, 7, 10, 33] {
        assert_eq!(see(&vec![size; wire.0.len() / size]), whole, "in pieces of {size}");
    }
    whole
}

pub(super) fn serve(wire: &Wire) -> (String, String) {
    run_with(Side::Server, &Options::default(), wire)
}

/// A request's head of these fields.
pub(super) fn request(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new();
    for (name, value) in fields {
        head.headers.append(*name, value.as_bytes());
    }
    head
}
