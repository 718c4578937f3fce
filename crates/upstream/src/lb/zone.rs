//! Zone-aware routing: requests stay in the proxy's own zone as far as its upstreams there can take their share.

use super::layout::{Layout, Zone};
use super::{LbPolicy, is_hashing};
use crate::cluster::ClusterShared;
use crate::host::Locality;
use crate::stats::ClusterLbStats;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// `ZoneAwareLbConfig`
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneAware {
    /// `routing_enabled`, in percent.
    pub routing_enabled: u32,
    /// `min_cluster_size`: fewer healthy hosts than this are not divided.
    pub min_cluster_size: u64,
    /// `fail_traffic_on_panic`
    pub fail_traffic_on_panic: bool,
    /// `force_local_zone.min_size`: all goes to the own zone where it has so many healthy hosts.
    pub force_local_from: Option<u32>,
    /// `locality_basis: HEALTHY_HOSTS_WEIGHT`
    pub by_weight: bool,
}

impl ZoneAware {
    pub(super) const DEFAULT: Self = Self {
        routing_enabled: 100,
        min_cluster_size: 6,
        fail_traffic_on_panic: false,
        force_local_from: None,
        by_weight: false,
    };
}

impl Default for ZoneAware {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Where the process stands: its locality, and the cluster that it is a host of
/// (`cluster_manager.local_cluster_name`).
#[derive(Clone, Debug, Default)]
pub struct LocalCluster {
    /// The cluster's name.
    pub name: Option<Arc<str>>,
    /// `node.locality`
    pub locality: Option<Locality>,
}

/// The process's own cluster as the other clusters see it.
#[derive(Default)]
pub(crate) struct Neighbours {
    pub(crate) local: LocalCluster,
    cluster: RwLock<Weak<ClusterShared>>,
}

impl Neighbours {
    pub(crate) fn new(local: LocalCluster) -> Arc<Self> {
        Arc::new(Self { local, cluster: RwLock::default() })
    }

    /// Whether a cluster of this name is the process's own.
    pub(crate) fn is_local(&self, name: &str) -> bool {
        self.local.name.as_deref() == Some(name)
    }

    /// A cluster serves from now on, which may be the process's own.
    pub(crate) fn serves(&self, cluster: &Arc<ClusterShared>) {
        if self.is_local(&cluster.config().name) {
            *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(cluster);
        }
    }

