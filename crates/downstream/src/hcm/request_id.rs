//! `x-request-id`: a random UUID whose character at index 14 tells why the request is traced
//! (`envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig`).

mod sampling;

pub use sampling::Sampling;

use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::rng::Rng;
use nuncio_core::trace::TraceReason;

/// How long a UUID's text is.
const LEN: usize = 36;
/// Where the id begins in its header line.
const NAME_LEN: usize = "x-request-id: ".len();
/// Where the trace reason stands in it: the version digit of a random UUID.
const REASON_AT: usize = 14;

/// What is done about request ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// `generate_request_id`: a request without one gets one.
    pub generate: bool,
    /// `preserve_external_request_id`: an external client's is kept.
    pub preserve_external: bool,
    /// `always_set_request_id_in_response`.
    pub always_in_response: bool,
    /// `pack_trace_reason`: the reason why a request is traced is written into its id.
    pub pack_trace_reason: bool,
    /// `use_request_id_for_trace_sampling`: the id decides about sampling; without it every request is sampled.
    pub trace_sampling: bool,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self {
            generate: true,
            preserve_external: false,
            always_in_response: false,
            pack_trace_reason: true,
            trace_sampling: true,
        }
    }
}

impl RequestIds {
    /// Gives the request its id. `edge`: it enters the trusted network here, so that what it brings along counts
    /// for nothing unless it is to be preserved. An empty id is none.
    #[inline]
    pub fn apply(&self, headers: &mut HeaderMap, edge: bool, rng: &Rng) {
        if !self.generate {
            return;
        }
        if !headers.contains(Known::XRequestId) {
            let mut line = *b"x-request-id: ------------------------------------\r\n";
            if let Some(place) = line.get_mut(NAME_LEN..NAME_LEN + LEN) {
                place.copy_from_slice(&uuid(rng.next(), rng.next()));
            }
            headers.append_line(Known::XRequestId, &line);
        } else if (edge && !self.preserve_external)
            || headers.get(Known::XRequestId).is_some_and(<[u8]>::is_empty)
        {
            headers.set(Known::XRequestId, &uuid(rng.next(), rng.next()));
        }
    }
}

/// The reason that an id carries; `None` for what is no UUID of this kind.
pub fn trace_reason(id: &[u8]) -> Option<TraceReason> {
    match (id.len(), id.get(REASON_AT)?) {
        (LEN, b'9') => Some(TraceReason::Sampling),
        (LEN, b'a') => Some(TraceReason::ServiceForced),
        (LEN, b'b') => Some(TraceReason::ClientForced),
        (LEN, _) => Some(TraceReason::NotTraceable),
        _ => None,
    }
}

/// Writes the reason into the request's id, if that is a UUID.
pub fn set_trace_reason(headers: &mut HeaderMap, reason: TraceReason) {
    let Some(id) = headers.get(Known::XRequestId) else { return };
    let Ok(mut id) = <[u8; LEN]>::try_from(id) else { return };
    if let Some(place) = id.get_mut(REASON_AT) {
        *place = match reason {
            TraceReason::NotTraceable => b'4',
            TraceReason::Sampling => b'9',
            TraceReason::ServiceForced => b'a',
            TraceReason::ClientForced => b'b',
        };
    }
    headers.set(Known::XRequestId, &id);
}

/// The number that sampling decisions take from an id: its first eight hex digits modulo 10,000. `None` where
/// they are none.
pub fn sampling_number(id: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(id.get(..8)?).ok()?;
    Some(u64::from(u32::from_str_radix(digits, 16).ok()?) % 10_000)
}

/// The text of the random UUID (RFC 9562, version 4) made of these 128 bits.
pub fn uuid(high: u64, low: u64) -> [u8; LEN] {
    let a = hex((high & 0xffff_ffff_ffff_0fff) | 0x4000);
    let b = hex((low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000);
    let mut out = [b'-'; LEN];
    for (from, to, len, digits) in
        [(0, 0, 8, &a), (8, 9, 4, &a), (12, 14, 4, &a), (0, 19, 4, &b), (4, 24, 12, &b)]
    {
        if let (Some(to), Some(from)) = (out.get_mut(to..to + len), digits.get(from..from + len)) {
            to.copy_from_slice(from);
        }
    }
    out
}

/// The sixteen hex digits of `n`, all at once: each byte of a word is one digit.
fn hex(n: u64) -> [u8; 16] {
    let mut out = [0; 16];
    for (word, half) in out.chunks_exact_mut(8).zip([n >> 32, n & 0xffff_ffff]) {
        // Spread eight nibbles over eight bytes, the highest in the byte that is written first.
        let mut x = half;
        x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
        x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // A digit above 9 overflows into bit 4 when 6 is added; it is a letter, 39 further on.
        let letters = ((x + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        let text = x + 0x3030_3030_3030_3030 + letters * 0x27;
        word.copy_from_slice(&text.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
