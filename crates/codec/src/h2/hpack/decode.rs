//! From header blocks to fields.

use super::table::Table;
use super::{Facts, Field, huffman, statics};
use crate::head::Known;
use crate::scan;

/// A block that cannot be decoded. What both sides believe of the table differs from then on, so that the
/// connection has to end (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HpackError {
    /// The block ends within a field.
    #[error("truncated header block")]
    Truncated,
    /// A number that is too large.
    #[error("number too large in a header block")]
    Integer,
    /// An index that no table has.
    #[error("invalid index in a header block")]
    Index,
    /// A string that is no Huffman code.
    #[error("invalid Huffman code in a header block")]
    Huffman,
    /// The table's size changes where it must not, or beyond what was offered.
    #[error("invalid table size update")]
    TableSize,
}

/// Numbers beyond this are refused: no string or table that we take is as large.
const MOST: u64 = 1 << 24;

/// The decoder of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// The largest table that we have offered.
    offered: u32,
    /// Names and values are put together here.
    scratch: Vec<u8>,
}

impl Decoder {
    /// A decoder with an empty table, which the peer may make as large as `table_size`.
    pub(crate) fn new(table_size: u32) -> Self {
        let table = Table::new(table_size.min(super::DEFAULT_TABLE_SIZE) as usize);
        Self { table, offered: table_size, scratch: Vec::new() }
    }

    /// The peer knows of our table's size: from now on it holds to it.
    pub(crate) fn set_offered(&mut self, table_size: u32) {
        self.offered = table_size;
        if self.table.max() > table_size as usize {
            self.table.set_max(table_size as usize);
        }
    }

    /// Decodes a whole block and hands each field to `take`.
    pub(crate) fn decode(&mut self, block: &[u8], mut take: impl FnMut(Field<'_>)) -> Result<(), HpackError> {
        let mut rest = block;
        let mut fields = false;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = if first & 0x7f == 0x7f {
                    number(&mut rest, 7)?
                } else {
                    rest = rest.get(1..).unwrap_or_default();
                    usize::from(first & 0x7f)
                };
                take(lookup(&self.table, index)?);
                fields = true;
            } else if first & 0xe0 == 0x20 {
                let size = number(&mut rest, 5)?;
                // RFC 7541 section 4.2: at the beginning of a block only.
                if fields || size > self.offered as usize {
                    return Err(HpackError::TableSize);
                }
                self.table.set_max(size);
            } else {
                let indexed = first & 0x40 != 0;
                let index = number(&mut rest, if indexed { 6 } else { 4 })?;
                let (known, facts, name_len) = self.literal(index, &mut rest)?;
                let field = Field { known, facts, name_len, line: &self.scratch };
                if indexed {
                    self.table.insert(&field);
                }
                take(field);
                fields = true;
            }
        }
        Ok(())
    }

    /// Puts a literal field's line into the scratch buffer.
    fn literal(&mut self, index: usize, rest: &mut &[u8]) -> Result<(Known, Facts, usize), HpackError> {
        let Self { table, scratch, .. } = self;
        scratch.clear();
        let (known, mut facts, name_len) = if index == 0 {
            string(rest, scratch)?;
            new_name(scratch)
        } else {
            let named = lookup(table, index)?;
            scratch.extend_from_slice(named.name());
            let about = Facts::NAME.and(Facts::UNDERSCORE).and(Facts::STATUS).and(Facts::BARE);
            (named.known, named.facts.only(about), named.name_len)
        };
        let bare = facts.has(Facts::BARE);
        if !bare {
            scratch.extend_from_slice(b": ");
        }
        let at = scratch.len();
        string(rest, scratch)?;
        let value = scratch.get(at..).unwrap_or_default();
        if scan::is_text(value) {
            let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
            let padded = blank(value.first()) || blank(value.last());
            facts = facts.and(if padded { Facts::PADDED } else { Facts::VALUE });
        }
        if !bare {
            scratch.extend_from_slice(b"\r\n");
        }
        Ok((known, facts, name_len))
    }
}

/// What a name is whose bytes are all that stands in `line`, and how much of the line it takes there.
fn new_name(line: &mut Vec<u8>) -> (Known, Facts, usize) {
    let known = Known::find(line);
    match known {
        Known::Authority => {
            line.clear();
            line.extend_from_slice(b"host");
            (known, Facts::NAME, line.len())
        }
        Known::Other if line == b":status" => {
            line.clear();
            (known, Facts::NAME.and(Facts::STATUS).and(Facts::BARE), 0)
        }
        Known::Other => {
            let mut facts = Facts::default();
            if scan::is_name(line) && !line.iter().any(u8::is_ascii_uppercase) {
                facts = facts.and(Facts::NAME);
            }
            if line.contains(&b'_') {
                facts = facts.and(Facts::UNDERSCORE);
            }
            (known, facts, line.len())
        }
        known if known.is_pseudo() => {
            line.clear();
            (known, Facts::NAME.and(Facts::BARE), 0)
        }
        known => (known, Facts::NAME, line.len()),
    }
}

#[inline]
fn lookup(table: &Table, index: usize) -> Result<Field<'_>, HpackError> {
    let found = match index.checked_sub(statics::LEN + 1) {
        Some(index) => table.get(index),
        None => statics::get(index),
    };
    found.ok_or(HpackError::Index)
}

/// A number whose first byte holds `prefix` bits of it (RFC 7541 section 5.1).
#[inline]
fn number(rest: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let Some((&first, mut tail)) = rest.split_first() else { return Err(HpackError::Truncated) };
    let full = (1_u8 << prefix) - 1;
    if first & full != full {
        *rest = tail;
        return Ok(usize::from(first & full));
    }
    let (mut value, mut shift) = (u64::from(full), 0);
    loop {
        let Some((&byte, next)) = tail.split_first() else { return Err(HpackError::Truncated) };
        tail = next;
        value += u64::from(byte & 0x7f) << shift;
        if value > MOST || shift > 28 {
            return Err(HpackError::Integer);
        }
        if byte & 0x80 == 0 {
            *rest = tail;
            return Ok(value as usize);
        }
        shift += 7;
    }
}

/// Appends a string (RFC 7541 section 5.2) to `out`.
#[inline]
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let coded = rest.first().is_some_and(|b| b & 0x80 != 0);
    let len = number(rest, 7)?;
    let Some((text, tail)) = rest.split_at_checked(len) else { return Err(HpackError::Truncated) };
    *rest = tail;
    if coded {
        huffman::decode(text, out).map_err(|_| HpackError::Huffman)
    } else {
        out.extend_from_slice(text);
        Ok(())
    }
}
