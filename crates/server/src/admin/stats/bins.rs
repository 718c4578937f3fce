//! What is read out of a histogram: quantiles, counts below bounds, its approximate sum.
//!
//! Bins are log-linear, ten times nine to a power of ten, as in Envoy's histogram library; whatever is computed
//! is computed from bins, in its way, so that the same values give the same figures.

use nuncio_core::number::{write_general, write_shortest};
use std::collections::BTreeMap;
use std::rc::Rc;

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
#[derive(Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) at: f64,
    pub(super) text: String,
    pub(super) json: String,
    pub(super) prometheus: String,
}

/// The upper bounds of a histogram's buckets, in their order.
pub(super) type Bounds = Rc<[Bound]>;

/// The bounds unless configuration sets others.
const DEFAULT: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Spells bounds.
pub(super) fn bounds(at: &[f64]) -> Bounds {
    let spelled =
        |at: &f64| Bound { at: *at, text: general(*at), json: shortest(*at), prometheus: digits(*at) };
    at.iter().map(spelled).collect()
}

thread_local! {
    static SPELLED: Bounds = bounds(&DEFAULT);
}

/// The bounds unless configuration sets others.
pub(super) fn default_bounds() -> Bounds {
    SPELLED.with(Rc::clone)
}

fn text(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// As C's `%g`: six significant digits.
pub(in crate::admin) fn general(value: f64) -> String {
    text(|out| write_general(value, 6, out))
}

fn shortest(value: f64) -> String {
    text(|out| write_shortest(value, out))
}

/// A number with 32 significant digits, as Envoy prints bounds and sums for Prometheus.
pub(super) fn digits(value: f64) -> String {
    text(|out| write_general(value, 32, out))
}

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

    /// A value for each bin in use, and how many samples it stands for: the value itself below 100, the middle of the
    /// bin above.
    pub(super) fn samples(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.iter().map(|(lower, width, n)| {
            let value = if width > 1.0 { lower + width / 2.0 } else { lower };
            (value as u64, n)
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

    /// How many samples lie in bins that begin at or below a bound.
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
