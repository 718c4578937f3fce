//! The header map: one flat buffer and a list of 12-byte entries, in the order of arrival.

use super::Known;
use crate::scan;

/// How much of the set of known names one bit set holds.
const _: () = assert!(Known::ALL.len() < 128);

/// A header name as callers give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    known: Known,
    lower: &'a [u8],
}

impl<'a> Name<'a> {
    /// A name from lower-case bytes.
    #[inline]
    pub fn new(lower: &'a [u8]) -> Self {
        Self { known: Known::find(lower), lower }
    }

    /// A name that is known to be none of [`Known`], from lower-case bytes: spares the look-up of [`new`](Self::new).
    #[inline]
    pub fn other(lower: &'a [u8]) -> Self {
        debug_assert_eq!(Known::find(lower), Known::Other);
        Self { known: Known::Other, lower }
    }

    /// The known name it is, or `Other`.
    pub fn known(self) -> Known {
        self.known
    }

    /// The lower-case bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.lower
    }
}

impl From<Known> for Name<'static> {
    #[inline]
    fn from(known: Known) -> Self {
        Self { known, lower: known.as_str().as_bytes() }
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(lower: &'a str) -> Self {
        Self::new(lower.as_bytes())
    }
}

/// Where one header stands in the buffer. Its bytes there are always `name: value CR LF`, which is the wire form
/// of HTTP/1: neighbours in the buffer are written with one copy. Of a pseudo header only the value stands there.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    flags: u8,
}

/// The name is a token, and the value has no control character but the tab (that of a [`PSEUDO`] one no blank either):
/// encoders need not look again.
const CLEAN: u8 = 2;
/// No field line: a pseudo header other than `:authority`, whose line is that of `host`.
const PSEUDO: u8 = 4;

/// What stands between a name and its value.
const COLON: usize = 2;
/// What stands behind a value.
const CRLF: usize = 2;

impl Entry {
    #[inline]
    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn value_at(&self) -> usize {
        self.at as usize + usize::from(self.name_len) + COLON
    }

    #[inline]
    fn wire_end(&self) -> usize {
        self.value_at() + self.value_len as usize + CRLF
    }
}

/// A multimap of header names to values that keeps the order of arrival and lower-cases names once.
///
/// A look-up of a known name that is absent costs one bit test. Values are bytes without surrounding white
/// space; whoever appends them vouches that they hold no CR, LF or NUL (encoders check again). Cloning copies
/// two flat vectors. At most 4 GiB of names and values: limits of the codecs keep it far below.
#[derive(Clone, Debug, Default)]
pub struct HeaderMap {
    buf: Vec<u8>,
    entries: Vec<Entry>,
    present: KnownSet,
}

