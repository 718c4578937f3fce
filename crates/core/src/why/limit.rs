//! How many lines are written.

use super::Why;
use std::time::{Duration, Instant};

/// Lines of one identifier about one thing within a [`PERIOD`].
pub const LINES: u8 = 3;

/// The time after which they are counted anew.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Things that one identifier is counted for at once; others wait until a period is over.
pub const SUBJECTS: usize = 8;

/// Counts lines by identifier and by what they are about, in memory of a fixed size.
#[derive(Debug)]
pub struct Limiter {
    rows: [Row; Why::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Row {
    slots: [Slot; SUBJECTS],
    /// Held back because no slot was free, or whose slot went to another.
    others: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    about: u64,
    since: Option<Instant>,
    written: u8,
    held_back: u32,
}

impl Slot {
    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD)
    }
}

impl Limiter {
    /// Nothing was written yet.
    pub const fn new() -> Self {
        const SLOT: Slot = Slot { about: 0, since: None, written: 0, held_back: 0 };
        const ROW: Row = Row { slots: [SLOT; SUBJECTS], others: 0 };
        Self { rows: [ROW; Why::ALL.len()] }
    }

    /// Whether a line may be written now, and how many were not since the last one; it counts as written then.
    pub fn admit(&mut self, why: Why, about: u64, now: Instant) -> Option<u32> {
        let row = self.rows.get_mut(why as usize)?;
        let own = row.slots.iter().position(|s| s.about == about && s.since.is_some());
        let free = || row.slots.iter().position(|s| s.is_over(now));
        let Some(slot) = own.or_else(free).and_then(|at| row.slots.get_mut(at)) else {
            row.others = row.others.saturating_add(1);
            return None;
        };
        if slot.about != about || slot.is_over(now) {
            if slot.about != about {
                row.others = row.others.saturating_add(std::mem::take(&mut slot.held_back));
            }
            *slot = Slot { about, since: Some(now), written: 0, held_back: slot.held_back };
        }
        if slot.written >= LINES {
            slot.held_back = slot.held_back.saturating_add(1);
            return None;
        }
        slot.written += 1;
        Some(std::mem::take(&mut slot.held_back).saturating_add(std::mem::take(&mut row.others)))
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}
