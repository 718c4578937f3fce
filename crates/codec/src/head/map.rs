//! The header map: one flat buffer and a list of 16-byte entries, in the order of arrival.

use super::Known;

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

#[derive(Clone, Copy, Debug)]
struct Entry {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    /// The name as it was sent follows the lower-case one in the buffer.
    cased: bool,
}

/// A multimap of header names to values that keeps the order of arrival, lower-cases names once, and can
/// keep the sender's spelling beside them.
///
/// A look-up of a known name that is absent costs one bit test. Values are bytes without surrounding white
/// space; whoever appends them vouches that they hold no CR, LF or NUL. Cloning copies two flat vectors.
/// At most 4 GiB of names and values: limits of the codecs keep it far below.
#[derive(Clone, Debug, Default)]
pub struct HeaderMap {
    buf: Vec<u8>,
    entries: Vec<Entry>,
    present: u128,
}

#[inline]
fn bit(known: Known) -> u128 {
    1_u128 << (known as u8)
}

impl HeaderMap {
    /// An empty map without storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries, pseudo headers included.
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
        self.present = 0;
    }

    /// Gives back storage above `bytes` of text, so that one large head does not stay with a connection.
    pub fn shrink(&mut self, bytes: usize) {
        if self.buf.capacity() > bytes {
            self.buf.shrink_to(bytes);
            self.entries.shrink_to(bytes / 32);
        }
    }

    /// Bytes of all names and values, as Envoy's header byte counts and limits see them.
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|e| usize::from(e.name_len) + e.value_len as usize).sum()
    }

    #[inline]
    fn slice(&self, at: u32, len: usize) -> &[u8] {
        self.buf.get(at as usize..at as usize + len).unwrap_or_default()
    }

    #[inline]
    fn name_of(&self, e: &Entry) -> &[u8] {
        self.slice(e.name_at, usize::from(e.name_len))
    }

    #[inline]
    fn value_of(&self, e: &Entry) -> &[u8] {
        self.slice(e.value_at, e.value_len as usize)
    }

    #[inline]
    fn is(&self, e: &Entry, name: Name<'_>) -> bool {
        e.known == name.known && (name.known != Known::Other || self.name_of(e) == name.lower)
    }

    #[inline]
    fn may_contain(&self, known: Known) -> bool {
        self.present & bit(known) != 0
    }

    /// Whether `name` stands in the map.
    #[inline]
    pub fn contains<'n>(&self, name: impl Into<Name<'n>>) -> bool {
        let name = name.into();
        self.may_contain(name.known)
            && (name.known != Known::Other || self.entries.iter().any(|e| self.is(e, name)))
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

    /// The first value of `name` as text; `None` when absent or not UTF-8.
    pub fn get_str<'n>(&self, name: impl Into<Name<'n>>) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Every value of `name`, in order.
    pub fn get_all<'s, 'n: 's>(&'s self, name: impl Into<Name<'n>>) -> impl Iterator<Item = &'s [u8]> + 's {
        let name = name.into();
        self.entries.iter().filter(move |e| self.is(e, name)).map(|e| self.value_of(e))
    }

    /// Every entry in order.
    pub fn iter(&self) -> impl Iterator<Item = (Name<'_>, &[u8])> + '_ {
        self.entries.iter().map(|e| (Name { known: e.known, lower: self.name_of(e) }, self.value_of(e)))
    }

    /// Every entry in order, the name spelled as its sender did where that was kept.
    pub fn iter_cased(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> + '_ {
        self.entries.iter().map(|e| {
            let len = usize::from(e.name_len);
            let at = if e.cased { e.name_at + u32::from(e.name_len) } else { e.name_at };
            (e.known, self.slice(at, len), self.value_of(e))
        })
    }

    fn push(&mut self, known: Known, name_at: usize, name_len: usize, cased: bool, value: &[u8]) {
        let value_at = self.buf.len();
        self.buf.extend_from_slice(value);
        self.present |= bit(known);
        self.entries.push(Entry {
            name_at: name_at as u32,
            value_at: value_at as u32,
            value_len: value.len() as u32,
            name_len: name_len as u16,
            known,
            cased,
        });
    }

    /// Appends an entry, after any others of the same name. The name may be in any case and is at most
    /// 64 KiB − 1 (a longer one is not appended: the answer says whether it was).
    #[inline]
    pub fn append_any_case(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.len() > usize::from(u16::MAX) {
            return false;
        }
        let at = self.buf.len();
        self.buf.extend_from_slice(name);
        let lower = self.buf.get_mut(at..).unwrap_or_default();
        lower.make_ascii_lowercase();
        let known = Known::find(lower);
        self.push(known, at, name.len(), false, value);
        true
    }

    /// As [`append_any_case`](Self::append_any_case), and keeps the sender's spelling for
    /// [`iter_cased`](Self::iter_cased).
    pub fn append_keep_case(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.len() > usize::from(u16::MAX) {
            return false;
        }
        let at = self.buf.len();
        self.buf.extend_from_slice(name);
        let lower = self.buf.get_mut(at..).unwrap_or_default();
        lower.make_ascii_lowercase();
        let known = Known::find(lower);
        let cased = lower != name;
        if cased {
            self.buf.extend_from_slice(name);
        }
        self.push(known, at, name.len(), cased, value);
        true
    }

    /// Appends an entry, after any others of the same name.
    #[inline]
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        let at = self.buf.len();
        self.buf.extend_from_slice(name.lower);
        self.push(name.known, at, name.lower.len(), false, value);
    }

    /// Leaves exactly one entry of `name`, with `value`: the first one is overwritten in its place, further
    /// ones go; without one it is appended.
    pub fn set<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        let first = if self.may_contain(name.known) {
            self.entries.iter().position(|e| self.is(e, name))
        } else {
            None
        };
        let Some(first) = first else { return self.append(name, value) };
        let value_at = self.buf.len() as u32;
        let mut in_place = None;
        if let Some(e) = self.entries.get_mut(first) {
            if value.len() <= e.value_len as usize {
                e.value_len = value.len() as u32;
                in_place = Some(e.value_at as usize);
            } else {
                e.value_at = value_at;
                e.value_len = value.len() as u32;
            }
        }
        match in_place {
            Some(at) => {
                if let Some(old) = self.buf.get_mut(at..at + value.len()) {
                    old.copy_from_slice(value);
                }
            }
            None => self.buf.extend_from_slice(value),
        }
        self.remove_after(first + 1, name);
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
            self.present &= !bit(name.known);
        }
        self.entries.len() != before
    }

    /// Removes the known names in `names` in one walk.
    pub fn remove_known(&mut self, names: KnownSet) {
        let hit = self.present & names.0;
        if hit == 0 {
            return;
        }
        self.entries.retain(|e| bit(e.known) & hit == 0);
        self.present &= !hit;
    }

    /// Whether any of `names` stands in the map: one bit operation.
    #[inline]
    pub fn contains_any(&self, names: KnownSet) -> bool {
        self.present & names.0 != 0
    }

    /// Keeps the entries for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Name<'_>, &[u8]) -> bool) {
        let buf = &self.buf;
        let slice = |at: u32, len: usize| buf.get(at as usize..at as usize + len).unwrap_or_default();
        let mut present = 0;
        self.entries.retain(|e| {
            let name = Name { known: e.known, lower: slice(e.name_at, usize::from(e.name_len)) };
            let stays = keep(name, slice(e.value_at, e.value_len as usize));
            if stays {
                present |= bit(e.known);
            }
            stays
        });
        self.present = present;
    }

    /// Joins what follows onto the first value of `name` with `separator`, or appends it.
    pub fn append_joined<'n>(&mut self, name: impl Into<Name<'n>>, separator: &[u8], value: &[u8]) {
        let name = name.into();
        let Some(old) = self.get(name).map(<[u8]>::len) else { return self.append(name, value) };
        if old == 0 {
            return self.set(name, value);
        }
        let Some(at) = self.entries.iter().position(|e| self.is(e, name)) else { return };
        let Some(e) = self.entries.get(at).copied() else { return };
        let value_at = self.buf.len();
        self.buf.extend_from_within(e.value_at as usize..(e.value_at + e.value_len) as usize);
        self.buf.extend_from_slice(separator);
        self.buf.extend_from_slice(value);
        let len = self.buf.len() - value_at;
        if let Some(e) = self.entries.get_mut(at) {
            e.value_at = value_at as u32;
            e.value_len = len as u32;
        }
    }
}

/// A set of known names, for tests and removals in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSet(u128);

impl KnownSet {
    /// The set of `names`.
    pub const fn of(names: &[Known]) -> Self {
        let mut bits = 0_u128;
        let mut rest = names;
        while let [first, tail @ ..] = rest {
            bits |= 1_u128 << (*first as u8);
            rest = tail;
        }
        Self(bits)
    }

    /// Whether `known` is in the set.
    #[inline]
    pub fn contains(self, known: Known) -> bool {
        self.0 & bit(known) != 0
    }
}
