//! Clusters: compiled, shared and live.

mod aggregate;
mod ahead;
mod compile;
mod config;
mod destination;
mod on_demand;
mod shared;
mod sub_clusters;

pub(crate) use compile::assignment;

pub use crate::circuit::RequestPriority;
pub use crate::lb::{Avoid, PickContext};
pub use compile::{ClusterDefaults, ClusterSurroundings};
pub use config::{
    Carrier, ClusterConfig, Discovery, Forwarding, HTTP_OPTIONS, HostSource, HttpUpstream, LocalityEndpoints,
    NamedEndpoint, Preconnect, Tracked, Turnover, UpstreamProtocol,
};
pub use destination::{
    Asking, DESTINATION_STATE, DYNAMIC_HOST_STATE, DYNAMIC_PORT_STATE, Destination, OriginalDstConfig,
    forwarded,
};
pub(crate) use on_demand::Demand;
pub use shared::ClusterShared;
pub use sub_clusters::{MadeFor, SubCluster, SubClustersConfig, TooMany};
pub(crate) use sub_clusters::{SubClusters, Wish};

use crate::circuit::{PerPriority, RequestPriority as Priority, Resource};
use crate::host::{Host, HostShared};
use crate::http2::Http2CodecStats;
use crate::lb::{Counts, HostSet, LbPolicy, Picked, Road, Spread, WantedHosts, is_hashing};
use crate::manager::ClusterManager;
use crate::pool::{Checkout, Connector, PoolError, Reaper, TcpConnection, tcp};
use crate::stats::{
    BudgetStats, ClusterLbStats, ClusterStats, Http1CodecStats, MaglevStats, MatchStats, RingStats,
    SizeStats, SubsetStats,
};
use crate::transport::TransportOptions;
use aggregate::Aggregate;
use ahead::Ahead;
use nuncio_codec::head::Version;
use nuncio_core::config::Fraction;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::ClusterInfo;
use nuncio_net::tls::{Side, SslStats};
use nuncio_net::worker::Worker;
use on_demand::WorkerHosts;
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

/// What the hosts and connections of a live cluster share.
pub struct ClusterCore {
    pub(crate) shared: Arc<ClusterShared>,
    pub(crate) stats: Scope<ClusterStats>,
    lb_stats: Scope<ClusterLbStats>,
    registry: Registry,
    http1_stats: OnceCell<Scope<Http1CodecStats>>,
    ssl_stats: OnceCell<SslStats>,
    size_stats: Option<Scope<SizeStats>>,
    budget_stats: Option<Scope<BudgetStats>>,
    subset_stats: Option<Scope<SubsetStats>>,
    http2_stats: OnceCell<Scope<Http2CodecStats>>,
    /// In the order of `transport_socket_matches`, where connections choose among them.
    match_counts: OnceCell<Vec<Scope<MatchStats>>>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) reaper: Rc<Reaper>,
    pub(crate) connector: Rc<dyn Connector>,
}

/// `cluster.NAME.`
fn stat_prefix(config: &ClusterConfig) -> String {
    format!("cluster.{}.", config.observability_name)
}

impl ClusterCore {
    /// The stats of its HTTP/1 codecs, which are there from the first connection on.
    pub(crate) fn http1_stats(&self) -> &Http1CodecStats {
        self.http1_stats.get_or_init(|| self.registry.scope(&format!("{}http1.", stat_prefix(self.config()))))
    }

    /// The stats of its HTTP/2 codecs, which are there from the first connection on.
    #[inline]
    pub(crate) fn http2_stats(&self) -> &Http2CodecStats {
        self.http2_stats.get_or_init(|| self.registry.scope(&format!("{}http2.", stat_prefix(self.config()))))
    }

    /// The stats of its handshakes.
    pub(crate) fn ssl_stats(&self) -> &SslStats {
        self.ssl_stats
            .get_or_init(|| SslStats::new(&self.registry, &stat_prefix(self.config()), Side::Client))
    }

