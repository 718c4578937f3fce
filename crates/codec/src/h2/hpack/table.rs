//! The dynamic table (RFC 7541 section 2.3.2): recent fields, the newest first, within a number of bytes.

use super::{FIELD_OVERHEAD, Facts, Field, name_len};
use crate::head::Known;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the line begins, counted from the first byte that ever stood in the table.
    at: u64,
    len: u32,
    name_len: u32,
    known: Known,
    facts: Facts,
}

/// Fields in one buffer, which is moved together when half of it is of fields that are gone.
#[derive(Debug, Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// The count of the buffer's first byte.
    base: u64,
    /// The oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

fn cost(field: &Field<'_>) -> usize {
    field.text_len() + FIELD_OVERHEAD
}

impl Table {
    /// An empty table without storage.
    pub(super) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Changes how much it may hold.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.evict(max);
    }

    /// How much it may hold.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// The entry of `index`; 0 is the newest.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<Field<'_>> {
        let at = self.entries.len().checked_sub(index + 1)?;
        let e = self.entries.get(at)?;
        Some(self.field(e))
    }

    #[inline]
    fn field(&self, e: &Entry) -> Field<'_> {
        let at = (e.at - self.base) as usize;
        let line = self.bytes.get(at..at + e.len as usize).unwrap_or_default();
        Field { known: e.known, facts: e.facts, name_len: e.name_len as usize, line }
    }

    /// Adds a field; older ones go as needed, all of them where it is too large itself. Whether it stands in the
    /// table now.
    pub(super) fn insert(&mut self, field: &Field<'_>) -> bool {
        let cost = cost(field);
        let Some(room) = self.max.checked_sub(cost) else {
            self.evict(0);
            return false;
        };
        self.evict(room);
        self.make_room(field.line.len());
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(field.line);
        self.entries.push_back(Entry {
            at,
            len: field.line.len() as u32,
            name_len: field.name_len as u32,
            known: field.known,
            facts: field.facts,
        });
        self.size += cost;
        true
    }

    /// Drops the oldest entries until the size is `most` or less.
    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(e) = self.entries.pop_front()
        {
            let bare = e.facts.has(Facts::BARE);
            let around = if bare { 0 } else { super::COLON + super::CRLF };
            let value = (e.len as usize).saturating_sub(e.name_len as usize + around);
            let cost = name_len(e.known, e.facts, e.name_len as usize) + value + FIELD_OVERHEAD;
            self.size = self.size.saturating_sub(cost);
        }
    }

    /// Moves the buffer's living part to its beginning where it would grow otherwise.
    fn make_room(&mut self, len: usize) {
        if self.bytes.len() + len <= self.bytes.capacity() {
            return;
        }
        let next = self.base + self.bytes.len() as u64;
        let first = self.entries.front().map_or(next, |e| e.at);
        let gone = (first - self.base) as usize;
        if gone * 2 >= self.bytes.len() {
            self.bytes.drain(..gone);
            self.base = first;
        }
    }
}
