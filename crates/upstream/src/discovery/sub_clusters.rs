//! Clusters that are made of another one: they come when somebody wants them, and go when nobody does.

use super::Discovery;
use crate::cluster::{ClusterShared, SubCluster, Wish};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Begins to make the clusters that are wanted of one, and to look each `ttl` for those that nobody wants any more.
pub(super) fn follow(discovery: &Rc<Discovery>, cluster: &Arc<ClusterShared>, ttl: Duration) {
    if let Some(told) = cluster.sub_clusters().and_then(|subs| subs.line().listen()) {
        discovery.worker.spawn(keep_up(Rc::clone(discovery), Arc::clone(cluster), told, ttl));
    }
}

async fn keep_up(
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    mut told: mpsc::UnboundedReceiver<Wish>,
    ttl: Duration,
) {
    let Some(subs) = cluster.sub_clusters() else { return };
    let mut rounds = interval_at(Instant::now() + ttl, ttl);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wish = tokio::select! {
            wish = told.recv() => wish,
            _ = rounds.tick() => {
                remove(&discovery, &subs.sweep());
                continue;
            }
        };
        match wish {
            Some(Wish::For(to)) if discovery.is_current(&cluster) => make(&discovery, &cluster, to),
            Some(Wish::For(_) | Wish::None) | None => {
                remove(&discovery, &subs.all());
                return;
            }
        }
    }
}

fn remove(discovery: &Discovery, names: &[Arc<str>]) {
    for name in names {
        discovery.remove(name);
    }
}

fn make(discovery: &Rc<Discovery>, parent: &ClusterShared, to: SubCluster) {
    let name = Arc::clone(&to.cluster);
    match parent.config().sub_cluster(to, discovery.worker.wall()) {
        Some(config) => discovery.add(Arc::new(config)),
        None => tracing::warn!(
            target: "upstream",
            "cluster '{name}' cannot be made of '{}': its load balancing policy suits no cluster that looks names up",
            parent.config().name
        ),
    }
}
