//! All clusters: the main thread's set, and each worker's manager.

use crate::cluster::{Cluster, ClusterConfig, ClusterShared};
use crate::host::{HostShared, HostSnapshot};
use crate::lb::{LocalCluster, Neighbours, is_hashing};
use crate::pool::{Connector, Reaper, SocketConnector};
use crate::stats::ClusterManagerStats;
use nuncio_core::hash::BuildFolding;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::{Registry, Scope};
use nuncio_net::worker::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Compiled clusters, in the order of configuration.
#[derive(Clone, Debug, Default)]
pub struct ClusterSetConfig {
    /// The clusters; names are unique.
    pub clusters: Vec<Arc<ClusterConfig>>,
    /// Where the process itself stands.
    pub local: LocalCluster,
}

/// A change that workers are told.
#[derive(Clone)]
enum Update {
    /// A cluster was added, or takes the place of one with its name.
    Cluster(Arc<ClusterShared>),
    /// A cluster is gone.
    Removed(Arc<str>),
    /// A cluster's hosts were published anew, without some that there were before.
    Hosts(Arc<str>, Arc<[Arc<HostShared>]>),
    /// Hosts of a cluster weigh something else.
    Weights(Arc<str>),
    /// A host of a cluster is out for its health.
    Failed(Arc<str>, Arc<HostShared>),
}

/// The clusters of the process, kept by the main thread, which alone changes them.
pub struct ClusterSet {
    registry: Registry,
    runtime: Runtime,
    neighbours: Arc<Neighbours>,
    clusters: Vec<Arc<ClusterShared>>,
    /// Those that will be among them as soon as they know their hosts.
    warming: Vec<Arc<ClusterShared>>,
    workers: Vec<mpsc::UnboundedSender<Update>>,
    stats: Scope<ClusterManagerStats>,
}

/// What a worker needs to have its own manager: made on the main thread, taken to the worker's.
pub struct ClusterSeat {
    registry: Registry,
    neighbours: Arc<Neighbours>,
    clusters: Vec<Arc<ClusterShared>>,
    updates: mpsc::UnboundedReceiver<Update>,
}

impl ClusterSet {
    /// The clusters of `config`, with their statistics in `registry`, and limits that keys of `runtime` may
    /// override.
    pub fn new(config: &ClusterSetConfig, registry: &Registry, runtime: &Runtime) -> Self {
        let neighbours = Neighbours::new(config.local.clone());
        let shared = |c: &Arc<ClusterConfig>| {
            let cluster = ClusterShared::new(Arc::clone(c), registry, runtime, &neighbours);
            neighbours.serves(&cluster);
            cluster
        };
        let clusters = config.clusters.iter().map(shared).collect();
        let stats: Scope<ClusterManagerStats> = registry.scope("cluster_manager.");
        stats.warming_clusters.set(0);
        stats.cluster_added.add(config.clusters.len() as u64);
        stats.active_clusters.set(config.clusters.len() as u64);
        let (registry, runtime) = (registry.clone(), runtime.clone());
        Self { registry, runtime, neighbours, clusters, warming: Vec::new(), workers: Vec::new(), stats }
    }

    /// Takes limits over as runtime keys have them now. To be called after the admin port changed a key.
    pub fn runtime_changed(&self) {
        for cluster in self.clusters.iter().chain(&self.warming) {
            cluster.take_runtime();
        }
    }

    /// The clusters, in the order in which they came; `/clusters` and `/config_dump` read them here.
    pub fn clusters(&self) -> &[Arc<ClusterShared>] {
        &self.clusters
    }

    /// Where stats are registered.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A cluster by name.
    pub fn get(&self, name: &str) -> Option<&Arc<ClusterShared>> {
        self.clusters.iter().find(|c| &*c.config().name == name)
    }

    /// A seat for one more worker (or for the main thread itself).
    pub fn seat(&mut self) -> ClusterSeat {
        let (tell, updates) = mpsc::unbounded_channel();
        self.workers.push(tell);
        let (registry, neighbours) = (self.registry.clone(), Arc::clone(&self.neighbours));
        ClusterSeat { registry, neighbours, clusters: self.clusters.clone(), updates }
    }

