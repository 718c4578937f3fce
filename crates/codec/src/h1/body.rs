//! Message bodies: how long they are, and their framing in both directions.

use super::error::{BodyError, FieldError};
use super::fields::{self, FieldRules, Part};
use super::{Decoded, Event};
use crate::head::{HeaderMap, Known};
use crate::scan;

/// How the bytes of a body that is being received end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyDecoder {
    /// So many bytes are still to come; never 0.
    Length(u64),
    /// Chunks (RFC 9112 section 7.1).
    Chunked(Chunk),
    /// The connection's end is the body's, or the bytes are no message at all (tunnels).
    UntilClose,
}

/// Where a decoder stands within chunked framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In a size, of which so many digits were read.
    Size { size: u64, digits: u8 },
    /// Behind a size, up to the line's end.
    Extension { size: u64 },
    /// Behind the CR of a size line.
    SizeLf { size: u64 },
    /// In the data.
    Data { left: u64 },
    /// Behind the data, up to the line's end. What stands before that is dropped, as Envoy does.
    DataEnd,
    /// In the trailer block, of which so many bytes have been looked at.
    Trailers { scanned: u32 },
}

impl Chunk {
    pub(super) const START: Self = Self::Size { size: 0, digits: 0 };
}

/// Where trailers go.
pub(super) struct Trailers<'a> {
    pub map: &'a mut HeaderMap,
    /// Whether they are an event; else they are checked, not counted, and dropped.
    pub enabled: bool,
}

/// What follows a step of a body.
pub(super) enum BodyStep {
    /// More of it.
    Body(BodyDecoder),
    /// Nothing: it is complete.
    Complete,
}

impl BodyDecoder {
    /// Decodes at most one event.
    pub(super) fn decode(
        self,
        input: &[u8],
        rules: FieldRules,
        trailers: Trailers<'_>,
    ) -> Result<(Decoded, BodyStep), BodyError> {
        match self {
            _ if input.is_empty() => Ok((Decoded::more(0), BodyStep::Body(self))),
            Self::UntilClose => {
                let event = Event::Data { at: 0..input.len(), end_stream: false };
                Ok((Decoded { consumed: input.len(), event }, BodyStep::Body(self)))
            }
            Self::Length(left) => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - len as u64;
                let event = Event::Data { at: 0..len, end_stream: left == 0 };
                let step = if left == 0 { BodyStep::Complete } else { BodyStep::Body(Self::Length(left)) };
                Ok((Decoded { consumed: len, event }, step))
            }
            Self::Chunked(chunk) => decode_chunked(chunk, input, rules, trailers),
        }
    }
}

fn decode_chunked(
    mut chunk: Chunk,
    input: &[u8],
    rules: FieldRules,
    trailers: Trailers<'_>,
) -> Result<(Decoded, BodyStep), BodyError> {
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        chunk = match chunk {
            Chunk::Data { left } => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                let left = left - len as u64;
                let chunk = if left == 0 { Chunk::DataEnd } else { Chunk::Data { left } };
                let event = Event::Data { at: at..at + len, end_stream: false };
                return Ok((
                    Decoded { consumed: at + len, event },
                    BodyStep::Body(BodyDecoder::Chunked(chunk)),
                ));
            }
            Chunk::Trailers { scanned } => {
                return decode_trailers(scanned, at, input, rules, trailers);
            }
            framing => {
                at += 1;
                framing.next(byte)?
            }
        };
    }
    Ok((Decoded::more(at), BodyStep::Body(BodyDecoder::Chunked(chunk))))
}

impl Chunk {
    /// The state behind one byte of framing.
    fn next(self, byte: u8) -> Result<Self, BodyError> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let size = size.checked_mul(16).and_then(|s| s.checked_add(u64::from(digit)));
                Self::Size { size: size.ok_or(BodyError::Chunk)?, digits: digits.saturating_add(1) }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(BodyError::Chunk),
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Self::SizeLf { size },
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailers { scanned: 0 },
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::Size { size, .. }, b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Extension { .. }, b'\n') => return Err(BodyError::Chunk),
            (Self::Extension { size }, _) => Self::Extension { size },
            (Self::DataEnd, b'\n') => Self::START,
            (Self::DataEnd, _) => Self::DataEnd,
            _ => return Err(BodyError::Chunk),
        })
    }
}

/// Takes the trailer block once it is whole: field lines and an empty line, or only that.
fn decode_trailers(
    scanned: u32,
    at: usize,
    input: &[u8],
    rules: FieldRules,
    trailers: Trailers<'_>,
) -> Result<(Decoded, BodyStep), BodyError> {
    let rest = input.get(at..).unwrap_or_default();
    let most = rules.limits.max_head_bytes as usize;
    let more = |scanned: usize| {
        if rest.len() > most {
            return Err(BodyError::Trailers(FieldError::TooLarge));
        }
        let chunk = Chunk::Trailers { scanned: scanned as u32 };
        Ok((Decoded::more(at), BodyStep::Body(BodyDecoder::Chunked(chunk))))
    };
    let empty = match rest {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return more(0),
        _ => 0,
    };
    if empty > 0 {
        return Ok((Decoded { consumed: at + empty, event: Event::End }, BodyStep::Complete));
    }
    let end = match scan::head_end(rest, scanned as usize) {
        Ok(end) if end <= most => end,
        Ok(_) => return Err(BodyError::Trailers(FieldError::TooLarge)),
        Err(scanned) => return more(scanned),
    };
    let block = field_lines(rest.get(..end).unwrap_or_default());
    let mut rules = FieldRules { part: Part::Trailers, ..rules };
    if !trailers.enabled {
        rules.limits.max_headers = u32::MAX;
    }
    trailers.map.clear();
    fields::parse(block, rules, trailers.map).map_err(BodyError::Trailers)?;
    if !trailers.enabled {
        trailers.map.clear();
    }
    let event = if trailers.map.is_empty() { Event::End } else { Event::Trailers };
    Ok((Decoded { consumed: at + end, event }, BodyStep::Complete))
}

