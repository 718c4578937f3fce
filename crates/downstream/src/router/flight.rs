//! A request on its way to a cluster: its attempts, what it may need again, and its own timers.

use super::RouterConfig;
use super::attempts::Attempts;
use super::charge::Charge;
use super::replay::{Progress, Replay};
use super::retry::RetryState;
use super::shadow::Shadows;
use super::timeouts::Timeouts;
use super::upstream_filters::AttemptFilters;
use super::upstream_log::AttemptLog;
use crate::filter::LiveChain;
use crate::hcm::deadlines::sooner;
use crate::hcm::exchange::Downstream;
use crate::hcm::stream::Stream;
use crate::route::{ClusterAction, Route};
use crate::tracing::upstream::AttemptSpan;
use nuncio_codec::head::{HeaderMap, Version};
use nuncio_core::stream_info::{ByteCounts, ResponseFlag};
use nuncio_upstream::cluster::{Cluster, PickContext, RequestPriority};
use nuncio_upstream::dns_cache::Unresolved;
use nuncio_upstream::host::Host;
use nuncio_upstream::pool::{Exchange, PendingStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One attempt.
pub(super) struct Attempt {
    pub(super) host: Rc<Host>,
    pub(super) step: Step,
    pub(super) progress: Progress,
    /// When it has to have answered.
    answer_by: Option<Instant>,
    /// When it has to be over, answered or not.
    pub(super) over_by: Option<Instant>,
    /// Its time has begun.
    timed: bool,
    /// When something last happened on it.
    pub(super) last_event: Instant,
    /// Its time ran out, but it may still answer first: another one was begun beside it.
    pub(super) hedged: bool,
    /// Outlier detection knows that its time ran out.
    counted_slow: bool,
    /// More waits for it than may.
    pub(super) backed_up: bool,
    /// Its span, where attempts have some.
    pub(super) span: Option<Box<AttemptSpan>>,
    /// What `upstream_log` tells of it.
    pub(super) log: Option<Box<AttemptLog>>,
    /// Its filters of the upstream's side.
    pub(super) filters: AttemptFilters,
    /// They have let the request's head go, and it is on the connection. Only said where they see bodies.
    pub(super) head_out: bool,
}

/// How far an attempt is.
// Moved once, into the flight; boxing it would allocate per request.
#[allow(clippy::large_enum_variant, reason = "see above")]
pub(super) enum Step {
    /// It waits for a connection.
    Waiting(PendingStream),
    /// It is on one.
    Live(Exchange),
}

/// What is told of an attempt when it is over, and its filters.
pub(super) type Beside = (Option<Box<AttemptSpan>>, Option<Box<AttemptLog>>, AttemptFilters);

impl Attempt {
    #[inline(always)]
    pub(super) fn new(host: Rc<Host>, step: Step, now: Instant, (span, log, filters): Beside) -> Self {
        let progress = Progress::default();
        Self {
            host,
            step,
            progress,
            answer_by: None,
            over_by: None,
            timed: false,
            last_event: now,
            hedged: false,
            counted_slow: false,
            backed_up: false,
            span,
            log,
            filters,
            head_out: false,
        }
    }

    /// The nearest of its deadlines, as [`Flight::next_deadline`].
    #[inline]
    fn next_deadline(
        &mut self,
        timeouts: &Timeouts,
        now: Instant,
        request_complete: bool,
    ) -> Option<Instant> {
        let after = |limit: Option<Duration>, since: Instant| limit.and_then(|d| since.checked_add(d));
        let next = self.log.as_ref().and_then(|log| log.next);
        if matches!(self.step, Step::Waiting(_)) {
            return next;
        }
        if !self.timed && request_complete {
            self.timed = true;
            self.answer_by = after(timeouts.per_try, now);
            self.last_event = now;
        }
        let idle_by = after(timeouts.per_try_idle.filter(|_| self.timed), self.last_event);
        sooner(sooner(next, self.answer_by), sooner(self.over_by, idle_by))
    }

    /// It is over: its span is, too, and its log.
    #[inline]
    fn close<D: Downstream>(&mut self, stream: &Stream<D>) {
        if let Some(mut log) = self.log.take()
            && let Step::Live(_) = self.step
            && !self.filters.see_bodies()
        {
            log.sent(stream.info.bytes_received);
        }
        if let Some(span) = self.span.take() {
            span.end(stream);
        }
        if self.filters.see_bodies()
            && !self.head_out
            && let Step::Live(up) = &mut self.step
        {
            up.abandon();
        }
    }

    /// Its exchange, once it is on a connection.
    pub(super) fn live(&mut self) -> Option<&mut Exchange> {
        match &mut self.step {
            Step::Live(up) => Some(up),
            Step::Waiting(_) => None,
        }
    }
}

/// How much may wait on each side before its sender is no longer read, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Towards the upstream (the cluster's `per_connection_buffer_limit_bytes`).
    pub(super) up: usize,
    /// Towards the client (the listener's).
    pub(super) down: usize,
    /// Of a body that is kept for another attempt.
    pub(super) replay: usize,
}