impl HeaderMap {
    /// An empty map without storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries, pseudo headers included.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Empties the map and keeps its storage.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.entries.clear();
        self.present = KnownSet::default();
    }

    /// Gives back storage above `bytes` of text, so that one large head does not stay with a connection.
    #[inline]
    pub fn shrink(&mut self, bytes: usize) {
        if self.buf.capacity() > bytes {
            self.shrink_to(bytes);
        }
    }

    #[cold]
    fn shrink_to(&mut self, bytes: usize) {
        self.buf.shrink_to(bytes);
        self.entries.shrink_to(bytes / 32);
    }

    /// Bytes of all names and values, as Envoy's header byte counts and limits see them.
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|e| self.name_of(e).len() + e.value_len as usize).sum()
    }

    /// How many bytes its fields take as lines of HTTP/1.
    pub fn written_size(&self) -> u64 {
        (self.byte_size() + 4 * self.entries.len()) as u64
    }

    #[inline]
    fn slice(&self, at: usize, len: usize) -> &[u8] {
        self.buf.get(at..at + len).unwrap_or_default()
    }

    #[inline]
    fn name_of(&self, e: &Entry) -> &[u8] {
        if e.known == Known::Other {
            self.slice(e.at as usize, usize::from(e.name_len))
        } else {
            e.known.as_str().as_bytes()
        }
    }

    #[inline]
    fn value_of(&self, e: &Entry) -> &[u8] {
        self.slice(e.value_at(), e.value_len as usize)
    }

    #[inline]
    fn is(&self, e: &Entry, name: Name<'_>) -> bool {
        e.known == name.known && (name.known != Known::Other || self.name_of(e) == name.lower)
    }

    #[inline]
    fn may_contain(&self, known: Known) -> bool {
        self.present.contains(known)
    }

    #[inline]
    fn position(&self, name: Name<'_>) -> Option<usize> {
        if !self.may_contain(name.known) {
            return None;
        }
        self.entries.iter().position(|e| self.is(e, name))
    }

    /// Whether `name` stands in the map.
    #[inline]
    pub fn contains<'n>(&self, name: impl Into<Name<'n>>) -> bool {
        let name = name.into();
        self.may_contain(name.known) && (name.known != Known::Other || self.contains_other(name))
    }

    fn contains_other(&self, name: Name<'_>) -> bool {
        self.entries.iter().any(|e| self.is(e, name))
    }

    /// The first value of `name`.
    #[inline]
    pub fn get<'n>(&self, name: impl Into<Name<'n>>) -> Option<&[u8]> {
        let name = name.into();
        if !self.may_contain(name.known) {
            return None;
        }
        self.entries.iter().find(|e| self.is(e, name)).map(|e| self.value_of(e))
    }

    /// The first value of a well-known name, without a look at its letters.
    #[inline]
    pub fn get_known(&self, known: Known) -> Option<&[u8]> {
        if !self.may_contain(known) {
            return None;
        }
        self.entries.iter().find(|e| e.known == known).map(|e| self.value_of(e))
    }

    /// The value of a well-known name that stands at most once, and at `at` in most maps.
    #[inline]
    pub(super) fn get_at(&self, at: usize, known: Known) -> Option<&[u8]> {
        match self.entries.get(at) {
            Some(e) if e.known == known => Some(self.value_of(e)),
            _ => self.get_known(known),
        }
    }

    /// The first value of a pseudo header other than `:authority`, if it is fit for a start line: not empty, without blanks
    /// and control characters.
    #[inline]
    pub(crate) fn word(&self, pseudo: Known) -> Option<&[u8]> {
        let e = self.entries.iter().find(|e| e.known == pseudo)?;
        let value = self.value_of(e);
        (e.flags == CLEAN | PSEUDO || scan::is_word(value)).then_some(value)
    }

    /// The first value of `name` as text; `None` when absent or not UTF-8.
    pub fn get_str<'n>(&self, name: impl Into<Name<'n>>) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Every value of `name`, in order.
    pub fn get_all<'s, 'n: 's>(&'s self, name: impl Into<Name<'n>>) -> impl Iterator<Item = &'s [u8]> + 's {
        let name = name.into();
        let entries = if self.may_contain(name.known) { &*self.entries } else { &[] };
        entries.iter().filter(move |e| self.is(e, name)).map(|e| self.value_of(e))
    }

    /// Every entry in order.
    pub fn iter(&self) -> impl Iterator<Item = (Name<'_>, &[u8])> + '_ {
        self.entries.iter().map(|e| (Name { known: e.known, lower: self.name_of(e) }, self.value_of(e)))
    }

    /// Writes the wire form of `first`, then of every other entry that is not a pseudo header (`:authority` among them)
    /// nor in `skip`, with lower-case names. The answer is whether all of it was fit to be written: no name or value has
    /// made a line of its own.
    #[must_use]
    pub(crate) fn write_wire(&self, first: Known, skip: KnownSet, out: &mut Vec<u8>) -> bool {
        let mut run = Run { buf: &self.buf, from: 0, to: 0 };
        if self.may_contain(first)
            && first != Known::Other
            && let Some(e) = self.entries.iter().find(|e| e.known == first)
        {
            if !e.is(CLEAN) && !self.is_clean(e) {
                return false;
            }
            run.add(e, out);
        }
        // Most heads have nothing to skip, and most entries nothing to look at: two tests tell.
        let skips = self.contains_any(skip);
        for e in &self.entries {
            if e.flags == CLEAN && !skips && e.known != Known::Authority {
                run.add(e, out);
            } else if !e.is(PSEUDO) && e.known != Known::Authority && !skip.contains(e.known) {
                if !e.is(CLEAN) && !self.is_clean(e) {
                    return false;
                }
                run.add(e, out);
            }
        }
        run.flush(out);
        true
    }

    fn is_clean(&self, e: &Entry) -> bool {
        (e.known != Known::Other || scan::is_name(self.name_of(e))) && scan::is_text(self.value_of(e))
    }

    /// Puts `block`, header lines in the form they arrived in, behind what the buffer holds, followed by
    /// [`PAD`](Self::PAD) zeros for readers that look ahead. The caller turns its lines into entries by
    /// [`push_in_place`](Self::push_in_place). The answer is where the block begins.
    #[inline(always)]
    pub(crate) fn load(&mut self, block: &[u8]) -> usize {
        self.buf.reserve(COLON + block.len() + Self::PAD);
        self.lead();
        let at = self.buf.len();
        self.buf.extend_from_slice(block);
        self.buf.extend_from_slice(&[0; Self::PAD]);
        at
    }

    /// Forgets what was loaded from `end` on, where the last entry ends, so that lines that are appended stand next to those
    /// that were loaded, and are written with them.
    #[inline]
    pub(crate) fn end_load(&mut self, end: usize) {
        self.buf.truncate(end);
    }

    /// How many bytes behind a loaded block can be read.
    pub(crate) const PAD: usize = scan::STEP;

    /// What stands from `at` on of a loaded block.
    #[inline(always)]
    pub(crate) fn buffer_from(&mut self, at: usize) -> &mut [u8] {
        self.buf.get_mut(at..).unwrap_or_default()
    }

    /// Makes an entry of a loaded line that has the wire form and is clean, its name in lower case; unless the name
    /// is one of `joined` and stands in the map already, which the answer says.
    #[inline(always)]
    pub(crate) fn push_in_place(
        &mut self,
        known: Known,
        joined: KnownSet,
        at: usize,
        name_len: usize,
        value_len: usize,
    ) -> bool {
        if self.present.and(joined).contains(known) {
            return false;
        }
        self.push(known, at, name_len, value_len, CLEAN);
        true
    }

    #[inline(always)]
    fn push(&mut self, known: Known, at: usize, name_len: usize, value_len: usize, flags: u8) {
        self.present.insert(known);
        let (at, value_len, name_len) = (at as u32, value_len as u32, name_len as u16);
        self.entries.push(Entry { at, value_len, name_len, known, flags });
    }

    /// Makes an entry of the `len` loaded bytes at `at` that are the value of a pseudo header, printable ASCII alone.
    #[inline]
    pub(crate) fn push_pseudo(&mut self, known: Known, at: usize, len: usize) {
        self.push(known, at.saturating_sub(COLON), 0, len, CLEAN | PSEUDO);
    }

    /// A pseudo header has no name in the buffer, yet something stands where the colon would.
    #[inline]
    fn lead(&mut self) {
        if self.buf.is_empty() {
            self.buf.extend_from_slice(b": ");
        }
    }

    fn finish(&mut self, known: Known, at: usize, name_len: usize, flags: u8, value: &[u8]) {
        self.buf.extend_from_slice(b": ");
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(b"\r\n");
        self.push(known, at, name_len, value.len(), flags);
    }

    fn start_lower(&mut self, name: &[u8]) -> (usize, Known) {
        let at = self.buf.len();
        self.buf.extend_from_slice(name);
        let lower = self.buf.get_mut(at..).unwrap_or_default();
        lower.make_ascii_lowercase();
        (at, Known::find(lower))
    }

    /// Appends an entry, after any others of the same name. The name may be in any case and is at most
    /// 64 KiB − 1 (a longer one is not appended: the answer says whether it was).
    #[inline]
    pub fn append_any_case(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.len() > usize::from(u16::MAX) {
            return false;
        }
        let (at, known) = self.start_lower(name);
        self.finish(known, at, name.len(), 0, value);
        true
    }

    /// Gives the last entry another name: `host` of a request becomes `:authority`, which HTTP/1 writes as
    /// `host`.
    pub(crate) fn rename_last(&mut self, known: Known) {
        if let Some(last) = self.entries.last_mut() {
            last.known = known;
            self.present = KnownSet::default();
            self.entries.iter().for_each(|e| self.present.insert(e.known));
        }
    }

    /// Appends an entry, after any others of the same name.
    #[inline]
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        if name.known.is_pseudo() && name.known != Known::Authority {
            self.lead();
            let at = self.buf.len();
            self.buf.extend_from_slice(value);
            return self.push(name.known, at.saturating_sub(COLON), 0, value.len(), PSEUDO);
        }
        let wire = if name.known == Known::Authority { b"host" } else { name.lower };
        let at = self.buf.len();
        self.buf.extend_from_slice(wire);
        self.finish(name.known, at, wire.len(), 0, value);
    }

    /// Appends `line`, the whole `name: value CR LF` of a known name that is no pseudo header: one copy where
    /// [`append`](Self::append) makes four. What is no such line is not appended. The caller vouches that the value
    /// has no control characters: it is the caller's own text, not a peer's.
    #[inline]
    pub fn append_line(&mut self, known: Known, line: &[u8]) {
        let name = known.as_str();
        let Some(value_len) = line.len().checked_sub(name.len() + COLON + CRLF) else { return };
        debug_assert!(line.starts_with(name.as_bytes()) && line.ends_with(b"\r\n") && !known.is_pseudo());
        debug_assert!(line.get(..line.len() - CRLF).is_some_and(scan::is_text));
        let at = self.buf.len();
        self.buf.extend_from_slice(line);
        self.push(known, at, name.len(), value_len, CLEAN);
    }

    /// Leaves exactly one entry of a known name that is no pseudo header: the decimal digits of `n`.
    pub fn set_number(&mut self, known: Known, n: u64) {
        if n < 10 && !self.may_contain(known) {
            // Most are milliseconds that a fast answer took.
            let (at, start) = (self.buf.len(), known.line_start().as_bytes());
            self.buf.extend_from_slice(start);
            self.buf.extend_from_slice(&[b'0' + n as u8, b'\r', b'\n']);
            return self.push(known, at, start.len() - COLON, 1, CLEAN);
        }
        // Digits and line end stand in one piece at the end of `tail`, so that the line is two copies.
        let mut tail = *b"00000000000000000000\r\n";
        let mut digits = 0;
        let mut rest = n;
        for place in tail.iter_mut().rev().skip(CRLF) {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            digits += 1;
            if rest == 0 {
                break;
            }
        }
        let tail = tail.get(tail.len() - CRLF - digits..).unwrap_or_default();
        if self.may_contain(known) {
            return self.set(known, tail.get(..digits).unwrap_or_default());
        }
        let (at, start) = (self.buf.len(), known.line_start().as_bytes());
        self.buf.extend_from_slice(start);
        self.buf.extend_from_slice(tail);
        self.push(known, at, start.len() - COLON, digits, CLEAN);
    }

    /// As [`append_line`](Self::append_line), of any name of `name_len` bytes (`host` for `:authority`), for a line
    /// that is known to be clean: its name is a token in lower case, its value has no control character but the tab.
    #[inline]
    pub(crate) fn append_clean_line(&mut self, known: Known, name_len: usize, line: &[u8]) {
        let Some(value_len) = line.len().checked_sub(name_len + COLON + CRLF) else { return };
        let at = self.buf.len();
        self.buf.extend_from_slice(line);
        self.push(known, at, name_len, value_len, CLEAN);
    }

    /// Every entry in order, and whether it is known to be fit for encoders, who look at the others themselves. A known
    /// name is not spelled: its place is empty.
    #[inline]
    pub(crate) fn iter_checked(&self) -> impl Iterator<Item = (Known, &[u8], &[u8], bool)> + '_ {
        self.entries.iter().map(|e| {
            let name = if e.known == Known::Other { self.name_of(e) } else { b"" };
            (e.known, name, self.value_of(e), e.is(CLEAN))
        })
    }

    /// Leaves exactly one entry of `name`, with `value`: the first one is overwritten in its place, further
    /// ones go; without one it is appended.
    pub fn set<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        let Some(first) = self.position(name) else { return self.append(name, value) };
        let Some(mut e) = self.entries.get(first).copied() else { return };
        if value.len() <= e.value_len as usize {
            let (at, end) = (e.value_at(), e.value_at() + value.len());
            if let Some(old) = self.buf.get_mut(at..end) {
                old.copy_from_slice(value);
            }
            // Behind the value of a pseudo header the next entry may begin.
            if let Some(crlf) = self.buf.get_mut(end..end + CRLF)
                && e.name_len > 0
            {
                crlf.copy_from_slice(b"\r\n");
            }
        } else {
            e = self.restart(e);
            self.buf.extend_from_slice(value);
            self.buf.extend_from_slice(b"\r\n");
        }
        e.value_len = value.len() as u32;
        e.flags &= !CLEAN;
        if let Some(old) = self.entries.get_mut(first) {
            *old = e;
        }
        self.remove_after(first + 1, name);
    }

    /// Copies the name of `e` to the end of the buffer, for a value to follow.
    fn restart(&mut self, mut e: Entry) -> Entry {
        let (from, to, at) = (e.at as usize, e.value_at(), self.buf.len());
        if to <= at {
            self.buf.extend_from_within(from..to);
        }
        e.at = at as u32;
        e
    }

    fn remove_after(&mut self, from: usize, name: Name<'_>) {
        let mut i = from;
        while let Some(e) = self.entries.get(i) {
            if self.is(e, name) {
                self.entries.remove(i);
            } else {
                i += 1;
            }
        }
    }

    /// Removes every entry of `name`; whether there was one.
    #[inline]
    pub fn remove<'n>(&mut self, name: impl Into<Name<'n>>) -> bool {
        let name = name.into();
        if !self.may_contain(name.known) {
            return false;
        }
        let before = self.entries.len();
        self.remove_after(0, name);
        if name.known != Known::Other {
            self.present.remove(name.known);
        }
        self.entries.len() != before
    }

    /// Removes the known names in `names` in one walk.
    pub fn remove_known(&mut self, names: KnownSet) {
        let hit = self.present.and(names);
        if hit.is_empty() {
            return;
        }
        self.entries.retain(|e| !hit.contains(e.known));
        self.present = self.present.without(hit);
    }

    /// Whether any of `names` stands in the map: one bit operation.
    #[inline]
    pub fn contains_any(&self, names: KnownSet) -> bool {
        !self.present.and(names).is_empty()
    }

    /// Keeps the entries for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Name<'_>, &[u8]) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        let mut present = KnownSet::default();
        entries.retain(|e| {
            let stays = keep(Name { known: e.known, lower: self.name_of(e) }, self.value_of(e));
            if stays {
                present.insert(e.known);
            }
            stays
        });
        self.entries = entries;
        self.present = present;
    }

    /// Joins what follows onto the first value of `name` with `separator`, or appends it.
    pub fn append_joined<'n>(&mut self, name: impl Into<Name<'n>>, separator: &[u8], value: &[u8]) {
        let name = name.into();
        let Some(first) = self.position(name) else { return self.append(name, value) };
        let Some(old) = self.entries.get(first).copied() else { return };
        let mut e = self.restart(old);
        let value_at = self.buf.len();
        if old.value_len > 0 {
            let from = old.value_at();
            self.buf.extend_from_within(from..from + old.value_len as usize);
            self.buf.extend_from_slice(separator);
        }
        self.buf.extend_from_slice(value);
        e.value_len = (self.buf.len() - value_at) as u32;
        e.flags &= !CLEAN;
        self.buf.extend_from_slice(b"\r\n");
        if let Some(old) = self.entries.get_mut(first) {
            *old = e;
        }
    }
}