    /// Counts which of `transport_socket_matches` a connection has, where that hangs on its stream.
    pub(crate) fn count_match(&self, host: &HostShared, options: Option<&TransportOptions>) {
        let config = self.config();
        let looks = config.matcher.as_ref().is_some_and(|matcher| matcher.looks_at_state());
        let Some(at) = options.filter(|_| looks).and_then(|options| config.matching(host, Some(options)))
        else {
            return;
        };
        let prefix = |name: &str| format!("{}{name}.", stat_prefix(config));
        let each = || config.matches.iter().map(|m| self.registry.scope(&prefix(&m.name))).collect();
        if let Some(scope) = self.match_counts.get_or_init(each).get(at) {
            scope.total_match_count.inc();
        }
    }

    /// The cluster's configuration.
    #[inline]
    pub(crate) fn config(&self) -> &ClusterConfig {
        self.shared.config()
    }

    /// What its balancer counts.
    pub(crate) fn lb_stats(&self) -> &ClusterLbStats {
        &self.lb_stats
    }

    /// Takes one of a limited resource, if there is one left.
    #[inline]
    pub(crate) fn try_take(self: &Rc<Self>, priority: Priority, resource: Resource) -> Option<Permit> {
        self.take(priority, resource).then(|| Permit { core: Rc::clone(self), priority, resource })
    }

    /// Takes one of a limited resource, which whoever has it gives back; whether there was one left.
    #[inline]
    pub(crate) fn take(&self, priority: Priority, resource: Resource) -> bool {
        self.shared.try_take(priority, resource) || self.take_looking_back(priority, resource)
    }

    #[cold]
    fn take_looking_back(&self, priority: Priority, resource: Resource) -> bool {
        self.shared.breaker(priority).try_take_at(resource, self.worker.now())
    }

    /// Takes one of a limited resource, whatever the limit.
    pub(crate) fn take_anyway(self: &Rc<Self>, priority: Priority, resource: Resource) -> Permit {
        self.shared.breaker(priority).take_anyway(resource);
        Permit { core: Rc::clone(self), priority, resource }
    }
}

impl ClusterCore {
    /// As how many of Envoy's balancers it counts: there the main thread has one, too, for which the first worker stands.
    pub(crate) fn counts_for(&self) -> u64 {
        if self.worker.id() == 0 { 2 } else { 1 }
    }

    /// Counts what a set is worked out for that follows another one, where localities share by load.
    fn count_structures(&self, before: Option<&HostSet>, set: &HostSet) {
        if self.config().lb.load_aware().is_some() {
            let count = match before {
                // Envoy's balancers are there before they know the hosts of any priority.
                None => 1 + set.layout().filled_priorities(),
                Some(before) => set.layout().changed_priorities(before.layout()),
            };
            self.lb_stats.lb_recalculate_zone_structures.add(count as u64 * self.counts_for());
        }
    }

    /// Counts the subsets of a set that follows another one.
    fn count_subsets(&self, before: Option<&HostSet>, set: &HostSet) {
        let Some(now) = set.layout().subsets() else { return };
        let (created, removed) = match before.and_then(|before| before.layout().subsets()) {
            None => (now.len(), 0),
            Some(before) => (now.beyond(before), before.beyond(now)),
        };
        let times = self.counts_for();
        self.lb_stats.lb_subsets_created.add(created as u64 * times);
        self.lb_stats.lb_subsets_removed.add(removed as u64 * times);
        self.lb_stats.lb_subsets_active.follow(now.len() as u64 * times);
        // They are alike on all workers.
        if let Some(stats) = self.subset_stats.as_ref().filter(|_| self.worker.id() == 0) {
            stats.lb_subsets_single_host_per_subset_duplicate.follow(now.duplicates());
        }
    }
}

/// One of a limited resource, held until it is dropped.
pub struct Permit {
    core: Rc<ClusterCore>,
    priority: Priority,
    resource: Resource,
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.core.shared.breaker(self.priority).give_back(self.resource);
    }
}

/// A cluster on one worker: hosts to pick from, and pools of connections to them.
pub struct Cluster {
    core: Rc<ClusterCore>,
    info: Rc<ClusterInfo>,
    hosts: RefCell<HostSet>,
    /// The worker's own of each host that it has used, at the host's place.
    own: RefCell<Vec<Option<Rc<Host>>>>,
    tables: Option<TableStats>,
    provided: Option<Provided>,
    ahead: Option<Box<Ahead>>,
    kept: OnceCell<Rc<dyn Any>>,
}