    pub(crate) fn cluster(&self) -> Option<Arc<ClusterShared>> {
        self.local.name.as_ref()?;
        self.cluster.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

/// How the requests of one worker spread over a cluster's zones.
#[derive(Debug, PartialEq, Eq)]
enum Zones {
    /// All of them stay.
    Direct,
    Residual {
        /// Requests of 10,000 that stay.
        stay: u64,
        /// What room each zone and those before it have beyond their own requests.
        room: Box<[u64]>,
    },
}

/// A locality's share of its cluster's hosts, and that of the proxies in it, of 10,000.
#[derive(Clone, Copy)]
struct Shares {
    upstream: u64,
    local: u64,
}

const WHOLE: u64 = 10_000;

/// What a worker knows when it works out its zones.
pub(super) struct Surveyor<'a> {
    /// The process's own cluster.
    pub(super) local: &'a Layout,
    /// Where the process stands.
    pub(super) own: Option<&'a Locality>,
    pub(super) runtime: &'a Runtime,
    pub(super) stats: &'a ClusterLbStats,
    /// As how many balancers it counts.
    pub(super) times: u64,
    /// The cluster is new to the worker.
    pub(super) first: bool,
}

impl Surveyor<'_> {
    /// Works out how requests spread over the upstream hosts of `layout`; `None` where zones do not count.
    pub(super) fn survey(&self, layout: &Layout) -> Option<ZoneRouting> {
        if is_hashing(&layout.lb().policy) || layout.lb().policy == LbPolicy::ClusterProvided {
            return None;
        }
        let config = layout.lb().zone_aware();
        let (upstream, proxies) = (layout.priorities.first(), self.local.priorities.first());
        let zones = upstream.map_or(&[][..], |p| &p.zones);
        let forced = config.force_local_from.is_some();
        self.stats.lb_recalculate_zone_structures.add(self.times);
        if self.first {
            // Envoy's balancers know the cluster's hosts before they know the proxies, and then again.
            self.stats.lb_recalculate_zone_structures.add(self.times);
            if forced && zones.len() >= 2 {
                self.stats.lb_local_cluster_not_ok.add(self.times);
            }
        }
        let beside = proxies.map_or(&[][..], |p| &p.zones);
        if zones.len() < 2 || (!forced && beside.len() < 2) {
            return None;
        }
        if beside.first().is_none_or(|zone| self.own != Some(&zone.locality)) {
            self.stats.lb_local_cluster_not_ok.add(self.times);
            return None;
        }
        let least = self.runtime.integer("upstream.zone_routing.min_cluster_size", config.min_cluster_size);
        if zones.iter().map(|z| z.hosts).sum::<u64>() < least {
            self.stats.lb_zone_cluster_too_small.add(self.times);
            return None;
        }
        let shares = shares(zones, beside, config.by_weight);
        // The own locality comes first where it has hosts.
        let here = zones.first().filter(|zone| self.own == Some(&zone.locality)).map(|zone| zone.hosts);
        let threshold = u64::from(layout.lb().panic_threshold);
        Some(ZoneRouting {
            zones: Zones::spread(&shares, here, config.force_local_from),
            panic: proxies.is_some_and(|p| p.counts.in_panic(threshold)),
        })
    }
}

/// Zones as they count for a cluster on one worker.
pub(super) struct ZoneRouting {
    zones: Zones,
    /// So few proxies are well that their places say nothing.
    panic: bool,
}

/// Where zones send a request.
pub(super) enum Way {
    /// To this one.
    Zone(usize),
    /// To whichever host.
    Anywhere,
    /// Nowhere (`fail_traffic_on_panic`).
    Nowhere,
}

impl ZoneRouting {
    /// Where the next request goes.
    pub(super) fn choose(
        &self,
        config: &ZoneAware,
        runtime: &Runtime,
        rng: &Rng,
        stats: &ClusterLbStats,
    ) -> Way {
        let percent = match runtime.is_empty() {
            true => u64::from(config.routing_enabled),
            false => runtime.integer("upstream.zone_routing.enabled", config.routing_enabled.into()),
        };
        if percent < 100 && rng.below(100) >= percent {
            return Way::Anywhere;
        }
        if self.panic {
            stats.lb_local_cluster_not_ok.inc();
            return if config.fail_traffic_on_panic { Way::Nowhere } else { Way::Anywhere };
        }
        Way::Zone(self.zones.choose(rng, stats))
    }
}

impl Zones {
    /// `here`: healthy hosts in the own zone, which is the first of `shares`; `None` where it has no hosts.
    fn spread(shares: &[Shares], here: Option<u64>, force_from: Option<u32>) -> Self {
        let first = shares.first().copied().filter(|_| here.is_some());
        let forced = here.zip(force_from).is_some_and(|(hosts, least)| hosts >= u64::from(least));
        let enough = first.is_some_and(|own| own.upstream > 0 && own.upstream >= own.local);
        if forced || enough {
            return Self::Direct;
        }
        let stay = first.and_then(|own| (own.upstream * WHOLE).checked_div(own.local)).unwrap_or(0);
        let mut sum = 0;
        let room = shares.iter().enumerate().map(|(i, zone)| {
            if i > 0 || first.is_none() {
                sum += zone.upstream.saturating_sub(zone.local);
            }
            sum
        });
        Self::Residual { stay, room: room.collect() }
    }

    /// The place of the zone that the next request goes to.
    fn choose(&self, rng: &Rng, stats: &ClusterLbStats) -> usize {
        let Self::Residual { stay, room } = self else {
            stats.lb_zone_routing_all_directly.inc();
            return 0;
        };
        if rng.below(WHOLE) < *stay {
            stats.lb_zone_routing_sampled.inc();
            return 0;
        }
        stats.lb_zone_routing_cross_zone.inc();
        let all = room.last().copied().unwrap_or(0);
        if all == 0 {
            stats.lb_zone_no_capacity_left.inc();
            return rng.below(room.len() as u64) as usize;
        }
        let wanted = rng.below(all);
        room.iter().position(|sum| wanted < *sum).unwrap_or(0)
    }
}

fn shares(upstream: &[Zone], proxies: &[Zone], by_weight: bool) -> Vec<Shares> {
    let size = |zone: &Zone| if by_weight { zone.weight } else { zone.hosts };
    let sum = |zones: &[Zone]| zones.iter().map(size).sum::<u64>();
    let (all, all_proxies) = (sum(upstream), sum(proxies));
    let of = |size: u64, all: u64| (WHOLE * size).checked_div(all).unwrap_or(0);
    let share = |zone: &Zone| {
        if zone.hosts == 0 {
            return Shares { upstream: 0, local: 0 };
        }
        let beside = proxies.iter().find(|p| p.locality == zone.locality).map_or(0, size);
        Shares { upstream: of(size(zone), all), local: of(beside, all_proxies) }
    };
    upstream.iter().map(share).collect()
}
