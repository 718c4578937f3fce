//! Hosts of different weights: by earliest deadline first.

use super::edf::Edf;
use super::slow_start::{SlowStart, start_of};
use super::{Balancer, HostList, PickContext};
use crate::cluster::{ClusterCore, ClusterShared};
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use nuncio_net::worker::Worker;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What hosts weigh beside their own weight.
pub(super) struct Scales {
    /// `active_request_bias`; none where requests do not count.
    bias: Option<f64>,
    starting: Option<Starting>,
}

/// Slow start on one worker.
struct Starting {
    config: SlowStart,
    worker: Rc<Worker>,
    cluster: Arc<ClusterShared>,
    /// Since when and at what time a host was asked about last, and its factor: most hosts have come with others.
    last: Cell<Option<(Instant, Instant, f64)>>,
}

impl Starting {
    fn factor(&self, host: &HostShared, now: Instant) -> f64 {
        let Some(since) = start_of(host) else { return 1.0 };
        if let Some((of, at, factor)) = self.last.get()
            && (of, at) == (since, now)
        {
            return factor;
        }
        let factor = self.config.factor(since, now, self.cluster.runtime());
        self.last.set(Some((since, now, factor)));
        factor
    }
}

impl Scales {
    /// For the hosts of a list. Slow start counts where one of them is new.
    pub(super) fn new(
        bias: Option<f64>,
        slow_start: Option<&SlowStart>,
        hosts: &[Arc<HostShared>],
        core: &ClusterCore,
    ) -> Self {
        let slow_start = slow_start.filter(|config| config.concerns(hosts, core.worker.now()));
        let starting = slow_start.map(|config| Starting {
            config: config.clone(),
            worker: Rc::clone(&core.worker),
            cluster: Arc::clone(&core.shared),
            last: Cell::new(None),
        });
        Self { bias, starting }
    }

    /// Whether hosts of equal weight may differ all the same.
    pub(super) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    fn now(&self) -> Option<Instant> {
        self.starting.as_ref().map(|s| s.worker.now())
    }

    /// A host's weight, lower the more requests it has, weight / (active + 1) ^ bias, and while it starts.
    fn weigh(&self, host: &HostShared, now: Option<Instant>) -> f64 {
        let weight = f64::from(host.weight());
        let load = || f64::from(host.active_requests()) + 1.0;
        let weight = match self.bias {
            None | Some(0.0) => weight,
            Some(1.0) => weight / load(),
            Some(bias) => weight / load().powf(bias),
        };
        match (&self.starting, now) {
            (Some(starting), Some(now)) => weight * starting.factor(host, now),
            _ => weight,
        }
    }
}

struct Weighted {
    hosts: HostList,
    scales: Scales,
    edf: RefCell<Edf>,
}

/// A balancer over hosts by what they weigh.
pub(super) fn make(hosts: HostList, scales: Scales, rng: &Rng) -> Box<dyn Balancer> {
    let now = scales.now();
    let weights: Vec<f64> = hosts.iter().map(|host| scales.weigh(host, now)).collect();
    let edf = RefCell::new(Edf::new(&weights, rng));
    Box::new(Weighted { hosts, scales, edf })
}

impl Balancer for Weighted {
    fn pick(&self, _: &PickContext<'_>, _: &Rng) -> Option<&Arc<HostShared>> {
        let now = self.scales.now();
        let weigh = |i: usize| self.hosts.get(i).map_or(1.0, |host| self.scales.weigh(host, now));
        let at = self.edf.borrow_mut().pick(weigh)?;
        self.hosts.get(at)
    }
}
