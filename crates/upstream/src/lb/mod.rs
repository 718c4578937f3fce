//! Balancers: which host of a list is next.

mod edf;
pub(crate) mod hash;
mod layout;
mod least_request;
mod load_aware;
mod locality;
mod override_host;
pub mod priority;
mod random;
mod round_robin;
mod set;
mod slow_start;
mod subset;
mod weighted;
mod zone;

pub(crate) use hash::is_hashing;
pub use hash::{Hashing, Maglev, RingHash, Spread};
pub(crate) use layout::{Layout, counts};
pub use load_aware::LoadAware;
pub(crate) use load_aware::{Condition, Reported, Shares, Usable, Weigher};
pub use override_host::{OverrideHost, OverrideSource, WantedHosts};
pub use priority::{Counts, Loads};
pub use set::HostSet;
pub(crate) use set::Picked;
pub use slow_start::SlowStart;
pub(crate) use subset::Road;
pub use subset::{Criteria, Fallback, Selector, SubsetConfig};
pub(crate) use zone::Neighbours;
pub use zone::{LocalCluster, ZoneAware};

use crate::cluster::{ClusterCore, Destination};
use crate::host::{HealthStatuses, Host, HostShared};
use crate::orca::LoadReports;
use layout::{List, Source};
use nuncio_core::hash_policy::HashPolicies;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use std::borrow::Cow;
use std::sync::Arc;

/// How a host is chosen among those of one priority and health (`lb_policy`, `load_balancing_policy`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LbPolicy {
    /// In turn; by earliest deadline first where weights differ.
    #[default]
    RoundRobin,
    /// The least loaded of a few chosen by chance.
    LeastRequest(LeastRequest),
    /// By chance.
    Random,
    /// By the request's hash, on a ring.
    RingHash(RingHash),
    /// By the request's hash, in a table.
    Maglev(Maglev),
    /// The cluster picks itself (`CLUSTER_PROVIDED`).
    ClusterProvided,
}

/// `LeastRequestLbConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeastRequest {
    /// `choice_count`, from 2.
    pub choice_count: u32,
    /// `active_request_bias`, used where weights differ.
    pub active_request_bias: f64,
    /// The runtime key that overrides it; may be empty.
    pub bias_key: Box<str>,
    /// `selection_method: FULL_SCAN`
    pub full_scan: bool,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choice_count: 2, active_request_bias: 1.0, bias_key: Box::default(), full_scan: false }
    }
}

/// What localities count for (`locality_config_specifier`).
#[derive(Clone, Debug, PartialEq)]
pub enum LocalityLb {
    /// The proxy's own zone comes first where the process knows its own cluster; else they count for nothing.
    ZoneAware(ZoneAware),
    /// `locality_weighted_lb_config`: each gets its share.
    Weighted,
}

impl LocalityLb {
    /// Weighted, or zone-aware as is the default.
    pub(crate) fn weighted(weighted: bool) -> Self {
        if weighted { Self::Weighted } else { Self::default() }
    }
}

impl Default for LocalityLb {
    fn default() -> Self {
        Self::ZoneAware(ZoneAware::default())
    }
}

/// How a cluster balances.
#[derive(Clone, Debug)]
pub struct LbConfig {
    /// Among the hosts of a list.
    pub policy: LbPolicy,
    /// `healthy_panic_threshold`, in percent, at most 100.
    pub panic_threshold: u32,
    /// What localities count for.
    pub locality: LocalityLb,
    /// What the load that hosts report is for, where they are asked for it.
    pub reports: Option<Box<LoadReports>>,
    /// `slow_start_config`, of round robin and least request.
    pub slow_start: Option<Box<SlowStart>>,
    /// `lb_subset_config`, where it has selectors.
    pub subsets: Option<Box<SubsetConfig>>,
    /// `override_host`, where hosts that requests name come before all that.
    pub override_host: Option<Box<OverrideHost>>,
    /// The balancer's own `hash_policy`, which takes the place of those of routes and clusters.
    pub hash_policy: Option<Arc<HashPolicies>>,
    /// `override_host_status`: which health a host may have to keep its sessions.
    pub session_statuses: HealthStatuses,
}

impl Default for LbConfig {
    fn default() -> Self {
        Self {
            policy: LbPolicy::default(),
            panic_threshold: 50,
            locality: LocalityLb::default(),
            reports: None,
            slow_start: None,
            subsets: None,
            override_host: None,
            hash_policy: None,
            session_statuses: HealthStatuses::default(),
        }
    }
}

