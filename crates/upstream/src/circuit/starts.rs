//! Requests that began lately, for retry budgets that look back (`budget_interval`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Into so many parts the interval is cut: a request is forgotten that part of it too early at most.
const PARTS: u64 = 32;

/// Requests that began within an interval, counted by all workers, in memory that does not grow with them.
#[derive(Debug)]
pub(super) struct Starts {
    /// When the first was counted, or asked for.
    begun: OnceLock<Instant>,
    /// Nanoseconds of a part, from 1.
    part: u64,
    /// Each holds the number of its part of time, and behind it how many began then.
    slots: [AtomicU64; PARTS as usize],
    /// `max_requests`: that of the breaker itself is 0, so that its quick way lets nothing pass uncounted.
    pub(super) max_requests: AtomicU32,
}

impl Starts {
    /// None yet.
    pub(super) fn new(interval: Duration) -> Self {
        let part = (interval.as_nanos() / u128::from(PARTS)).max(1);
        Self {
            begun: OnceLock::new(),
            part: u64::try_from(part).unwrap_or(u64::MAX),
            slots: Default::default(),
            max_requests: AtomicU32::new(0),
        }
    }

    /// The part of time that it is, from [`PARTS`] on, so that no slot is taken for one of the first.
    fn part_of(&self, now: Instant) -> u32 {
        let since =
            now.saturating_duration_since(*self.begun.get_or_init(|| now)).as_nanos() / u128::from(self.part);
        (since + u128::from(PARTS)) as u32
    }

    /// One begins.
    pub(super) fn add(&self, now: Instant) {
        let part = self.part_of(now);
        let Some(slot) = self.slots.get((u64::from(part) % PARTS) as usize) else { return };
        let next = |held: u64| {
            let count = if (held >> 32) as u32 == part { (held as u32).saturating_add(1) } else { 1 };
            Some(u64::from(part) << 32 | u64::from(count))
        };
        let _ = slot.fetch_update(Relaxed, Relaxed, next);
    }

    /// How many have begun within the interval that ends now.
    pub(super) fn count(&self, now: Instant) -> u32 {
        let part = self.part_of(now);
        let slots = self.slots.iter().map(|slot| slot.load(Relaxed));
        let lately = slots.filter(|held| part.wrapping_sub((held >> 32) as u32) < PARTS as u32);
        lately.map(|held| held as u32).fold(0, u32::saturating_add)
    }
}