/// Why a request is refused in an overload (`drop_overloads`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drops {
    /// All requests are.
    All,
    /// It is one of the share that is.
    Some,
}

impl Drops {
    /// `dropped`: so many of a million requests.
    #[cold]
    fn of(dropped: u32, rng: &Rng) -> Option<Self> {
        const ALL: u32 = 1_000_000;
        if dropped >= ALL {
            return Some(Self::All);
        }
        (rng.below(ALL.into()) < dropped.into()).then_some(Self::Some)
    }
}

/// How a cluster picks hosts that its balancer does not (`CLUSTER_PROVIDED`).
enum Provided {
    OnDemand(WorkerHosts),
    /// Clusters made of this one, by the names that are the requests' destinations.
    SubClusters(Weak<ClusterManager>),
    Aggregate(Aggregate),
}

/// Gauges of a balancer that places by hash.
enum TableStats {
    Ring(Scope<RingStats>),
    Maglev(Scope<MaglevStats>),
}

impl TableStats {
    fn new(core: &ClusterCore, registry: &Registry) -> Option<Self> {
        let prefix = stat_prefix(core.config());
        match core.config().lb.policy {
            LbPolicy::RingHash(_) => Some(Self::Ring(registry.scope(&format!("{prefix}ring_hash_lb.")))),
            LbPolicy::Maglev(_) => Some(Self::Maglev(registry.scope(&format!("{prefix}maglev_lb.")))),
            LbPolicy::RoundRobin
            | LbPolicy::LeastRequest(_)
            | LbPolicy::Random
            | LbPolicy::ClusterProvided => None,
        }
    }

    fn show(&self, hosts: &HostSet) {
        let Some(Spread { places, least, most }) = hosts.layout().spread() else { return };
        match self {
            Self::Ring(stats) => {
                stats.size.set(places);
                stats.min_hashes_per_host.set(least);
                stats.max_hashes_per_host.set(most);
            }
            Self::Maglev(stats) => {
                stats.min_entries_per_host.set(least);
                stats.max_entries_per_host.set(most);
            }
        }
    }
}

impl Cluster {
    pub(crate) fn new(
        shared: Arc<ClusterShared>,
        registry: &Registry,
        worker: &Rc<Worker>,
        reaper: &Rc<Reaper>,
        connector: &Rc<dyn Connector>,
        manager: &Weak<ClusterManager>,
    ) -> Rc<Self> {
        let (prefix, track) = (stat_prefix(shared.config()), shared.config().track);
        let (stats, lb_stats) = (registry.scope(&prefix), registry.scope(&prefix));
        let size_stats = track.request_response_sizes.then(|| registry.scope(&prefix));
        let budget_stats = track.timeout_budgets.then(|| registry.scope(&prefix));
        let subset_stats = shared.config().lb.subsets.is_some().then(|| registry.scope(&prefix));
        let core = Rc::new(ClusterCore {
            shared,
            stats,
            lb_stats,
            registry: registry.clone(),
            http1_stats: OnceCell::new(),
            ssl_stats: OnceCell::new(),
            size_stats,
            budget_stats,
            subset_stats,
            http2_stats: OnceCell::new(),
            match_counts: OnceCell::new(),
            worker: Rc::clone(worker),
            reaper: Rc::clone(reaper),
            connector: Rc::clone(connector),
        });
        core.shared.goes_live();
        let set = HostSet::new(core.shared.layout(), &core, true);
        core.count_subsets(None, &set);
        core.count_structures(None, &set);
        // The tables of all workers are alike.
        let tables = (worker.id() == 0).then(|| TableStats::new(&core, registry)).flatten();
        if let Some(tables) = &tables {
            tables.show(&set);
        }
        let provided = match &core.config().discovery.source {
            HostSource::OriginalDst(_) | HostSource::ForwardProxy(_) => {
                Some(Provided::OnDemand(WorkerHosts::default()))
            }
            HostSource::SubClusters(_) => Some(Provided::SubClusters(Weak::clone(manager))),
            HostSource::Aggregate(members) => Some(Provided::Aggregate(Aggregate::new(members, manager))),
            HostSource::Static
            | HostSource::StrictDns(_)
            | HostSource::LogicalDns(_)
            | HostSource::Eds(_) => None,
        };
        let hosts = RefCell::new(set);
        let ClusterConfig { name, observability_name, metadata, .. } = core.config();
        let (name, observability_name) = (Arc::clone(name), Arc::clone(observability_name));
        let members = Cell::new(hosts.borrow().hosts().count() as u64);
        let info = Rc::new(ClusterInfo { name, observability_name, metadata: metadata.clone(), members });
        let ahead = Ahead::new(core.config());
        Rc::new(Self {
            core,
            info,
            hosts,
            own: RefCell::default(),
            tables,
            provided,
            ahead,
            kept: OnceCell::new(),
        })
    }

