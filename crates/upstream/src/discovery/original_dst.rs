//! `ORIGINAL_DST`: hosts that workers made are published, and go when nobody uses them.

use super::Discovery;
use crate::cluster::ClusterShared;
use crate::host::{HostShared, HostSnapshot, LocalityHosts};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Begins to publish the hosts of a cluster that makes them on demand, and to look every `cleanup` for those that
/// nobody uses.
pub(super) fn follow(discovery: &Rc<Discovery>, cluster: Arc<ClusterShared>, cleanup: Duration) {
    if let Some(new) = cluster.on_demand().and_then(|hosts| hosts.line().listen()) {
        discovery.worker.spawn(keep_up(Rc::clone(discovery), cluster, new, cleanup));
    }
}

async fn keep_up(
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    mut new: mpsc::UnboundedReceiver<Arc<HostShared>>,
    cleanup: Duration,
) {
    let Some(on_demand) = cluster.on_demand() else { return };
    let mut rounds = tokio::time::interval(cleanup);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is due at once.
    rounds.tick().await;
    loop {
        let mut hosts = Vec::new();
        tokio::select! {
            host = new.recv() => hosts.extend(host),
            _ = rounds.tick() => {}
        }
        if !discovery.is_current(&cluster) {
            return;
        }
        // All that came meanwhile is one change.
        while let Ok(host) = new.try_recv() {
            hosts.push(host);
        }
        let came = !hosts.is_empty();
        if came || on_demand.sweep() {
            let known = cluster.hosts();
            let hosts = on_demand.still(known.hosts().cloned().chain(hosts));
            discovery.set.borrow_mut().set_hosts(&cluster, one_list(hosts), 1, true);
        }
    }
}

/// Hosts without any locality, all of the first priority.
fn one_list(hosts: Vec<Arc<HostShared>>) -> HostSnapshot {
    let list = LocalityHosts { locality: Arc::default(), weight: None, hosts };
    HostSnapshot { priorities: vec![vec![list]], ..HostSnapshot::default() }
}
