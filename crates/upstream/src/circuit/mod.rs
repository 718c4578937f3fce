//! Circuit breakers: limits that all workers share exactly.

use crate::stats::{ClusterMainStats, RemainingStats};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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
    /// `track_remaining`: gauges of what is left.
    pub track_remaining: bool,
    /// `retry_budget`, which takes the place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending: 1024,
            max_requests: 1024,
            max_retries: 3,
            max_pools: u32::MAX,
            track_remaining: false,
            retry_budget: None,
        }
    }
}

/// Retries in proportion to the load (`RetryBudget`).
#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    /// `budget_percent`, 0 to 100.
    pub percent: f64,
    /// `min_retry_concurrency`
    pub min_concurrency: u32,
}

impl RetryBudget {
    /// How many retries may be active beside so many active and pending requests.
    pub fn max_retries(&self, active: u32, pending: u32) -> u32 {
        let share = self.percent / 100.0 * (f64::from(active) + f64::from(pending));
        (share as u32).max(self.min_concurrency)
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

/// The counts of one priority; exact over all workers.
#[derive(Debug, Default)]
pub struct Breaker {
    connections: AtomicU32,
    pending: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
    pools: AtomicU32,
}

impl Breaker {
    fn count(&self, resource: Resource) -> &AtomicU32 {
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
        self.count(resource).load(Relaxed)
    }

    fn limit(&self, limits: &Limits, resource: Resource) -> u32 {
        match resource {
            Resource::Connections => limits.max_connections,
            Resource::Pending => limits.max_pending,
            Resource::Requests => limits.max_requests,
            Resource::Pools => limits.max_pools,
            Resource::Retries => limits.retry_budget.as_ref().map_or(limits.max_retries, |budget| {
                budget.max_retries(self.held(Resource::Requests), self.held(Resource::Pending))
            }),
        }
    }

    /// Takes one if fewer than the limit are held.
    #[inline]
    pub(crate) fn try_take(&self, limits: &Limits, resource: Resource) -> bool {
        let limit = self.limit(limits, resource);
        self.count(resource).fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Takes one beyond any limit.
    pub(crate) fn take_anyway(&self, resource: Resource) {
        self.count(resource).fetch_add(1, Relaxed);
    }

    #[inline]
    pub(crate) fn give_back(&self, resource: Resource) {
        self.count(resource).fetch_sub(1, Relaxed);
    }

    /// Whether the limit is reached: the value of Envoy's `…_open` gauges.
    pub fn open(&self, limits: &Limits, resource: Resource) -> bool {
        self.held(resource) >= self.limit(limits, resource)
    }

    fn remaining(&self, limits: &Limits, resource: Resource) -> u64 {
        u64::from(self.limit(limits, resource).saturating_sub(self.held(resource)))
    }
}

/// Brings the gauges of the main thread's block up to date, for a reader.
pub(crate) fn refresh(
    stats: &ClusterMainStats,
    limits: &PerPriority<Limits>,
    breakers: &PerPriority<Breaker>,
) {
    let open = |p, r| u64::from(breakers.get(p).open(limits.get(p), r));
    let p = RequestPriority::Default;
    stats.default_cx_open.set(open(p, Resource::Connections));
    stats.default_cx_pool_open.set(open(p, Resource::Pools));
    stats.default_rq_open.set(open(p, Resource::Requests));
    stats.default_rq_pending_open.set(open(p, Resource::Pending));
    stats.default_rq_retry_open.set(open(p, Resource::Retries));
    let p = RequestPriority::High;
    stats.high_cx_open.set(open(p, Resource::Connections));
    stats.high_cx_pool_open.set(open(p, Resource::Pools));
    stats.high_rq_open.set(open(p, Resource::Requests));
    stats.high_rq_pending_open.set(open(p, Resource::Pending));
    stats.high_rq_retry_open.set(open(p, Resource::Retries));
}

/// Brings the gauges of what remains up to date, for a reader.
pub(crate) fn refresh_remaining(stats: &RemainingStats, limits: &Limits, breaker: &Breaker) {
    stats.remaining_cx.set(breaker.remaining(limits, Resource::Connections));
    stats.remaining_cx_pools.set(breaker.remaining(limits, Resource::Pools));
    stats.remaining_pending.set(breaker.remaining(limits, Resource::Pending));
    stats.remaining_retries.set(breaker.remaining(limits, Resource::Retries));
    stats.remaining_rq.set(breaker.remaining(limits, Resource::Requests));
}

#[cfg(test)]
mod tests;
