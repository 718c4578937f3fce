//! Circuit breakers: limits that all workers share exactly.

mod starts;

use crate::stats::{ClusterMainStats, RemainingStats};
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Gauge;
use starts::Starts;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The priority of a request (`envoy.config.core.v3.RoutingPriority`), which has limits and pools of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestPriority {
    /// `DEFAULT`
    #[default]
    Default,
    /// `HIGH`
    High,
}

impl RequestPriority {
    /// Both, in Envoy's order.
    pub const ALL: [Self; 2] = [Self::Default, Self::High];

    /// `default` or `high`, as in names of statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::High => "high",
        }
    }
}

/// One value per priority.
#[derive(Clone, Debug, Default)]
pub struct PerPriority<T> {
    /// Of `DEFAULT`.
    pub default: T,
    /// Of `HIGH`.
    pub high: T,
}

impl<T> PerPriority<T> {
    /// The value of one priority.
    #[inline]
    pub fn get(&self, priority: RequestPriority) -> &T {
        match priority {
            RequestPriority::Default => &self.default,
            RequestPriority::High => &self.high,
        }
    }

    /// The value of one priority.
    pub fn get_mut(&mut self, priority: RequestPriority) -> &mut T {
        match priority {
            RequestPriority::Default => &mut self.default,
            RequestPriority::High => &mut self.high,
        }
    }
}

/// Limits of one priority (`envoy.config.cluster.v3.CircuitBreakers.Thresholds`).
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `max_connections`
    pub max_connections: u32,
    /// `max_pending_requests`
    pub max_pending: u32,
    /// `max_requests`
    pub max_requests: u32,
    /// `max_retries`
    pub max_retries: u32,
    /// `max_connection_pools`
    pub max_pools: u32,
    /// `max_connections` of `per_host_thresholds`.
    pub max_per_host: Option<u32>,
    /// `track_remaining`: gauges of what is left.
    pub track_remaining: bool,
    /// `retry_budget`, which takes the place of `max_retries`.
    pub retry_budget: Option<Box<RetryBudget>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending: 1024,
            max_requests: 1024,
            max_retries: 3,
            max_pools: u32::MAX,
            max_per_host: None,
            track_remaining: false,
            retry_budget: None,
        }
    }
}

impl Limits {
    /// These limits, or what `circuit_breakers.CLUSTER.PRIORITY.*` says in their place.
    pub fn at_runtime(&self, cluster: &str, priority: RequestPriority, runtime: &Runtime) -> Self {
        let key = |name, value: u32| {
            let key = format!("circuit_breakers.{cluster}.{}.{name}", priority.as_str());
            u32::try_from(runtime.integer(&key, value.into())).unwrap_or(u32::MAX)
        };
        Self {
            max_connections: key("max_connections", self.max_connections),
            max_pending: key("max_pending_requests", self.max_pending),
            max_requests: key("max_requests", self.max_requests),
            max_retries: key("max_retries", self.max_retries),
            max_pools: key("max_connection_pools", self.max_pools),
            retry_budget: self.budget_at_runtime(cluster, priority, runtime).map(Box::new),
            ..self.clone()
        }
    }

    /// The retry budget with what `circuit_breakers.CLUSTER.PRIORITY.retry_budget.*` says; either key makes one.
    fn budget_at_runtime(
        &self,
        cluster: &str,
        priority: RequestPriority,
        runtime: &Runtime,
    ) -> Option<RetryBudget> {
        let configured = self.retry_budget.as_deref();
        let key = |name| format!("circuit_breakers.{cluster}.{}.retry_budget.{name}", priority.as_str());
        let (percent, least) = (key("budget_percent"), key("min_retry_concurrency"));
        let is_said = || [&percent, &least].into_iter().any(|key| runtime.get(key).is_some());
        if configured.is_none() && !is_said() {
            return None;
        }
        let RetryBudget { percent: of, min_concurrency, interval } = configured.cloned().unwrap_or_default();
        let least = runtime.integer(&least, min_concurrency.into());
        Some(RetryBudget {
            percent: runtime.double(&percent, of),
            min_concurrency: u32::try_from(least).unwrap_or(u32::MAX),
            interval,
        })
    }
}

/// Retries in proportion to the load (`RetryBudget`).
#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    /// `budget_percent`, 0 to 100.
    pub percent: f64,
    /// `min_retry_concurrency`
    pub min_concurrency: u32,
    /// `budget_interval`: the load is what began within it, in place of what is active now.
    pub interval: Option<Duration>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, min_concurrency: 3, interval: None }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Connections.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests on connections.
    Requests,
    /// Retries, their back-off included.
    Retries,
    /// Connection pools.
    Pools,
}

