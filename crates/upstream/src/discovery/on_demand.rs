//! Clusters that make hosts on demand: what workers made is published, and goes when nobody uses it.

use super::Discovery;
use crate::cluster::ClusterShared;
use crate::cluster::Demand;
use crate::host::{HostShared, HostSnapshot, LocalityHosts};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Begins to publish the hosts of a cluster that makes them on demand, and with a `cleanup` to look that often for
/// those that nobody uses.
pub(super) fn follow(discovery: &Rc<Discovery>, cluster: Arc<ClusterShared>, cleanup: Option<Duration>) {
    if let Some(told) = cluster.on_demand().and_then(|hosts| hosts.line().listen()) {
        discovery.worker.spawn(keep_up(Rc::clone(discovery), cluster, told, cleanup));
    }
}

async fn keep_up(
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    mut told: mpsc::UnboundedReceiver<Demand>,
    cleanup: Option<Duration>,
) {
    let Some(on_demand) = cluster.on_demand() else { return };
    let mut rounds = cleanup.map(|cleanup| {
        let mut rounds = interval_at(Instant::now() + cleanup, cleanup);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds
    });
    loop {
        let round = async {
            match &mut rounds {
                Some(rounds) => drop(rounds.tick().await),
                None => pending().await,
            }
        };
        let first = tokio::select! {
            demand = told.recv() => demand,
            () = round => None,
        };
        if !discovery.is_current(&cluster) {
            return;
        }
        // All that is told by now is one change.
        let mut demands: Vec<Demand> = first.into_iter().collect();
        while let Ok(demand) = told.try_recv() {
            demands.push(demand);
        }
        if !demands.is_empty() || on_demand.sweep() {
            let known = cluster.hosts();
            let new = demands.into_iter().filter_map(|demand| match demand {
                Demand::Came(host) => Some(host),
                Demand::Went => None,
            });
            let hosts = on_demand.still(known.hosts().cloned().chain(new));
            discovery.set.borrow_mut().set_hosts(&cluster, one_list(hosts), 1, true);
        }
    }
}

/// Hosts without any locality, all of the first priority.
fn one_list(hosts: Vec<Arc<HostShared>>) -> HostSnapshot {
    let list = LocalityHosts { locality: Arc::default(), weight: None, hosts };
    HostSnapshot { priorities: vec![vec![list]], ..HostSnapshot::default() }
}
