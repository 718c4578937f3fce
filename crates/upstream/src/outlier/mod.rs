//! Passive health: hosts that answer badly are ejected for a while.
//!
//! Workers count what hosts answer in atomics that all of them share; whoever completes a run of failures tells
//! the main thread, which alone ejects hosts and lets them back.

mod config;
mod detector;
mod event;
mod matcher;

pub use config::{OutlierConfig, RateLimits};
pub(crate) use detector::follow;
pub use matcher::ErrorMatcher;

use crate::host::HostShared;
use crate::line::Line;
use nuncio_core::runtime::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;

/// What came of a request, as far as it tells of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status (a gRPC status mapped to HTTP).
    Response(u16),
    /// A connection to it is there, for a request.
    Connected,
    /// A connection to it is there, which is all that is asked of it.
    ConnectedForGood,
    /// No connection, or a reset before the response.
    Failed,
    /// It took too long; the client is told this status.
    TimedOut(u16),
}

/// Why a host is ejected. The order is that of the configured percentages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `consecutive_5xx`
    Consecutive5xx,
    /// `consecutive_gateway_failure`
    ConsecutiveGatewayFailure,
    /// `consecutive_local_origin_failure`
    ConsecutiveLocalOriginFailure,
    /// Success rate, of responses.
    SuccessRate,
    /// Success rate, of connections and time-outs.
    LocalOriginSuccessRate,
    /// Failure percentage, of responses.
    FailurePercentage,
    /// Failure percentage, of connections and time-outs.
    LocalOriginFailurePercentage,
}

/// Where failures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    External,
    Local,
}

/// What hosts' success rates were in the last interval, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRates {
    /// Their mean.
    pub average: f64,
    /// Below it a host is ejected.
    pub threshold: f64,
}

impl SuccessRates {
    /// Too few hosts had enough requests.
    pub const UNKNOWN: Self = Self { average: Self::NO_RATE, threshold: Self::NO_RATE };

    /// Stands for the rate of a host that had too few requests.
    pub const NO_RATE: f64 = -1.0;
}

impl Cause {
    /// Whose failures it counts.
    fn origin(self) -> Origin {
        match self {
            Self::ConsecutiveLocalOriginFailure
            | Self::LocalOriginSuccessRate
            | Self::LocalOriginFailurePercentage => Origin::Local,
            Self::Consecutive5xx
            | Self::ConsecutiveGatewayFailure
            | Self::SuccessRate
            | Self::FailurePercentage => Origin::External,
        }
    }
}

/// Successes among all in the present interval.
#[derive(Debug, Default)]
struct Rate {
    good: AtomicU32,
    total: AtomicU32,
}

impl Rate {
    fn count(&self, good: bool) {
        self.total.fetch_add(1, Relaxed);
        if good {
            self.good.fetch_add(1, Relaxed);
        }
    }

    /// The interval's counts (good, all); the next interval begins.
    fn take(&self) -> (u32, u32) {
        (self.good.swap(0, Relaxed), self.total.swap(0, Relaxed))
    }
}

/// How long a run of failures of each consecutive [`Cause`] has to be.
#[derive(Debug, Default)]
struct Consecutive([AtomicU32; 3]);

impl Consecutive {
    fn set(&self, limits: [u32; 3]) {
        for (own, limit) in self.0.iter().zip(limits) {
            own.store(limit, Relaxed);
        }
    }
}

/// What all workers have seen of one host.
#[derive(Debug)]
pub(crate) struct HostRecord {
    /// Of each consecutive [`Cause`].
    runs: [AtomicU32; 3],
    external: Rate,
    local: Rate,
    /// Its success rates in the last interval, as bits: of responses, and of what failed on this side.
    shown: [AtomicU64; 2],
}

impl Default for HostRecord {
    fn default() -> Self {
        let (runs, external, local) = Default::default();
        let none = || AtomicU64::new(SuccessRates::NO_RATE.to_bits());
        Self { runs, external, local, shown: [none(), none()] }
    }
}

impl HostRecord {
    fn run(&self, cause: Cause) -> Option<&AtomicU32> {
        self.runs.get(cause as usize)
    }

    fn reset(&self, cause: Cause) {
        if let Some(run) = self.run(cause) {
            run.store(0, Relaxed);
        }
    }

    fn rate(&self, origin: Origin) -> &Rate {
        match origin {
            Origin::External => &self.external,
            Origin::Local => &self.local,
        }
    }

