//! From fields to header blocks.

use super::{FIELD_OVERHEAD, huffman, statics};
use crate::head::Known;
use std::collections::VecDeque;

/// Slots of the look-up by hash: a few times what a table of the default size holds.
const SLOTS: usize = 128;

/// How a field may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sensitivity {
    /// It may enter the table.
    Plain,
    /// Nobody on the way may keep it in a table (RFC 7541 section 7.1.3).
    NeverIndexed,
}

impl Sensitivity {
    /// Credentials, and cookies that are short enough to be guessed.
    #[inline]
    pub(crate) fn of(known: Known, name: &[u8], value: &[u8]) -> Self {
        let secret = match known {
            Known::Authorization => true,
            Known::Cookie | Known::SetCookie => value.len() < 20,
            Known::Other => name == b"proxy-authorization",
            _ => false,
        };
        if secret { Self::NeverIndexed } else { Self::Plain }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    name_len: u32,
    value_len: u32,
    hash: u32,
    known: Known,
}

/// The encoder of one connection.
///
/// A field enters the table when it is seen for the second time, or when nothing in the table has its name: what
/// is sent once costs no table space, what is repeated costs one byte from the third time on. Only what enters
/// the table is Huffman-coded.
#[derive(Debug)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    base: u64,
    entries: VecDeque<Entry>,
    /// How many entries were ever made.
    made: u32,
    size: usize,
    max: usize,
    /// The largest table that we want.
    wanted: usize,
    /// The smallest size since the last block, where the peer must be told of a change.
    announce: Option<usize>,
    finder: Box<Finder>,
}

#[derive(Debug)]
struct Finder {
    /// By hash: the number of the entry, counted from 1.
    slots: [u32; SLOTS],
    /// By hash: what was seen last and did not enter the table.
    seen: [u32; SLOTS],
    /// By known name: the number of the last entry that has it.
    names: [u32; 128],
}

impl Encoder {
    /// An encoder with an empty table of at most `wanted` bytes.
    pub(crate) fn new(wanted: u32) -> Self {
        let max = wanted.min(super::DEFAULT_TABLE_SIZE) as usize;
        Self {
            bytes: Vec::new(),
            base: 0,
            entries: VecDeque::new(),
            made: 0,
            size: 0,
            max,
            wanted: wanted as usize,
            // The peer believes in the default until it is told otherwise.
            announce: (max != super::DEFAULT_TABLE_SIZE as usize).then_some(max),
            finder: Box::new(Finder { slots: [0; SLOTS], seen: [0; SLOTS], names: [0; 128] }),
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(crate) fn set_peer_max(&mut self, peer: u32) {
        let max = self.wanted.min(peer as usize);
        if max == self.max {
            return;
        }
        self.announce = Some(self.announce.unwrap_or(max).min(max));
        self.max = max;
        self.evict(max);
    }

    /// Begins a block: changes of the table's size stand before everything else.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.announce.take() {
            if smallest < self.max {
                number(smallest, 0x20, 5, out);
            }
            number(self.max, 0x20, 5, out);
        }
    }

