//! Hosts as configuration and discovery name them.

use super::{HealthFlags, HostShared, Locality};
use crate::health::CheckTarget;
use nuncio_core::address::Address;
use nuncio_core::stream_info::Metadata;
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// The metadata of its locality.
    pub locality_metadata: Option<Arc<Metadata>>,
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
    pub stat_name: Option<Arc<String>>,
}

impl HostSpec {
    /// Whether active checks ask it.
    pub(crate) fn is_checked(&self) -> bool {
        self.check.as_ref().is_none_or(|target| !target.disabled)
    }

    /// The name that it has for active checks alone; empty without one.
    pub(crate) fn checked_name(&self) -> &str {
        self.check.as_ref().map_or("", |target| &target.hostname)
    }

    /// Where active checks ask it while it listens at `own`.
    pub(crate) fn checked_at(&self, own: &Address) -> Address {
        let Some(target) = &self.check else { return own.clone() };
        let address = target.address.as_ref().unwrap_or(own);
        match (target.port, address) {
            (port @ 1.., Address::Ip(ip)) => Address::Ip(SocketAddr::new(ip.ip(), port)),
            _ => address.clone(),
        }
    }
}

/// Where a host listens: its address, and the others that it has.
pub(crate) type Addresses = (Address, Option<Arc<[Address]>>);

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
