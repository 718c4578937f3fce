//! Clients that open streams to reset them (CVE-2023-44487).

use nuncio_core::runtime::Runtime;
use std::time::Duration;

/// Half of at least so many streams: fewer are not too many. A runtime key, and its value where it is not set.
const LOOK_AT: (&str, u64) = ("overload.premature_reset_total_stream_count", 500);
/// A stream that lived for fewer seconds was reset before it could be answered. A runtime key, likewise.
const LIFETIME: (&str, u64) = ("overload.premature_reset_min_stream_lifetime_seconds", 1);

/// Counts the streams of one connection.
#[derive(Debug, Default)]
pub(super) struct PrematureResets {
    over: u32,
    premature: u32,
}

impl PrematureResets {
    /// A stream is over; whether the connection has to end for it, because half of its streams were reset early.
    pub(super) fn ended(&mut self, lived: Duration, reset_unanswered: bool, runtime: &Runtime) -> bool {
        self.over = self.over.saturating_add(1);
        if reset_unanswered && lived < Duration::from_secs(runtime.integer(LIFETIME.0, LIFETIME.1)) {
            self.premature = self.premature.saturating_add(1);
        }
        u64::from(self.premature) * 2 >= u64::from(self.over).max(runtime.integer(LOOK_AT.0, LOOK_AT.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_core::runtime::Layer;

    #[test]
    fn early_resets_end_a_connection_when_they_are_half_of_its_streams_and_many() {
        let (short, plain) = (Duration::from_millis(5), Runtime::default());
        let look_at = LOOK_AT.1 as u32;
        let mut resets = PrematureResets::default();
        assert!((1..look_at / 2).all(|_| !resets.ended(short, true, &plain)));
        assert!(resets.ended(short, true, &plain));
        let mut seldom = PrematureResets::default();
        assert!((0..2 * look_at).all(|i| !seldom.ended(short, i % 3 == 0, &plain)));
        let mut slow = PrematureResets::default();
        assert!((0..2 * look_at).all(|_| !slow.ended(Duration::from_secs(LIFETIME.1), true, &plain)));
    }

    #[test]
    fn runtime_keys_say_how_many_and_how_early() {
        let mut layer = Layer::admin("a");
        layer.values.extend([(LOOK_AT.0.into(), "4".into()), (LIFETIME.0.into(), "3".into())]);
        let runtime = Runtime::new(vec![layer]);
        let mut resets = PrematureResets::default();
        assert!(!resets.ended(Duration::from_secs(2), true, &runtime));
        assert!(resets.ended(Duration::from_secs(2), true, &runtime));
    }
}
