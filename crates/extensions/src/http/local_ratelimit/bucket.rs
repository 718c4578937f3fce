//! A token bucket that workers share without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Tokens that come at a steady rate, up to a number. What is kept is the moment at which the bucket would have been
/// empty, in seconds since its first use.
#[derive(Debug)]
pub(super) struct Bucket {
    most: f64,
    /// Tokens per second.
    rate: f64,
    begun: OnceLock<Instant>,
    /// The bits of an `f64`.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(most: u32, rate: f64) -> Self {
        let most = f64::from(most);
        Self { most, rate, begun: OnceLock::new(), empty_at: AtomicU64::new((-most / rate).to_bits()) }
    }

    fn seconds(&self, now: Instant) -> f64 {
        let begun = *self.begun.get_or_init(|| now);
        now.saturating_duration_since(begun).as_secs_f64()
    }

    fn tokens(&self, now: f64, empty_at: f64) -> f64 {
        ((now - empty_at) * self.rate).min(self.most)
    }

    /// Takes a token; false where there is none.
    pub(super) fn take(&self, now: Instant) -> bool {
        let now = self.seconds(now);
        let taken = self.empty_at.fetch_update(Relaxed, Relaxed, |bits| {
            let tokens = self.tokens(now, f64::from_bits(bits));
            // A billionth less than a token is one: the rate is not exact.
            (tokens > 1.0 - 1e-9).then(|| (now - (tokens - 1.0) / self.rate).to_bits())
        });
        taken.is_ok()
    }

    /// Whole tokens that are there, and in how many seconds there is one more (0 in a full bucket).
    pub(super) fn left(&self, now: Instant) -> (u32, u64) {
        let now = self.seconds(now);
        let tokens = self.tokens(now, f64::from_bits(self.empty_at.load(Relaxed))).max(0.0) + 1e-9;
        let wait = if tokens >= self.most { 0.0 } else { (1.0 - tokens.fract()) / self.rate };
        (tokens as u32, wait.ceil() as u64)
    }
}

#[cfg(test)]
mod tests;
