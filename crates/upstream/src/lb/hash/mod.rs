//! Consistent hashing: the same key goes to the same host, on every worker and every proxy, as Envoy places it.

mod bounded;
mod maglev;
mod murmur;
mod ring;

use super::{Balancer, LbPolicy, PickContext};
use crate::host::Host;
use bounded::Bounded;
use nuncio_core::rng::Rng;
use prost_types::value::Kind;
use std::rc::Rc;

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
pub(super) type Weighted = Vec<(Rc<Host>, f64)>;

/// Where a hash leads.
trait Table {
    /// The index of the host; `attempt` counts picks that were rejected before.
    fn find(&self, hash: u64, attempt: u32) -> Option<usize>;
    /// The index of each place's host.
    fn places(&self) -> impl Iterator<Item = u32>;
}

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

struct Hashed<T> {
    table: T,
    hosts: Weighted,
    bounded: Option<Bounded>,
}

impl<T: Table> Balancer for Hashed<T> {
    fn pick(&self, cx: &PickContext<'_>, rng: &Rng) -> Option<&Rc<Host>> {
        let hash = cx.hash.unwrap_or_else(|| rng.next());
        let at = self.table.find(hash, cx.attempt)?;
        let at = self.bounded.as_ref().map_or(at, |bounded| bounded.choose(&self.hosts, at, hash));
        self.hosts.get(at).map(|(host, _)| host)
    }

    fn spread(&self) -> Option<Spread> {
        let mut counts = vec![0_u64; self.hosts.len()];
        let mut places = 0;
        for index in self.table.places() {
            places += 1;
            if let Some(count) = counts.get_mut(index as usize) {
                *count += 1;
            }
        }
        Some(Spread { places, least: *counts.iter().min()?, most: *counts.iter().max()? })
    }
}

/// Whether a policy places by hash.
pub(crate) fn is_hashing(policy: &LbPolicy) -> bool {
    matches!(policy, LbPolicy::RingHash(_) | LbPolicy::Maglev(_))
}

/// A balancer that places by hash; `None` for other policies, and where there are no hosts.
pub(super) fn make(policy: &LbPolicy, localities: &[(f64, Vec<Rc<Host>>)]) -> Option<Box<dyn Balancer>> {
    let hosts = normalized(localities);
    if hosts.is_empty() {
        return None;
    }
    Some(match policy {
        LbPolicy::RingHash(config) => {
            let table = ring::Ring::new(config, &keyed(&hosts, &config.common));
            Box::new(Hashed { table, bounded: Bounded::new(&config.common), hosts })
        }
        LbPolicy::Maglev(config) => {
            let table = maglev::Slots::new(config.table_size, &keyed(&hosts, &config.common));
            Box::new(Hashed { table, bounded: Bounded::new(&config.common), hosts })
        }
        LbPolicy::RoundRobin | LbPolicy::LeastRequest(_) | LbPolicy::Random | LbPolicy::ClusterProvided => {
            return None;
        }
    })
}

/// Each host's share: of its locality's by its weight, and its locality's by the locality's weight.
fn normalized(localities: &[(f64, Vec<Rc<Host>>)]) -> Weighted {
    let all: f64 = localities.iter().filter(|(_, hosts)| !hosts.is_empty()).map(|(weight, _)| weight).sum();
    let mut shares = Vec::new();
    for (weight, hosts) in localities.iter().filter(|(weight, _)| *weight > 0.0) {
        let sum: u64 = hosts.iter().map(|h| u64::from(super::weight(h))).sum();
        for host in hosts {
            let share = f64::from(super::weight(host)) * (weight / all) / sum as f64;
            shares.push((Rc::clone(host), share));
        }
    }
    shares
}

/// What is hashed of each host, and its share.
fn keyed(hosts: &Weighted, config: &Hashing) -> Vec<(Vec<u8>, f64)> {
    hosts.iter().map(|(host, share)| (key(host, config), *share)).collect()
}

/// `hash_key` of the host's metadata, else its name where that is wanted, else its address.
fn key(host: &Host, config: &Hashing) -> Vec<u8> {
    let own = host.lb_value("hash_key", |kind| match kind {
        Kind::StringValue(own) if !own.is_empty() => Some(own.clone().into_bytes()),
        _ => None,
    });
    if let Some(own) = own.flatten() {
        return own;
    }
    if config.use_hostname {
        return host.hostname().as_bytes().to_vec();
    }
    host.address().to_string().into_bytes()
}

#[cfg(test)]
mod tests;
