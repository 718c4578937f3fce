//! `envoy.type.v3.TokenBucket`: a token bucket that workers share without a lock. The HTTP, network and listener
//! filters named local_ratelimit share it.

use nuncio_core::config::{CompileContext, duration};
use nuncio_proto::pb::envoy::r#type::v3 as pb;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Buckets are filled no quicker than this.
const MIN_FILL_INTERVAL: Duration = Duration::from_millis(50);

/// Tokens that come at a steady rate, up to a number. What is kept is the moment at which the bucket would have been
/// empty, in seconds since its first use.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    most: u32,
    /// Tokens per second.
    rate: f64,
    begun: OnceLock<Instant>,
    /// The bits of an `f64`.
    empty_at: AtomicU64,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(most: u32, rate: f64) -> Self {
        let empty_at = AtomicU64::new((-f64::from(most) / rate).to_bits());
        Self { most, rate, begun: OnceLock::new(), empty_at }
    }

    /// A full bucket as the message says; `whose` it is stands in the error about its interval.
    pub(crate) fn compile(message: &pb::TokenBucket, cx: &CompileContext<'_>, whose: &str) -> Option<Self> {
        let pb::TokenBucket { max_tokens, tokens_per_fill, fill_interval } = message;
        let cx = cx.field("fill_interval");
        let interval = duration(fill_interval.as_ref()?, &cx)?;
        if interval < MIN_FILL_INTERVAL {
            cx.error(format!("{whose} token bucket fill timer must be >= 50ms"));
            return None;
        }
        let rate = f64::from(tokens_per_fill.unwrap_or(1)) / interval.as_secs_f64();
        Some(Self::new(*max_tokens, rate))
    }

    /// A full bucket of the same size and rate.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(self.most, self.rate)
    }

    /// How many tokens it holds at most.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// Tokens that come in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    fn seconds(&self, now: Instant) -> f64 {
        let begun = *self.begun.get_or_init(|| now);
        now.saturating_duration_since(begun).as_secs_f64()
    }

    fn tokens(&self, now: f64, empty_at: f64) -> f64 {
        ((now - empty_at) * self.rate).min(f64::from(self.most))
    }

    /// Takes `n` tokens; false, and none is taken, where there are fewer. As in Envoy, nothing cannot be had.
    pub(crate) fn take(&self, now: Instant, n: u64) -> bool {
        if n == 0 {
            return false;
        }
        let (now, n) = (self.seconds(now), n as f64);
        let taken = self.empty_at.fetch_update(Relaxed, Relaxed, |bits| {
            let tokens = self.tokens(now, f64::from_bits(bits));
            // A billionth less than a token is one: the rate is not exact.
            (tokens > n - 1e-9).then(|| (now - (tokens - n) / self.rate).to_bits())
        });
        taken.is_ok()
    }

    /// Puts `n` tokens into it, as many as it holds.
    pub(crate) fn give(&self, now: Instant, n: u64) {
        let now = self.seconds(now);
        let most = f64::from(self.most);
        let _ = self.empty_at.fetch_update(Relaxed, Relaxed, |bits| {
            let tokens = (self.tokens(now, f64::from_bits(bits)) + n as f64).min(most);
            Some((now - tokens / self.rate).to_bits())
        });
    }

    /// Whole tokens that are there, and in how many seconds there is one (0 where there is).
    pub(crate) fn left(&self, now: Instant) -> (u32, u64) {
        let now = self.seconds(now);
        let tokens = self.tokens(now, f64::from_bits(self.empty_at.load(Relaxed))).max(0.0) + 1e-9;
        let wait = if tokens >= 1.0 { 0.0 } else { (1.0 - tokens) / self.rate };
        (tokens as u32, wait.ceil() as u64)
    }
}

#[cfg(test)]
mod tests;
