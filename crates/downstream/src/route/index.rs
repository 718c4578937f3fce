//! The first route whose path fits, found without walking the list.
//!
//! Every route stands under the literal part of its path: the whole of a `path` or `prefix`, what a regex
//! must begin or end with, nothing for the rest. A request's path visits only the entries that begin (or end)
//! like it, and of the entries that fit, the one that stands first in the configuration wins: each group of
//! candidates is in list order and is left as soon as a better one is known.

use super::trie::{Case, Order, Trie, TrieBuilder};
use nuncio_codec::head::HeaderMap;
use nuncio_core::hash::BuildFolding;
use nuncio_core::header::HeaderName;
use smallvec::SmallVec;
use std::collections::HashMap;

/// From this many candidates of one slot that ask for an exact value of the same header, they are found by
/// the value instead of one by one.
const GUARD_FROM: usize = 4;

/// How far a literal path reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anything may follow.
    Prefix,
    /// The end of the path or `/` follows.
    Separated,
    /// Nothing follows.
    Exact,
}

impl Reach {
    /// Whether what stands in `path` behind its first `at` bytes is allowed.
    #[inline]
    pub(super) fn fits(self, path: &[u8], at: usize) -> bool {
        match self {
            Self::Prefix => true,
            Self::Separated => path.get(at).is_none_or(|&b| b == b'/'),
            Self::Exact => at == path.len(),
        }
    }
}

/// Where a route stands in the index. A key may promise less than the route asks (the check decides), never
/// more.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathKey<'a> {
    /// The path begins with these bytes.
    Literal(&'a [u8], Reach),
    /// As `Literal`, letters compared without case.
    Folded(&'a [u8], Reach),
    /// The path ends with these bytes.
    Suffix(&'a [u8]),
}

/// One route under a key.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    route: u32,
    reach: Reach,
}

/// The routes under one key, those that a header's value singles out apart from the others.
#[derive(Debug, Default)]
struct Slot {
    plain: SmallVec<[Candidate; 2]>,
    guards: Box<[Guard]>,
}

impl Slot {
    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        let guarded = self.guards.iter().flat_map(|g| g.values.values().flatten());
        self.plain.iter().chain(guarded)
    }
}

/// Routes that all ask for an exact value of one header.
#[derive(Debug)]
struct Guard {
    header: HeaderName,
    values: HashMap<Box<[u8]>, SmallVec<[Candidate; 2]>, BuildFolding>,
}

/// The routes of one virtual host by path. Immutable; a look-up allocates nothing.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    plain: Trie,
    folded: Trie,
    suffix: Trie,
    slots: Box<[Slot]>,
}

impl PathIndex {
    /// The least route number under a key of `path` that `check` accepts. `check` is asked about routes in
    /// no promised order, and must answer the same for the same route.
    #[inline]
    pub(super) fn first(
        &self,
        path: &[u8],
        headers: &HeaderMap,
        mut check: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut best = u32::MAX;
        self.plain.walk(path, Order::Forward, Case::Exact, best, |slot, at| {
            self.visit(slot, path, at, headers, &mut best, &mut check)
        });
        if !self.folded.is_empty() {
            self.folded.walk(path, Order::Forward, Case::Folded, best, |slot, at| {
                self.visit(slot, path, at, headers, &mut best, &mut check)
            });
        }
        if !self.suffix.is_empty() {
            self.suffix.walk(path, Order::Backward, Case::Exact, best, |slot, at| {
                self.visit(slot, path, at, headers, &mut best, &mut check)
            });
        }
        (best != u32::MAX).then_some(best)
    }

    /// Every route number under a key of `path`, whatever headers it asks for. For explanations.
    pub(super) fn each(&self, path: &[u8], mut found: impl FnMut(u32)) {
        let mut visit = |slot: u32, at: usize| {
            let slot = self.slots.get(slot as usize);
            for c in slot.into_iter().flat_map(Slot::candidates) {
                if c.reach.fits(path, at) {
                    found(c.route);
                }
            }
            u32::MAX
        };
        self.plain.walk(path, Order::Forward, Case::Exact, u32::MAX, &mut visit);
        self.folded.walk(path, Order::Forward, Case::Folded, u32::MAX, &mut visit);
        self.suffix.walk(path, Order::Backward, Case::Exact, u32::MAX, &mut visit);
    }