/// The counts of one priority, exact over all workers, and the limits that hold now.
#[derive(Debug, Default)]
pub struct Breaker {
    connections: Limited,
    pending: Limited,
    requests: Limited,
    retries: Limited,
    pools: Limited,
    /// There from the first time on that configuration or runtime keys have one.
    budget: OnceLock<Box<Budget>>,
}

/// A retry budget as it is now, and the load that it looks at where that is not what is active.
#[derive(Debug)]
struct Budget {
    /// In place of `max_retries`; runtime keys that made it may be gone again.
    holds: AtomicBool,
    /// The bits of [`RetryBudget::percent`].
    percent: AtomicU64,
    min_concurrency: AtomicU32,
    starts: Option<Starts>,
    /// A retry was asked for: from then on Envoy tells of no remaining ones.
    asked: AtomicBool,
}

impl Budget {
    fn new(of: &RetryBudget) -> Box<Self> {
        Box::new(Self {
            holds: AtomicBool::new(true),
            percent: AtomicU64::new(of.percent.to_bits()),
            min_concurrency: AtomicU32::new(of.min_concurrency),
            starts: of.interval.map(Starts::new),
            asked: AtomicBool::new(false),
        })
    }

    fn set(&self, of: Option<&RetryBudget>) {
        self.holds.store(of.is_some(), Relaxed);
        if let Some(RetryBudget { percent, min_concurrency, interval: _ }) = of {
            self.percent.store(percent.to_bits(), Relaxed);
            self.min_concurrency.store(*min_concurrency, Relaxed);
        }
    }

    /// How many retries may be active beside so many requests.
    fn max_retries(&self, requests: u32) -> u32 {
        let share = f64::from_bits(self.percent.load(Relaxed)) / 100.0 * f64::from(requests);
        (share as u32).max(self.min_concurrency.load(Relaxed))
    }
}

/// A count and its limit.
#[derive(Debug, Default)]
struct Limited {
    held: AtomicU32,
    max: AtomicU32,
    /// Something was taken at all. Envoy's gauges move with that: a limit of 0 shows as open only from then on.
    used: AtomicBool,
}

impl Breaker {
    /// Nothing held, and these limits.
    pub fn new(limits: &Limits) -> Self {
        let breaker = Self::default();
        breaker.set_limits(limits);
        breaker
    }

    /// Other limits from now on; what a retry budget looks back at stays.
    pub fn set_limits(&self, limits: &Limits) {
        let budget = limits.retry_budget.as_deref();
        match (self.budget.get(), budget) {
            (Some(held), _) => held.set(budget),
            (None, Some(budget)) => drop(self.budget.set(Budget::new(budget))),
            (None, None) => {}
        }
        self.connections.max.store(limits.max_connections, Relaxed);
        self.pending.max.store(limits.max_pending, Relaxed);
        match self.starts() {
            None => self.requests.max.store(limits.max_requests, Relaxed),
            Some(starts) => starts.max_requests.store(limits.max_requests, Relaxed),
        }
        self.retries.max.store(limits.max_retries, Relaxed);
        self.pools.max.store(limits.max_pools, Relaxed);
    }

    /// The retry budget that holds now.
    fn budget(&self) -> Option<&Budget> {
        self.budget.get().map(|budget| &**budget).filter(|budget| budget.holds.load(Relaxed))
    }

    #[inline]
    fn of(&self, resource: Resource) -> &Limited {
        match resource {
            Resource::Connections => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Requests => &self.requests,
            Resource::Retries => &self.retries,
            Resource::Pools => &self.pools,
        }
    }

    /// How many are held now.
    pub fn held(&self, resource: Resource) -> u32 {
        self.of(resource).held.load(Relaxed)
    }

