//! The shares of localities by the load that their hosts report (`load_aware_locality`).

use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::host::{HostShared, Locality};
use crate::lb::{Condition, LoadAware, Reported, Shares, Usable, Weigher};
use nuncio_core::stats::Scope;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

nuncio_core::stats_block! {
    /// `cluster.NAME.load_aware_locality.`: how often shares were worked out, and what was met then. The main thread
    /// writes.
    pub struct LoadAwareStats {
        counter all_overloaded_total,
        counter local_preferred_total,
        counter probe_active_total,
        counter recompute_total,
        counter spill_active_total,
        counter stale_locality_total,
    }
}

/// What is kept of one cluster from one look to the next.
struct Looks {
    cluster: Arc<ClusterShared>,
    config: LoadAware,
    stats: Scope<LoadAwareStats>,
    /// By priority, in the order of [`Usable`].
    weighers: Vec<[Weigher; 3]>,
}

/// Looks at what hosts report, now and every so often. `keep_up` is called before each wait.
pub(super) fn follow(
    discovery: &Rc<Discovery>,
    cluster: &Arc<ClusterShared>,
    config: &LoadAware,
    mut keep_up: impl FnMut() + 'static,
) {
    let prefix = format!("{}load_aware_locality.", cluster.stat_prefix());
    let stats = discovery.set.borrow().registry().scope(&prefix);
    let mut looks =
        Looks { cluster: Arc::clone(cluster), config: config.clone(), stats, weighers: Vec::new() };
    looks.look(discovery.worker.now());
    let (discovery, worker) = (Rc::clone(discovery), Rc::clone(&discovery.worker));
    worker.spawn(async move {
        loop {
            keep_up();
            tokio::time::sleep(looks.config.update).await;
            if !discovery.is_current(&looks.cluster) {
                return;
            }
            looks.look(discovery.worker.now());
        }
    });
}

impl Looks {
    fn look(&mut self, now: Instant) {
        let (layout, own) = (self.cluster.layout(), self.cluster.neighbours().local.locality.as_ref());
        self.weighers.resize_with(layout.zones().count(), Default::default);
        let (mut met, mut stale_localities) = ([false; 4], 0);
        let mut priorities = Vec::with_capacity(self.weighers.len());
        for (zones, weighers) in layout.zones().zip(&mut self.weighers) {
            let here = own.is_some() && zones.first().map(|zone| &*zone.locality) == own;
            let mut share = |usable: Usable, weigher: &mut Weigher| {
                let reported = |hosts: &[Arc<HostShared>]| reported(hosts, &self.config, now);
                let each = zones.iter().map(|z| (Arc::clone(&z.locality), reported(z.hosts(usable))));
                let each: Vec<(Arc<Locality>, Reported)> = each.collect();
                let mut note = |condition: Condition| {
                    if let Some(met) = met.get_mut(condition as usize) {
                        *met = true;
                    }
                };
                let (share, stale) = weigher.weigh(&each, here, &self.config, &mut note);
                if usable == Usable::All {
                    stale_localities += stale;
                }
                share
            };
            let [healthy, degraded, all] = weighers;
            priorities.push([
                share(Usable::Healthy, healthy),
                share(Usable::Degraded, degraded),
                share(Usable::All, all),
            ]);
        }
        self.cluster.set_shares(Shares::new(priorities));
        self.count(met, stale_localities);
    }

    fn count(&self, met: [bool; 4], stale_localities: u64) {
        let stats = &self.stats;
        stats.recompute_total.inc();
        stats.stale_locality_total.add(stale_localities);
        // In the order of `Condition`.
        let counters = [
            &stats.all_overloaded_total,
            &stats.local_preferred_total,
            &stats.probe_active_total,
            &stats.spill_active_total,
        ];
        for (counter, _) in counters.into_iter().zip(met).filter(|(_, met)| *met) {
            counter.inc();
        }
    }
}

/// What the hosts of one locality report.
fn reported(hosts: &[Arc<HostShared>], config: &LoadAware, now: Instant) -> Reported {
    let (mut sum, mut count) = (0.0, 0.0);
    for busy in hosts.iter().filter_map(|host| host.load().busy(config.expiration, now)) {
        sum += busy;
        count += 1.0;
    }
    Reported { hosts: hosts.len(), busy: (count > 0.0).then(|| sum / count) }
}