    /// Takes over hosts as the main thread published them, without those that are `gone`. Hosts that stay keep their
    /// pools; the others' idle connections are closed, and running exchanges end as they would have.
    pub(crate) fn update_hosts(&self, gone: &[Arc<HostShared>]) {
        self.update_weights();
        match &self.provided {
            Some(Provided::OnDemand(own)) => own.forget(self),
            Some(Provided::Aggregate(_) | Provided::SubClusters(_)) | None => self.forget(gone),
        }
        if self.config().turnover.closes_connections {
            let all: Vec<_> =
                self.own.borrow().iter().flatten().map(|host| Arc::clone(host.shared())).collect();
            all.iter().for_each(|host| self.renew(host));
        }
    }

    /// Takes over what the hosts come to for balancing now.
    pub(crate) fn update_weights(&self) {
        let set = HostSet::new(self.core.shared.layout(), &self.core, false);
        if let Some(tables) = &self.tables {
            tables.show(&set);
        }
        if let Some(ahead) = &self.ahead {
            ahead.clear();
        }
        self.info.members.set(set.hosts().count() as u64);
        let before = self.hosts.replace(set);
        self.core.count_subsets(Some(&before), &self.hosts.borrow());
        self.core.count_structures(Some(&before), &self.hosts.borrow());
        drop(before);
    }

    /// Lets go of hosts.
    fn forget(&self, gone: &[Arc<HostShared>]) {
        let mut own = self.own.borrow_mut();
        let take = |gone: &Arc<HostShared>| {
            let own = own.get_mut(gone.place())?;
            // Another host may have its place by now.
            own.take_if(|host| Arc::ptr_eq(host.shared(), gone))
        };
        let left: Vec<Rc<Host>> = gone.iter().filter_map(take).collect();
        drop(own);
        // Streams may hold them for long.
        left.iter().for_each(|host| host.drain());
    }

    /// A host is out for its health. Its pools take no further request: idle connections are closed, busy ones with
    /// what they carry, and those of bytes alone at once where `close_connections_on_host_health_failure` says so.
    pub(crate) fn renew(&self, failed: &Arc<HostShared>) {
        let before = match &self.provided {
            Some(Provided::OnDemand(own)) => own.renew(failed),
            // Its hosts are those of others, which are told themselves.
            Some(Provided::Aggregate(_) | Provided::SubClusters(_)) => None,
            None => self.renew_own(failed),
        };
        if let Some(before) = before {
            before.retire();
        }
    }

    fn renew_own(&self, failed: &Arc<HostShared>) -> Option<Rc<Host>> {
        let mut own = self.own.borrow_mut();
        let host = own.get_mut(failed.place())?.as_mut().filter(|host| Arc::ptr_eq(host.shared(), failed))?;
        let renewed = host.renewed();
        Some(std::mem::replace(host, renewed))
    }

    /// The worker's own of a host.
    #[inline]
    fn own(&self, shared: &Arc<HostShared>) -> Rc<Host> {
        match self.own.borrow().get(shared.place()) {
            Some(Some(host)) if Arc::ptr_eq(host.shared(), shared) => return Rc::clone(host),
            _ => {}
        }
        self.new_own(shared)
    }

