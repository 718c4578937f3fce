//! `load_aware_locality`: localities share by the room that their hosts report, the proxy's own before others.
//!
//! The main thread works the shares out every so often; workers choose by the last ones.

use super::layout::Zone;
use crate::host::Locality;
use crate::orca::OutOfBand;
use nuncio_core::rng::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// `LoadAwareLocality`; what picks within a locality is the rest of the cluster's balancing.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadAware {
    /// `weight_update_period`
    pub update: Duration,
    /// `weight_expiration_period`: what a host has reported counts for so long; zero: for ever.
    pub expiration: Duration,
    /// `metric_names_for_computing_utilization`
    pub metrics: Box<[Box<str>]>,
    /// `utilization_variance_threshold`: the own locality may be so much busier than the others and keep all requests.
    pub threshold: f64,
    /// What a new figure counts for beside those before it, above 0 and up to 1 (`smoothing_time_constant`).
    pub newness: f64,
    /// `remote_probe_fraction`: other localities get at least this share.
    pub probes: f64,
    /// `enable_oob_load_report`: hosts report over streams of their own, too.
    pub out_of_band: Option<OutOfBand>,
}

/// Which hosts of a priority are picked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usable {
    Healthy,
    Degraded,
    /// In panic.
    All,
}

/// What happened when shares were worked out, as the counters tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// No locality has room: each counts by its hosts.
    Overloaded,
    /// The own locality keeps all requests.
    Preferred,
    /// Others are given requests so that they report.
    Probing,
    /// The own locality is so busy that others take part.
    Spilling,
}

/// What the hosts of one locality report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reported {
    /// How many hosts there are, whether they report or not.
    pub(crate) hosts: usize,
    /// How busy those are that report, on average: from 0 to 1.
    pub(crate) busy: Option<f64>,
}

/// A locality as it counts now.
#[derive(Clone, Copy, Debug)]
struct Counted {
    hosts: f64,
    busy: f64,
    /// Its hosts did report, and do no more.
    stale: bool,
}

/// Works out the shares of the localities of one priority, from one look to the next.
#[derive(Default)]
pub(crate) struct Weigher {
    /// How busy each was at the last look, smoothed; where its hosts have ever reported.
    smoothed: HashMap<Arc<Locality>, f64>,
}

/// The shares of the localities of one priority.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Share {
    weights: Vec<(Arc<Locality>, f64)>,
    /// The own locality keeps all requests.
    stays: bool,
}

/// The shares of all localities, by priority, for each kind of hosts that may be picked from.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    priorities: Vec<[Share; 3]>,
}

impl Weigher {
    /// Takes what localities report now. `own`: the first one is the proxy's own. `met` is told of each condition; the
    /// number is that of localities whose hosts report no more.
    pub(crate) fn weigh(
        &mut self,
        localities: &[(Arc<Locality>, Reported)],
        own: bool,
        config: &LoadAware,
        met: &mut dyn FnMut(Condition),
    ) -> (Share, u64) {
        self.smoothed.retain(|known, _| localities.iter().any(|(locality, _)| locality == known));
        let count = |(locality, reported)| self.count(locality, reported, config.newness);
        let counted: Vec<Counted> = localities.iter().map(|(l, r)| (l, *r)).map(count).collect();
        let stale = counted.iter().filter(|one| one.stale).count() as u64;
        let (weights, stays) = weights(&counted, own, config, met);
        let weights = localities.iter().map(|(locality, _)| Arc::clone(locality)).zip(weights).collect();
        (Share { weights, stays }, stale)
    }

    fn count(&mut self, locality: &Arc<Locality>, reported: Reported, newness: f64) -> Counted {
        let before = self.smoothed.get(locality).copied();
        let now = match (reported.busy, before) {
            (Some(busy), Some(before)) => Some(newness * busy + (1.0 - newness) * before),
            (Some(busy), None) => Some(busy),
            (None, before) => before,
        };
        if let Some(now) = now {
            self.smoothed.insert(Arc::clone(locality), now);
        }
        let stale = reported.busy.is_none() && before.is_some();
        Counted { hosts: reported.hosts as f64, busy: now.unwrap_or(0.0), stale }
    }
}

/// The weight of each locality, and whether the first one keeps all requests.
fn weights(
    counted: &[Counted],
    own: bool,
    config: &LoadAware,
    met: &mut dyn FnMut(Condition),
) -> (Vec<f64>, bool) {
    let hosts = |of: &[Counted]| of.iter().map(|one| one.hosts).sum::<f64>();
    let room = |one: &Counted| if one.stale { one.hosts } else { one.hosts * (1.0 - one.busy).max(0.0) };
    let mut weights: Vec<f64> = counted.iter().map(room).collect();
    let whole: f64 = weights.iter().sum();
    if whole == 0.0 {
        if hosts(counted) > 0.0 {
            met(Condition::Overloaded);
        }
        return (counted.iter().map(|one| one.hosts).collect(), false);
    }
    let (Some((here, others)), true) = (counted.split_first(), own) else { return (weights, false) };
    let elsewhere = hosts(others);
    let Some((first, rest)) = weights.split_first_mut().filter(|_| elsewhere > 0.0) else {
        return (weights, false);
    };
    let mut stays = false;
    if here.hosts > 0.0 {
        let mean = others.iter().map(|one| one.busy * one.hosts).sum::<f64>() / elsewhere;
        stays = here.busy <= mean + config.threshold;
        met(if stays { Condition::Preferred } else { Condition::Spilling });
        if stays {
            *first = whole;
            rest.fill(0.0);
        }
    }
    let missing = config.probes * whole - rest.iter().sum::<f64>();
    if missing > 0.0 {
        met(Condition::Probing);
        let taken = missing.min(*first);
        *first -= taken;
        for (weight, one) in rest.iter_mut().zip(others) {
            *weight += taken * one.hosts / elsewhere;
        }
        stays = false;
    }
    (weights, stays)
}

impl Share {
    /// Which of the localities gets the next request. One that was not there when shares were worked out gets none.
    pub(super) fn choose(&self, zones: &[Zone], rng: &Rng) -> usize {
        if zones.len() < 2 {
            return 0;
        }
        let weights = || zones.iter().enumerate().map(|(at, zone)| self.weight_of(at, &zone.locality));
        let whole: f64 = weights().sum();
        if whole <= 0.0 {
            return 0;
        }
        let mut left = rng.next() as f64 / u64::MAX as f64 * whole;
        let last = zones.len() - 1;
        weights()
            .position(|weight| {
                left -= weight;
                left < 0.0
            })
            .unwrap_or(last)
    }

    /// Most often nothing has changed since, and it stands at the same place.
    fn weight_of(&self, at: usize, locality: &Arc<Locality>) -> f64 {
        let same = |(known, _): &&(Arc<Locality>, f64)| known == locality;
        let found = self.weights.get(at).filter(same).or_else(|| self.weights.iter().find(same));
        found.map_or(0.0, |(_, weight)| *weight)
    }

    /// The own locality keeps all requests.
    pub(super) fn stays(&self) -> bool {
        self.stays
    }
}

impl Shares {
    /// Of these priorities, in the order of [`Usable`].
    pub(crate) fn new(priorities: Vec<[Share; 3]>) -> Self {
        Self { priorities }
    }

    /// Those of the localities of one priority.
    pub(super) fn of(&self, priority: usize, usable: Usable) -> Option<&Share> {
        self.priorities.get(priority)?.get(usable as usize)
    }
}

#[cfg(test)]
mod tests;
