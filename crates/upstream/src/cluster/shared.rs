//! What the workers of one cluster agree on.

use super::on_demand::OnDemand;
use super::{Breakers, ClusterConfig, Discovery, HostSource, SubClusters, Turnover, stat_prefix};
use crate::circuit::{Breaker, Resource, refresh, refresh_remaining};
use crate::cluster::RequestPriority;
use crate::health::{HealthLine, Told};
use crate::host::{Health, HealthFlags, HostShared, HostSnapshot, LocalityHosts};
use crate::lb::{self, Counts, Layout, LocalCluster, Neighbours, Shares};
use crate::outlier::{self, Origin, OutlierLine, SuccessRates};
use crate::stats::{
    BudgetStats, ClusterLbStats, ClusterMainStats, ClusterStats, MatchStats, OutlierStats, RemainingStats,
    SizeStats,
};
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::{Block, Def, Registry, Scope, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, RwLock, Weak};

/// A cluster's exact counts, its hosts as last published, and the statistics that the main thread keeps.
pub struct ClusterShared {
    config: Arc<ClusterConfig>,
    breakers: Breakers,
    published: RwLock<Arc<Published>>,
    /// How many of a million requests are refused.
    dropped: Dropped,
    /// How many places of hosts there are.
    places: Mutex<u32>,
    neighbours: Arc<Neighbours>,
    /// A worker holds balancers for its hosts.
    live: AtomicBool,
    stats: ClusterMainStats,
    /// Another cluster of its name counts: it has taken this one's place, or this one is about to take its.
    hidden: AtomicBool,
    /// Somebody has had a pool of connections to one of its hosts.
    used: AtomicBool,
    /// Keeps the blocks of `track_remaining` registered.
    remaining: RwLock<Vec<Scope<Remaining>>>,
    outlier: Option<Box<Outlier>>,
    health: Option<Box<HealthLine>>,
    runtime: Runtime,
    made: Option<Box<Made>>,
    /// In the order of `transport_socket_matches`.
    match_counts: OnceLock<Vec<Scope<MatchStats>>>,
    /// How localities share, where that goes by load.
    shares: Option<Box<RwLock<Arc<Shares>>>>,
}

/// Hosts, and what they come to for balancing, which whoever needs it first works out for all.
struct Published {
    hosts: Arc<HostSnapshot>,
    layout: OnceLock<Arc<Layout>>,
}

impl Published {
    fn new(hosts: Arc<HostSnapshot>) -> Arc<Self> {
        Arc::new(Self { hosts, layout: OnceLock::new() })
    }
}

/// `drop_overloads`, of a million requests. As in Envoy, what an assignment says counts once hosts are published.
#[derive(Default)]
struct Dropped {
    said: AtomicU32,
    counts: AtomicU32,
}

/// What is made when somebody wants to go somewhere.
enum Made {
    Hosts(OnDemand),
    Clusters(SubClusters),
}

/// What a cluster with `outlier_detection` has besides.
struct Outlier {
    line: OutlierLine,
    stats: Scope<OutlierStats>,
    /// Of responses, and of what failed on this side.
    rates: Mutex<[SuccessRates; 2]>,
}

