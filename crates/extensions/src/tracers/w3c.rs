//! W3C Trace Context: `traceparent` and `tracestate`.

use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::trace::{SpanContext, SpanId};
use std::io::Write;

/// What vendors say of the trace.
pub(super) const STATE: &str = "tracestate";

/// All values of `tracestate`.
pub(super) fn state(headers: &HeaderMap) -> Box<str> {
    let values: Vec<_> = headers.get_all(STATE).map(String::from_utf8_lossy).collect();
    values.join(",").into()
}

/// What `traceparent` says, after its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) sampled: bool,
}

impl Parent {
    /// Reads a value of `traceparent`; `None` where it is not one (W3C Trace Context, section 3.2).
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
        let good = text.len() == 55 && hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !good || parts.next().is_some() {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// Tells the next hop of the context.
pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let mut value = Vec::with_capacity(55);
    let SpanContext { trace, span, sampled, .. } = context;
    // Writing to memory cannot fail.
    let _ = write!(value, "00-{trace:032x}-{}-{:02x}", SpanId(*span), u8::from(*sampled));
    headers.set(Known::Traceparent, &value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_has_four_parts_of_fixed_length_and_no_identifier_is_zero() {
        let good = b"00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01";
        let parent = Parent::read(good).unwrap();
        assert_eq!(parent.span, 0xa2fb_4a1d_1a96_d312);
        assert!(parent.sampled);
        for bad in [
            &b"00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1"[..],
            b"00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-0g",
            b"00-463ac35c9f6413ad48485a3953bb6124-0000000000000000-01",
            b"00-00000000000000000000000000000000-a2fb4a1d1a96d312-01",
            b"00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01-x",
            b"",
        ] {
            assert_eq!(Parent::read(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn what_is_injected_can_be_read_again() {
        let context = SpanContext { trace: 7, span: 9, sampled: true, ..SpanContext::default() };
        let mut headers = HeaderMap::default();
        inject(&context, &mut headers);
        let read = headers.get(Known::Traceparent).and_then(Parent::read);
        assert_eq!(read, Some(Parent { trace: 7, span: 9, sampled: true }));
    }
}