    fn show_rate(&self, origin: Origin, rate: f64) {
        let [external, local] = &self.shown;
        match origin {
            Origin::External => external.store(rate.to_bits(), Relaxed),
            Origin::Local => local.store(rate.to_bits(), Relaxed),
        }
    }

    fn shown_rate(&self, origin: Origin) -> f64 {
        let [external, local] = self.shown_rates();
        match origin {
            Origin::External => external,
            Origin::Local => local,
        }
    }

    /// Its success rates in the last interval, in percent: of responses, and of what failed on this side.
    pub(crate) fn shown_rates(&self) -> [f64; 2] {
        self.shown.each_ref().map(|bits| f64::from_bits(bits.load(Relaxed)))
    }

    /// One more failure in a row; whether the run is complete.
    fn lengthen(&self, cause: Cause, limits: &Consecutive) -> bool {
        let limit = limits.0.get(cause as usize).map(|limit| limit.load(Relaxed));
        self.run(cause).is_some_and(|run| Some(run.fetch_add(1, Relaxed) + 1) == limit)
    }

    fn response(&self, status: u16, limits: &Consecutive, tell: &mut dyn FnMut(Cause)) {
        let failed = (500..600).contains(&status);
        self.external.count(!failed);
        if !failed {
            self.reset(Cause::Consecutive5xx);
            self.reset(Cause::ConsecutiveGatewayFailure);
            return;
        }
        if !(502..=504).contains(&status) {
            self.reset(Cause::ConsecutiveGatewayFailure);
        } else if self.lengthen(Cause::ConsecutiveGatewayFailure, limits) {
            tell(Cause::ConsecutiveGatewayFailure);
        }
        if self.lengthen(Cause::Consecutive5xx, limits) {
            tell(Cause::Consecutive5xx);
        }
    }

    fn local(&self, good: bool, limits: &Consecutive, tell: &mut dyn FnMut(Cause)) {
        self.local.count(good);
        if good {
            self.reset(Cause::ConsecutiveLocalOriginFailure);
        } else if self.lengthen(Cause::ConsecutiveLocalOriginFailure, limits) {
            tell(Cause::ConsecutiveLocalOriginFailure);
        }
    }

    fn count(&self, outcome: Outcome, split: bool, limits: &Consecutive, tell: &mut dyn FnMut(Cause)) {
        match (outcome, split) {
            (Outcome::Response(status), _) | (Outcome::TimedOut(status), false) => {
                self.response(status, limits, tell);
            }
            (Outcome::Failed, false) => self.response(503, limits, tell),
            (Outcome::Connected, false) => {}
            (Outcome::ConnectedForGood, false) => self.response(200, limits, tell),
            (Outcome::Connected | Outcome::ConnectedForGood, true) => self.local(true, limits, tell),
            (Outcome::Failed | Outcome::TimedOut(_), true) => self.local(false, limits, tell),
        }
    }
}

/// What the main thread is told.
pub(crate) enum Told {
    /// It has completed a run of failures.
    Run(Arc<HostShared>, Cause),
    /// It has passed an active health check although it is ejected.
    Passed(Arc<HostShared>),
    /// It said in an answer that it is degraded.
    Degraded(Arc<HostShared>),
    /// Hosts were published; some may be gone.
    Hosts,
}

/// How workers tell the main thread.
pub(crate) struct OutlierLine {
    line: Line<Told>,
    limits: Consecutive,
}

impl OutlierLine {
    pub(crate) fn new() -> Self {
        Self { line: Line::new(), limits: Consecutive::default() }
    }

    /// The limits as runtime keys have them now.
    pub(crate) fn take_runtime(&self, config: &OutlierConfig, runtime: &Runtime) {
        self.limits.set(config.at_runtime(runtime).consecutive);
    }

    /// The main thread's end, once.
    fn listen(&self) -> Option<mpsc::UnboundedReceiver<Told>> {
        self.line.listen()
    }

    /// Counts what came of a request to `host`.
    pub(crate) fn count(&self, host: &Arc<HostShared>, outcome: Outcome, config: &OutlierConfig) {
        host.outlier().count(outcome, config.split, &self.limits, &mut |cause| {
            self.line.tell(Told::Run(Arc::clone(host), cause));
        });
    }

    pub(crate) fn tell(&self, told: Told) {
        self.line.tell(told);
    }
}

#[cfg(test)]
mod tests;
