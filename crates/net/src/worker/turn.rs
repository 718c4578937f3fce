//! One look at the clock per turn of a task.

use nuncio_core::clock::Clock;
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// The time of the present turn: what happens in one turn happens at one time. Outside of a turn every question
/// goes to the clock.
#[derive(Default)]
pub(super) struct Turn {
    active: Cell<bool>,
    now: Cell<Option<Instant>>,
    wall: Cell<Option<SystemTime>>,
    /// The last answer of [`since`](Self::since): most of what is timed at the end of a request began at once.
    since: Cell<Option<(Instant, Duration)>>,
}

impl Turn {
    #[inline]
    pub(super) fn now(&self, clock: &Clock) -> Instant {
        match self.now.get() {
            Some(now) => now,
            None => self.keep(&self.now, clock.now()),
        }
    }

    #[inline]
    pub(super) fn wall(&self, clock: &Clock) -> SystemTime {
        match self.wall.get() {
            Some(wall) => wall,
            None => self.keep(&self.wall, clock.wall()),
        }
    }

    #[inline]
    pub(super) fn since(&self, clock: &Clock, at: Instant) -> Duration {
        match self.since.get() {
            Some((last, passed)) if last == at => passed,
            _ => self.keep(&self.since, (at, self.now(clock).saturating_duration_since(at))).1,
        }
    }

    fn keep<T: Copy>(&self, place: &Cell<Option<T>>, read: T) -> T {
        if self.active.get() {
            place.set(Some(read));
        }
        read
    }

    /// A turn, which must not unwind.
    #[inline]
    pub(super) fn take<R>(&self, turn: impl FnOnce() -> R) -> R {
        // Between turns nothing is kept.
        self.active.set(true);
        let done = turn();
        self.active.set(false);
        self.now.set(None);
        self.wall.set(None);
        self.since.set(None);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn time_stands_still_within_a_turn_and_only_there() {
        let clock = Clock::virtual_at(UNIX_EPOCH);
        let turn = Turn::default();
        let seen = |turn: &Turn| (turn.now(&clock), turn.wall(&clock));
        let start = seen(&turn);
        let second = Duration::from_secs(1);
        clock.advance(second);
        assert_eq!(seen(&turn), (start.0 + second, start.1 + second));
        assert_eq!(turn.since(&clock, start.0), second);
        turn.take(|| {
            let first = seen(&turn);
            clock.advance(second);
            assert_eq!(seen(&turn), first);
            assert_eq!(
                [start.0, start.0, first.0].map(|at| turn.since(&clock, at)),
                [second, second, Duration::ZERO]
            );
        });
        assert_eq!(seen(&turn), (start.0 + 2 * second, start.1 + 2 * second));
    }
}
