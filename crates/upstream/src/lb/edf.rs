//! Earliest deadline first: entries come up in proportion to their weights, evenly spread.

use nuncio_core::rng::Rng;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A scheduler over the indices of some list.
#[derive(Debug, Default)]
pub(super) struct Edf {
    now: f64,
    /// Breaks ties in the order of insertion.
    next: u64,
    heap: BinaryHeap<Entry>,
}

#[derive(Debug)]
struct Entry {
    deadline: f64,
    order: u64,
    index: usize,
    /// The deadline is `start + picks / weight`: a sum of many inverses would drift, and ties with it.
    weight: f64,
    start: f64,
    picks: f64,
}

impl Ord for Entry {
    /// The heap's greatest entry is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then_with(|| other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl Edf {
    /// A scheduler over `weights`, as it is after a number of picks by chance.
    pub(super) fn new(weights: &[f64], rng: &Rng) -> Self {
        let sum: f64 = weights.iter().sum();
        let chance = rng.next() as f64 / u64::MAX as f64;
        // So much time has passed, within which each entry came up by its weight.
        Self::at(weights.iter().copied(), chance * weights.len() as f64 / sum)
    }

    fn at(weights: impl Iterator<Item = f64>, now: f64) -> Self {
        let entries: Vec<Entry> = weights
            .zip(0..)
            .map(|(weight, index)| {
                let weight = weight.max(f64::MIN_POSITIVE);
                let picks = (weight * now).floor() + 1.0;
                Entry { deadline: picks / weight, order: index as u64, index, weight, start: 0.0, picks }
            })
            .collect();
        Self { now, next: entries.len() as u64, heap: entries.into() }
    }

    fn add(&mut self, weight: f64, index: usize, start: f64, picks: f64) {
        let (weight, picks) = (weight.max(f64::MIN_POSITIVE), picks + 1.0);
        let deadline = start + picks / weight;
        self.heap.push(Entry { deadline, order: self.next, index, weight, start, picks });
        self.next += 1;
    }

    /// The next index, which comes back with the weight that `weight` has for it now.
    pub(super) fn pick(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let entry = self.heap.pop()?;
        self.now = entry.deadline;
        let weight = weight(entry.index);
        let (start, picks) =
            if weight == entry.weight { (entry.start, entry.picks) } else { (self.now, 0.0) };
        self.add(weight, entry.index, start, picks);
        Some(entry.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_whoever_waited_longest_however_many_rounds_have_passed() {
        let weights = [1.0, 3.0];
        let mut edf = Edf::at(weights.into_iter(), 0.0);
        let picks: Vec<usize> = (0..4000).filter_map(|_| edf.pick(|i| weights[i])).collect();
        assert!(picks.chunk_by(|a, b| a == b).all(|run| run.len() <= 3));
    }

    #[test]
    fn shares_are_exact_over_a_round_and_spread_within_it() {
        let weights = [1.0, 2.0, 5.0];
        let mut edf = Edf::at(weights.into_iter(), 0.0);
        let picks: Vec<usize> = (0..80).filter_map(|_| edf.pick(|i| weights[i])).collect();
        let count = |i| picks.iter().filter(|p| **p == i).count();
        assert_eq!((count(0), count(1), count(2)), (10, 20, 50));
        let longest = picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest <= Some(4), "{longest:?}");
    }
}