    fn tell(&mut self, update: &Update) {
        // A worker that has ended no longer listens, and is forgotten.
        self.workers.retain(|worker| worker.send(update.clone()).is_ok());
    }

    /// Clusters that wait for their first hosts.
    pub fn warming(&self) -> &[Arc<ClusterShared>] {
        &self.warming
    }

    /// Whether this very cluster stands among them, or is about to.
    pub(crate) fn has(&self, cluster: &Arc<ClusterShared>) -> bool {
        self.clusters.iter().chain(&self.warming).any(|c| Arc::ptr_eq(c, cluster))
    }

    /// Makes a cluster that is to be added, or to take the place of the one with its name; until it is
    /// [`activated`](Self::activate) that one serves.
    pub fn warm(&mut self, config: Arc<ClusterConfig>) -> Arc<ClusterShared> {
        let name = Arc::clone(&config.name);
        let given_up = self.take_warming(&name);
        let cluster = ClusterShared::new(config, &self.registry, &self.runtime, &self.neighbours);
        if self.get(&name).is_some() {
            cluster.hide();
        }
        match given_up || self.get(&name).is_some() {
            true => self.stats.cluster_modified.inc(),
            false => self.stats.cluster_added.inc(),
        }
        self.warming.push(Arc::clone(&cluster));
        self.count();
        cluster
    }

    /// A cluster that was warming serves from now on, unless another one was given its name meanwhile.
    pub fn activate(&mut self, cluster: &Arc<ClusterShared>) {
        let Some(at) = self.warming.iter().position(|c| Arc::ptr_eq(c, cluster)) else { return };
        let cluster = self.warming.remove(at);
        self.neighbours.serves(&cluster);
        self.tell(&Update::Cluster(Arc::clone(&cluster)));
        match self.clusters.iter_mut().find(|c| c.config().name == cluster.config().name) {
            Some(place) => {
                let old = std::mem::replace(place, Arc::clone(&cluster));
                cluster.succeed(&old);
                old.retire();
            }
            None => self.clusters.push(cluster),
        }
        self.count();
    }

    /// Removes a cluster, be it one that is warming; whether there was one of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let was_warming = self.take_warming(name);
        let at = self.clusters.iter().position(|c| &*c.config().name == name);
        if let Some(at) = at {
            let gone = self.clusters.remove(at);
            gone.retire();
            self.tell(&Update::Removed(Arc::clone(&gone.config().name)));
        }
        let was_there = was_warming || at.is_some();
        self.stats.cluster_removed.add(was_there.into());
        self.count();
        was_there
    }

    fn take_warming(&mut self, name: &str) -> bool {
        let Some(at) = self.warming.iter().position(|c| &*c.config().name == name) else { return false };
        self.warming.remove(at).retire();
        true
    }

    fn count(&self) {
        self.stats.active_clusters.set(self.clusters.len() as u64);
        self.stats.warming_clusters.set(self.warming.len() as u64);
    }

    /// The health of some of a cluster's hosts has changed: gauges and balancers follow.
    pub fn health_changed(&mut self, cluster: &Arc<ClusterShared>) {
        cluster.health_changed();
        self.tell(&Update::Hosts(Arc::clone(&cluster.config().name), Arc::default()));
    }

    /// A cluster's hosts were named again just as they are. Connections that end with every word about hosts end.
    pub(crate) fn hosts_named_again(&mut self, cluster: &Arc<ClusterShared>) {
        if cluster.config().turnover.closes_connections {
            self.tell(&Update::Hosts(Arc::clone(&cluster.config().name), Arc::default()));
        }
    }

    /// The weights of some of a cluster's hosts have changed: balancers follow.
    pub(crate) fn weights_changed(&mut self, cluster: &Arc<ClusterShared>) {
        cluster.weights_changed();
        self.tell(&Update::Weights(Arc::clone(&cluster.config().name)));
    }

    /// A host is out for its health: its connections end with what they carry, and it gets new ones when it is back.
    pub(crate) fn host_failed(&mut self, cluster: &Arc<ClusterShared>, host: &Arc<HostShared>) {
        self.tell(&Update::Failed(Arc::clone(&cluster.config().name), Arc::clone(host)));
    }

    /// Publishes a cluster's hosts to all workers. Hosts that stay must be the same `Arc`s as before. `memberships`:
    /// in so many priorities hosts have come or gone. `warm`: the cluster had its first hosts before.
    pub fn set_hosts(
        &mut self,
        cluster: &Arc<ClusterShared>,
        hosts: HostSnapshot,
        memberships: u64,
        warm: bool,
    ) {
        let gone = cluster.set_hosts(hosts, memberships);
        if warm {
            self.stats.cluster_updated.inc();
        }
        self.tell(&Update::Hosts(Arc::clone(&cluster.config().name), gone.into()));
    }
}

