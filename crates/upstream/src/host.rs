//! Hosts: what the balancer picks.

use crate::circuit::{PerPriority, RequestPriority, Resource};
use crate::cluster::{ClusterConfig, ClusterCore, UpstreamProtocol};
use crate::health::{CheckTarget, Told};
use crate::outlier::{self, HostRecord, Outcome, SuccessRates};
use crate::pool::{Cut, Http2Pool, HttpPool, Load};
use crate::stats::HostCounters;
use crate::transport::TransportOptions;
use nuncio_core::address::Address;
pub use nuncio_core::stream_info::Locality;
use nuncio_core::stream_info::{HostInfo, Metadata};
use prost_types::value::Kind;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::Notify;

/// The namespace of metadata that concerns balancing.
pub const LB_NAMESPACE: &str = "envoy.lb";

/// Variants of a host before the first search for those that are no longer used.
const SWEEP_FROM: usize = 64;

/// Why a host is not plainly healthy: a set of Envoy's health flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthFlags(u32);

impl HealthFlags {
    /// It is well.
    pub const NONE: Self = Self(0);
    /// Active checks failed.
    pub const FAILED_ACTIVE_HC: Self = Self(1);
    /// Ejected as an outlier.
    pub const FAILED_OUTLIER_CHECK: Self = Self(1 << 1);
    /// The endpoint's configured status is `UNHEALTHY` or `TIMEOUT`.
    pub const FAILED_EDS_HEALTH: Self = Self(1 << 2);
    /// Active checks say that it is degraded.
    pub const DEGRADED_ACTIVE_HC: Self = Self(1 << 3);
    /// The endpoint's configured status is `DEGRADED`.
    pub const DEGRADED_EDS_HEALTH: Self = Self(1 << 4);
    /// Gone from discovery, kept while it passes active checks.
    pub const PENDING_DYNAMIC_REMOVAL: Self = Self(1 << 5);
    /// No active check has come back yet.
    pub const PENDING_ACTIVE_HC: Self = Self(1 << 6);
    /// An answer said that the host is going.
    pub const EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Self = Self(1 << 7);
    /// The last active check timed out.
    pub const ACTIVE_HC_TIMEOUT: Self = Self(1 << 8);
    /// The endpoint's configured status is `DRAINING`.
    pub const EDS_STATUS_DRAINING: Self = Self(1 << 9);
    /// An answer said that it is degraded (`detect_degraded_hosts`).
    pub const DEGRADED_OUTLIER_DETECTION: Self = Self(1 << 10);
    /// New, and not counted before its first active check (`ignore_new_hosts_until_first_hc`). It has no text.
    pub(crate) const NOT_COUNTED_YET: Self = Self(1 << 11);
    /// All that an endpoint's configured status raises.
    pub(crate) const OF_EDS: Self =
        Self(Self::FAILED_EDS_HEALTH.0 | Self::DEGRADED_EDS_HEALTH.0 | Self::EDS_STATUS_DRAINING.0);

