//! Prometheus' native histograms: exponential buckets, made of the log-linear bins that histograms are kept in.
//!
//! Of schema s, bucket i holds what lies in (b^(i−1), b^i] with b = 2^(2^−s). The finest schema is taken whose buckets
//! are not more than the limit.

use super::bins::Bins;
use crate::admin::wire::Wire;
use std::collections::BTreeSet;

/// How many buckets a histogram has at most, unless the request says otherwise.
pub(super) const MOST_BUCKETS: u32 = 20;

/// What lies at or below counts as zero: histograms hold whole numbers.
const ZERO: f64 = 0.5;

/// The finest schema, which is about as fine as the bins are, and the coarsest one.
const SCHEMAS: [i32; 9] = [4, 3, 2, 1, 0, -1, -2, -3, -4];

/// Appends `io.prometheus.client.Histogram`'s fields.
pub(super) fn histogram(bins: &Bins, most_buckets: u32) -> Wire {
    if bins.is_empty() {
        // The empty span says that it is a native one.
        return Wire::default().signed(5, 3).always(7, 0).with(12, span(0, 0).bytes());
    }
    let (schema, indices) = buckets(bins, most_buckets);
    let zeros = bins.at_most(ZERO);
    let message = Wire::default().always(1, bins.count()).double(2, bins.sum());
    let mut message = message.signed(5, schema).double(6, ZERO).always(7, zeros);
    let (spans, deltas) = encode(bins, schema, zeros, &indices);
    for (offset, length) in spans {
        message.add(12, span(offset, length).bytes());
    }
    deltas.into_iter().fold(message, |message, delta| message.signed(13, delta))
}

fn span(offset: i32, length: u64) -> Wire {
    Wire::default().signed(1, offset).always(2, length)
}

/// The schema, and the buckets that any bin reaches into.
fn buckets(bins: &Bins, most: u32) -> (i32, BTreeSet<i32>) {
    let mut coarsest = (0, BTreeSet::new());
    for schema in SCHEMAS {
        coarsest = (schema, reached(bins, schema));
        if coarsest.1.len() <= most as usize {
            break;
        }
    }
    coarsest
}

fn reached(bins: &Bins, schema: i32) -> BTreeSet<i32> {
    let per_doubling = 2_f64.powi(schema);
    let index = |value: f64| (value.log2() * per_doubling).ceil() as i32;
    let used = bins.iter().map(|(lower, width, _)| (lower.max(ZERO), lower + width));
    used.filter(|(_, upper)| *upper > ZERO).flat_map(|(lower, upper)| index(lower)..=index(upper)).collect()
}

/// Spans of neighbouring buckets, each with its distance from the one before, and what each bucket holds more than the
/// one before.
fn encode(bins: &Bins, schema: i32, zeros: u64, indices: &BTreeSet<i32>) -> (Vec<(i32, u64)>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<(i32, u64)>::new(), Vec::new());
    let (mut below, mut last_count) = (zeros, 0);
    let mut next = 0;
    for index in indices {
        let upto = bins.at_most((f64::from(*index) * 2_f64.powi(-schema)).exp2());
        let count = upto - below;
        below = upto;
        if count == 0 {
            continue;
        }
        match spans.last_mut().filter(|_| *index == next) {
            Some((_, length)) => *length += 1,
            None => spans.push((*index - next, 1)),
        }
        deltas.push(count as i64 - last_count);
        (next, last_count) = (*index + 1, count as i64);
    }
    (spans, deltas)
}