/// Which of a flight's own timers ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The back-off is over.
    BackOff,
    /// `per_try_timeout` of this attempt.
    PerTry(usize),
    /// `per_try_idle_timeout` of this attempt.
    PerTryIdle(usize),
    /// The cluster's `max_stream_duration` of this attempt.
    StreamDuration(usize),
    /// The interval of this attempt's log.
    Log(usize),
}

/// All that the router knows of one request while it serves it.
pub(super) struct Flight<'a> {
    pub(super) config: &'a RouterConfig,
    pub(super) route: &'a Route,
    pub(super) action: &'a ClusterAction,
    pub(super) cluster: Rc<Cluster>,
    pub(super) priority: RequestPriority,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) retry: Option<RetryState>,
    pub(super) replay: Replay,
    pub(super) attempts: Attempts,
    /// When the next attempt is made, and whether because of a time-out.
    pub(super) back_off: Option<(Instant, TimeoutRetry)>,
    /// What every pick of a host looks at.
    pub(super) pick: PickContext<'a>,
    /// Of the upstream's side, of which each attempt has its own.
    pub(super) filters: Option<Rc<LiveChain>>,
    /// Mirrors are to be sent a copy of the request, as its first attempt makes it.
    pub(super) mirrored: bool,
    /// Copies of the request that wait for its body.
    pub(super) shadows: Option<Box<Shadows>>,
    /// Cookies that the response gives the client, so that it is placed alike again.
    pub(super) cookies: Vec<Vec<u8>>,
    /// What the attempts carried that were made before the present one.
    pub(super) carried: Option<Box<ByteCounts>>,
    /// The host of an attempt that ended before it had a place.
    pub(super) failed_host: Option<Rc<Host>>,
    /// Why there is no host, where a name had to be looked up.
    pub(super) unresolved: Option<Unresolved>,
    /// The client does not read, so that no upstream is read either.
    pub(super) held_back: bool,
    /// An attempt's answer has reported its host's load: one report of a request counts.
    pub(super) load_reported: bool,
}

/// Whether an attempt is made because the one before took too long (`x-envoy-is-timeout-retry`).
pub(super) type TimeoutRetry = bool;

