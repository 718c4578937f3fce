//! `hits_addend`: how much a request counts for.

use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext};
use nuncio_proto::pb::envoy::config::route::v3::rate_limit::HitsAddend;
use std::sync::Arc;

/// How much a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// So many.
    Take(u64),
    /// It gives so many back.
    Give(u64),
}

/// A compiled `HitsAddend`.
#[derive(Clone, Debug)]
pub(super) struct Addend {
    number: Number,
    gives: bool,
}

/// Where the number comes from.
#[derive(Clone, Debug)]
enum Number {
    Fixed(u64),
    Format(Arc<Format>),
}

/// More is a mistake.
const MOST: f64 = 1e9;

impl Addend {
    /// `None`: refused, and the reason is recorded in `cx`.
    pub(super) fn compile(message: Option<HitsAddend>, cx: &CompileContext<'_>) -> Option<Self> {
        let Some(HitsAddend { number, format, is_negative_hits: gives }) = message else {
            return Some(Self { number: Number::Fixed(1), gives: false });
        };
        let number = match number {
            Some(number) if format.is_empty() => Number::Fixed(number),
            None if !format.is_empty() => {
                let at = cx.field("format");
                let compiled = Format::with(&format, &Commands::default(), true);
                let compiled = compiled.map_err(|error| at.error(error.to_string())).ok()?;
                if !compiled.is_single() {
                    at.error("hits_addend format must contain exactly one substitution");
                    return None;
                }
                Number::Format(Arc::new(compiled))
            }
            _ => {
                cx.error("hits_addend must contain either a format or a number");
                return None;
            }
        };
        Some(Self { number, gives })
    }

    /// `None`: the format comes to no number, and the request does not count here.
    pub(super) fn of(&self, formats: &FormatContext<'_>) -> Option<Hits> {
        let number = match &self.number {
            Number::Fixed(number) => *number,
            Number::Format(format) => {
                let mut text = Vec::new();
                format.render(formats, &mut text);
                let number: f64 = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
                // As in Envoy what is no number at all (NaN) is nothing.
                (number.is_nan() || (0.0..=MOST).contains(&number)).then_some(number as u64)?
            }
        };
        Some(if self.gives { Hits::Give(number) } else { Hits::Take(number) })
    }
}
