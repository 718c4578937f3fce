//! B3 propagation: what a request's headers say of the trace that it belongs to, and what the next hop is told.
//!
//! Either many headers (`x-b3-traceid`, …) or one (`b3: TRACE-SPAN[-FLAG[-PARENT]]`, or a flag alone).

use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::trace::{ContextForm, SpanContext, SpanId};

const SINGLE: &str = "b3";
const TRACE: Known = Known::XB3Traceid;
const SPAN: &str = "x-b3-spanid";
const PARENT: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";

/// What a request brings along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Brought {
    /// How.
    pub(super) form: ContextForm,
    /// Whether to trace, where it says so.
    pub(super) sampled: Option<bool>,
    /// The caller's identifiers.
    pub(super) ids: Option<Ids>,
}

/// The identifiers of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// 0: none.
    pub(super) parent: u64,
}

/// The headers are there, but not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Brought {
    /// Reads the headers.
    ///
    /// # Errors
    /// An identifier that is no number of 16 hexadecimal digits at most, or a single header of another form.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Malformed> {
        match headers.get(SINGLE) {
            Some(value) => Self::of_single(value),
            None => Self::of_many(headers),
        }
    }

    fn of_many(headers: &HeaderMap) -> Result<Self, Malformed> {
        let sampled = headers.get(SAMPLED).map(|value| matches!(value, b"1" | b"true"));
        let ids = match (headers.get(TRACE), headers.get(SPAN)) {
            (Some(trace), Some(span)) => {
                let trace = match trace.split_at_checked(16) {
                    Some((high, low)) if trace.len() == 32 => {
                        u128::from(number(high)?) << 64 | u128::from(number(low)?)
                    }
                    _ => number(trace)?.into(),
                };
                let parent = headers.get(PARENT).filter(|parent| !parent.is_empty());
                let parent = parent.map_or(Ok(0), number)?;
                Some(Ids { trace, span: number(span)?, parent })
            }
            _ => None,
        };
        Ok(Self { form: ContextForm::B3, sampled, ids })
    }

    fn of_single(value: &[u8]) -> Result<Self, Malformed> {
        if let [flag] = value {
            let sampled = Some(sampled(*flag)?);
            return Ok(Self { form: ContextForm::B3Single, sampled, ids: None });
        }
        // A long trace, a span, a flag and a parent.
        if !(33..=68).contains(&value.len()) {
            return Err(Malformed);
        }
        let digits = if value.get(32) == Some(&b'-') { 32 } else { 16 };
        let (trace, rest) = value.split_at_checked(digits).ok_or(Malformed)?;
        let trace = match trace.split_at_checked(16) {
            Some((high, low)) if digits == 32 => u128::from(number(high)?) << 64 | u128::from(number(low)?),
            _ => number(trace)?.into(),
        };
        let rest = rest.strip_prefix(b"-").ok_or(Malformed)?;
        let (span, rest) = rest.split_at_checked(16).unwrap_or((rest, b""));
        let span = number(span)?;
        let (mut flag, mut parent) = (None, 0);
        if let [_, _, ..] | [_] = rest {
            let (own, rest) = match rest.strip_prefix(b"-").ok_or(Malformed)? {
                [flag] => (*flag, &b""[..]),
                [flag, rest @ ..] if rest.first() == Some(&b'-') => (*flag, rest),
                _ => return Err(Malformed),
            };
            flag = Some(sampled(own)?);
            if !rest.is_empty() {
                parent = rest.get(1..).filter(|id| id.len() == 16).ok_or(Malformed).and_then(number)?;
            }
        }
        Ok(Self { form: ContextForm::B3Single, sampled: flag, ids: Some(Ids { trace, span, parent }) })
    }
}

fn sampled(flag: u8) -> Result<bool, Malformed> {
    match flag {
        b'0' => Ok(false),
        b'1' | b'd' => Ok(true),
        _ => Err(Malformed),
    }
}

/// Hexadecimal digits, which may have `0x` before them.
fn number(text: &[u8]) -> Result<u64, Malformed> {
    let digits = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")).unwrap_or(text);
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(Malformed)
}

/// Tells the next hop, in the form in which this one was told.
pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let SpanContext { span, parent, sampled, .. } = context;
    let (trace, span, flag) = (context.trace_id(), SpanId(*span), u8::from(*sampled));
    let parent = parent.map(SpanId);
    if context.form == ContextForm::B3Single {
        let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
        headers.set(SINGLE, format!("{trace}-{span}-{flag}{parent}").as_bytes());
        return;
    }
    headers.set(TRACE, trace.to_string().as_bytes());
    headers.set(SPAN, span.to_string().as_bytes());
    if let Some(parent) = parent {
        headers.set(PARENT, parent.to_string().as_bytes());
    }
    headers.set(SAMPLED, flag.to_string().as_bytes());
}

#[cfg(test)]
mod tests;
