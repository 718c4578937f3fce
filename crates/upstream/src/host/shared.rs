//! What the workers of one host agree on.

use super::{Addresses, Health, HealthFlags, HostSpec};
use crate::orca::LoadRecord;
use crate::outlier::{HostRecord, SuccessRates};
use crate::stats::HostCounters;
use nuncio_core::address::Address;
use nuncio_core::stream_info::{HostInfo, Metadata};
use prost_types::value::Kind;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::Notify;

/// The namespace of metadata that concerns balancing.
pub const LB_NAMESPACE: &str = "envoy.lb";

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
    /// What some balancers remember of it.
    remembered: OnceLock<Box<Remembered>>,
    /// A connection to it was closed; there where somebody waits for that (`per_host_thresholds`).
    freed: OnceLock<Box<Notify>>,
}

/// What some balancers remember of a host.
#[derive(Debug, Default)]
struct Remembered {
    /// Since when it is well, where its cluster starts hosts slowly.
    well_since: Mutex<Option<Instant>>,
    /// What it reported, where its cluster goes by that.
    load: LoadRecord,
}

impl HostShared {
    /// A host that nobody has used.
    pub fn new(spec: HostSpec) -> Arc<Self> {
        let health = AtomicU32::new(spec.health.0);
        let (weight, priority) = (AtomicU32::new(spec.weight), AtomicU32::new(spec.priority));
        let (active, moved, outlier) = (AtomicU32::new(0), OnceLock::new(), OnceLock::new());
        let (metadata, counters, place) = (OnceLock::new(), Mutex::default(), AtomicU32::new(u32::MAX));
        let (remembered, freed) = (OnceLock::new(), OnceLock::new());
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
            remembered,
            freed,
        })
    }

    /// Whether an endpoint that is named now is this host: it listens at the same address, has the same name and stands
    /// where the host stands; and in a cluster with active checks (`is_checked`) those ask it at the same address by the
    /// same name, or do not. All else may change while the host stays.
    pub(crate) fn is_at(&self, named: &HostSpec, is_checked: bool) -> bool {
        self.spec.address == named.address
            && self.spec.locality == named.locality
            && self.spec.hostname == named.hostname
            && (!is_checked
                || self.spec.is_checked() == named.is_checked()
                    && self.spec.checked_at(&self.spec.address) == named.checked_at(&named.address)
                    && self.spec.checked_name() == named.checked_name())
    }

    /// Takes over what is said of the host now; whether balancers have to know.
    pub(crate) fn take_over(&self, named: &HostSpec) -> bool {
        let moved = self.priority.swap(named.priority, Relaxed) != named.priority;
        let weighs = self.weight.swap(named.weight, Relaxed) != named.weight;
        let before = self.health_flags().health();
        self.set_health(HealthFlags::OF_EDS, false);
        self.set_health(named.health, true);
        // As in Envoy it is no change when a host that was out is out for another reason.
        let out = |health| matches!(health, Health::Unhealthy | Health::Excluded);
        let after = self.health_flags().health();
        let health = before != after && !(out(before) && out(after));
        let described = self.metadata() != named.metadata;
        if described {
            let now = self.metadata.get_or_init(Box::default);
            now.write().unwrap_or_else(PoisonError::into_inner).clone_from(&named.metadata);
        }
        moved | weighs | health | described
    }

    /// `load_balancing_weight`, or what its balancer has made of it, from 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed).max(1)
    }

    /// Has it weigh so much from now on; whether it weighed something else before.
    pub(crate) fn set_weight(&self, weight: u32) -> bool {
        self.weight.swap(weight.max(1), Relaxed) != weight.max(1)
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
        *self.remembered.get()?.well_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_well_since(&self, at: Option<Instant>) {
        let remembered = self.remembered.get_or_init(Box::default);
        *remembered.well_since.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// What it reported of its load.
    pub(crate) fn load(&self) -> &LoadRecord {
        &self.remembered.get_or_init(Box::default).load
    }

    /// What `read` makes of a value that concerns balancing, where its metadata has it.
    pub(crate) fn lb_value<R>(&self, key: &str, read: impl FnOnce(&Kind) -> R) -> Option<R> {
        let metadata = self.metadata()?;
        metadata.get(LB_NAMESPACE)?.fields.get(key)?.kind.as_ref().map(read)
    }

    /// Whether its metadata calls it a canary.
    #[inline]
    pub fn canary(&self) -> bool {
        // Most hosts have no metadata.
        (self.spec.metadata.is_some() || self.metadata.get().is_some()) && self.is_called_canary()
    }

    #[cold]
    fn is_called_canary(&self) -> bool {
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
    pub(super) fn differs_from(&self, told: &HostInfo) -> bool {
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
    pub(super) fn connections(&self) -> u64 {
        let blocks = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |c: &Arc<HostCounters>| c.cx_total.value().saturating_sub(c.cx_closed.value());
        blocks.iter().map(open).sum()
    }

    #[inline]
    pub(super) fn begin_request(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(super) fn end_request(&self) {
        self.active.fetch_sub(1, Relaxed);
    }

    /// Notified whenever one of its connections ends.
    pub(super) fn freed(&self) -> &Notify {
        self.freed.get_or_init(Box::default)
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

    pub(super) fn new_counters(&self) -> Arc<HostCounters> {
        let counters = Arc::new(HostCounters::default());
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }
}
