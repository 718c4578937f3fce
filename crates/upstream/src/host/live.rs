//! A host on one worker.

use super::{HealthFlags, HostShared, HostSpec, Locality};
use crate::circuit::{PerPriority, RequestPriority};
use crate::cluster::{ClusterConfig, ClusterCore};
use crate::health::Told;
use crate::orca::{LoadReport, LoadReports};
use crate::outlier::{self, Outcome};
use crate::pool::{Cut, Http2Pool, HttpPool, Load};
use crate::stats::HostCounters;
use crate::transport::TransportOptions;
use nuncio_codec::head::HeaderMap;
use nuncio_core::address::Address;
use nuncio_core::stream_info::{HostInfo, Metadata};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Variants of a host before the first search for those that are no longer used.
const SWEEP_FROM: usize = 64;

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
    /// Whose variant it is.
    variant_of: Weak<Host>,
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
        Self::made(shared, counters, core, None, Weak::new())
    }

    fn made(
        shared: Arc<HostShared>,
        counters: Arc<HostCounters>,
        core: Rc<ClusterCore>,
        options: Option<Rc<TransportOptions>>,
        variant_of: Weak<Self>,
    ) -> Rc<Self> {
        let (pools, http2_pools) = (PerPriority::default(), PerPriority::default());
        let (info, variants, cuts) = (RefCell::default(), OnceCell::new(), OnceCell::new());
        Rc::new(Self {
            shared,
            counters,
            core,
            info,
            pools,
            http2_pools,
            options,
            variant_of,
            variants,
            cuts,
        })
    }

    /// The host with pools that hold nothing yet; it counts on.
    pub(crate) fn renewed(&self) -> Rc<Self> {
        let (shared, counters) = (Arc::clone(&self.shared), Arc::clone(&self.counters));
        Self::made(shared, counters, Rc::clone(&self.core), None, Weak::new())
    }

    /// It fails: its pools keep nothing for later, and the connections are closed for which
    /// [`on_cut`](Self::on_cut) was asked to.
    pub(crate) fn retire(&self) {
        self.drain();
        self.cut();
    }

    fn cut(&self) {
        let cuts = self.cuts.get().map(|cuts| cuts.take()).unwrap_or_default();
        cuts.iter().filter_map(Weak::upgrade).for_each(|cut| cut.cut());
        self.each_variant(Self::cut);
    }

    /// Nobody picks it any more: its pools keep nothing for later, and what is under way ends as it would.
    pub(crate) fn drain(&self) {
        for priority in RequestPriority::ALL {
            self.existing_pool(priority).into_iter().for_each(|pool| pool.retire(self));
            self.existing_http2_pool(priority).into_iter().for_each(Http2Pool::retire);
        }
        self.each_variant(Self::drain);
    }

    fn each_variant(&self, act: fn(&Self)) {
        if let Some(variants) = self.variants.get() {
            variants.borrow().by_options.values().for_each(|variant| act(variant));
        }
    }

    /// Has a connection closed where the host fails before the connection ends.
    pub(crate) fn on_cut(&self, cut: &Rc<Cut>) {
        let mut cuts = self.cuts.get_or_init(Box::default).borrow_mut();
        cuts.retain(|known| known.strong_count() > 0);
        cuts.push(Rc::downgrade(cut));
    }

    /// The host for connections of its own, which nobody shares.
    pub(crate) fn detached(self: &Rc<Self>, options: Rc<TransportOptions>) -> Rc<Self> {
        let (shared, counters) = (Arc::clone(&self.shared), Arc::clone(&self.counters));
        Self::made(shared, counters, Rc::clone(&self.core), Some(options), Rc::downgrade(self))
    }

    /// The host with the pools of those that want the same of their connections.
    pub(crate) fn variant(self: &Rc<Self>, options: Rc<TransportOptions>) -> Rc<Self> {
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
        let HostSpec { locality, locality_metadata, .. } = self.shared.spec();
        let (locality, locality_metadata) = (Arc::clone(locality), locality_metadata.clone());
        Rc::new(HostInfo { address: self.address(), name, metadata, locality, locality_metadata })
    }

    /// Its name; empty when it has none.
    pub fn hostname(&self) -> &Arc<str> {
        &self.shared.spec().hostname
    }

    /// Where it stands.
    pub fn locality(&self) -> &Locality {
        &self.shared.spec().locality
    }

    /// Its metadata.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        self.shared.metadata()
    }

    /// Whether its metadata calls it a canary.
    #[inline]
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

    /// Takes what an answer's headers or trailers report of its load, where its cluster goes by that; whether they
    /// report anything.
    #[inline]
    pub fn take_load(&self, fields: &HeaderMap) -> bool {
        self.config().lb.reports.as_ref().is_some_and(|of| self.take_report(fields, of))
    }

    #[cold]
    fn take_report(&self, fields: &HeaderMap, of: &LoadReports) -> bool {
        let report = LoadReport::find(fields);
        if let Some(report) = &report {
            of.take(report, self.shared.load(), self.core.worker.now());
        }
        report.is_some()
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

    /// The pool of a priority.
    #[inline]
    pub(crate) fn pool(self: &Rc<Self>, priority: RequestPriority) -> &HttpPool {
        self.pools.get(priority).get_or_init(|| Box::new(HttpPool::new(self, priority)))
    }

    /// As [`pool`](Self::pool), of HTTP/2 connections.
    #[inline]
    pub(crate) fn http2_pool(&self, priority: RequestPriority) -> &Http2Pool {
        self.http2_pools.get(priority).get_or_init(|| Box::new(Http2Pool::new(priority)))
    }

    /// Closes one of its pools of a priority, or of its variants', that nobody uses; whether there was one.
    pub(crate) fn free_a_pool(&self, priority: RequestPriority) -> bool {
        match self.variant_of.upgrade() {
            Some(base) => base.free_own_or_variant(priority),
            None => self.free_own_or_variant(priority),
        }
    }

    fn free_own_or_variant(&self, priority: RequestPriority) -> bool {
        let variants = || self.variants.get().map(|variants| variants.borrow());
        self.free_own(priority)
            || variants().is_some_and(|v| v.by_options.values().any(|variant| variant.free_own(priority)))
    }

    fn free_own(&self, priority: RequestPriority) -> bool {
        self.existing_pool(priority).is_some_and(|pool| pool.free(self))
            || self.existing_http2_pool(priority).is_some_and(Http2Pool::free)
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
            let mut freed = pin!(self.shared.freed().notified());
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
        self.shared.begin_request();
        self.counters.rq_total.inc();
    }

    #[inline]
    pub(crate) fn end_request(&self) {
        self.shared.end_request();
    }
}
