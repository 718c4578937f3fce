//! The only reader of time. Everybody else takes a [`Clock`] or an instant as an argument.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// A source of monotonic and wall time; virtual in tests.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Virtual(Rc<Virtual>),
    Following(fn() -> Instant),
}

#[derive(Debug)]
struct Virtual {
    start: Instant,
    start_wall: SystemTime,
    elapsed: Cell<Duration>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`advance`](Self::advance) moves it. Clones share the time.
    pub fn virtual_at(wall: SystemTime) -> Self {
        #[allow(clippy::disallowed_methods, reason = "the clock is where time is read")]
        let start = Instant::now();
        Self(Source::Virtual(Rc::new(Virtual { start, start_wall: wall, elapsed: Cell::default() })))
    }

    /// A clock whose monotonic time is another's, such as a runtime's that can be paused; wall time is the
    /// machine's.
    pub fn following(now: fn() -> Instant) -> Self {
        Self(Source::Following(now))
    }

    /// Moves a virtual clock; the machine's is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Virtual(v) = &self.0 {
            v.elapsed.set(v.elapsed.get().saturating_add(by));
        }
    }

    /// Monotonic time.
    #[inline]
    #[allow(clippy::disallowed_methods, reason = "the clock is where time is read")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Virtual(v) => v.start + v.elapsed.get(),
            Source::Following(now) => now(),
        }
    }

    /// Wall time.
    #[inline]
    #[allow(clippy::disallowed_methods, reason = "the clock is where time is read")]
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System | Source::Following(_) => SystemTime::now(),
            Source::Virtual(v) => v.start_wall + v.elapsed.get(),
        }
    }
}