impl LbConfig {
    /// How localities share by the load that their hosts report, where they do.
    pub(crate) fn load_aware(&self) -> Option<&LoadAware> {
        self.reports.as_ref()?.localities.as_ref()
    }

    /// How zones count; as by default where localities have weights.
    fn zone_aware(&self) -> &ZoneAware {
        static DEFAULT: ZoneAware = ZoneAware::DEFAULT;
        match &self.locality {
            LocalityLb::ZoneAware(config) => config,
            LocalityLb::Weighted => &DEFAULT,
        }
    }

    /// The configuration with the values that runtime keys have now. As in Envoy they count from the next time that
    /// the hosts change.
    pub fn at_runtime(&self, runtime: &Runtime) -> Cow<'_, Self> {
        if runtime.is_empty() {
            return Cow::Borrowed(self);
        }
        let panic = runtime.integer("upstream.healthy_panic_threshold", self.panic_threshold.into()).min(100);
        let policy = match &self.policy {
            LbPolicy::LeastRequest(policy) if !policy.bias_key.is_empty() => {
                let bias = runtime.double(&policy.bias_key, policy.active_request_bias);
                let active_request_bias = if bias < 0.0 { 1.0 } else { bias };
                LbPolicy::LeastRequest(LeastRequest { active_request_bias, ..policy.clone() })
            }
            policy => policy.clone(),
        };
        Cow::Owned(Self { policy, panic_threshold: panic as u32, ..self.clone() })
    }
}

/// What a pick may look at.
#[derive(Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// The request's hash (`hash_policy`); chance where there is none.
    pub hash: Option<u64>,
    /// Which hosts a retry would rather not have, and how often it looks further
    /// (`retry_host_predicate`, `host_selection_retry_max_attempts`).
    pub avoid: Option<Avoid<'a>>,
    /// How load spreads over priorities, where a retry moves it (`retry_priority`).
    pub loads: Option<&'a Loads>,
    /// What the host's metadata shall have, where the cluster has subsets.
    pub metadata: Option<&'a Criteria>,
    /// Where the request wants to go, for clusters that make their hosts of that
    /// ([`Cluster::destination`](crate::cluster::Cluster::destination)).
    pub destination: Option<&'a Destination>,
    /// The hosts that the request names, where the cluster has them come first
    /// ([`Cluster::wanted`](crate::cluster::Cluster::wanted)).
    pub wanted: Option<&'a WantedHosts>,
    /// Picks for this attempt that were rejected before.
    pub attempt: u32,
}

/// Hosts to avoid if others come up.
#[derive(Clone, Copy)]
pub struct Avoid<'a> {
    /// Whether another host shall be picked.
    pub rejects: &'a dyn Fn(&Host) -> bool,
    /// Further picks at most; then the last one is taken as it is.
    pub attempts: u32,
}

/// Picks among the hosts that it was made for; never none.
pub trait Balancer {
    /// The next host.
    fn pick(&self, cx: &PickContext<'_>, rng: &Rng) -> Option<&Arc<HostShared>>;
}

/// The hosts of one list, which all workers share.
pub type HostList = Arc<[Arc<HostShared>]>;

/// A worker's balancer for what may be picked from; `None` where there is nothing.
fn make(lb: &LbConfig, source: &Source, core: &ClusterCore) -> Option<Box<dyn Balancer>> {
    match source {
        Source::Nothing => None,
        Source::List(list) => Some(of_list(lb, list, core)),
        Source::Localities(localities) => {
            let members = localities.iter().map(|(weight, list)| (*weight, of_list(lb, list, core)));
            Some(Box::new(locality::Localities::new(members.collect(), core.worker.rng())))
        }
        Source::Table(table) => Some(hash::live(table, &core.shared)),
    }
}

/// A balancer for a list that is not empty.
fn of_list(lb: &LbConfig, list: &List, core: &ClusterCore) -> Box<dyn Balancer> {
    let slow_start = lb.slow_start.as_deref();
    match &lb.policy {
        LbPolicy::RoundRobin => round_robin::make(slow_start, list, core),
        LbPolicy::LeastRequest(config) => least_request::make(config, slow_start, list, core),
        // Those that hash have tables; where the cluster picks nobody asks.
        LbPolicy::Random | LbPolicy::RingHash(_) | LbPolicy::Maglev(_) | LbPolicy::ClusterProvided => {
            Box::new(random::Random::new(Arc::clone(&list.hosts)))
        }
    }
}

#[cfg(test)]
mod tests;
