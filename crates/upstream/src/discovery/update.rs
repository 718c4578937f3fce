//! From the hosts that there are to those that are named now: a host that stays is the same one, with its health, its
//! counts and its pools.

use crate::cluster::{ClusterConfig, ClusterShared, Discovery as Named};
use crate::host::{HealthFlags, HostShared, HostSnapshot, LocalityHosts};
use nuncio_core::address::Address;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Hosts to be published.
pub(super) struct Change {
    pub(super) snapshot: HostSnapshot,
    /// Priorities to which hosts were added, or from which some are gone (`membership_change`).
    pub(super) memberships: u64,
}

/// Whether a host that discovery no longer names stays for now: active checks find it well, and nobody said that it shall
/// go all the same (`ignore_health_on_host_removal`). It is marked then.
pub(super) fn stays(config: &ClusterConfig, host: &HostShared) -> bool {
    let out = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::FAILED_EDS_HEALTH);
    let checked = !config.health_checks.is_empty() && host.spec().is_checked();
    let well = host.health_flags().among(out) == HealthFlags::default();
    let stays = checked && well && !config.turnover.goes_at_once;
    if stays {
        host.set_health(HealthFlags::PENDING_DYNAMIC_REMOVAL, true);
    }
    stays
}

/// Discovery names the host, perhaps again.
pub(super) fn is_named(host: &HostShared) {
    host.set_health(HealthFlags::PENDING_DYNAMIC_REMOVAL, false);
}

/// The hosts of a cluster as `named` has them; `None` where nothing changes for balancers. The first endpoint of an
/// address counts.
pub(super) fn merge(cluster: &ClusterShared, named: &Named) -> Option<Change> {
    let old = cluster.hosts();
    let mut merging = Merging {
        known: old.hosts().map(|host| (&host.spec().address, host)).collect(),
        seen: HashSet::new(),
        kept: HashSet::new(),
        is_checked: !cluster.config().health_checks.is_empty(),
        changed: false,
    };
    let count = named.endpoints.iter().map(|e| e.priority as usize + 1).max().unwrap_or(0);
    let mut priorities: Vec<Vec<LocalityHosts>> = Vec::new();
    priorities.resize_with(count.max(old.priorities.len()), Vec::new);
    for endpoints in &named.endpoints {
        let hosts: Vec<_> = endpoints.hosts.iter().filter_map(|spec| merging.host(spec)).collect();
        let Some(priority) = priorities.get_mut(endpoints.priority as usize) else { continue };
        // Endpoints of one locality stand together, wherever they are written.
        match priority.iter_mut().find(|l| l.locality == endpoints.locality) {
            Some(known) => {
                known.weight = endpoints.weight.or(known.weight);
                known.hosts.extend(hosts);
            }
            None => priority.push(LocalityHosts {
                locality: Arc::clone(&endpoints.locality),
                weight: endpoints.weight,
                hosts,
            }),
        }
    }
    let Merging { kept, mut changed, .. } = merging;
    keep_well(cluster.config(), &old, &kept, &mut priorities);
    let snapshot = HostSnapshot {
        overprovisioning_factor: named.overprovisioning_factor,
        weighted_priority_health: named.weighted_priority_health,
        priorities,
    };
    let memberships = (0..snapshot.priorities.len())
        .filter(|at| members(&old, *at) != members(&snapshot, *at))
        .count() as u64;
    changed |= memberships > 0 || !weighs_alike(&old, &snapshot);
    changed.then_some(Change { snapshot, memberships })
}

struct Merging<'a> {
    known: HashMap<&'a Address, &'a Arc<HostShared>>,
    seen: HashSet<Address>,
    /// Hosts that stay.
    kept: HashSet<*const HostShared>,
    /// The cluster has active checks.
    is_checked: bool,
    /// Something is said of a host that stays that was not true before.
    changed: bool,
}

impl Merging<'_> {
    /// The host of an endpoint; none where its address was there before.
    fn host(&mut self, spec: &crate::host::HostSpec) -> Option<Arc<HostShared>> {
        if !self.seen.insert(spec.address.clone()) {
            return None;
        }
        let Some(known) = self.known.get(&spec.address).filter(|known| known.is_at(spec, self.is_checked))
        else {
            return Some(HostShared::new(spec.clone()));
        };
        is_named(known);
        self.changed |= known.take_over(spec);
        self.kept.insert(Arc::as_ptr(known));
        Some(Arc::clone(known))
    }
}

/// Hosts that nobody names stay where they are as long as they are well.
fn keep_well(
    config: &ClusterConfig,
    old: &HostSnapshot,
    kept: &HashSet<*const HostShared>,
    priorities: &mut [Vec<LocalityHosts>],
) {
    for (priority, localities) in priorities.iter_mut().zip(&old.priorities) {
        for old in localities {
            let hosts = old.hosts.iter().filter(|host| !kept.contains(&Arc::as_ptr(host)));
            let hosts: Vec<_> = hosts.filter(|host| stays(config, host)).cloned().collect();
            if hosts.is_empty() {
                continue;
            }
            match priority.iter_mut().find(|l| l.locality == old.locality) {
                Some(locality) => locality.hosts.extend(hosts),
                None => priority.push(LocalityHosts { hosts, ..old.clone() }),
            }
        }
    }
}

/// The snapshot without hosts that are on their way out and whose checks have failed; `None` where there are none.
pub(crate) fn without_failed(hosts: &HostSnapshot) -> Option<HostSnapshot> {
    let out = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::PENDING_DYNAMIC_REMOVAL);
    let goes = |host: &Arc<HostShared>| host.health_flags().contains(out);
    if !hosts.hosts().any(goes) {
        return None;
    }
    let mut left = hosts.clone();
    left.priorities.iter_mut().flatten().for_each(|l| l.hosts.retain(|host| !goes(host)));
    Some(left)
}

/// The hosts of a priority.
fn members(snapshot: &HostSnapshot, priority: usize) -> HashSet<*const HostShared> {
    snapshot.priorities.get(priority).into_iter().flatten().flat_map(|l| &l.hosts).map(Arc::as_ptr).collect()
}

/// Whether localities and priorities have the same shares in both.
fn weighs_alike(a: &HostSnapshot, b: &HostSnapshot) -> bool {
    let weights = |snapshot: &HostSnapshot| -> Vec<Vec<(Arc<crate::host::Locality>, Option<u32>)>> {
        let of = |p: &Vec<LocalityHosts>| p.iter().map(|l| (Arc::clone(&l.locality), l.weight)).collect();
        snapshot.priorities.iter().map(of).collect()
    };
    a.overprovisioning_factor == b.overprovisioning_factor
        && a.weighted_priority_health == b.weighted_priority_health
        && weights(a) == weights(b)
}

#[cfg(test)]
mod tests;
