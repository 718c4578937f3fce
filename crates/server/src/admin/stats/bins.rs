//! What is read out of a histogram: quantiles, counts below bounds, its approximate sum.
//!
//! Bins are log-linear, ten times nine to a power of ten, as in Envoy's histogram library; whatever is computed
//! is computed from bins, in its way, so that the same values give the same figures.

use std::collections::BTreeMap;

/// Counts by bin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bins(BTreeMap<usize, u64>);

/// The quantiles that Envoy computes, and their names.
pub(super) const QUANTILES: [(f64, &str); 10] = [
    (0.0, "0"),
    (0.25, "25"),
    (0.5, "50"),
    (0.75, "75"),
    (0.9, "90"),
    (0.95, "95"),
    (0.99, "99"),
    (0.995, "99.5"),
    (0.999, "99.9"),
    (1.0, "100"),
];

/// An upper bound of a bucket, as text, JSON and Prometheus spell it.
pub(super) struct Bound {
    pub(super) at: f64,
    pub(super) text: &'static str,
    pub(super) json: &'static str,
    pub(super) prometheus: &'static str,
}

const fn bound(at: f64, text: &'static str, json: &'static str, prometheus: &'static str) -> Bound {
    Bound { at, text, json, prometheus }
}

const fn plain(at: f64, text: &'static str) -> Bound {
    bound(at, text, text, text)
}

/// The bounds unless configuration sets others.
pub(super) const BOUNDS: [Bound; 19] = [
    plain(0.5, "0.5"),
    plain(1.0, "1"),
    plain(5.0, "5"),
    plain(10.0, "10"),
    plain(25.0, "25"),
    plain(50.0, "50"),
    plain(100.0, "100"),
    plain(250.0, "250"),
    plain(500.0, "500"),
    plain(1_000.0, "1000"),
    plain(2_500.0, "2500"),
    plain(5_000.0, "5000"),
    plain(10_000.0, "10000"),
    plain(30_000.0, "30000"),
    plain(60_000.0, "60000"),
    bound(300_000.0, "300000", "3e+05", "300000"),
    bound(600_000.0, "600000", "6e+05", "600000"),
    bound(1_800_000.0, "1.8e+06", "1800000", "1800000"),
    bound(3_600_000.0, "3.6e+06", "3600000", "3600000"),
];

impl Bins {
    pub(super) fn add(&mut self, bin: usize, count: u64) {
        let n = self.0.entry(bin).or_default();
        *n = n.wrapping_add(count);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(bin, n)| self.add(*bin, *n));
    }

    /// What these hold beyond what was held `before`.
    pub(super) fn since(&self, before: Option<&Self>) -> Self {
        let held = |bin: &usize| before.and_then(|b| b.0.get(bin)).copied().unwrap_or(0);
        let gained = self.0.iter().map(|(bin, n)| (*bin, n.saturating_sub(held(bin))));
        Self(gained.filter(|(_, n)| *n != 0).collect())
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lower bound, width and count of each bin in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        self.0.iter().map(|(bin, n)| {
            let (lower, width) = shape(*bin);
            (lower, width, *n)
        })
    }

    /// The value below which a share `q` of the samples lies; none without samples.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        let target = ((q * total as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (lower, width, n) in self.iter() {
            if below + n >= target {
                return Some(lower + width * (target - below) as f64 / (n + 1) as f64);
            }
            below += n;
        }
        None
    }

    /// How many samples lie at or below a bound.
    pub(super) fn at_most(&self, bound: f64) -> u64 {
        self.iter().take_while(|(lower, ..)| *lower <= bound).map(|(.., n)| n).sum()
    }

    /// The sum of the samples, each taken as the harmonic mean of its bin's bounds.
    pub(super) fn sum(&self) -> f64 {
        self.iter().fold(0.0, |sum, (lower, width, n)| {
            let upper = lower + width;
            if lower == 0.0 { sum } else { sum + n as f64 * (2.0 * lower * upper / (lower + upper)) }
        })
    }
}

/// Lower bound and width of a bin.
fn shape(bin: usize) -> (f64, f64) {
    let Some(i) = bin.checked_sub(1) else { return (0.0, 0.0) };
    let (decade, digits) = (i / 90, 10 + i % 90);
    if decade == 0 {
        return (digits as f64 / 10.0, 0.1);
    }
    let scale = 10_f64.powi(i32::try_from(decade).unwrap_or(i32::MAX) - 1);
    (digits as f64 * scale, scale)
}
