//! HPACK (RFC 7541): header lists as blocks of bytes, with a table of recent fields on each side.

mod decode;
mod encode;
mod huffman;
mod statics;
mod table;

pub(crate) use decode::Decoder;
#[cfg(test)]
use decode::HpackError;
pub(crate) use encode::{Encoder, Sensitivity, literal};

use crate::head::Known;

/// What a field costs in a table beside its bytes (RFC 7541 section 4.1), and in limits on header lists.
pub(crate) const FIELD_OVERHEAD: usize = 32;

/// How large each side's table is unless the peers agree on something else.
pub(crate) const DEFAULT_TABLE_SIZE: u32 = 4096;

/// Facts about a field that are found once, when its bytes are first read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(u8);

impl Facts {
    /// The name is a token in lower case, or a pseudo header's.
    pub(crate) const NAME: Self = Self(1);
    /// The value has no control character but the tab, and no blank at its ends.
    pub(crate) const VALUE: Self = Self(2);
    /// The name has `_`.
    pub(crate) const UNDERSCORE: Self = Self(4);
    /// The name is `:status`.
    pub(crate) const STATUS: Self = Self(8);
    /// The line is the value alone (pseudo headers other than `:authority`).
    pub(crate) const BARE: Self = Self(16);
    /// The value has blanks at its ends, and is fine otherwise.
    pub(crate) const PADDED: Self = Self(32);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// A decoded field. Its line is `name: value CR LF`, as the header map keeps it (`host` for `:authority`), or the
/// value alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// The name, if it is a known one.
    pub(crate) known: Known,
    /// What was found about it.
    pub(crate) facts: Facts,
    /// Bytes of the name in the line.
    pub(crate) name_len: usize,
    /// The bytes.
    pub(crate) line: &'a [u8],
}

/// What stands around the value in a line.
const COLON: usize = 2;
const CRLF: usize = 2;

impl<'a> Field<'a> {
    /// The name as the line spells it; empty for a bare value.
    pub(crate) fn name(&self) -> &'a [u8] {
        self.line.get(..self.name_len).unwrap_or_default()
    }

    /// The value.
    pub(crate) fn value(&self) -> &'a [u8] {
        if self.facts.has(Facts::BARE) {
            return self.line;
        }
        self.line.get(self.name_len + COLON..self.line.len().saturating_sub(CRLF)).unwrap_or_default()
    }

    /// Bytes of the name and value as the sender counts them, without overhead.
    pub(crate) fn text_len(&self) -> usize {
        name_len(self.known, self.facts, self.name_len) + self.value().len()
    }
}

/// Bytes of a field's name as the sender counts them.
fn name_len(known: Known, facts: Facts, in_line: usize) -> usize {
    match known {
        Known::Other if facts.has(Facts::STATUS) => b":status".len(),
        Known::Other => in_line,
        known => known.as_str().len(),
    }
}

#[cfg(test)]
mod tests;