/// A cluster as a worker holds it: most of what it costs comes with its first use.
enum Entry {
    /// Nobody has asked for it yet.
    Unused(Arc<ClusterShared>),
    Live(Rc<Cluster>),
}

/// How many clusters asked for lately a manager knows without a look-up.
const RECENT: usize = 8;

/// The clusters of one worker.
pub struct ClusterManager {
    clusters: RefCell<HashMap<Arc<str>, Entry, BuildFolding>>,
    /// Clusters asked for lately, by where the one who asks keeps the name: most requests ask for the same few.
    recent: RefCell<[Option<Rc<Cluster>>; RECENT]>,
    registry: Registry,
    neighbours: Arc<Neighbours>,
    worker: Rc<Worker>,
    reaper: Rc<Reaper>,
    connector: Rc<dyn Connector>,
    /// Itself, for clusters that borrow hosts from others, and those.
    own: Weak<Self>,
    /// A cluster has come.
    added: Notify,
    borrowers: RefCell<Vec<Weak<Cluster>>>,
}

impl ClusterManager {
    /// The worker's clusters, which follow the main thread's from now on. Must be called on the worker's
    /// runtime: it spawns the tasks that take updates and close idle connections.
    pub fn new(worker: &Rc<Worker>, seat: ClusterSeat) -> Rc<Self> {
        Self::with_connector(worker, seat, Rc::<SocketConnector>::default())
    }

