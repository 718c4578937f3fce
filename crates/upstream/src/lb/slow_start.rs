//! Slow start: a host that is new, or well again, gets its share little by little.

use crate::host::{Health, HealthFlags, HostShared};
use nuncio_core::runtime::Runtime;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `SlowStartConfig`
#[derive(Clone, Debug, PartialEq)]
pub struct SlowStart {
    /// `slow_start_window`, above 0.
    pub window: Duration,
    /// `aggression`
    pub aggression: f64,
    /// The runtime key that overrides it; may be empty.
    pub aggression_key: Box<str>,
    /// `min_weight_percent`, of 1.
    pub least: f64,
}

impl SlowStart {
    /// What the weight of a host is multiplied with that is well `since` then, from `least` to 1.
    pub(super) fn factor(&self, since: Instant, now: Instant, runtime: &Runtime) -> f64 {
        let passed = now.saturating_duration_since(since);
        if passed >= self.window {
            return 1.0;
        }
        let share = passed.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        let aggression = match runtime.is_empty() || self.aggression_key.is_empty() {
            true => self.aggression,
            false => runtime.double(&self.aggression_key, self.aggression),
        };
        let grown = if aggression > 0.0 && aggression != 1.0 { share.powf(1.0 / aggression) } else { share };
        grown.max(self.least)
    }

    /// Whether one of the hosts has not yet got its whole share.
    pub(super) fn concerns(&self, hosts: &[Arc<HostShared>], now: Instant) -> bool {
        let young = |since| now.saturating_duration_since(since) <= self.window;
        hosts.iter().any(|host| host.well_since().is_some_and(young))
    }
}

/// Since when a host is well, if it is.
pub(super) fn start_of(host: &HostShared) -> Option<Instant> {
    host.well_since().filter(|_| host.health_flags().health() == Health::Healthy)
}

/// Notes which hosts are well from now on: those that are new, and those whose checks have passed again.
pub(super) fn note<'h>(hosts: impl Iterator<Item = &'h Arc<HostShared>>, now: Instant) {
    for host in hosts {
        let flags = host.health_flags();
        if flags.contains(HealthFlags::FAILED_ACTIVE_HC) {
            host.set_well_since(None);
        } else if flags.health() == Health::Healthy && host.well_since().is_none() {
            host.set_well_since(Some(now));
        }
    }
}