/// A block without the empty line at its end.
#[inline]
pub(super) fn field_lines(block: &[u8]) -> &[u8] {
    match block {
        [lines @ .., b'\r', b'\n'] | [lines @ .., b'\n'] => lines,
        _ => block,
    }
}

/// A Content-Length that is there more than once or is not all digits.
pub(super) struct BadContentLength;

/// The one Content-Length of `map`, if it has one.
#[inline]
pub(super) fn content_length(map: &HeaderMap) -> Result<Option<u64>, BadContentLength> {
    if !map.contains(Known::ContentLength) {
        return Ok(None);
    }
    let mut values = map.get_all(Known::ContentLength);
    match (values.next(), values.next()) {
        (Some(value), None) => number(value).map(Some).ok_or(BadContentLength),
        _ => Err(BadContentLength),
    }
}

/// A decimal number of digits alone that fits 64 bits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, &digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// How the bytes of a body that is being sent are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEncoder {
    /// No body may follow the head: what is given is not written.
    None,
    /// So many bytes are still to be written.
    Length(u64),
    /// In chunks.
    Chunked,
    /// As they are, until the connection ends.
    UntilClose,
}

/// A body was not as long as its head had said, so that the peer cannot tell where the message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongLength;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl BodyEncoder {
    /// Writes a piece; `Err`: bytes were left out or are missing.
    pub(super) fn encode(
        &mut self,
        data: &[u8],
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), WrongLength> {
        let fits = match *self {
            Self::Length(left) => data.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(data),
            Self::None => return Ok(()),
            _ => data,
        };
        let (prefix, suffix, outcome) = self.frame(data.len(), end_stream);
        out.extend_from_slice(&prefix);
        out.extend_from_slice(fits);
        out.extend_from_slice(suffix);
        outcome
    }

    /// What goes before and behind a piece of `len` bytes.
    pub(super) fn frame(
        &mut self,
        len: usize,
        end_stream: bool,
    ) -> (ChunkPrefix, &'static [u8], Result<(), WrongLength>) {
        let none = ChunkPrefix::default();
        match *self {
            Self::None | Self::UntilClose => (none, b"", Ok(())),
            Self::Length(left) => {
                let rest = left.checked_sub(len as u64);
                *self = Self::Length(rest.unwrap_or(0));
                let whole = rest.is_some_and(|rest| rest == 0 || !end_stream);
                (none, b"", if whole { Ok(()) } else { Err(WrongLength) })
            }
            Self::Chunked => {
                let suffix: &[u8] = match (len, end_stream) {
                    (0, false) => b"",
                    (0, true) => LAST_CHUNK,
                    (_, false) => b"\r\n",
                    (_, true) => b"\r\n0\r\n\r\n",
                };
                (if len == 0 { none } else { ChunkPrefix::new(len) }, suffix, Ok(()))
            }
        }
    }

    /// Ends the body with trailers where it can have them, else without.
    pub(super) fn finish(
        &mut self,
        trailers: &HeaderMap,
        case: super::HeaderCase,
        out: &mut Vec<u8>,
    ) -> Result<(), WrongLength> {
        match *self {
            Self::Chunked => {
                let start = out.len();
                out.extend_from_slice(b"0\r\n");
                let skip = super::encode::NOT_IN_TRAILERS;
                if super::encode::fields(trailers, Known::Other, skip, out).is_err() {
                    // Trailers that must not be written are left out: the message itself is whole.
                    out.truncate(start);
                    out.extend_from_slice(LAST_CHUNK);
                    return Ok(());
                }
                super::encode::spell(out.get_mut(start..).unwrap_or_default(), None, case);
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            _ => self.encode(b"", true, out),
        }
    }
}

/// The size line before a chunk; empty where no chunks are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkPrefix {
    bytes: [u8; 18],
    len: u8,
}

impl ChunkPrefix {
    fn new(len: usize) -> Self {
        let mut prefix = Self::default();
        let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1) as usize;
        for (i, slot) in prefix.bytes.iter_mut().take(digits).enumerate() {
            let nibble = (len >> (4 * (digits - 1 - i))) & 15;
            *slot = b"0123456789abcdef".get(nibble).copied().unwrap_or(b'0');
        }
        for (slot, byte) in prefix.bytes.iter_mut().skip(digits).zip(b"\r\n") {
            *slot = *byte;
        }
        prefix.len = digits as u8 + 2;
        prefix
    }
}

impl std::ops::Deref for ChunkPrefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