    /// Writes `:status`.
    #[inline]
    pub(crate) fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits = [status / 100, status / 10 % 10, status % 10].map(|d| b'0' + (d % 10) as u8);
                return self.other(Known::Other, b":status", &digits, Sensitivity::Plain, out);
            }
        };
        out.push(0x80 | index);
    }

    /// Writes a field. `name` in lower case, as the wire spells it; that of a known one is not looked at.
    #[inline]
    pub(crate) fn field(
        &mut self,
        known: Known,
        name: &[u8],
        value: &[u8],
        how: Sensitivity,
        out: &mut Vec<u8>,
    ) {
        let index = match (known, value) {
            (Known::Method, b"GET") => 2,
            (Known::Method, b"POST") => 3,
            (Known::Path, b"/") => 4,
            (Known::Scheme, b"http") => 6,
            (Known::Scheme, b"https") => 7,
            _ => return self.other(known, name, value, how, out),
        };
        out.push(0x80 | index);
    }

    fn other(&mut self, known: Known, name: &[u8], value: &[u8], how: Sensitivity, out: &mut Vec<u8>) {
        let hash = hash(known, name, value);
        let secret = how == Sensitivity::NeverIndexed;
        if let Some(index) = self.find(hash, known, name, value).filter(|_| !secret) {
            return number(index, 0x80, 7, out);
        }
        let name = if known == Known::Other { name } else { known.as_str().as_bytes() };
        if secret {
            let index = self.name_index(known);
            number(index, 0x10, 4, out);
            return self.literal(index, name, value, Coding::Plain, out);
        }
        let index = self.name_index(known);
        let seen = self.finder.seen.get_mut(hash as usize % SLOTS);
        let again = seen.is_some_and(|seen| std::mem::replace(seen, hash) == hash);
        let unnamed = index == 0 && known != Known::Other;
        if (again || unnamed) && self.cost(name, value) * 2 <= self.max {
            number(index, 0x40, 6, out);
            self.literal(index, name, value, Coding::Huffman, out);
            self.insert(hash, known, name, value);
        } else {
            number(index, 0, 4, out);
            self.literal(index, name, value, Coding::Plain, out);
        }
    }

    fn literal(&self, index: usize, name: &[u8], value: &[u8], coding: Coding, out: &mut Vec<u8>) {
        if index == 0 {
            string(name, coding, out);
        }
        string(value, coding, out);
    }

    fn cost(&self, name: &[u8], value: &[u8]) -> usize {
        name.len() + value.len() + FIELD_OVERHEAD
    }

    /// The index of entry number `number`, if it is still there.
    #[inline]
    fn index_of(&self, number: u32) -> Option<usize> {
        let age = self.made.wrapping_sub(number) as usize;
        (number != 0 && age < self.entries.len()).then_some(statics::LEN + 1 + age)
    }

    fn name_index(&self, known: Known) -> usize {
        match statics::name_index(known) {
            0 => {}
            index => return index,
        }
        if known == Known::Other {
            return 0;
        }
        let number = self.finder.names.get(known as usize).copied().unwrap_or(0);
        self.index_of(number).unwrap_or(0)
    }

    #[inline]
    fn find(&self, hash: u32, known: Known, name: &[u8], value: &[u8]) -> Option<usize> {
        let number = self.finder.slots.get(hash as usize % SLOTS).copied().unwrap_or(0);
        let index = self.index_of(number)?;
        let e = self.entries.get(self.entries.len().checked_sub(index - statics::LEN)?)?;
        if e.hash != hash || e.known != known || e.value_len as usize != value.len() {
            return None;
        }
        let at = (e.at - self.base) as usize;
        let name_len = e.name_len as usize;
        let stored = self.bytes.get(at..at + name_len + value.len())?;
        let (stored_name, stored_value) = stored.split_at_checked(name_len)?;
        (stored_value == value && (known != Known::Other || stored_name == name)).then_some(index)
    }

    fn insert(&mut self, hash: u32, known: Known, name: &[u8], value: &[u8]) {
        let cost = self.cost(name, value);
        self.evict(self.max.saturating_sub(cost));
        self.size += cost;
        self.make_room(name.len() + value.len());
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let (name_len, value_len) = (name.len() as u32, value.len() as u32);
        self.entries.push_back(Entry { at, name_len, value_len, hash, known });
        // Numbers count from 1; after 2^32 entries one of them is never found, which is all the harm.
        self.made = self.made.wrapping_add(1);
        if let Some(slot) = self.finder.slots.get_mut(hash as usize % SLOTS) {
            *slot = self.made;
        }
        if let Some(number) = self.finder.names.get_mut(known as usize) {
            *number = self.made;
        }
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(e) = self.entries.pop_front()
        {
            self.size = self.size.saturating_sub(e.name_len as usize + e.value_len as usize + FIELD_OVERHEAD);
        }
    }

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

/// Writes a field whose name and value stand there in full and enter no table.
pub(crate) fn literal(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    string(name, Coding::Huffman, out);
    string(value, Coding::Huffman, out);
}

/// How strings are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    /// Where that is shorter.
    Huffman,
}

/// Not for secrets: a peer that knows it can make fields miss the table, no more.
#[inline]
fn hash(known: Known, name: &[u8], value: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    fn mix(mut h: u64, bytes: &[u8]) -> u64 {
        let (chunks, tail) = bytes.as_chunks::<8>();
        for eight in chunks {
            h = (h.rotate_left(5) ^ u64::from_le_bytes(*eight)).wrapping_mul(K);
        }
        // The last eight, some of them once more; of a shorter string all that there is.
        let last = match (tail, bytes.last_chunk(), tail.first_chunk(), tail.last_chunk()) {
            ([], ..) => 0,
            (_, Some(last), ..) => u64::from_le_bytes(*last),
            (_, None, Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
            }
            ([a], ..) => u64::from(*a),
            ([a, b], ..) => u64::from(*a) | u64::from(*b) << 8,
            ([a, b, c, ..], ..) => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
        };
        (h.rotate_left(5) ^ last ^ tail.len() as u64).wrapping_mul(K)
    }
    let mut h = (known as u64 + 1).wrapping_mul(K);
    if known == Known::Other {
        h = mix(h, name);
    }
    (mix(h, value) >> 32) as u32
}

/// Appends a number whose first byte holds `prefix` bits of it below the bits of `tag`.
#[inline]
fn number(value: usize, tag: u8, prefix: u32, out: &mut Vec<u8>) {
    let full = (1_usize << prefix) - 1;
    if value < full {
        return out.push(tag | value as u8);
    }
    out.push(tag | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
fn string(text: &[u8], coding: Coding, out: &mut Vec<u8>) {
    if coding == Coding::Huffman {
        let len = huffman::encoded_len(text);
        if len < text.len() {
            number(len, 0x80, 7, out);
            return huffman::encode(text, out);
        }
    }
    number(text.len(), 0, 7, out);
    out.extend_from_slice(text);
}