impl ClusterShared {
    /// A cluster with the hosts of its configuration, and its statistics.
    pub(crate) fn new(
        config: Arc<ClusterConfig>,
        registry: &Registry,
        runtime: &Runtime,
        neighbours: &Arc<Neighbours>,
    ) -> Arc<Self> {
        let hosts = Arc::new(initial_hosts(&config.discovery));
        let prefix = format!("cluster.{}.", config.observability_name);
        let outlier = config.outlier.is_some().then(|| {
            let stats = registry.scope(&format!("{prefix}outlier_detection."));
            Box::new(Outlier {
                line: OutlierLine::new(),
                stats,
                rates: Mutex::new([SuccessRates::UNKNOWN; 2]),
            })
        });
        let checks = &config.health_checks;
        let health = (!checks.is_empty()).then(|| Box::new(HealthLine::new(checks, registry, &prefix)));
        if health.is_some() {
            await_first_check(&hosts, None, config.turnover);
        }
        let made = match &config.discovery.source {
            HostSource::OriginalDst(_) | HostSource::ForwardProxy(_) => Some(Made::Hosts(OnDemand::new())),
            HostSource::SubClusters(config) => Some(Made::Clusters(SubClusters::new(config))),
            HostSource::Static
            | HostSource::StrictDns(_)
            | HostSource::LogicalDns(_)
            | HostSource::Eds(_)
            | HostSource::Aggregate(_) => None,
        };
        let shares = config.lb.load_aware().map(|_| Box::default());
        let shared = Arc::new(Self {
            shares,
            made: made.map(Box::new),
            breakers: Breakers {
                default: Breaker::new(&config.limits.default),
                high: Breaker::new(&config.limits.high),
            },
            config,
            published: RwLock::new(Published::new(Arc::default())),
            dropped: Dropped::default(),
            places: Mutex::default(),
            neighbours: Arc::clone(neighbours),
            live: AtomicBool::new(false),
            stats: ClusterMainStats::default(),
            hidden: AtomicBool::new(false),
            used: AtomicBool::new(false),
            remaining: RwLock::default(),
            outlier,
            health,
            runtime: runtime.clone(),
            match_counts: OnceLock::new(),
        });
        shared.drops(shared.config.discovery.dropped);
        shared.publish(hosts);
        shared.take_runtime();
        drop(registry.register(&prefix, Arc::clone(&shared)));
        if shared.hosts().hosts().next().is_some() {
            shared.stats.membership_change.inc();
            shared.count_members();
        }
        if shared.config.matches.is_empty() {
            shared.stats.default_total_match_count.inc();
        }
        let each = shared.config.matches.iter().map(|m| registry.scope(&format!("{prefix}{}.", m.name)));
        let _ = shared.match_counts.set(each.collect());
        shared.count_matches(None);
        for priority in RequestPriority::ALL {
            if shared.config.limits.get(priority).track_remaining {
                let prefix = format!("{prefix}circuit_breakers.{}.", priority.as_str());
                let block =
                    Remaining { stats: RemainingStats::default(), of: Arc::downgrade(&shared), priority };
                let scope = registry.register(&prefix, Arc::new(block));
                shared.remaining.write().unwrap_or_else(PoisonError::into_inner).push(scope);
            }
        }
        shared
    }

    /// Takes the limits that runtime keys override as they are now.
    pub(crate) fn take_runtime(&self) {
        for priority in RequestPriority::ALL {
            let limits = self.config.limits.get(priority);
            let limits = limits.at_runtime(&self.config.name, priority, &self.runtime);
            self.breakers.get(priority).set_limits(&limits);
        }
        if let (Some(outlier), Some(config)) = (&self.outlier, &self.config.outlier) {
            outlier.line.take_runtime(config, &self.runtime);
        }
    }

    /// How localities share by load, as last worked out.
    pub(crate) fn shares(&self) -> Arc<Shares> {
        let shares = self.shares.as_ref();
        shares.map(|s| Arc::clone(&s.read().unwrap_or_else(PoisonError::into_inner))).unwrap_or_default()
    }