    #[cold]
    fn new_own(&self, shared: &Arc<HostShared>) -> Rc<Host> {
        let host = Host::new(Arc::clone(shared), Rc::clone(&self.core));
        let (place, mut own) = (shared.place(), self.own.borrow_mut());
        // One that is no longer published has none.
        if place != u32::MAX as usize {
            if own.len() <= place {
                own.resize_with(place + 1, || None);
            }
            if let Some(slot) = own.get_mut(place) {
                let before = slot.replace(Rc::clone(&host));
                drop(own);
                drop(before);
            }
        }
        host
    }

    /// The host that listens at an address, as text, whatever the balancer would pick.
    pub fn host_at(&self, address: &str) -> Option<Rc<Host>> {
        let set = self.hosts.borrow();
        set.layout().host_at(address).map(|shared| self.own(shared))
    }

    /// How large requests and responses are, where that is tracked.
    #[inline]
    pub fn size_stats(&self) -> Option<&SizeStats> {
        self.core.size_stats.as_deref()
    }

    /// The share of their time that requests took, where that is tracked.
    #[inline]
    pub fn budget_stats(&self) -> Option<&BudgetStats> {
        self.core.budget_stats.as_deref()
    }

    /// What its stats begin with, `cluster.NAME.`.
    pub fn stat_prefix(&self) -> String {
        stat_prefix(self.config())
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.core.config().name
    }

    /// Chance, as this worker has it.
    pub(crate) fn rng(&self) -> &Rng {
        self.core.worker.rng()
    }

    /// The cluster as streams tell of it.
    pub fn info(&self) -> &Rc<ClusterInfo> {
        &self.info
    }

    /// Its configuration.
    pub fn config(&self) -> &ClusterConfig {
        self.core.config()
    }

    /// What whoever sends it requests keeps with it on this worker, made with its first use. There is one type of it.
    pub fn keep<T: Any>(&self, make: impl FnOnce() -> T) -> Option<Rc<T>> {
        let kept = self.kept.get_or_init(|| Rc::new(make()));
        Rc::clone(kept).downcast().ok()
    }

    /// What is exact across workers.
    pub fn shared(&self) -> &Arc<ClusterShared> {
        &self.core.shared
    }

    /// The worker's time.
    pub(crate) fn now(&self) -> Instant {
        self.core.worker.now()
    }

    /// This worker's statistics of it.
    pub fn stats(&self) -> &ClusterStats {
        &self.core.stats
    }

    /// This worker's statistics of its balancer.
    pub fn lb_stats(&self) -> &ClusterLbStats {
        &self.core.lb_stats
    }

    /// The hosts and their loads, for a look.
    pub fn with_hosts<R>(&self, look: impl FnOnce(&HostSet) -> R) -> R {
        look(&self.hosts.borrow())
    }

    /// Whether runtime keys take it out of service, wholly or for a share of requests.
    pub fn in_maintenance(&self, runtime: &Runtime) -> bool {
        // Without any key set this is one load.
        !runtime.is_empty()
            && runtime
                .fraction(&format!("upstream.maintenance_mode.{}", self.name()), Fraction::default())
                .hit(self.core.worker.rng().next())
    }

    /// Whether this request is one of those that overload has dropped, and if so, whether all of them are.
    #[inline]
    pub fn drops(&self) -> Option<Drops> {
        let dropped = self.core.shared.dropped();
        if dropped == 0 { None } else { Drops::of(dropped, self.core.worker.rng()) }
    }

    /// Another cluster has changed, which this one may borrow hosts from.
    pub(crate) fn other_changed(&self, name: &str) {
        if let Some(Provided::Aggregate(aggregate)) = &self.provided {
            aggregate.changed(name);
        }
    }

    /// Whether its hosts are those of other clusters.
    pub(crate) fn is_aggregate(&self) -> bool {
        matches!(self.provided, Some(Provided::Aggregate(_)))
    }

    /// The hosts of each priority, counted by their health.
    pub fn counts(&self) -> Vec<Counts> {
        match &self.provided {
            Some(Provided::Aggregate(aggregate)) => aggregate.counts(self),
            Some(Provided::OnDemand(_) | Provided::SubClusters(_)) | None => self.core.shared.counts(),
        }
    }

    /// The priority of a host that it gave.
    pub fn priority_of(&self, host: &Host) -> Option<usize> {
        match &self.provided {
            Some(Provided::Aggregate(aggregate)) => aggregate.priority_of(self, host),
            Some(Provided::OnDemand(_) | Provided::SubClusters(_)) | None => {
                Some(host.shared().priority() as usize)
            }
        }
    }