    /// Their texts in `/clusters`, in Envoy's order.
    const TEXTS: [(Self, &'static str); 11] = [
        (Self::FAILED_ACTIVE_HC, "/failed_active_hc"),
        (Self::FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
        (Self::FAILED_EDS_HEALTH, "/failed_eds_health"),
        (Self::DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (Self::DEGRADED_EDS_HEALTH, "/degraded_eds_health"),
        (Self::PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
        (Self::PENDING_ACTIVE_HC, "/pending_active_hc"),
        (Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
        (Self::ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
        (Self::EDS_STATUS_DRAINING, "/eds_status_draining"),
        (Self::DEGRADED_OUTLIER_DETECTION, "/degraded_outlier_detection"),
    ];

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags but for those of `other`.
    #[must_use]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of these flags that `other` has too.
    pub(crate) fn among(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// How balancers see a host with these flags.
    pub fn health(self) -> Health {
        const UNHEALTHY: u32 = 0b111 | HealthFlags::EDS_STATUS_DRAINING.0;
        const DEGRADED: u32 = 0b11 << 3 | HealthFlags::DEGRADED_OUTLIER_DETECTION.0;
        if self.0 & (Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.0 | Self::NOT_COUNTED_YET.0) != 0 {
            Health::Excluded
        } else if self.0 & UNHEALTHY != 0 {
            Health::Unhealthy
        } else if self.0 & DEGRADED != 0 {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }
}

impl fmt::Display for HealthFlags {
    /// As `/clusters` prints them: `healthy`, or each flag with a slash before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & !Self::NOT_COUNTED_YET.0 == 0 {
            return f.write_str("healthy");
        }
        Self::TEXTS.iter().filter(|(flag, _)| self.contains(*flag)).try_for_each(|(_, t)| f.write_str(t))
    }
}

/// How balancers see a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It gets its share.
    Healthy,
    /// It gets traffic when there are too few healthy ones.
    Degraded,
    /// It gets traffic in panic only.
    Unhealthy,
    /// As unhealthy, and it does not count in any share.
    Excluded,
}

/// An endpoint as configuration or discovery names it.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Where it listens.
    pub address: Address,
    /// Where else, in the order in which they are tried (`additional_addresses`); none where there is no other place.
    pub further: Option<Arc<[Address]>>,
    /// Its name: `hostname` of the endpoint, or the name that was resolved.
    pub hostname: Arc<str>,
    /// Where it stands.
    pub locality: Arc<Locality>,
    /// `load_balancing_weight`, from 1.
    pub weight: u32,
    /// Its priority, from 0.
    pub priority: u32,
    /// What is known of its health from configuration.
    pub health: HealthFlags,
    /// Its metadata.
    pub metadata: Option<Arc<Metadata>>,
    /// How it is checked otherwise than the rest.
    pub check: Option<Arc<CheckTarget>>,
    /// What its own stats call it in place of its address (`observability_name`).
    pub stat_name: Option<Arc<str>>,
}

/// Where a host listens: its address, and the others that it has.
pub(crate) type Addresses = (Address, Option<Arc<[Address]>>);

/// What is exact across workers of one host.
#[derive(Debug)]
pub struct HostShared {
    /// As it was named first; what may change under it stands below.
    spec: HostSpec,
    weight: AtomicU32,
    priority: AtomicU32,
    /// Its metadata, once it was named with others.
    metadata: OnceLock<Box<RwLock<Option<Arc<Metadata>>>>>,
    health: AtomicU32,
    active: AtomicU32,
    /// Where a logical host is now, once it has moved.
    moved: OnceLock<Box<RwLock<Addresses>>>,
    /// What was seen of it, where its cluster detects outliers.
    outlier: OnceLock<Box<HostRecord>>,
    counters: Mutex<Vec<Arc<HostCounters>>>,
    /// Its place among its cluster's hosts, for workers to find what is theirs of it; beyond all of them until it is
    /// published.
    place: AtomicU32,
    /// Since when it is well, where its cluster starts hosts slowly.
    well_since: OnceLock<Box<Mutex<Option<Instant>>>>,
    /// A connection to it was closed; there where somebody waits for that (`per_host_thresholds`).
    freed: OnceLock<Box<Notify>>,
}

impl HostShared {
    /// A host that nobody has used.
    pub fn new(spec: HostSpec) -> Arc<Self> {
        let health = AtomicU32::new(spec.health.0);
        let (weight, priority) = (AtomicU32::new(spec.weight), AtomicU32::new(spec.priority));
        let (active, moved, outlier) = (AtomicU32::new(0), OnceLock::new(), OnceLock::new());
        let (metadata, counters, place) = (OnceLock::new(), Mutex::default(), AtomicU32::new(u32::MAX));
        let (well_since, freed) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self {
            spec,
            weight,
            priority,
            metadata,
            health,
            active,
            moved,
            outlier,
            counters,
            place,
            well_since,
            freed,
        })
    }

    /// Whether an endpoint that is named now is this host: it listens and is checked at the same addresses, and stands
    /// where the host stands. All else may change while the host stays.
    pub(crate) fn is_at(&self, named: &HostSpec) -> bool {
        let checked_at = |spec: &HostSpec| spec.check.as_ref().map(|c| (c.address.clone(), c.port));
        self.spec.address == named.address
            && self.spec.locality == named.locality
            && checked_at(&self.spec) == checked_at(named)
    }

    /// Takes over what is said of the host now; whether balancers have to know.
    pub(crate) fn take_over(&self, named: &HostSpec) -> bool {
        let moved = self.priority.swap(named.priority, Relaxed) != named.priority;
        let weighs = self.weight.swap(named.weight, Relaxed) != named.weight;
        let health = self.health_flags().among(HealthFlags::OF_EDS) != named.health;
        if health {
            self.set_health(HealthFlags::OF_EDS, false);
            self.set_health(named.health, true);
        }
        let described = self.metadata() != named.metadata;
        if described {
            let now = self.metadata.get_or_init(Box::default);
            now.write().unwrap_or_else(PoisonError::into_inner).clone_from(&named.metadata);
        }
        moved | weighs | health | described
    }

    /// `load_balancing_weight`, from 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed).max(1)
    }

    /// Its place among its cluster's hosts: of no other one while it is published.
    #[inline]
    pub(crate) fn place(&self) -> usize {
        self.place.load(Relaxed) as usize
    }

    pub(crate) fn set_place(&self, place: u32) {
        self.place.store(place, Relaxed);
    }

    /// Since when it is well, where somebody has noted that.
    pub(crate) fn well_since(&self) -> Option<Instant> {
        *self.well_since.get()?.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_well_since(&self, at: Option<Instant>) {
        let since = self.well_since.get_or_init(Box::default);
        *since.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// What `read` makes of a value that concerns balancing, where its metadata has it.
    pub(crate) fn lb_value<R>(&self, key: &str, read: impl FnOnce(&Kind) -> R) -> Option<R> {
        let metadata = self.metadata()?;
        metadata.get(LB_NAMESPACE)?.fields.get(key)?.kind.as_ref().map(read)
    }

    /// Whether its metadata calls it a canary.
    pub fn canary(&self) -> bool {
        self.lb_value("canary", |kind| matches!(kind, Kind::BoolValue(true))).unwrap_or(false)
    }

    /// Its priority, from 0.
    pub fn priority(&self) -> u32 {
        self.priority.load(Relaxed)
    }

    /// Its metadata.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        match self.metadata.get() {
            None => self.spec.metadata.clone(),
            Some(now) => now.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Where it is now. Only a logical host (`LOGICAL_DNS`) ever moves from its first address.
    #[inline]
    pub fn address(&self) -> Address {
        match self.moved.get() {
            None => self.spec.address.clone(),
            Some(moved) => moved.read().unwrap_or_else(PoisonError::into_inner).0.clone(),
        }
    }

    /// Where a connection to it may lead.
    pub(crate) fn addresses(&self) -> Addresses {
        match self.moved.get() {
            None => (self.spec.address.clone(), self.spec.further.clone()),
            Some(moved) => moved.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Whether it is somewhere else now, or has other metadata.
    #[inline]
    fn differs_from(&self, told: &HostInfo) -> bool {
        (self.moved.get().is_some() && self.address() != told.address)
            || (self.metadata.get().is_some() && self.metadata() != told.metadata)
    }

    /// New connections go to these addresses from now on; those that stand stay.
    pub(crate) fn move_to(&self, addresses: Addresses) {
        if self.addresses() != addresses {
            let moved = self.moved.get_or_init(|| Box::new(RwLock::new(addresses.clone())));
            *moved.write().unwrap_or_else(PoisonError::into_inner) = addresses;
        }
    }

    /// The endpoint as it was named first; its weight, priority and metadata now are asked of the host itself.
    pub fn spec(&self) -> &HostSpec {
        &self.spec
    }

    /// Its health flags now.
    pub fn health_flags(&self) -> HealthFlags {
        HealthFlags(self.health.load(Relaxed))
    }

    /// Raises flags, or takes them away.
    pub(crate) fn set_health(&self, flags: HealthFlags, on: bool) {
        if on {
            self.health.fetch_or(flags.0, Relaxed);
        } else {
            self.health.fetch_and(!flags.0, Relaxed);
        }
    }

    /// Its success rates in the last interval, in percent, -1 where it had too few requests: of responses, and of what
    /// failed on this side.
    pub fn success_rates(&self) -> [f64; 2] {
        self.outlier.get().map_or([SuccessRates::NO_RATE; 2], |record| record.shown_rates())
    }

    pub(crate) fn outlier(&self) -> &HostRecord {
        self.outlier.get_or_init(Box::default)
    }

    /// Requests on it now, of all workers.
    pub fn active_requests(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Whether somebody is connected to it, connecting, or waits for a connection.
    pub(crate) fn is_in_use(&self) -> bool {
        let blocks = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.iter().any(|c| {
            c.cx_total.value() != c.cx_closed.value()
                || c.rq_pending_begun.value() != c.rq_pending_done.value()
        })
    }

    /// Connections to it now, of all workers, those on their way among them.
    fn connections(&self) -> u64 {
        let blocks = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |c: &Arc<HostCounters>| c.cx_total.value().saturating_sub(c.cx_closed.value());
        blocks.iter().map(open).sum()
    }

    /// Whoever waits for an end of one of its connections looks again.
    pub(crate) fn connection_closed(&self) {
        if let Some(freed) = self.freed.get() {
            freed.notify_waiters();
        }
    }

    /// The counters of all workers that have used it.
    pub fn counters(&self) -> Vec<Arc<HostCounters>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn new_counters(&self) -> Arc<HostCounters> {
        let counters = Arc::new(HostCounters::default());
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }
}

/// A host on one worker, with its pools.
pub struct Host {
    shared: Arc<HostShared>,
    counters: Arc<HostCounters>,
    core: Rc<ClusterCore>,
    /// What streams tell of it, once one was sent to it.
    info: RefCell<Option<Rc<HostInfo>>>,
    pools: PerPriority<OnceCell<Box<HttpPool>>>,
    http2_pools: PerPriority<OnceCell<Box<Http2Pool>>>,
    /// What this variant's connections are like.
    options: Option<Rc<TransportOptions>>,
    /// The host with pools of their own for requests that want something of their connections.
    variants: OnceCell<Box<RefCell<Variants>>>,
    /// What closes connections that are not to outlive its health.
    cuts: OnceCell<Box<RefCell<Vec<Weak<Cut>>>>>,
}

/// A host's variants, and how many there may be before those without connections are looked for.
#[derive(Default)]
struct Variants {
    by_options: HashMap<Rc<TransportOptions>, Rc<Host>>,
    sweep_at: usize,
}

impl Host {
    pub(crate) fn new(shared: Arc<HostShared>, core: Rc<ClusterCore>) -> Rc<Self> {
        let counters = shared.new_counters();
        Self::made(shared, counters, core, None)
    }

    fn made(
        shared: Arc<HostShared>,
        counters: Arc<HostCounters>,
        core: Rc<ClusterCore>,
        options: Option<Rc<TransportOptions>>,
    ) -> Rc<Self> {
        let (pools, http2_pools) = (PerPriority::default(), PerPriority::default());
        let (info, variants, cuts) = (RefCell::default(), OnceCell::new(), OnceCell::new());
        Rc::new(Self { shared, counters, core, info, pools, http2_pools, options, variants, cuts })
    }

    /// The host with pools that hold nothing yet; it counts on.
    pub(crate) fn renewed(&self) -> Rc<Self> {
        let (shared, counters) = (Arc::clone(&self.shared), Arc::clone(&self.counters));
        Self::made(shared, counters, Rc::clone(&self.core), None)
    }

    /// It fails: its pools keep nothing for later, and the connections are closed for which
    /// [`on_cut`](Self::on_cut) was asked to.
    pub(crate) fn retire(&self) {
        for priority in RequestPriority::ALL {
            self.existing_pool(priority).into_iter().for_each(HttpPool::retire);
            self.existing_http2_pool(priority).into_iter().for_each(Http2Pool::retire);
        }
        let cuts = self.cuts.get().map(|cuts| cuts.take()).unwrap_or_default();
        cuts.iter().filter_map(Weak::upgrade).for_each(|cut| cut.cut());
        if let Some(variants) = self.variants.get() {
            variants.borrow().by_options.values().for_each(|variant| variant.retire());
        }
    }

    /// Has a connection closed where the host fails before the connection ends.
    pub(crate) fn on_cut(&self, cut: &Rc<Cut>) {
        let mut cuts = self.cuts.get_or_init(Box::default).borrow_mut();
        cuts.retain(|known| known.strong_count() > 0);
        cuts.push(Rc::downgrade(cut));
    }

    /// The host for connections of its own, which nobody shares.
    pub(crate) fn detached(&self, options: Rc<TransportOptions>) -> Rc<Self> {
        let (shared, counters) = (Arc::clone(&self.shared), Arc::clone(&self.counters));
        Self::made(shared, counters, Rc::clone(&self.core), Some(options))
    }

    /// The host with the pools of those that want the same of their connections.
    pub(crate) fn variant(&self, options: Rc<TransportOptions>) -> Rc<Self> {
        let mut variants = self.variants.get_or_init(Box::default).borrow_mut();
        if let Some(variant) = variants.by_options.get(&options) {
            return Rc::clone(variant);
        }
        if variants.by_options.len() >= variants.sweep_at {
            variants.by_options.retain(|_, variant| !variant.is_unused());
            variants.sweep_at = (2 * variants.by_options.len()).max(SWEEP_FROM);
        }
        let variant = self.detached(Rc::clone(&options));
        variants.by_options.insert(options, Rc::clone(&variant));
        variant
    }

    /// Whether nobody uses it and its pools hold nothing.
    fn is_unused(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) == 1
            && RequestPriority::ALL.into_iter().all(|priority| {
                self.existing_pool(priority).is_none_or(HttpPool::is_empty)
                    && self.existing_http2_pool(priority).is_none_or(Http2Pool::is_empty)
            })
    }

    /// What its connections are like beside what the cluster says.
    pub(crate) fn options(&self) -> Option<&TransportOptions> {
        self.options.as_deref()
    }

    /// Where it listens.
    #[inline]
    pub fn address(&self) -> Address {
        self.shared.address()
    }

    /// The host as streams tell of it.
    #[inline]
    pub fn info(&self) -> Rc<HostInfo> {
        let mut info = self.info.borrow_mut();
        match &*info {
            Some(info) if !self.shared.differs_from(info) => Rc::clone(info),
            _ => Rc::clone(info.insert(self.new_info())),
        }
    }

    #[cold]
    fn new_info(&self) -> Rc<HostInfo> {
        let (name, metadata) = (Arc::clone(self.hostname()), self.metadata());
        let locality = Arc::clone(&self.shared.spec.locality);
        Rc::new(HostInfo { address: self.address(), name, metadata, locality })
    }

    /// Its name; empty when it has none.
    pub fn hostname(&self) -> &Arc<str> {
        &self.shared.spec.hostname
    }

    /// Where it stands.
    pub fn locality(&self) -> &Locality {
        &self.shared.spec.locality
    }

    /// Its metadata.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        self.shared.metadata()
    }

    /// Whether its metadata calls it a canary.
    pub fn canary(&self) -> bool {
        self.shared.canary()
    }

    /// What is exact across workers.
    pub fn shared(&self) -> &Arc<HostShared> {
        &self.shared
    }

    /// This worker's counters of it; the router counts successes, errors and time-outs here.
    pub fn counters(&self) -> &Arc<HostCounters> {
        &self.counters
    }

    /// Counts what came of a request, for outlier detection.
    #[inline]
    pub fn report(&self, outcome: Outcome) {
        let shared = &self.core.shared;
        if let (Some(config), Some(line)) = (&shared.config().outlier, shared.outlier_line()) {
            line.count(&self.shared, outcome, config);
        }
    }

    /// It said in an answer that it is leaving (`x-envoy-immediate-health-check-fail`).
    pub fn says_it_leaves(&self) {
        if let Some(line) = self.core.shared.health_line() {
            line.tell(Told::Leaving(Arc::clone(&self.shared)));
        }
    }

    /// It said in an answer that it is degraded (`x-envoy-degraded`).
    pub fn says_it_is_degraded(&self) {
        let flag = HealthFlags::DEGRADED_OUTLIER_DETECTION;
        if let Some(line) = self.core.shared.outlier_line()
            && !self.shared.health_flags().contains(flag)
        {
            line.tell(outlier::Told::Degraded(Arc::clone(&self.shared)));
        }
    }

    /// The configuration of its cluster, which is not always the one that was asked for it.
    #[inline]
    pub fn config(&self) -> &ClusterConfig {
        self.core.config()
    }

    pub(crate) fn core(&self) -> &Rc<ClusterCore> {
        &self.core
    }

    /// The pool of a priority; `None` where `max_connection_pools` lets none be made, which is counted.
    #[inline]
    pub(crate) fn pool(self: &Rc<Self>, priority: RequestPriority) -> Option<&HttpPool> {
        self.existing_pool(priority).or_else(|| self.new_pool(priority))
    }

    #[cold]
    fn new_pool(self: &Rc<Self>, priority: RequestPriority) -> Option<&HttpPool> {
        let Some(permit) = self.core.try_take(priority, Resource::Pools) else {
            self.core.stats.upstream_cx_pool_overflow.inc();
            return None;
        };
        self.core.shared.has_pool();
        let pool = self.pools.get(priority).get_or_init(|| Box::new(HttpPool::new(self, priority, permit)));
        Some(pool)
    }

    /// As [`pool`](Self::pool), of HTTP/2 connections.
    #[inline]
    pub(crate) fn http2_pool(self: &Rc<Self>, priority: RequestPriority) -> Option<&Http2Pool> {
        self.existing_http2_pool(priority).or_else(|| self.new_http2_pool(priority))
    }

    #[cold]
    fn new_http2_pool(self: &Rc<Self>, priority: RequestPriority) -> Option<&Http2Pool> {
        // Where handshakes decide, both pools of a host are one to the breaker.
        let auto = self.core.config().http.protocol == UpstreamProtocol::Auto;
        let permit = if auto { None } else { self.core.try_take(priority, Resource::Pools) };
        if permit.is_none() && !auto {
            self.core.stats.upstream_cx_pool_overflow.inc();
            return None;
        }
        self.core.shared.has_pool();
        Some(self.http2_pools.get(priority).get_or_init(|| Box::new(Http2Pool::new(priority, permit))))
    }

    /// Whether `per_host_thresholds` say how many connections it may have.
    pub(crate) fn limits_connections(&self) -> bool {
        let limits = &self.config().limits;
        RequestPriority::ALL.into_iter().any(|priority| limits.get(priority).max_per_host.is_some())
    }

    /// Whether `per_host_thresholds` let it have another connection.
    pub(crate) fn has_room(&self, priority: RequestPriority) -> bool {
        let limit = self.config().limits.get(priority).max_per_host;
        limit.is_none_or(|max| self.shared.connections() < max.into())
    }

    /// Resolves when it may have another connection; each time that it may not is counted.
    pub(crate) async fn wait_for_room(&self, priority: RequestPriority) {
        loop {
            let mut freed = pin!(self.shared.freed.get_or_init(Box::default).notified());
            freed.as_mut().enable();
            if self.has_room(priority) {
                return;
            }
            self.core.stats.upstream_cx_overflow.inc();
            freed.await;
        }
    }

    /// The streams of its pools of a priority.
    pub(crate) fn load(&self, priority: RequestPriority) -> Load {
        let mut load = Load::default();
        load.add(self.existing_pool(priority).map(|pool| pool.load(self)).unwrap_or_default());
        load.add(self.existing_http2_pool(priority).map(|pool| pool.load(self)).unwrap_or_default());
        load
    }

    #[inline]
    pub(crate) fn existing_http2_pool(&self, priority: RequestPriority) -> Option<&Http2Pool> {
        self.http2_pools.get(priority).get().map(|pool| &**pool)
    }

    #[inline]
    pub(crate) fn existing_pool(&self, priority: RequestPriority) -> Option<&HttpPool> {
        self.pools.get(priority).get().map(|pool| &**pool)
    }

    #[inline]
    pub(crate) fn begin_request(&self) {
        self.shared.active.fetch_add(1, Relaxed);
        self.counters.rq_total.inc();
    }

    #[inline]
    pub(crate) fn end_request(&self) {
        self.shared.active.fetch_sub(1, Relaxed);
    }
}

/// The hosts of one locality at one priority.
#[derive(Clone, Debug)]
pub struct LocalityHosts {
    /// Where they stand.
    pub locality: Arc<Locality>,
    /// `load_balancing_weight` of the locality; without one it gets no traffic where localities are weighted.
    pub weight: Option<u32>,
    /// The hosts.
    pub hosts: Vec<Arc<HostShared>>,
}

/// The hosts of a cluster as the main thread publishes them: by priority, then by locality.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    /// `overprovisioning_factor`, in percent.
    pub overprovisioning_factor: u32,
    /// `weighted_priority_health`: shares are of weights, not of hosts.
    pub weighted_priority_health: bool,
    /// By priority, from 0, without gaps.
    pub priorities: Vec<Vec<LocalityHosts>>,
}

impl Default for HostSnapshot {
    fn default() -> Self {
        Self { overprovisioning_factor: 140, weighted_priority_health: false, priorities: Vec::new() }
    }
}

impl HostSnapshot {
    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostShared>> {
        self.priorities.iter().flatten().flat_map(|l| &l.hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_flags_decide_health_and_print_as_envoy_prints_them() {
        let eds = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::EDS_STATUS_DRAINING);
        for (flags, health, text) in [
            (HealthFlags::default(), Health::Healthy, "healthy"),
            (eds, Health::Unhealthy, "/failed_active_hc/eds_status_draining"),
            (HealthFlags::EDS_STATUS_DRAINING, Health::Unhealthy, "/eds_status_draining"),
            (HealthFlags::DEGRADED_EDS_HEALTH, Health::Degraded, "/degraded_eds_health"),
            (
                HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL,
                Health::Excluded,
                "/excluded_via_immediate_hc_fail",
            ),
        ] {
            assert_eq!((flags.health(), flags.to_string().as_str()), (health, text));
        }
    }
}
