//! The hosts of a cluster on one worker, ready to be picked from.

use super::locality::{Localities, effective_weight};
use super::priority::{Choice, Counts, Loads};
use super::subset::{Road, Subsets};
use super::{Balancer, HostList, LbConfig, PickContext, Spread, make};
use crate::host::{Health, Host, HostShared, HostSnapshot, LocalityHosts};
use nuncio_core::rng::Rng;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The hosts of a set by priority and locality, and how their shares are worked out.
pub(super) struct Lists {
    priorities: Vec<Vec<LocalityList>>,
    weighing: Weighing,
}

/// How the shares of a cluster's priorities are worked out.
#[derive(Clone, Copy)]
struct Weighing {
    /// `overprovisioning_factor`, in percent.
    factor: u32,
    /// `weighted_priority_health`
    by_weight: bool,
}

impl Weighing {
    fn count<'h>(self, hosts: impl Iterator<Item = (Health, &'h Rc<Host>)>) -> Counts {
        let mut counts = Counts::none(self.factor);
        hosts.for_each(|(health, host)| counts.add(health, host, self.by_weight));
        counts
    }
}

impl Lists {
    /// Every host.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Rc<Host>> {
        self.priorities.iter().flatten().flat_map(|l| &l.hosts).map(|(_, host)| host)
    }

    /// The hosts that fit, where they stand.
    pub(super) fn filtered(&self, mut fits: impl FnMut(&Host) -> bool) -> Self {
        let mut list = |l: &LocalityList| LocalityList {
            weight: l.weight,
            hosts: l.hosts.iter().filter(|(_, host)| fits(host)).cloned().collect(),
        };
        let priorities = self.priorities.iter().map(|p| p.iter().map(&mut list).collect()).collect();
        Self { priorities, ..*self }
    }
}

/// One locality's hosts at one priority.
struct LocalityList {
    weight: Option<u32>,
    hosts: Vec<(Health, Rc<Host>)>,
}

/// One priority, with a balancer for each list that may be picked from.
struct Priority {
    healthy: Option<Box<dyn Balancer>>,
    degraded: Option<Box<dyn Balancer>>,
    /// Of all hosts; only in panic.
    all: Option<Box<dyn Balancer>>,
}

/// Hosts by priority, with balancers and loads. Made anew when hosts or their health change.
pub struct HostSet {
    hosts: Vec<Rc<Host>>,
    weighing: Weighing,
    priorities: Vec<Priority>,
    loads: Loads,
    /// All load goes to one place: no need for chance.
    only: Option<Choice>,
    fail_in_panic: bool,
    subsets: Option<Box<Subsets>>,
}

/// A host, and whether it was picked in panic.
pub(crate) struct Picked<'a> {
    pub(crate) host: Option<&'a Rc<Host>>,
    pub(crate) panic: bool,
}

impl Picked<'_> {
    /// No host, and no panic.
    pub(super) const NONE: Self = Self { host: None, panic: false };
}

impl HostSet {
    /// A set of the hosts in `snapshot`; those that `known` has are kept with their pools, others are made by
    /// `make_host`.
    pub(crate) fn new(
        snapshot: &HostSnapshot,
        known: &[Rc<Host>],
        config: &LbConfig,
        rng: &Rng,
        mut make_host: impl FnMut(&Arc<HostShared>) -> Rc<Host>,
    ) -> Self {
        let known: HashMap<*const HostShared, &Rc<Host>> =
            known.iter().map(|h| (Arc::as_ptr(h.shared()), h)).collect();
        let mut hosts = Vec::new();
        let mut lists = Vec::with_capacity(snapshot.priorities.len());
        for priority in &snapshot.priorities {
            let mut list_of = |l: &LocalityHosts| LocalityList {
                weight: l.weight,
                hosts: l
                    .hosts
                    .iter()
                    .map(|shared| {
                        let host = known.get(&Arc::as_ptr(shared)).map(|h| Rc::clone(h));
                        let host = host.unwrap_or_else(|| make_host(shared));
                        hosts.push(Rc::clone(&host));
                        (shared.health_flags().health(), host)
                    })
                    .collect(),
            };
            lists.push(priority.iter().map(&mut list_of).collect::<Vec<_>>());
        }
        let weighing = Weighing {
            factor: snapshot.overprovisioning_factor,
            by_weight: snapshot.weighted_priority_health,
        };
        let lists = Lists { priorities: lists, weighing };
        let subsets = config.subsets.as_ref().map(|s| Box::new(Subsets::new(s, &lists, config, rng)));
        Self { hosts, subsets, ..Self::of_lists(lists, config, rng) }
    }

    /// A set of these hosts, without subsets; it does not list them.
    pub(super) fn of_lists(lists: Lists, config: &LbConfig, rng: &Rng) -> Self {
        let Lists { priorities: lists, weighing } = lists;
        let all = |l: &Vec<LocalityList>| {
            weighing.count(l.iter().flat_map(|l| &l.hosts).map(|(health, host)| (*health, host)))
        };
        let counts: Vec<Counts> = lists.iter().map(all).collect();
        let loads = Loads::compute(&counts, config.panic_threshold);
        let priorities = lists
            .iter()
            .zip(&loads.panic)
            .map(|(list, panic)| Priority::new(list, weighing.factor, *panic, config, rng))
            .collect();
        let only = match &*loads.healthy {
            [100, ..] => Some(Choice { priority: 0, degraded: false }),
            _ => None,
        };
        let fail_in_panic = config.fail_traffic_on_panic;
        Self { hosts: Vec::new(), weighing, priorities, loads, only, fail_in_panic, subsets: None }
    }