    /// Whether a pick looks at [`PickContext::hash`].
    pub fn picks_by_hash(&self) -> bool {
        is_hashing(&self.config().lb.policy) || self.is_aggregate()
    }

    /// Whether a pick looks at [`PickContext::metadata`].
    pub fn picks_by_metadata(&self) -> bool {
        self.config().lb.subsets.is_some() || self.is_aggregate()
    }

    /// The hosts that a request names itself, where they come first (`override_host`): for
    /// [`PickContext::wanted`](crate::lb::PickContext::wanted).
    #[inline]
    pub fn wanted(&self, asking: &Asking<'_>) -> Option<WantedHosts> {
        Some(self.config().lb.override_host.as_ref()?.wanted(asking))
    }

    /// The next host for a request; `None` where no host may be used (`UH`), which is counted.
    pub fn pick(&self, cx: &PickContext<'_>) -> Option<Rc<Host>> {
        let host = self.find(cx);
        if host.is_none() {
            self.core.stats.upstream_cx_none_healthy.inc();
        }
        host
    }

    /// The next host for a request.
    #[inline]
    fn find(&self, cx: &PickContext<'_>) -> Option<Rc<Host>> {
        match &self.provided {
            None => self.balance(cx),
            Some(Provided::OnDemand(own)) => own.pick(&self.core, cx.destination?),
            Some(Provided::SubClusters(manager)) => manager.upgrade()?.get(cx.destination?.name()?)?.find(cx),
            Some(Provided::Aggregate(aggregate)) => aggregate.pick(self, cx),
        }
    }

    #[inline]
    fn balance(&self, cx: &PickContext<'_>) -> Option<Rc<Host>> {
        if let Some(host) = self.ahead.as_ref().and_then(|ahead| ahead.take()) {
            return Some(host);
        }
        let set = self.hosts.borrow();
        match cx.avoid {
            None => self.pick_from(&set, cx).map(|shared| self.own(shared)),
            Some(avoid) => self.pick_avoiding(&set, cx, &avoid),
        }
    }

    /// The first host that is not rejected; after so many attempts, whichever comes.
    #[cold]
    fn pick_avoiding(&self, set: &HostSet, cx: &PickContext<'_>, avoid: &Avoid<'_>) -> Option<Rc<Host>> {
        // Whom the request names is not rejected.
        if let Some(host) = wanted_host(set, cx) {
            return Some(self.own(host));
        }
        let mut cx = *cx;
        let hashes = is_hashing(&self.config().lb.policy);
        loop {
            let (Picked { host, panics, last }, road) = self.pick_once(set, &cx);
            // The set that gave the host is asked again, a table looks for another one itself.
            self.count_panics(match cx.attempt {
                0 => panics,
                _ => u32::from(last && !hashes),
            });
            let host = host.map(|shared| self.own(shared));
            let goes_on =
                host.as_ref().is_some_and(|host| cx.attempt < avoid.attempts && (avoid.rejects)(host));
            if !goes_on {
                self.count_road(road);
                return host;
            }
            cx.attempt += 1;
        }
    }

    #[inline]
    fn pick_from<'s>(&self, set: &'s HostSet, cx: &PickContext<'_>) -> Option<&'s Arc<HostShared>> {
        if let Some(host) = wanted_host(set, cx) {
            return Some(host);
        }
        let (Picked { host, panics, last: _ }, road) = self.pick_once(set, cx);
        self.count_panics(panics);
        self.count_road(road);
        host
    }