    /// The limit that [`try_take`](Self::try_take) keeps: 0 for what [`try_take_at`](Self::try_take_at) decides.
    #[inline]
    fn limit(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Retries if self.budget().is_some() => 0,
            _ => self.of(resource).max.load(Relaxed),
        }
    }

    /// Requests that are active or wait for a connection.
    fn load(&self) -> u32 {
        self.held(Resource::Requests).saturating_add(self.held(Resource::Pending))
    }

    /// What a budget that looks back sees.
    fn starts(&self) -> Option<&Starts> {
        self.budget.get()?.starts.as_ref()
    }

    /// The limit as readers are told: a retry budget is none, `max_retries` is told beside it.
    fn told_limit(&self, resource: Resource) -> u32 {
        match (self.starts(), resource) {
            (Some(starts), Resource::Requests) => starts.max_requests.load(Relaxed),
            _ => self.of(resource).max.load(Relaxed),
        }
    }

    /// Takes one if fewer than the limit are held.
    #[inline]
    pub(crate) fn try_take(&self, resource: Resource) -> bool {
        self.take_below(resource, self.limit(resource))
    }

    #[inline]
    fn take_below(&self, resource: Resource, limit: u32) -> bool {
        self.of(resource).held.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Behind a [`try_take`](Self::try_take) that was refused: takes what a retry budget decides, or is told of.
    #[cold]
    pub(crate) fn try_take_at(&self, resource: Resource, now: Instant) -> bool {
        match resource {
            Resource::Requests => self.starts().is_some_and(|starts| {
                let taken = self.take_below(resource, starts.max_requests.load(Relaxed));
                if taken {
                    starts.add(now);
                }
                taken
            }),
            Resource::Retries => self.budget().is_some_and(|budget| {
                budget.asked.store(true, Relaxed);
                let load = budget.starts.as_ref().map_or_else(|| self.load(), |starts| starts.count(now));
                let taken = self.take_below(resource, budget.max_retries(load));
                if taken {
                    self.retries.used.store(true, Relaxed);
                }
                taken
            }),
            Resource::Connections | Resource::Pending | Resource::Pools => false,
        }
    }

    /// Takes one beyond any limit.
    pub(crate) fn take_anyway(&self, resource: Resource) {
        let limited = self.of(resource);
        limited.used.store(true, Relaxed);
        limited.held.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(crate) fn give_back(&self, resource: Resource) {
        self.of(resource).held.fetch_sub(1, Relaxed);
    }

    /// The value of Envoy's `…_open` gauges: whether the limit is reached.
    pub fn open(&self, resource: Resource) -> bool {
        let limit = self.told_limit(resource);
        self.held(resource) >= limit && (limit > 0 || self.of(resource).used.load(Relaxed))
    }

    fn remaining(&self, resource: Resource) -> u64 {
        if resource == Resource::Retries && self.budget().is_some_and(|budget| budget.asked.load(Relaxed)) {
            // A budget has no number of its own that could be told.
            return 0;
        }
        match self.told_limit(resource) {
            // Without a limit Envoy counts down from the largest number that it knows.
            u32::MAX if resource == Resource::Pools => u64::MAX - u64::from(self.held(resource)),
            limit => u64::from(limit.saturating_sub(self.held(resource))),
        }
    }
}

/// Brings the gauges of the main thread's block up to date, for a reader.
pub(crate) fn refresh(stats: &ClusterMainStats, breakers: &PerPriority<Breaker>, used: bool) {
    let open = |breaker: &Breaker, resource| u64::from(breaker.open(resource));
    // Envoy writes these with each connection and request.
    let set = |gauge: &Gauge, n| if used { gauge.set(n) } else { gauge.follow(n) };
    let b = &breakers.default;
    set(&stats.default_cx_open, open(b, Resource::Connections));
    set(&stats.default_cx_pool_open, open(b, Resource::Pools));
    set(&stats.default_rq_open, open(b, Resource::Requests));
    set(&stats.default_rq_pending_open, open(b, Resource::Pending));
    stats.default_rq_retry_open.follow(open(b, Resource::Retries));
    let b = &breakers.high;
    stats.high_cx_open.follow(open(b, Resource::Connections));
    stats.high_cx_pool_open.follow(open(b, Resource::Pools));
    stats.high_rq_open.follow(open(b, Resource::Requests));
    stats.high_rq_pending_open.follow(open(b, Resource::Pending));
    stats.high_rq_retry_open.follow(open(b, Resource::Retries));
}

/// Brings the gauges of what remains up to date, for a reader.
pub(crate) fn refresh_remaining(stats: &RemainingStats, breaker: &Breaker) {
    stats.remaining_cx.set(breaker.remaining(Resource::Connections));
    stats.remaining_cx_pools.set(breaker.remaining(Resource::Pools));
    stats.remaining_pending.set(breaker.remaining(Resource::Pending));
    stats.remaining_retries.set(breaker.remaining(Resource::Retries));
    stats.remaining_rq.set(breaker.remaining(Resource::Requests));
}

#[cfg(test)]
mod tests;
