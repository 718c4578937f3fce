//! A stream's timers as points in time, of which the connection's one timer watches the nearest.

use std::time::{Duration, Instant};

/// Which of a stream's timers ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// `stream_idle_timeout` or the route's `idle_timeout`.
    StreamIdle,
    /// `request_timeout`: the request did not complete in time.
    Request,
    /// `max_stream_duration`.
    MaxDuration,
    /// The route's `timeout`.
    Route,
    /// One that the router keeps for its attempts.
    Attempt,
}

/// The timers of one stream; unset ones never fire.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// How long a stream may be without an event; `None` for ever.
    pub idle: Option<Duration>,
    /// When the last event was.
    pub last_event: Instant,
    /// When the request has to be complete.
    pub request: Option<Instant>,
    /// When the stream has to be over.
    pub max_duration: Option<Instant>,
    /// How long the response may take once the request is complete (the route's `timeout`).
    pub response: Option<Duration>,
    /// When the response has to be complete; set by [`request_complete`](Self::request_complete).
    pub route: Option<Instant>,
    /// The nearest of the router's own: a back-off, or the time of an attempt.
    pub attempt: Option<Instant>,
    /// When the access logs are told next of a stream that is not over (`access_log_flush_interval`).
    pub flush: Option<Instant>,
}

impl Deadlines {
    /// No timer at all.
    pub fn none(now: Instant) -> Self {
        Self {
            idle: None,
            last_event: now,
            request: None,
            max_duration: None,
            response: None,
            route: None,
            attempt: None,
            flush: None,
        }
    }

    /// The request is complete: its timer ends, and the response's begins.
    pub fn request_complete(&mut self, now: Instant) {
        self.request = None;
        self.route = self.response.and_then(|d| now.checked_add(d));
    }

    #[inline(always)]
    fn idle_at(&self) -> Option<Instant> {
        self.idle.and_then(|d| self.last_event.checked_add(d))
    }

    /// The nearest deadline.
    #[inline(always)]
    pub fn next(&self) -> Option<Instant> {
        let usual = sooner(self.idle_at(), self.route);
        match (self.attempt, self.request, self.max_duration, self.flush) {
            (None, None, None, None) => usual,
            _ => self.sooner_than(usual),
        }
    }

    /// The nearest of `usual` and of those that most streams do not have.
    #[cold]
    fn sooner_than(&self, usual: Option<Instant>) -> Option<Instant> {
        [self.attempt, self.request, self.max_duration, self.flush].into_iter().fold(usual, sooner)
    }

    /// The timer that ran out first, if any has.
    pub fn expired(&self, now: Instant) -> Option<Timeout> {
        let each = [
            (self.route, Timeout::Route),
            (self.idle_at(), Timeout::StreamIdle),
            (self.request, Timeout::Request),
            (self.max_duration, Timeout::MaxDuration),
            (self.attempt, Timeout::Attempt),
        ];
        each.into_iter()
            .filter_map(|(at, which)| at.filter(|at| *at <= now).map(|at| (at, which)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, which)| which)
    }
}

/// The nearer of two deadlines.
#[inline(always)]
pub fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(x), Some(y)) if y < x => b,
        (None, _) => b,
        _ => a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_core::clock::Clock;

    #[test]
    fn the_nearest_timer_is_watched_and_the_first_to_run_out_is_named() {
        let now = Clock::system().now();
        let s = Duration::from_secs(1);
        let mut d = Deadlines::none(now);
        assert_eq!((d.next(), d.expired(now)), (None, None));
        d.idle = Some(3 * s);
        d.response = Some(2 * s);
        d.request = Some(now + s);
        d.request_complete(now);
        assert_eq!(d.next(), Some(now + 2 * s));
        assert_eq!(d.expired(now + s), None);
        assert_eq!(d.expired(now + 4 * s), Some(Timeout::Route));
        d.route = None;
        d.last_event = now + s;
        assert_eq!(d.expired(now + 3 * s), None);
        assert_eq!(d.expired(now + 4 * s), Some(Timeout::StreamIdle));
    }
}
