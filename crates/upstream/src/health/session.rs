//! One host's checks, one after another: what they come to, and when the next one is due.

use super::config::{HealthCheckConfig, Intervals};
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use std::time::Duration;

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A good answer, perhaps of a host that says that it is degraded.
    Good { degraded: bool },
    /// A wrong answer: the host is out at once.
    Wrong,
    /// A wrong answer of a kind that counts as many as a missing one.
    Retriable,
    /// No answer.
    Network,
    /// No answer in time.
    Timeout,
}

/// What a host's checks have come to so far.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// It gets no traffic because of its checks.
    pub(super) failed: bool,
    first: bool,
    good: u32,
    bad: u32,
}

/// What a verdict changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// A few more like this one and the host changes.
    Pending,
    /// The host came in or went out.
    Changed,
}

impl Session {
    /// Before the first check, which decides at once.
    pub(super) fn new() -> Self {
        Self { failed: true, first: true, good: 0, bad: 0 }
    }

    /// Takes a verdict in.
    pub(super) fn take(&mut self, verdict: Verdict, config: &HealthCheckConfig) -> Change {
        let first = std::mem::replace(&mut self.first, false);
        if let Verdict::Good { .. } = verdict {
            self.bad = 0;
            if !self.failed {
                return Change::None;
            }
            self.good += 1;
            if first || self.good >= config.healthy_threshold {
                (self.failed, self.good) = (false, 0);
                return Change::Changed;
            }
            return Change::Pending;
        }
        self.good = 0;
        if self.failed {
            return if first { Change::Changed } else { Change::None };
        }
        self.bad += 1;
        if verdict == Verdict::Wrong || self.bad >= config.unhealthy_threshold {
            (self.failed, self.bad) = (true, 0);
            return Change::Changed;
        }
        Change::Pending
    }
}

/// The time to the next check. `traffic`: the cluster has ever had a connection. Runtime keys
/// (`health_check.min_interval`, `health_check.max_interval`, in milliseconds) bound it.
pub(super) fn wait(
    config: &HealthCheckConfig,
    (good, change): (bool, Change),
    traffic: bool,
    rng: &Rng,
    runtime: &Runtime,
) -> Duration {
    let Intervals { healthy, healthy_edge, unhealthy, unhealthy_edge, no_traffic, no_traffic_healthy } =
        config.intervals;
    let pending = change == Change::Pending;
    let base = match (traffic, good, pending) {
        (false, true, false) => no_traffic_healthy,
        (false, ..) => no_traffic,
        (true, true, false) => healthy,
        (true, true, true) => healthy_edge,
        (true, false, false) => unhealthy,
        (true, false, true) => unhealthy_edge,
    };
    let ms = base.as_millis() as u64;
    let share = ms * u64::from(config.interval_jitter_percent) / 100;
    let jitter = rng.below(share) + rng.below(config.interval_jitter.as_millis() as u64);
    let least = runtime.integer("health_check.min_interval", 1);
    let most = runtime.integer("health_check.max_interval", u64::MAX);
    Duration::from_millis((ms + jitter).max(1).max(least).min(most))
}
