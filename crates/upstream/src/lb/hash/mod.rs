//! Consistent hashing: the same key goes to the same host, on every worker and every proxy, as Envoy places it.

mod bounded;
mod maglev;
mod murmur;
mod ring;

use super::{Balancer, LbPolicy, PickContext};
use crate::cluster::ClusterShared;
use crate::host::HostShared;
use bounded::Bounded;
use maglev::Slots;
use nuncio_core::rng::Rng;
use prost_types::value::Kind;
use ring::Ring;
use std::sync::Arc;

/// `RING_HASH`
#[derive(Clone, Debug, PartialEq)]
pub struct RingHash {
    /// `hash_function: MURMUR_HASH_2`; else xxHash64.
    pub murmur: bool,
    /// `minimum_ring_size`
    pub minimum: u64,
    /// `maximum_ring_size`
    pub maximum: u64,
    /// What both kinds have.
    pub common: Hashing,
}

/// `MAGLEV`
#[derive(Clone, Debug, PartialEq)]
pub struct Maglev {
    /// `table_size`, a prime.
    pub table_size: u64,
    /// What both kinds have.
    pub common: Hashing,
}

/// `ConsistentHashingLbConfig`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hashing {
    /// `use_hostname_for_hashing`
    pub use_hostname: bool,
    /// `hash_balance_factor`, in percent from 100; 0: off.
    pub balance_factor: u32,
}

/// Hosts with their shares of all, which add up to 1.
type Weighted = Vec<(Arc<HostShared>, f64)>;

/// How a table's places spread over hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// All places.
    pub places: u64,
    /// Those of the host that has fewest.
    pub least: u64,
    /// Those of the host that has most.
    pub most: u64,
}

/// A table of places, and the hosts that have them. All workers share it.
pub(crate) struct Hashed {
    table: Table,
    hosts: Weighted,
    /// `hash_balance_factor`
    factor: Option<Bounded>,
    spread: Spread,
}

enum Table {
    Ring(Ring),
    Maglev(Slots),
}

impl Table {
    /// The index of the host where a hash leads; `attempt` counts picks that were rejected before.
    fn find(&self, hash: u64, attempt: u32) -> Option<usize> {
        match self {
            Self::Ring(ring) => ring.find(hash, attempt),
            Self::Maglev(slots) => slots.find(hash, attempt),
        }
    }
}

impl Hashed {
    fn new(table: Table, hosts: Weighted, common: &Hashing) -> Arc<Self> {
        let spread = match &table {
            Table::Ring(ring) => Spread::of(ring.places(), hosts.len()),
            Table::Maglev(slots) => Spread::of(slots.places(), hosts.len()),
        };
        Arc::new(Self { table, hosts, factor: Bounded::new(common), spread })
    }

    /// How its places spread.
    pub(super) fn spread(&self) -> Spread {
        self.spread
    }
}

impl Spread {
    fn of(places: impl Iterator<Item = u32>, hosts: usize) -> Self {
        let mut counts = vec![0_u64; hosts];
        let mut all = 0;
        for index in places {
            all += 1;
            if let Some(count) = counts.get_mut(index as usize) {
                *count += 1;
            }
        }
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        Self { places: all, least: least.unwrap_or(0), most: most.unwrap_or(0) }
    }
}

/// A worker's hold on a table.
struct Live {
    table: Arc<Hashed>,
    cluster: Arc<ClusterShared>,
}

impl Balancer for Live {
    fn pick(&self, cx: &PickContext<'_>, rng: &Rng) -> Option<&Arc<HostShared>> {
        let Hashed { table, hosts, factor, spread: _ } = &*self.table;
        let hash = cx.hash.unwrap_or_else(|| rng.next());
        let at = table.find(hash, cx.attempt)?;
        let at = factor.as_ref().map_or(at, |bounded| bounded.choose(hosts, at, hash, &self.cluster));
        hosts.get(at).map(|(host, _)| host)
    }
}

/// A worker's balancer by a table.
pub(super) fn live(table: &Arc<Hashed>, cluster: &Arc<ClusterShared>) -> Box<dyn Balancer> {
    Box::new(Live { table: Arc::clone(table), cluster: Arc::clone(cluster) })
}

/// Whether a policy places by hash.
pub(crate) fn is_hashing(policy: &LbPolicy) -> bool {
    matches!(policy, LbPolicy::RingHash(_) | LbPolicy::Maglev(_))
}

/// A table for hosts in lists that have shares of the whole; `None` for policies that have none, and where there are no
/// hosts.
pub(super) fn table(policy: &LbPolicy, localities: &[(f64, Vec<&Arc<HostShared>>)]) -> Option<Arc<Hashed>> {
    let hosts = normalized(localities);
    if hosts.is_empty() {
        return None;
    }
    let (table, common) = match policy {
        LbPolicy::RingHash(config) => {
            (Table::Ring(Ring::new(config, &keyed(&hosts, &config.common))), &config.common)
        }
        LbPolicy::Maglev(config) => {
            (Table::Maglev(Slots::new(config.table_size, &keyed(&hosts, &config.common))), &config.common)
        }
        LbPolicy::RoundRobin | LbPolicy::LeastRequest(_) | LbPolicy::Random | LbPolicy::ClusterProvided => {
            return None;
        }
    };
    Some(Hashed::new(table, hosts, common))
}

/// Each host's share: of its locality's by its weight, and its locality's by the locality's weight.
fn normalized(localities: &[(f64, Vec<&Arc<HostShared>>)]) -> Weighted {
    let all: f64 = localities.iter().filter(|(_, hosts)| !hosts.is_empty()).map(|(weight, _)| weight).sum();
    let mut shares = Vec::new();
    for (weight, hosts) in localities.iter().filter(|(weight, _)| *weight > 0.0) {
        let sum: u64 = hosts.iter().map(|h| u64::from(h.weight())).sum();
        for host in hosts {
            let share = f64::from(host.weight()) * (weight / all) / sum as f64;
            shares.push((Arc::clone(host), share));
        }
    }
    shares
}

/// What is hashed of each host, and its share.
fn keyed(hosts: &Weighted, config: &Hashing) -> Vec<(Vec<u8>, f64)> {
    hosts.iter().map(|(host, share)| (key(host, config), *share)).collect()
}

/// `hash_key` of the host's metadata, else its name where that is wanted, else its address.
fn key(host: &HostShared, config: &Hashing) -> Vec<u8> {
    let own = host.lb_value("hash_key", |kind| match kind {
        Kind::StringValue(own) if !own.is_empty() => Some(own.clone().into_bytes()),
        _ => None,
    });
    if let Some(own) = own.flatten() {
        return own;
    }
    if config.use_hostname {
        return host.spec().hostname.as_bytes().to_vec();
    }
    host.address().to_string().into_bytes()
}

#[cfg(test)]
mod tests;
