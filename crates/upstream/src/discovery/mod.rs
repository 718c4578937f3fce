//! Where the hosts of clusters come from after the configuration was read. Runs on the main thread.

mod dns;
mod original_dst;

pub use dns::{DnsConfig, FailureRate};

use crate::cluster::{ClusterShared, HostSource};
use crate::health;
use crate::manager::ClusterSet;
use crate::outlier;
use crate::stats::DnsStats;
use nuncio_core::stats::Scope;
use nuncio_net::dns::Resolve;
use nuncio_net::worker::Worker;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Follows the names of clusters for as long as they stand in the set.
pub struct Discovery {
    pub(crate) set: Rc<RefCell<ClusterSet>>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) resolver: Rc<dyn Resolve>,
    dns_stats: OnceCell<Scope<DnsStats>>,
}

/// Clusters that have not yet learned their first hosts.
#[derive(Default)]
pub struct Warming(Vec<oneshot::Receiver<()>>);

impl Warming {
    /// Waits until each has its first answer, or has failed to get one.
    pub async fn wait(self) {
        for first in self.0 {
            // A cluster that was removed meanwhile has nothing to wait for.
            let _ = first.await;
        }
    }
}

impl Discovery {
    /// For the clusters of `set`, on the runtime of `worker`, which is the main thread's.
    pub fn new(set: &Rc<RefCell<ClusterSet>>, worker: &Rc<Worker>, resolver: Rc<dyn Resolve>) -> Rc<Self> {
        Rc::new(Self { set: Rc::clone(set), worker: Rc::clone(worker), resolver, dns_stats: OnceCell::new() })
    }

    /// Begins to follow every cluster that needs it; what is to be waited for before traffic is taken
    /// (`wait_for_warm_on_init`).
    pub fn start(self: &Rc<Self>) -> Warming {
        let clusters = self.set.borrow().clusters().to_vec();
        clusters.iter().for_each(|cluster| outlier::follow(self, cluster));
        let checked: Vec<_> = clusters.iter().filter_map(|cluster| health::follow(self, cluster)).collect();
        let found = clusters.into_iter().filter_map(|cluster| self.follow(cluster));
        Warming(checked.into_iter().chain(found).collect())
    }

    /// What look-ups count; there as soon as a cluster needs them.
    fn dns_stats(&self) -> &DnsStats {
        self.dns_stats.get_or_init(|| self.set.borrow().registry().scope("dns.cares."))
    }

    /// Whether the set still has this very cluster.
    pub(crate) fn is_current(&self, cluster: &Arc<ClusterShared>) -> bool {
        self.set.borrow().clusters().iter().any(|c| Arc::ptr_eq(c, cluster))
    }

    /// Begins to follow one cluster; resolves with its first hosts.
    pub fn follow(self: &Rc<Self>, cluster: Arc<ClusterShared>) -> Option<oneshot::Receiver<()>> {
        match &cluster.config().discovery.source {
            HostSource::Static | HostSource::Aggregate(_) => None,
            HostSource::OriginalDst(config) => {
                let cleanup = config.cleanup;
                original_dst::follow(self, cluster, cleanup);
                None
            }
            HostSource::StrictDns(config) | HostSource::LogicalDns(config) => {
                self.dns_stats();
                let wait = config.wait_for_warm;
                let first = dns::follow(self, cluster);
                wait.then_some(first)
            }
        }
    }
}

#[cfg(test)]
mod tests;