impl Flight<'_> {
    /// Whether timers of its own may run: then the stream has to watch them.
    pub(super) fn is_timed(&self) -> bool {
        self.back_off.is_some()
            || self.timeouts.times_attempts()
            || self.config.upstream_log.as_ref().is_some_and(|log| log.is_periodic())
    }

    /// The nearest of its own deadlines. Attempts' times begin once the request is complete and they are on a
    /// connection.
    pub(super) fn next_deadline(&mut self, now: Instant, request_complete: bool) -> Option<Instant> {
        let Self { attempts, back_off, timeouts, .. } = self;
        let mut next = back_off.map(|(at, _)| at);
        attempts.each(|attempt| next = sooner(next, attempt.next_deadline(timeouts, now, request_complete)));
        next
    }

    /// Which of its timers ran out first.
    pub(super) fn alarm(&self, now: Instant) -> Option<Alarm> {
        let due = |at: Option<Instant>| at.filter(|at| *at <= now);
        let back_off = due(self.back_off.map(|(at, _)| at)).map(|at| (at, Alarm::BackOff));
        let tries = self.attempts.iter().enumerate().flat_map(|(i, attempt)| {
            let live = matches!(attempt.step, Step::Live(_));
            let idle = self.timeouts.per_try_idle.filter(|_| live && attempt.timed);
            let idle = idle.map(|limit| attempt.last_event + limit);
            let per_try = due(attempt.answer_by).map(|at| (at, Alarm::PerTry(i)));
            let over = due(attempt.over_by).map(|at| (at, Alarm::StreamDuration(i)));
            let idle = due(idle).map(|at| (at, Alarm::PerTryIdle(i)));
            let log = due(attempt.log.as_ref().and_then(|log| log.next)).map(|at| (at, Alarm::Log(i)));
            per_try.into_iter().chain(idle).chain(over).chain(log)
        });
        back_off.into_iter().chain(tries).min_by_key(|(at, _)| *at).map(|(_, alarm)| alarm)
    }

    /// The response has begun: its attempt is the only one, and time limits on getting one are over.
    pub(super) fn settle_on<D: Downstream>(&mut self, stream: &Stream<D>, at: usize) {
        for mut other in self.attempts.settle(at) {
            other.close(stream);
        }
        if let Some(attempt) = self.attempts.get_mut(0) {
            (attempt.timed, attempt.answer_by) = (true, None);
        }
        self.back_off = None;
        self.retry = None;
        self.replay.let_go();
    }

    /// Its time is no longer watched: another attempt was begun beside it.
    pub(super) fn hedge(&mut self, at: usize) {
        if let Some(attempt) = self.attempts.get_mut(at) {
            attempt.answer_by = None;
            (attempt.hedged, attempt.counted_slow) = (true, true);
            attempt.span.iter_mut().for_each(|span| span.timed_out(ResponseFlag::UpstreamRequestTimeout));
        }
    }

    /// Whether outlier detection knows that its time ran out.
    pub(super) fn is_counted_slow(&self, at: usize) -> bool {
        self.attempts.get(at).is_some_and(|a| a.counted_slow)
    }

    /// It runs on alone, without a limit of its own.
    pub(super) fn unhedge(&mut self, at: usize) {
        if let Some(attempt) = self.attempts.get_mut(at) {
            attempt.hedged = false;
        }
    }

    fn charge_host<'c>(&'c self, host: Option<&'c Host>) -> Charge<'c> {
        Charge { config: self.config, route: self.route, cluster: &self.cluster, host }
    }

    /// Takes what an attempt's headers or trailers report of its host's load.
    #[inline]
    pub(super) fn take_load(&mut self, at: usize, fields: &HeaderMap) {
        if let (false, Some(attempt)) = (self.load_reported, self.attempts.get(at)) {
            self.load_reported = attempt.host.take_load(fields);
        }
    }

    /// Whom the attempt is counted for.
    pub(super) fn charge(&self, at: usize) -> Charge<'_> {
        self.charge_host(self.attempts.get(at).map(|a| &*a.host))
    }

    /// Whom a failed attempt is counted for, which may not have had a place among the others yet.
    pub(super) fn charge_failed(&self, at: Option<usize>) -> Charge<'_> {
        let host = at.and_then(|at| self.attempts.get(at)).map(|a| &*a.host);
        self.charge_host(host.or(self.failed_host.as_deref()))
    }

    /// For what no host is to blame for.
    pub(super) fn charge_nobody(&self) -> Charge<'_> {
        self.charge_host(None)
    }

    /// The log of an attempt, where it has one.
    #[inline]
    pub(super) fn log(&mut self, at: usize) -> Option<&mut AttemptLog> {
        self.attempts.get_mut(at)?.log.as_deref_mut()
    }

    /// The span of an attempt, where it has one.
    #[inline]
    pub(super) fn span(&mut self, at: usize) -> Option<&mut AttemptSpan> {
        self.attempts.get_mut(at)?.span.as_deref_mut()
    }

    /// Another attempt takes the place of this one: what it carried counts for the stream all the same.
    #[cold]
    pub(super) fn carry(&mut self, at: usize) {
        if let Some(Attempt { step: Step::Live(up), .. }) = self.attempts.get(at) {
            let before = self.carried.take().map_or_else(ByteCounts::default, |before| *before);
            let over_http2 = up.connection().protocol == Some(Version::Http2);
            self.carried = Some(Box::new(before.then(up.bytes(), over_http2)));
        }
    }

    /// Ends an attempt: its connection is given back or closed.
    pub(super) fn end<D: Downstream>(&mut self, stream: &Stream<D>, at: usize) {
        if let Some(mut attempt) = self.attempts.remove(at) {
            attempt.close(stream);
        }
    }

    /// Ends all attempts.
    #[inline]
    pub(super) fn end_all<D: Downstream>(&mut self, stream: &Stream<D>) {
        if !self.attempts.is_empty() {
            self.attempts.each(|attempt| attempt.close(stream));
            self.attempts.clear();
        }
    }
}
