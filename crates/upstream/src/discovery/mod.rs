//! Where the hosts of clusters come from after the configuration was read. Runs on the main thread.

mod dns;
mod dns_cache;
mod eds;
mod on_demand;
mod sub_clusters;
pub(crate) mod update;

pub(crate) use dns::addresses;
pub use dns::{DnsConfig, FailureRate};
pub use eds::EdsConfig;

use crate::cluster::{ClusterConfig, ClusterShared, HostSource};
use crate::dns_cache::{DnsCache, DnsCaches};
use crate::health;
use crate::manager::ClusterSet;
use crate::orca;
use crate::outlier;
use crate::pool::{Connector, SocketConnector};
use crate::stats::DnsStats;
use dns_cache::Keeper;
use nuncio_core::source::{Sources, Subscription};
use nuncio_core::stats::Scope;
use nuncio_net::dns::{Answer, DnsError, Resolve};
use nuncio_net::worker::Worker;
use std::cell::{OnceCell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// Follows the names of clusters for as long as they stand in the set.
pub struct Discovery {
    pub(crate) set: Rc<RefCell<ClusterSet>>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) resolver: Rc<dyn Resolve>,
    /// What opens connections for health checks.
    pub(crate) connector: Rc<dyn Connector>,
    /// What feeds clusters whose hosts are fed.
    sources: Rc<dyn Sources>,
    /// The feeds of clusters that stand in the set.
    fed: RefCell<Vec<(Arc<ClusterShared>, Subscription)>>,
    dns_stats: OnceCell<Scope<DnsStats>>,
    caches: RefCell<Vec<Rc<Keeper>>>,
    /// A cluster is no longer warming.
    warmed: Notify,
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
    pub fn new(
        set: &Rc<RefCell<ClusterSet>>,
        worker: &Rc<Worker>,
        resolver: Rc<dyn Resolve>,
        sources: Rc<dyn Sources>,
    ) -> Rc<Self> {
        Self::with_connector(set, worker, resolver, sources, Rc::<SocketConnector>::default())
    }

    /// As [`new`](Self::new), with health checks that connect by `connector`.
    pub fn with_connector(
        set: &Rc<RefCell<ClusterSet>>,
        worker: &Rc<Worker>,
        resolver: Rc<dyn Resolve>,
        sources: Rc<dyn Sources>,
        connector: Rc<dyn Connector>,
    ) -> Rc<Self> {
        let (set, worker) = (Rc::clone(set), Rc::clone(worker));
        let (fed, dns_stats, caches) = (RefCell::default(), OnceCell::new(), RefCell::default());
        let warmed = Notify::new();
        Rc::new(Self { set, worker, resolver, connector, sources, fed, dns_stats, caches, warmed })
    }

    /// Feeds a cluster for as long as it stands in the set.
    fn keep(&self, cluster: &Arc<ClusterShared>, subscription: Subscription) {
        self.fed.borrow_mut().push((Arc::clone(cluster), subscription));
    }

    /// Adds a cluster, or puts it in the place of the one with its name, as soon as its hosts are known: often at once.
    pub fn add(self: &Rc<Self>, config: Arc<ClusterConfig>) {
        let cluster = self.set.borrow_mut().warm(config);
        let warming = self.follow(&cluster);
        if warming.0.is_empty() {
            self.activate(&cluster);
            return;
        }
        let own = Rc::clone(self);
        self.worker.spawn(async move {
            warming.wait().await;
            own.activate(&cluster);
        });
    }

    fn activate(&self, cluster: &Arc<ClusterShared>) {
        self.set.borrow_mut().activate(cluster);
        self.forget();
    }

    /// Removes a cluster; whether there was one of this name.
    pub fn remove(&self, name: &str) -> bool {
        let was_there = self.set.borrow_mut().remove(name);
        self.forget();
        was_there
    }

    /// Ends the feeds of clusters that are gone.
    fn forget(&self) {
        let gone: Vec<_> =
            self.fed.borrow_mut().extract_if(.., |(cluster, _)| !self.is_current(cluster)).collect();
        drop(gone);
        self.warmed.notify_waiters();
    }

    /// Resolves when no cluster is warming any more.
    pub async fn all_warm(&self) {
        loop {
            let mut warmed = pin!(self.warmed.notified());
            warmed.as_mut().enable();
            if self.set.borrow().warming().is_empty() {
                return;
            }
            warmed.await;
        }
    }

    /// Begins to follow every cluster that needs it; what is to be waited for before traffic is taken
    /// (`wait_for_warm_on_init`).
    pub fn start(self: &Rc<Self>) -> Warming {
        let clusters = self.set.borrow().clusters().to_vec();
        let mut warming = Warming::default();
        clusters.iter().for_each(|cluster| warming.0.extend(self.follow(cluster).0));
        warming
    }

    /// Begins to look up what is asked of DNS caches, those that no cluster lives on among them.
    pub fn keep_caches(self: &Rc<Self>, caches: &DnsCaches) {
        caches.all().iter().for_each(|cache| drop(self.keep_cache(cache)));
    }

    fn keep_cache(self: &Rc<Self>, cache: &Arc<DnsCache>) -> Rc<Keeper> {
        let known = |keepers: &[Rc<Keeper>]| keepers.iter().find(|k| Arc::ptr_eq(&k.cache, cache)).cloned();
        if let Some(keeper) = known(&self.caches.borrow()) {
            return keeper;
        }
        let keeper = Keeper::new(self, Arc::clone(cache));
        self.caches.borrow_mut().push(Rc::clone(&keeper));
        keeper
    }

    /// What look-ups count; there as soon as somebody needs them.
    fn dns_stats(&self, dns: &DnsConfig) -> Option<&DnsStats> {
        let stats = || self.dns_stats.get_or_init(|| self.set.borrow().registry().scope("dns.cares."));
        dns.resolver.counted.then(|| &**stats())
    }

    /// An address stands where a name would: Envoy's resolver is asked for it, too.
    fn told_of_literal(&self, dns: &DnsConfig) {
        if let Some(stats) = self.dns_stats(dns) {
            stats.resolve_total.inc();
            stats.pending_resolutions.add(0);
        }
    }

    /// Looks up a name that is no address.
    async fn look_up(&self, name: &str, dns: &DnsConfig) -> Result<Answer, DnsError> {
        let stats = self.dns_stats(dns);
        if let Some(stats) = stats {
            stats.resolve_total.inc();
            stats.pending_resolutions.inc();
        }
        let answer = self.resolver.lookup(name, dns.family, &dns.resolver).await;
        if let Some(stats) = stats {
            stats.pending_resolutions.dec();
            match &answer {
                Ok(found) if found.addresses.is_empty() => stats.not_found.inc(),
                Ok(_) => {}
                Err(error) if error.timed_out => stats.timeouts.inc(),
                Err(_) => stats.get_addr_failure.inc(),
            }
        }
        answer
    }

    /// Whether the set still has this very cluster.
    pub(crate) fn is_current(&self, cluster: &Arc<ClusterShared>) -> bool {
        self.set.borrow().has(cluster)
    }

    /// Begins to follow one cluster: its hosts, and how they are.
    pub fn follow(self: &Rc<Self>, cluster: &Arc<ClusterShared>) -> Warming {
        let found = match &cluster.config().discovery.source {
            HostSource::Static | HostSource::Aggregate(_) => None,
            HostSource::OriginalDst(config) => {
                on_demand::follow(self, Arc::clone(cluster), Some(config.cleanup));
                None
            }
            HostSource::ForwardProxy(forwarding) => {
                self.keep_cache(&forwarding.cache).followed_by(cluster);
                on_demand::follow(self, Arc::clone(cluster), None);
                None
            }
            HostSource::SubClusters(config) => {
                sub_clusters::follow(self, cluster, config.ttl);
                None
            }
            HostSource::StrictDns(config) | HostSource::LogicalDns(config) => {
                self.dns_stats(config);
                let wait = config.wait_for_warm;
                let first = dns::follow(self, Arc::clone(cluster));
                wait.then_some(first)
            }
            HostSource::Eds(config) => {
                eds::follow(self, cluster, config);
                None
            }
        };
        outlier::follow(self, cluster);
        orca::follow(self, cluster);
        Warming(health::follow(self, cluster, found).into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