    pub(crate) fn set_shares(&self, shares: Shares) {
        if let Some(own) = &self.shares {
            *own.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shares);
        }
    }

    /// Its stats are not shown while another one of its name shows them.
    pub(crate) fn hide(&self) {
        self.hidden.store(true, Relaxed);
    }

    /// Takes the place of another one, which counts no more: it goes on from there.
    pub(crate) fn succeed(&self, other: &Self) {
        other.hide();
        for i in 0..self.stats.defs().len() {
            if let (Some(Value::Counter(own)), Some(Value::Counter(theirs))) =
                (self.stats.value(i), other.stats.value(i))
            {
                own.add(theirs.value());
            }
        }
        self.hidden.store(false, Relaxed);
    }

    /// It is no longer among the clusters: whoever looks after it ends.
    pub(crate) fn retire(&self) {
        self.hide();
        if let Some(health) = &self.health {
            health.tell(Told::Hosts);
        }
        if let Some(sub_clusters) = self.sub_clusters() {
            sub_clusters.retire();
        }
    }

    /// Runtime keys.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// There is a pool of connections to one of its hosts.
    pub(crate) fn has_pool(&self) {
        self.used.store(true, Relaxed);
    }

    /// The cluster's configuration.
    #[inline]
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// What its stats begin with, `cluster.NAME.`.
    pub(crate) fn stat_prefix(&self) -> String {
        stat_prefix(&self.config)
    }

    /// The counts of one priority.
    #[inline]
    pub fn breaker(&self, priority: RequestPriority) -> &Breaker {
        self.breakers.get(priority)
    }

    #[inline]
    pub(crate) fn try_take(&self, priority: RequestPriority, resource: Resource) -> bool {
        self.breakers.get(priority).try_take(resource)
    }

    /// The statistics of the main thread, which is their only writer.
    pub fn main_stats(&self) -> &ClusterMainStats {
        &self.stats
    }

    /// Its hosts, where they are made on demand.
    pub(crate) fn on_demand(&self) -> Option<&OnDemand> {
        match self.made.as_deref()? {
            Made::Hosts(hosts) => Some(hosts),
            Made::Clusters(_) => None,
        }
    }

    /// Clusters that are made of it.
    pub(crate) fn sub_clusters(&self) -> Option<&SubClusters> {
        match self.made.as_deref()? {
            Made::Clusters(clusters) => Some(clusters),
            Made::Hosts(_) => None,
        }
    }

    pub(crate) fn health_line(&self) -> Option<&HealthLine> {
        self.health.as_deref()
    }

    pub(crate) fn outlier_line(&self) -> Option<&OutlierLine> {
        self.outlier.as_ref().map(|o| &o.line)
    }

    pub(crate) fn outlier_stats(&self) -> Option<Scope<OutlierStats>> {
        self.outlier.as_ref().map(|o| o.stats.clone())
    }

    pub(crate) fn set_success_rates(&self, origin: Origin, rates: SuccessRates) {
        if let Some(outlier) = &self.outlier {
            let [external, local] = &mut *outlier.rates.lock().unwrap_or_else(PoisonError::into_inner);
            match origin {
                Origin::External => *external = rates,
                Origin::Local => *local = rates,
            }
        }
    }

    /// The success rates that a cause of ejections goes by.
    pub(crate) fn success_rates_of(&self, origin: Origin) -> SuccessRates {
        let [external, local] = self.success_rates().unwrap_or([SuccessRates::UNKNOWN; 2]);
        match origin {
            Origin::External => external,
            Origin::Local => local,
        }
    }

    /// The success rates of its hosts in the last interval: of responses, and of what failed on this side.
    /// `None` without `outlier_detection`.
    pub fn success_rates(&self) -> Option<[SuccessRates; 2]> {
        self.outlier.as_ref().map(|o| *o.rates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The hosts as last published.
    pub fn hosts(&self) -> Arc<HostSnapshot> {
        Arc::clone(&self.published().hosts)
    }

    /// The hosts of each priority, counted by their health as it is now.
    pub(crate) fn counts(&self) -> Vec<Counts> {
        lb::counts(&self.published().hosts)
    }

    /// The hosts worked out for balancing.
    pub(crate) fn layout(&self) -> Arc<Layout> {
        self.layout_of(&self.published())
    }

    fn layout_of(&self, Published { hosts, layout }: &Published) -> Arc<Layout> {
        let make = || {
            let LocalCluster { name, locality } = &self.neighbours.local;
            Arc::new(Layout::new(&self.config, &self.runtime, hosts, locality.as_ref(), name.is_some()))
        };
        Arc::clone(layout.get_or_init(make))
    }

    /// The process's own cluster.
    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// A worker balances over the hosts from now on.
    pub(crate) fn goes_live(&self) {
        self.live.store(true, Relaxed);
    }

    /// An assignment says that so many of a million requests are to be refused; never more than the runtime key
    /// `load_balancing_policy.drop_overload_limit` has it, in percent.
    pub(crate) fn drops(&self, dropped: u32) {
        let limit = self.runtime.integer("load_balancing_policy.drop_overload_limit", 100).min(100);
        self.dropped.said.store(dropped.min(limit as u32 * 10_000), Relaxed);
    }

    /// How many of a million requests are refused.
    #[inline]
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped.counts.load(Relaxed)
    }

    /// Publishes hosts, or their health that has changed; those that are gone with it.
    fn publish(&self, hosts: Arc<HostSnapshot>) -> Vec<Arc<HostShared>> {
        self.dropped.counts.store(self.dropped.said.load(Relaxed), Relaxed);
        let gone = self.place(&hosts);
        let published = Published::new(hosts);
        if self.live.load(Relaxed) {
            // Here, so that no worker has to.
            let before = self.published();
            self.layout_of(&published).prepare(before.layout.get().map(|layout| &**layout));
        }
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = published;
        gone
    }

    /// The health of some hosts has changed.
    pub(crate) fn health_changed(&self) {
        self.count_members();
        self.weights_changed();
    }

    /// The weights of some hosts have changed.
    pub(crate) fn weights_changed(&self) {
        drop(self.publish(self.hosts()));
    }

    /// Gives each new host a place; those that were published before and are no more.
    fn place(&self, hosts: &Arc<HostSnapshot>) -> Vec<Arc<HostShared>> {
        let before = self.hosts();
        if Arc::ptr_eq(&before, hosts) {
            return Vec::new();
        }
        let next = &mut *self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = vec![false; *next as usize];
        let mut new = Vec::new();
        for host in hosts.hosts() {
            match taken.get_mut(host.place()) {
                Some(taken) if !*taken => *taken = true,
                Some(_) | None => new.push(host),
            }
        }
        let gone: Vec<_> = before.hosts().filter(|h| taken.get(h.place()) == Some(&false)).cloned().collect();
        // Those that go keep theirs: a worker that does not know yet finds what is its own of them there.
        let mut free = (0..).zip(&taken).filter(|(_, taken)| !**taken).map(|(place, _)| place);
        for host in new {
            host.set_place(free.next().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            }));
        }
        gone
    }

    /// Publishes hosts; those that are gone with it. Workers must be told ([`ClusterSet`](crate::manager::ClusterSet)
    /// does).
    pub(crate) fn set_hosts(&self, hosts: HostSnapshot, memberships: u64) -> Vec<Arc<HostShared>> {
        if let Some(health) = &self.health {
            await_first_check(&hosts, Some(&self.hosts()), self.config.turnover);
            health.tell(Told::Hosts);
        }
        if let Some(outlier) = &self.outlier {
            outlier.line.tell(outlier::Told::Hosts);
        }
        let before = self.hosts();
        let gone = self.publish(Arc::new(hosts));
        self.count_matches(Some(&before));
        self.stats.membership_change.add(memberships);
        self.count_members();
        gone
    }

    /// Counts which of `transport_socket_matches` each host has that is not among `known`.
    fn count_matches(&self, known: Option<&HostSnapshot>) {
        if self.config.matches.is_empty() {
            return;
        }
        let known: HashSet<_> = known.into_iter().flat_map(HostSnapshot::hosts).map(Arc::as_ptr).collect();
        for host in self.hosts().hosts().filter(|host| !known.contains(&Arc::as_ptr(host))) {
            let at = self.config.matching(host, None);
            match at.and_then(|at| self.match_counts.get()?.get(at)) {
                Some(scope) => scope.total_match_count.inc(),
                None => self.stats.default_total_match_count.inc(),
            }
        }
    }

    pub(crate) fn count_members(&self) {
        let (mut healthy, mut degraded, mut excluded, mut total, mut heaviest) = (0, 0, 0, 0, 0);
        let hosts = self.hosts();
        for host in hosts.hosts() {
            total += 1;
            heaviest = heaviest.max(host.weight());
            match host.health_flags().health() {
                Health::Healthy => healthy += 1,
                Health::Degraded => degraded += 1,
                Health::Excluded => excluded += 1,
                Health::Unhealthy => {}
            }
        }
        self.stats.membership_total.set(total);
        self.stats.membership_healthy.set(healthy);
        self.stats.membership_degraded.set(degraded);
        self.stats.membership_excluded.set(excluded);
        // Envoy's gauge stays 0 where no host of a static cluster weighs more than another.
        let fed = matches!(self.config.discovery.source, HostSource::Eds(_));
        self.stats.max_host_weight.follow(if heaviest > 1 || fed { u64::from(heaviest.max(1)) } else { 0 });
        self.stats.warming_state.set(0);
    }
}

