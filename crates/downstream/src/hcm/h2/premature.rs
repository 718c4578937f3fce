//! Clients that open streams to reset them (CVE-2023-44487).

use std::time::Duration;

/// Half of at least so many streams: fewer are not too many
/// (`overload.premature_reset_total_stream_count`).
const LOOK_AT: u32 = 500;
/// A stream that lived for less than this was reset before it could be answered
/// (`overload.premature_reset_min_stream_lifetime_seconds`).
const LIFETIME: Duration = Duration::from_secs(1);

/// Counts the streams of one connection.
#[derive(Debug, Default)]
pub(super) struct PrematureResets {
    over: u32,
    premature: u32,
}

impl PrematureResets {
    /// A stream is over; whether the connection has to end for it, because half of its streams were reset early.
    pub(super) fn ended(&mut self, lived: Duration, reset_unanswered: bool) -> bool {
        self.over = self.over.saturating_add(1);
        if reset_unanswered && lived < LIFETIME {
            self.premature = self.premature.saturating_add(1);
        }
        u64::from(self.premature) * 2 >= u64::from(self.over.max(LOOK_AT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_resets_end_a_connection_when_they_are_half_of_its_streams_and_many() {
        let short = Duration::from_millis(5);
        let mut resets = PrematureResets::default();
        assert!((1..LOOK_AT / 2).all(|_| !resets.ended(short, true)));
        assert!(resets.ended(short, true));
        let mut seldom = PrematureResets::default();
        assert!((0..2 * LOOK_AT).all(|i| !seldom.ended(short, i % 3 == 0)));
        let mut slow = PrematureResets::default();
        assert!((0..2 * LOOK_AT).all(|_| !slow.ended(LIFETIME, true)));
    }
}