    /// As [`new`](Self::new), connecting by `connector`.
    pub fn with_connector(worker: &Rc<Worker>, seat: ClusterSeat, connector: Rc<dyn Connector>) -> Rc<Self> {
        let ClusterSeat { registry, neighbours, clusters, mut updates } = seat;
        let manager = Rc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            added: Notify::new(),
            borrowers: RefCell::default(),
            clusters: RefCell::default(),
            recent: RefCell::default(),
            registry,
            neighbours,
            worker: Rc::clone(worker),
            reaper: Reaper::start(worker),
            connector,
        });
        for cluster in clusters {
            manager.take(Update::Cluster(cluster));
        }
        let weak = Rc::downgrade(&manager);
        worker.spawn(async move {
            while let Some(update) = updates.recv().await {
                let Some(manager) = weak.upgrade() else { return };
                manager.apply(update);
            }
        });
        manager
    }

    /// A cluster by name; it allocates when the worker uses the cluster for the first time.
    #[inline]
    pub fn get(&self, name: &str) -> Option<Rc<Cluster>> {
        let place = (name.as_ptr().addr() >> 4) % RECENT;
        if let Some(Some(cluster)) = self.recent.borrow().get(place)
            && cluster.info().name.as_bytes() == name.as_bytes()
        {
            return Some(Rc::clone(cluster));
        }
        let cluster = self.look_up(name)?;
        if let Some(recent) = self.recent.borrow_mut().get_mut(place) {
            *recent = Some(Rc::clone(&cluster));
        }
        Some(cluster)
    }

    /// Waits until there is a cluster of this name.
    pub async fn arrival(self: Rc<Self>, name: Arc<str>) {
        loop {
            let mut added = pin!(self.added.notified());
            added.as_mut().enable();
            if self.clusters.borrow().contains_key(&name) {
                return;
            }
            added.await;
        }
    }

    /// How many hosts the process's own cluster has (`cluster_manager.local_cluster_name`); 1 where none is known.
    pub fn local_members(&self) -> u64 {
        let count = self.neighbours.cluster().map_or(0, |own| own.hosts().hosts().count());
        count.max(1) as u64
    }

    fn look_up(&self, name: &str) -> Option<Rc<Cluster>> {
        match self.clusters.borrow().get(name)? {
            Entry::Live(cluster) => return Some(Rc::clone(cluster)),
            Entry::Unused(_) => {}
        }
        self.use_first(name)
    }

    #[cold]
    fn use_first(&self, name: &str) -> Option<Rc<Cluster>> {
        let mut clusters = self.clusters.borrow_mut();
        let entry = clusters.get_mut(name)?;
        let Entry::Unused(shared) = entry else { return None };
        let cluster = self.live(Arc::clone(shared));
        *entry = Entry::Live(Rc::clone(&cluster));
        Some(cluster)
    }

    fn live(&self, shared: Arc<ClusterShared>) -> Rc<Cluster> {
        let Self { registry, worker, reaper, connector, own, .. } = self;
        let cluster = Cluster::new(shared, registry, worker, reaper, connector, own);
        if cluster.is_aggregate() {
            let mut borrowers = self.borrowers.borrow_mut();
            borrowers.retain(|b| b.strong_count() > 0);
            borrowers.push(Rc::downgrade(&cluster));
        }
        cluster
    }

    fn apply(&self, update: Update) {
        let name = match &update {
            Update::Cluster(shared) => Arc::clone(&shared.config().name),
            Update::Removed(name)
            | Update::Hosts(name, _)
            | Update::Weights(name)
            | Update::Failed(name, _) => Arc::clone(name),
        };
        let of_hosts = matches!(update, Update::Hosts(..) | Update::Cluster(_));
        self.take(update);
        if of_hosts && self.neighbours.is_local(&name) {
            self.local_changed(&name);
        }
        self.borrowers.borrow().iter().filter_map(Weak::upgrade).for_each(|b| b.other_changed(&name));
    }

    /// The hosts of the process's own cluster have changed: how much of the other clusters' traffic stays in its zone
    /// does, too.
    fn local_changed(&self, local: &str) {
        let live = |(name, entry): (&Arc<str>, &Entry)| match entry {
            Entry::Live(cluster) if **name != *local => Some(Rc::clone(cluster)),
            Entry::Live(_) | Entry::Unused(_) => None,
        };
        let others: Vec<_> = self.clusters.borrow().iter().filter_map(live).collect();
        others.iter().for_each(|cluster| cluster.update_hosts(&[]));
    }

    fn take(&self, update: Update) {
        if !matches!(update, Update::Hosts(..) | Update::Failed(..)) {
            drop(self.recent.take());
        }
        match update {
            Update::Cluster(shared) => {
                let name = Arc::clone(&shared.config().name);
                // Subsets, tables and zones are counted, and new hosts noted, from the start on.
                let lb = &shared.config().lb;
                let counted = lb.subsets.is_some()
                    || lb.slow_start.is_some()
                    || self.neighbours.local.name.is_some()
                    || (self.worker.id() == 0 && is_hashing(&lb.policy));
                let cluster = if counted { Entry::Live(self.live(shared)) } else { Entry::Unused(shared) };
                // What it replaces closes its idle connections now; its running exchanges hold it till they end.
                let old = self.clusters.borrow_mut().insert(name, cluster);
                drop(old);
                self.added.notify_waiters();
            }
            Update::Removed(name) => {
                let old = self.clusters.borrow_mut().remove(&name);
                drop(old);
            }
            // One that nobody uses yet begins with the hosts that it then has.
            Update::Hosts(name, gone) => self.with_live(&name, |cluster| cluster.update_hosts(&gone)),
            Update::Weights(name) => self.with_live(&name, Cluster::update_weights),
            Update::Failed(name, host) => self.with_live(&name, |cluster| cluster.renew(&host)),
        }
    }

    fn with_live(&self, name: &str, change: impl FnOnce(&Cluster)) {
        let cluster = match self.clusters.borrow().get(name) {
            Some(Entry::Live(cluster)) => Rc::clone(cluster),
            Some(Entry::Unused(_)) | None => return,
        };
        change(&cluster);
    }
}

#[cfg(test)]
mod tests;
