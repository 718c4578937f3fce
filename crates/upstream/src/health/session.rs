//! What one check says of one host, answer after answer: what that comes to, and when the next one is due.

use super::config::{HealthCheckConfig, Intervals};
use super::event::Event;
use crate::host::HealthFlags;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use std::time::Duration;

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A good answer.
    Good {
        /// The host says that it is degraded (`x-envoy-degraded`).
        degraded: bool,
    },
    /// None.
    Bad(Failure),
}

/// A check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(super) kind: FailureKind,
    /// It counts as many as a missing answer does (`retriable_statuses`).
    pub(super) retriable: bool,
    /// The status of an HTTP answer; 0 without one.
    pub(super) status: u16,
    /// The host says that it is leaving (`x-envoy-immediate-health-check-fail`).
    pub(super) leaving: bool,
}

/// `envoy.data.core.v3.HealthCheckFailureType`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// A wrong answer: the host is out at once.
    Active,
    /// An answer to a request said so.
    Passive,
    /// No answer.
    Network,
    /// No answer in time.
    Timeout,
}

impl FailureKind {
    /// Whether nothing was answered.
    pub(super) fn is_network(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }
}

impl Verdict {
    /// A failure without anything else to tell.
    pub(crate) const fn failed(kind: FailureKind) -> Self {
        Self::Bad(Failure { kind, retriable: false, status: 0, leaving: false })
    }
}

/// What the checks of one kind have come to so far for one host.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// `FAILED_ACTIVE_HC`, `DEGRADED_ACTIVE_HC`, `PENDING_ACTIVE_HC` and `ACTIVE_HC_TIMEOUT`, as far as this check
    /// decides on them.
    pub(super) flags: HealthFlags,
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
    /// The host came in or went out, or is degraded or no longer so.
    Changed,
}

impl Session {
    /// The flags that checks decide on.
    pub(super) const FLAGS: HealthFlags = HealthFlags::FAILED_ACTIVE_HC
        .with(HealthFlags::DEGRADED_ACTIVE_HC)
        .with(HealthFlags::PENDING_ACTIVE_HC)
        .with(HealthFlags::NOT_COUNTED_YET)
        .with(HealthFlags::ACTIVE_HC_TIMEOUT);

    /// Before the first check, which decides at once, of a host with these flags.
    pub(super) fn new(flags: HealthFlags) -> Self {
        Self { flags: flags.among(Self::FLAGS), first: true, good: 0, bad: 0 }
    }

    /// Whether no check has come back yet.
    pub(super) fn is_new(&self) -> bool {
        self.first
    }

    pub(crate) fn failed(&self) -> bool {
        self.flags.contains(HealthFlags::FAILED_ACTIVE_HC)
    }

    /// Takes a verdict in; `tell` is told what is worth an event.
    pub(super) fn take(
        &mut self,
        verdict: Verdict,
        config: &HealthCheckConfig,
        tell: &mut dyn FnMut(Event),
    ) -> Change {
        let change = match verdict {
            Verdict::Good { degraded } => self.passed(degraded, config, tell),
            Verdict::Bad(failure) => self.missed(failure, config, tell),
        };
        self.first = false;
        change
    }

    fn passed(&mut self, degraded: bool, config: &HealthCheckConfig, tell: &mut dyn FnMut(Event)) -> Change {
        self.bad = 0;
        let mut change = Change::None;
        if self.failed() {
            self.good += 1;
            change = Change::Pending;
            if self.first || self.good == config.healthy_threshold {
                self.flags =
                    self.flags.without(HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::ACTIVE_HC_TIMEOUT));
                change = Change::Changed;
                tell(Event::Added { first: self.first });
            }
        }
        if change != Change::Changed && config.events.all_successes {
            tell(Event::Passed);
        }
        change = self.no_longer_awaited(change);
        if degraded != self.flags.contains(HealthFlags::DEGRADED_ACTIVE_HC) {
            tell(if degraded { Event::Degraded } else { Event::NoLongerDegraded });
            self.flags = match degraded {
                true => self.flags.with(HealthFlags::DEGRADED_ACTIVE_HC),
                false => self.flags.without(HealthFlags::DEGRADED_ACTIVE_HC),
            };
            if change == Change::None {
                change = Change::Changed;
            }
        }
        change
    }

    fn missed(
        &mut self,
        failure: Failure,
        config: &HealthCheckConfig,
        tell: &mut dyn FnMut(Event),
    ) -> Change {
        let Failure { kind, retriable, status, leaving: _ } = failure;
        self.good = 0;
        let mut change = Change::None;
        if !self.failed() {
            let counts = kind.is_network() || retriable;
            self.bad += u32::from(counts);
            change = Change::Pending;
            if !counts || self.bad == config.unhealthy_threshold {
                self.flags = self.flags.with(HealthFlags::FAILED_ACTIVE_HC);
                change = Change::Changed;
                tell(Event::Ejected { kind, status });
            }
        }
        self.flags = match kind == FailureKind::Timeout && self.failed() {
            true => self.flags.with(HealthFlags::ACTIVE_HC_TIMEOUT),
            false => self.flags.without(HealthFlags::ACTIVE_HC_TIMEOUT),
        };
        change = self.no_longer_awaited(change);
        if self.first || config.events.all_failures {
            tell(Event::Failed { kind, first: self.first, status });
        }
        change
    }

    /// A first check has come back; where it was awaited, the host counts from now on.
    fn no_longer_awaited(&mut self, change: Change) -> Change {
        let awaited = HealthFlags::PENDING_ACTIVE_HC.with(HealthFlags::NOT_COUNTED_YET);
        let was_awaited = self.flags.among(awaited) != HealthFlags::default();
        self.flags = self.flags.without(awaited);
        if was_awaited { Change::Changed } else { change }
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
    let least = runtime.integer("health_check.min_interval", 0);
    let most = runtime.integer("health_check.max_interval", u64::MAX);
    Duration::from_millis((ms + jitter).min(most).max(least).max(1))
}