    #[inline]
    fn pick_once<'s>(&self, set: &'s HostSet, cx: &PickContext<'_>) -> (Picked<'s>, Road) {
        match set.pick_by_subset(cx, &self.core) {
            None => (set.pick(cx, &self.core), Road::Plain),
            Some(found) => found,
        }
    }

    #[inline]
    fn count_panics(&self, panics: u32) {
        if panics > 0 {
            self.core.lb_stats.lb_healthy_panic.add(panics.into());
        }
    }

    #[inline]
    fn count_road(&self, road: Road) {
        let stats = &self.core.lb_stats;
        match road {
            Road::Plain => {}
            Road::Selected => stats.lb_subsets_selected.inc(),
            Road::Fallback => stats.lb_subsets_fallback.inc(),
            Road::Panic => stats.lb_subsets_fallback_panic.inc(),
        }
    }

    /// A connection to `host` for one request: an idle one without allocating, else a place in the queue while
    /// one is opened.
    ///
    /// # Errors
    /// One of the overflows of [`PoolError`] where a circuit breaker refuses, which is counted.
    #[inline]
    pub fn checkout(
        &self,
        host: &Rc<Host>,
        priority: Priority,
        downstream: Version,
    ) -> Result<Checkout, PoolError> {
        // That of the host's own cluster, which may be another one.
        let http2 = match host.config().http.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => downstream == Version::Http2,
            UpstreamProtocol::Auto => {
                if let Some(pool) = host.existing_http2_pool(priority)
                    && let Some(ready) = pool.ready(host)?
                {
                    return Ok(ready);
                }
                false
            }
        };
        if let Some(ahead) = &self.ahead {
            self.connect_ahead(ahead, priority, http2);
        }
        if http2 {
            return host.http2_pool(priority).checkout(host);
        }
        host.pool(priority).checkout(host)
    }

    /// As [`checkout`](Self::checkout), for a request that wants something of its connection
    /// ([`transport_options`](Host::transport_options)).
    ///
    /// # Errors
    /// As [`checkout`](Self::checkout).
    pub fn checkout_with(
        &self,
        host: &Rc<Host>,
        priority: Priority,
        downstream: Version,
        options: Option<Rc<TransportOptions>>,
    ) -> Result<Checkout, PoolError> {
        match options {
            None => self.checkout(host, priority, downstream),
            Some(options) => self.checkout(&host.variant(options), priority, downstream),
        }
    }

    /// A connection to `host` that carries a request's body as it is, behind these first bytes, and behind an answer
    /// made here (`connect_config`).
    ///
    /// # Errors
    /// A circuit breaker refuses, which is counted.
    #[cold]
    pub fn checkout_tcp(
        &self,
        host: &Rc<Host>,
        priority: Priority,
        options: Option<Rc<TransportOptions>>,
        first: Vec<u8>,
    ) -> Result<Checkout, PoolError> {
        tcp::checkout(&of_its_own(host, options), priority, first)
    }

    /// Leave to open a raw connection; `None` where `max_connections` refuses, which is counted.
    pub fn try_connection(&self, priority: Priority) -> Option<Permit> {
        let permit = self.core.try_take(priority, Resource::Connections);
        if permit.is_none() {
            self.core.stats.upstream_cx_overflow.inc();
        }
        permit
    }

    /// Opens a raw connection to one of its hosts within `connect_timeout`.
    ///
    /// # Errors
    /// A circuit breaker refuses, or the host cannot be reached; both are counted.
    pub async fn connect_tcp(
        &self,
        host: &Rc<Host>,
        priority: Priority,
        permit: Permit,
        options: Option<Rc<TransportOptions>>,
    ) -> Result<TcpConnection, PoolError> {
        tcp::connect(&of_its_own(host, options), priority, permit).await
    }

    /// A retry, held while it is under way (back-off included); `None` where `max_retries` or the retry budget
    /// refuses. The caller counts `upstream_rq_retry_overflow`.
    pub fn try_retry(&self, priority: Priority) -> Option<Permit> {
        self.core.try_take(priority, Resource::Retries)
    }
}

/// The next of the hosts that the request names itself.
#[inline]
fn wanted_host<'s>(set: &'s HostSet, cx: &PickContext<'_>) -> Option<&'s Arc<HostShared>> {
    cx.wanted?.next(set.layout())
}

/// Circuit-breaker counts by priority.
pub(crate) type Breakers = PerPriority<crate::circuit::Breaker>;

/// The host for a connection that nobody shares.
fn of_its_own(host: &Rc<Host>, options: Option<Rc<TransportOptions>>) -> Rc<Host> {
    options.map_or_else(|| Rc::clone(host), |options| host.detached(options))
}

#[cfg(test)]
mod tests;