/// Neighbouring bytes of a buffer that are still to be written.
struct Run<'a> {
    buf: &'a [u8],
    from: usize,
    to: usize,
}

impl Run<'_> {
    /// Takes the line of `e` in, behind what is there or in its stead.
    #[inline(always)]
    fn add(&mut self, e: &Entry, out: &mut Vec<u8>) {
        let at = e.at as usize;
        if at != self.to {
            self.flush(out);
            self.from = at;
        }
        self.to = e.wire_end();
    }

    #[inline]
    fn flush(&self, out: &mut Vec<u8>) {
        if self.from < self.to {
            out.extend_from_slice(self.buf.get(self.from..self.to).unwrap_or_default());
        }
    }
}

/// A set of known names, for tests and removals in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSet {
    /// The first 64 names.
    low: u64,
    /// The others.
    high: u64,
}

impl KnownSet {
    /// The set of `names`.
    pub const fn of(names: &[Known]) -> Self {
        let mut set = Self { low: 0, high: 0 };
        let mut rest = names;
        while let [first, tail @ ..] = rest {
            set.insert(*first);
            rest = tail;
        }
        set
    }

    /// Whether `known` is in the set.
    #[inline(always)]
    pub const fn contains(self, known: Known) -> bool {
        let half = if (known as u8) < 64 { self.low } else { self.high };
        half >> (known as u8 & 63) & 1 != 0
    }

    #[inline(always)]
    const fn insert(&mut self, known: Known) {
        let bit = 1 << (known as u8 & 63);
        if (known as u8) < 64 {
            self.low |= bit;
        } else {
            self.high |= bit;
        }
    }

    #[inline(always)]
    fn remove(&mut self, known: Known) {
        *self = self.without(Self::of(&[known]));
    }

    #[inline(always)]
    fn is_empty(self) -> bool {
        self.low | self.high == 0
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self { low: self.low & other.low, high: self.high & other.high }
    }

    #[inline(always)]
    fn without(self, other: Self) -> Self {
        Self { low: self.low & !other.low, high: self.high & !other.high }
    }
}