    /// How the places of the tables spread over hosts; of several priorities the last one, as Envoy's gauges tell.
    pub(crate) fn spread(&self) -> Option<Spread> {
        self.priorities.iter().rev().find_map(|p| p.healthy.as_ref().or(p.all.as_ref())?.spread())
    }

    /// How many subsets there are.
    pub(crate) fn subsets(&self) -> usize {
        self.subsets.as_ref().map_or(0, |subsets| subsets.len())
    }

    /// A pick by subsets, where there are any.
    pub(crate) fn pick_by_subset(&self, cx: &PickContext<'_>, rng: &Rng) -> Option<(Picked<'_>, Road)> {
        self.subsets.as_ref().map(|subsets| subsets.pick(cx, rng))
    }

    /// Every host.
    pub fn hosts(&self) -> &[Rc<Host>] {
        &self.hosts
    }

    /// The hosts of each priority, counted by their health as it is now.
    pub(crate) fn counts(&self) -> Vec<Counts> {
        let of = |priority: usize| {
            let hosts = self.hosts.iter().filter(move |h| h.shared().priority() as usize == priority);
            self.weighing.count(hosts.map(|h| (h.shared().health_flags().health(), h)))
        };
        (0..self.priorities.len()).map(of).collect()
    }

    /// The loads of the priorities.
    pub fn loads(&self) -> &Loads {
        &self.loads
    }

    #[inline]
    pub(crate) fn pick(&self, cx: &PickContext<'_>, rng: &Rng) -> Picked<'_> {
        let by = || cx.hash.unwrap_or_else(|| rng.next());
        let choice = match (cx.loads, self.only) {
            (Some(loads), _) => loads.choose(by()),
            (None, Some(only)) => Some(only),
            (None, None) => self.loads.choose(by()),
        };
        let Some(choice) = choice else { return Picked { host: None, panic: false } };
        let Some(priority) = self.priorities.get(choice.priority) else {
            return Picked { host: None, panic: false };
        };
        let panic = self.loads.panic.get(choice.priority).copied().unwrap_or(false);
        let balancer = if panic {
            if self.fail_in_panic { &None } else { &priority.all }
        } else if choice.degraded && priority.degraded.is_some() {
            &priority.degraded
        } else {
            &priority.healthy
        };
        Picked { host: balancer.as_ref().and_then(|b| b.pick(cx, rng)), panic }
    }
}

impl Counts {
    fn add(&mut self, health: Health, host: &Host, by_weight: bool) {
        let n = if by_weight { u64::from(super::weight(host)) } else { 1 };
        self.hosts += n;
        match health {
            Health::Healthy => (self.healthy, self.total) = (self.healthy + n, self.total + n),
            Health::Degraded => (self.degraded, self.total) = (self.degraded + n, self.total + n),
            Health::Unhealthy => self.total += n,
            Health::Excluded => {}
        }
    }
}

impl Priority {
    fn new(lists: &[LocalityList], factor: u32, panic: bool, config: &LbConfig, rng: &Rng) -> Self {
        if super::hash::is_hashing(&config.policy) {
            return Self::hashing(lists, panic, config);
        }
        let of = |health| Self::balancer(lists, factor, health, config, rng);
        Self {
            healthy: of(Health::Healthy),
            degraded: of(Health::Degraded),
            all: if panic { plain(lists, None, config, rng) } else { None },
        }
    }

    /// Places by hash: degraded hosts get nothing, as in Envoy.
    fn hashing(lists: &[LocalityList], panic: bool, config: &LbConfig) -> Self {
        let hosts = |list: &LocalityList| -> Vec<Rc<Host>> {
            let usable = list.hosts.iter().filter(|(health, _)| panic || *health == Health::Healthy);
            usable.map(|(_, host)| Rc::clone(host)).collect()
        };
        let localities: Vec<_> = if config.locality_weighted {
            lists.iter().map(|list| (f64::from(list.weight.unwrap_or(0)), hosts(list))).collect()
        } else {
            vec![(1.0, lists.iter().flat_map(hosts).collect())]
        };
        let balancer = super::hash::make(&config.policy, &localities);
        let (healthy, all) = if panic { (None, balancer) } else { (balancer, None) };
        Self { healthy, degraded: None, all }
    }

    fn balancer(
        lists: &[LocalityList],
        factor: u32,
        health: Health,
        config: &LbConfig,
        rng: &Rng,
    ) -> Option<Box<dyn Balancer>> {
        if config.locality_weighted {
            let members = lists.iter().filter_map(|list| {
                let usable = list.hosts.iter().filter(|(h, _)| *h == health).count();
                let counted = list.hosts.iter().filter(|(h, _)| *h != Health::Excluded).count();
                let weight = effective_weight(list.weight.unwrap_or(0), factor, usable, counted);
                let balancer = plain(std::slice::from_ref(list), Some(health), config, rng)?;
                (weight > 0.0).then_some((weight, balancer))
            });
            if let Some(localities) = Localities::new(members.collect(), rng) {
                return Some(Box::new(localities));
            }
        }
        plain(lists, Some(health), config, rng)
    }
}

/// A balancer over all hosts of a health (or of any) in `lists`; `None` where there are none.
fn plain(
    lists: &[LocalityList],
    health: Option<Health>,
    config: &LbConfig,
    rng: &Rng,
) -> Option<Box<dyn Balancer>> {
    let hosts: HostList = lists
        .iter()
        .flat_map(|l| &l.hosts)
        .filter(|(h, _)| health.is_none_or(|wanted| wanted == *h))
        .map(|(_, host)| Rc::clone(host))
        .collect();
    (!hosts.is_empty()).then(|| make(&config.policy, hosts, rng))
}