/// What a subscription counts itself, under the same names.
const OF_SUBSCRIPTIONS: [&str; 4] = ["update_attempt", "update_failure", "update_success", "version"];

impl Block for ClusterShared {
    fn defs(&self) -> &'static [Def] {
        self.stats.defs()
    }

    fn value(&self, i: usize) -> Option<Value<'_>> {
        if i == 0 {
            refresh(&self.stats, &self.breakers, self.used.load(Relaxed));
        }
        let counted_by_feed = matches!(self.config.discovery.source, HostSource::Eds(_))
            && self.stats.defs().get(i).is_some_and(|def| OF_SUBSCRIPTIONS.contains(&def.name));
        (!counted_by_feed && !self.hidden.load(Relaxed)).then(|| self.stats.value(i)).flatten()
    }

    /// What workers count, of which each makes its own with its first use of the cluster.
    fn awaited(&self, deferred: bool, visit: &mut dyn FnMut(Arc<dyn Block>)) {
        static NO_PICKS: LazyLock<Arc<ClusterLbStats>> = LazyLock::new(Arc::default);
        static NONE: LazyLock<Arc<ClusterStats>> = LazyLock::new(Arc::default);
        static NO_SIZES: LazyLock<Arc<SizeStats>> = LazyLock::new(Arc::default);
        static NO_BUDGETS: LazyLock<Arc<BudgetStats>> = LazyLock::new(Arc::default);
        visit(Arc::clone(&*NO_PICKS) as Arc<dyn Block>);
        // Health checks are a use, too.
        if !deferred || self.health.is_some() {
            visit(Arc::clone(&*NONE) as Arc<dyn Block>);
        }
        if self.config.track.request_response_sizes {
            visit(Arc::clone(&*NO_SIZES) as Arc<dyn Block>);
        }
        if self.config.track.timeout_budgets {
            visit(Arc::clone(&*NO_BUDGETS) as Arc<dyn Block>);
        }
    }
}