    /// Every route with the key that it stands under. For explanations: it walks all of them.
    pub(super) fn each_key(&self, mut found: impl FnMut(u32, PathKey<'_>)) {
        type Make = fn(&[u8], Reach) -> PathKey<'_>;
        let trees: [(&Trie, Order, Make); 3] = [
            (&self.plain, Order::Forward, |text, reach| PathKey::Literal(text, reach)),
            (&self.folded, Order::Forward, |text, reach| PathKey::Folded(text, reach)),
            (&self.suffix, Order::Backward, |text, _| PathKey::Suffix(text)),
        ];
        for (tree, order, make) in trees {
            tree.each(order, |key, slot| {
                let slot = self.slots.get(slot as usize);
                for c in slot.into_iter().flat_map(Slot::candidates) {
                    found(c.route, make(key, c.reach));
                }
            });
        }
    }

    fn visit(
        &self,
        slot: u32,
        path: &[u8],
        at: usize,
        headers: &HeaderMap,
        best: &mut u32,
        check: &mut impl FnMut(u32) -> bool,
    ) -> u32 {
        let Some(slot) = self.slots.get(slot as usize) else { return *best };
        scan(&slot.plain, path, at, best, check);
        for guard in &slot.guards {
            for value in guard.header.values(headers) {
                if let Some(candidates) = guard.values.get(value) {
                    scan(candidates, path, at, best, check);
                }
            }
        }
        *best
    }
}

/// The first of `candidates` (in list order) that fits and is better than `best`.
#[inline]
fn scan(
    candidates: &[Candidate],
    path: &[u8],
    at: usize,
    best: &mut u32,
    check: &mut impl FnMut(u32) -> bool,
) {
    for c in candidates {
        if c.route >= *best {
            return;
        }
        if c.reach.fits(path, at) && check(c.route) {
            *best = c.route;
            return;
        }
    }
}

/// A header that a route wants to have exactly one value: name in lower case, value.
pub(super) type ExactHeader = (Box<str>, Box<[u8]>);

/// A [`PathIndex`] while it grows.
#[derive(Debug, Default)]
pub(super) struct PathIndexBuilder {
    plain: TrieBuilder,
    folded: TrieBuilder,
    suffix: TrieBuilder,
    slots: Vec<Vec<(Candidate, Option<ExactHeader>)>>,
}

impl PathIndexBuilder {
    /// Adds `route`, whose number is above all added before, under `key`. `guard`: without this value of
    /// this header (one of its values, where it is repeated) the route never matches.
    pub(super) fn add(&mut self, route: u32, key: PathKey<'_>, guard: Option<ExactHeader>) {
        let slots = &mut self.slots;
        let make = || {
            slots.push(Vec::new());
            slots.len() as u32 - 1
        };
        let (slot, reach) = match key {
            PathKey::Literal(bytes, reach) => (self.plain.entry(bytes, route, make), reach),
            PathKey::Folded(bytes, reach) => {
                (self.folded.entry(&bytes.to_ascii_lowercase(), route, make), reach)
            }
            PathKey::Suffix(bytes) => {
                let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
                (self.suffix.entry(&reversed, route, make), Reach::Prefix)
            }
        };
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.push((Candidate { route, reach }, guard));
        }
    }

    /// The compiled index.
    pub(super) fn freeze(self) -> PathIndex {
        PathIndex {
            plain: self.plain.freeze(Order::Forward),
            folded: self.folded.freeze(Order::Forward),
            suffix: self.suffix.freeze(Order::Backward),
            slots: self.slots.into_iter().map(freeze_slot).collect(),
        }
    }
}

fn freeze_slot(candidates: Vec<(Candidate, Option<ExactHeader>)>) -> Slot {
    if candidates.len() < GUARD_FROM {
        let plain = candidates.into_iter().map(|(c, _)| c).collect();
        return Slot { plain, guards: Box::default() };
    }
    let mut slot = Slot::default();
    let mut by_header: Vec<(Box<str>, Vec<ByValue>)> = Vec::new();
    for (candidate, guard) in candidates {
        match guard {
            None => slot.plain.push(candidate),
            Some((header, value)) => match by_header.iter_mut().find(|(h, _)| *h == header) {
                Some((_, list)) => list.push((value, candidate)),
                None => by_header.push((header, vec![(value, candidate)])),
            },
        }
    }
    let mut guards = Vec::new();
    for (header, list) in by_header {
        if list.len() < GUARD_FROM {
            slot.plain.extend(list.into_iter().map(|(_, c)| c));
        } else {
            guards.push(freeze_guard(header, list));
        }
    }
    slot.plain.sort_by_key(|c| c.route);
    slot.guards = guards.into();
    slot
}

/// A candidate and the value that it asks for.
type ByValue = (Box<[u8]>, Candidate);

fn freeze_guard(header: Box<str>, list: Vec<ByValue>) -> Guard {
    let mut values: HashMap<_, SmallVec<_>, _> = HashMap::default();
    for (value, candidate) in list {
        values.entry(value).or_default().push(candidate);
    }
    Guard { header: HeaderName::new(&header), values }
}

#[cfg(test)]
mod tests;