/// The gauges of `track_remaining` of one priority.
struct Remaining {
    stats: RemainingStats,
    of: Weak<ClusterShared>,
    priority: RequestPriority,
}

impl Block for Remaining {
    fn defs(&self) -> &'static [Def] {
        self.stats.defs()
    }

    fn value(&self, i: usize) -> Option<Value<'_>> {
        if i == 0
            && let Some(cluster) = self.of.upgrade()
        {
            refresh_remaining(&self.stats, cluster.breakers.get(self.priority));
        }
        self.stats.value(i)
    }
}

/// Hosts that `known` has not get no traffic before their first check.
fn await_first_check(hosts: &HostSnapshot, known: Option<&HostSnapshot>, turnover: Turnover) {
    let known: HashSet<_> = known.into_iter().flat_map(HostSnapshot::hosts).map(Arc::as_ptr).collect();
    let mut flags = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::PENDING_ACTIVE_HC);
    if turnover.counts_once_checked {
        flags = flags.with(HealthFlags::NOT_COUNTED_YET);
    }
    for host in hosts.hosts().filter(|h| h.spec().is_checked() && !known.contains(&Arc::as_ptr(h))) {
        host.set_health(flags, true);
    }
}

/// The hosts that configuration names; localities with equal names and priority stay apart, as written.
fn initial_hosts(discovery: &Discovery) -> HostSnapshot {
    let mut snapshot = HostSnapshot {
        overprovisioning_factor: discovery.overprovisioning_factor,
        weighted_priority_health: discovery.weighted_priority_health,
        priorities: Vec::new(),
    };
    let priorities = discovery.endpoints.iter().map(|e| e.priority as usize + 1).max().unwrap_or(0);
    snapshot.priorities.resize_with(priorities, || Vec::with_capacity(1));
    for endpoints in &discovery.endpoints {
        let at = endpoints.priority as usize;
        if let Some(priority) = snapshot.priorities.get_mut(at) {
            priority.push(LocalityHosts {
                locality: Arc::clone(&endpoints.locality),
                weight: endpoints.weight,
                hosts: endpoints.hosts.iter().cloned().map(HostShared::new).collect(),
            });
        }
    }
    snapshot
}
