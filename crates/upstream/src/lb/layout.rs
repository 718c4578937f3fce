//! The hosts of a cluster worked out for balancing: once for each change of hosts or health, for all workers.

use super::hash::{self, Hashed};
use super::locality::effective_weight;
use super::priority::{Choice, Counts, Loads, Tally};
use super::subset::Subsets;
use super::{HostList, LbConfig, LocalityLb, Spread, Usable};
use crate::cluster::ClusterConfig;
use crate::host::{Health, HostShared, HostSnapshot, Locality, LocalityHosts};
use nuncio_core::runtime::Runtime;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

/// Which lists of hosts there are to pick from, and how load spreads over them. Immutable; workers hold it by `Arc` and
/// keep nothing of their own but where they stand in each list.
pub(crate) struct Layout {
    settings: Settings,
    snapshot: Arc<HostSnapshot>,
    pub(super) priorities: Vec<PriorityLists>,
    pub(super) loads: Loads,
    /// All load goes to one place: no need for chance.
    pub(super) only: Option<Choice>,
    /// `fail_traffic_on_panic`
    pub(super) fails_in_panic: bool,
    /// The policy places by hash.
    pub(super) hashes: bool,
    pub(super) subsets: Option<Box<Subsets>>,
    /// Made when somebody asks for a host by its address.
    by_address: OnceLock<HashMap<Box<str>, Arc<HostShared>>>,
}

/// The cluster's settings, with what runtime keys said when the layout was made.
struct Settings {
    cluster: Arc<ClusterConfig>,
    at_runtime: Option<Box<LbConfig>>,
}

/// What may be picked from at one priority.
pub(super) struct PriorityLists {
    pub(super) healthy: Source,
    pub(super) degraded: Source,
    /// All hosts; only in panic.
    pub(super) all: Source,
    /// Its localities in Envoy's order, where they may count: at the first priority of a process that knows its own
    /// cluster, at all of them where localities share by load.
    pub(super) zones: Box<[Zone]>,
    pub(super) counts: Counts,
}

/// Something to pick from.
pub(super) enum Source {
    Nothing,
    /// Never an empty one.
    List(List),
    /// By effective weight.
    Localities(Box<[(f64, List)]>),
    Table(Arc<Hashed>),
}

/// Hosts, and whether all of them weigh the same.
pub(super) struct List {
    pub(super) hosts: HostList,
    pub(super) even: bool,
}

/// One locality of a priority.
pub(crate) struct Zone {
    pub(crate) locality: Arc<Locality>,
    pub(super) healthy: Source,
    pub(super) degraded: Source,
    /// All hosts, where localities share by load.
    pub(super) all: Source,
    /// Healthy hosts, and the sum of their weights.
    pub(super) hosts: u64,
    pub(super) weight: u64,
}

/// The hosts of a set by priority and locality, and how their shares are worked out.
pub(super) struct Lists {
    pub(super) priorities: Vec<PriorityHosts>,
    weighing: Weighing,
}

/// The hosts of one priority.
#[derive(Default)]
pub(super) struct PriorityHosts {
    /// In the order of configuration, each with its locality's place among `localities`.
    pub(super) hosts: Vec<Listed>,
    /// In Envoy's order, each once: the proxy's own first, then by name.
    pub(super) localities: Vec<ListedLocality>,
}

/// A locality, and its weight where it has one.
#[derive(Clone)]
pub(super) struct ListedLocality {
    pub(super) locality: Arc<Locality>,
    pub(super) weight: Option<u32>,
}

/// A host as it was when the layout was made.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) host: Arc<HostShared>,
    pub(super) health: Health,
    pub(super) locality: usize,
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
    fn of(snapshot: &HostSnapshot) -> Self {
        Self { factor: snapshot.overprovisioning_factor, by_weight: snapshot.weighted_priority_health }
    }

    fn count<'h>(self, hosts: impl Iterator<Item = (Health, &'h Arc<HostShared>)>) -> Counts {
        let mut counts = Counts::none(self.factor);
        hosts.for_each(|(health, host)| counts.add(health, host, self.by_weight));
        counts
    }
}

impl Counts {
    fn add(&mut self, health: Health, host: &HostShared, by_weight: bool) {
        self.hosts += 1;
        self.numbers.add(health, 1);
        self.shares.add(health, if by_weight { u64::from(host.weight()) } else { 1 });
    }
}

impl Tally {
    fn add(&mut self, health: Health, n: u64) {
        match health {
            Health::Healthy => (self.healthy, self.total) = (self.healthy + n, self.total + n),
            Health::Degraded => (self.degraded, self.total) = (self.degraded + n, self.total + n),
            Health::Unhealthy => self.total += n,
            Health::Excluded => {}
        }
    }
}

/// The hosts of each priority, counted by their health as it is now.
pub(crate) fn counts(snapshot: &HostSnapshot) -> Vec<Counts> {
    let weighing = Weighing::of(snapshot);
    let of = |priority: &Vec<LocalityHosts>| {
        let hosts = priority.iter().flat_map(|l| &l.hosts);
        weighing.count(hosts.map(|h| (h.health_flags().health(), h)))
    };
    snapshot.priorities.iter().map(of).collect()
}

impl Lists {
    /// The hosts of a snapshot. `own`: where the proxy itself stands.
    fn new(snapshot: &HostSnapshot, own: Option<&Locality>) -> Self {
        let mut priorities: Vec<_> = snapshot.priorities.iter().map(|p| PriorityHosts::new(p, own)).collect();
        if priorities.is_empty() {
            // As in Envoy there is always a first one.
            priorities.push(PriorityHosts::default());
        }
        Self { priorities, weighing: Weighing::of(snapshot) }
    }

    /// The same priorities and localities without hosts.
    pub(super) fn emptied(&self) -> Self {
        let empty = |p: &PriorityHosts| PriorityHosts { hosts: Vec::new(), localities: p.localities.clone() };
        Self { priorities: self.priorities.iter().map(empty).collect(), ..*self }
    }
}

impl PriorityHosts {
    fn new(written: &[LocalityHosts], own: Option<&Locality>) -> Self {
        let mut order: Vec<&LocalityHosts> = written.iter().collect();
        let rank = |l: &Locality| own != Some(l);
        let by_name = |a: &Locality, b: &Locality| -> Ordering {
            (rank(a), &a.region, &a.zone, &a.sub_zone).cmp(&(rank(b), &b.region, &b.zone, &b.sub_zone))
        };
        order.sort_by(|a, b| by_name(&a.locality, &b.locality));
        let mut localities: Vec<ListedLocality> = Vec::with_capacity(order.len());
        for LocalityHosts { locality, weight, hosts: _ } in order {
            match localities.last_mut().filter(|last| last.locality == *locality) {
                // Those of one name are one, whose last weight counts, be it one without hosts.
                Some(last) => last.weight = weight.or(last.weight),
                None => localities.push(ListedLocality { locality: Arc::clone(locality), weight: *weight }),
            }
        }
        let filled: HashSet<&Locality> =
            written.iter().filter(|l| !l.hosts.is_empty()).map(|l| &*l.locality).collect();
        localities.retain(|l| filled.contains(&*l.locality));
        let mut hosts = Vec::with_capacity(written.iter().map(|l| l.hosts.len()).sum());
        for l in written.iter().filter(|l| !l.hosts.is_empty()) {
            let at = localities.binary_search_by(|known| by_name(&known.locality, &l.locality));
            let locality = at.unwrap_or_default();
            hosts.extend(l.hosts.iter().map(|host| {
                let health = host.health_flags().health();
                Listed { host: Arc::clone(host), health, locality }
            }));
        }
        Self { hosts, localities }
    }
}

impl List {
    /// `None` where there are none.
    fn new<'h>(hosts: impl Iterator<Item = &'h Listed>) -> Option<Self> {
        let hosts: Vec<_> = hosts.map(|listed| Arc::clone(&listed.host)).collect();
        let even = hosts.windows(2).all(|pair| matches!(pair, [a, b] if a.weight() == b.weight()));
        (!hosts.is_empty()).then(|| Self { hosts: hosts.into(), even })
    }
}

impl Source {
    fn plain<'h>(hosts: impl Iterator<Item = &'h Listed>) -> Self {
        List::new(hosts).map_or(Self::Nothing, Self::List)
    }

    /// How the places of a table spread over hosts.
    fn spread(&self) -> Option<Spread> {
        match self {
            Self::Table(table) => Some(table.spread()),
            Self::Nothing | Self::List(_) | Self::Localities(_) => None,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Its hosts, where it is one list.
    fn list(&self) -> &[Arc<HostShared>] {
        match self {
            Self::List(list) => &list.hosts,
            Self::Nothing | Self::Localities(_) | Self::Table(_) => &[],
        }
    }
}

impl Zone {
    /// What may be picked from.
    pub(super) fn source(&self, usable: Usable) -> &Source {
        match usable {
            Usable::Healthy => &self.healthy,
            Usable::Degraded => &self.degraded,
            Usable::All => &self.all,
        }
    }

    /// The hosts that may be picked.
    pub(crate) fn hosts(&self, usable: Usable) -> &[Arc<HostShared>] {
        self.source(usable).list()
    }
}

impl Layout {
    /// Works out the hosts of a snapshot. `own`: where the proxy itself stands; `zones`: whether the process knows its
    /// own cluster.
    pub(crate) fn new(
        cluster: &Arc<ClusterConfig>,
        runtime: &Runtime,
        snapshot: &Arc<HostSnapshot>,
        own: Option<&Locality>,
        zones: bool,
    ) -> Self {
        let at_runtime = match cluster.lb.at_runtime(runtime) {
            Cow::Borrowed(_) => None,
            Cow::Owned(lb) => Some(Box::new(lb)),
        };
        let lists = Lists::new(snapshot, own);
        let settings = || Settings { cluster: Arc::clone(cluster), at_runtime: at_runtime.clone() };
        let lb = at_runtime.as_deref().unwrap_or(&cluster.lb);
        let weighted = lb.locality == LocalityLb::Weighted;
        let subsets = lb.subsets.as_ref().map(|subsets| {
            let make = |lists: &Lists| {
                let weighted = weighted && subsets.locality_weight_aware;
                Self::of_lists(lists, settings(), Arc::default(), weighted, zones)
            };
            Box::new(Subsets::new(subsets, &lists, &make))
        });
        Self { subsets, ..Self::of_lists(&lists, settings(), Arc::clone(snapshot), weighted, zones) }
    }

    /// The layout of these hosts, without subsets.
    fn of_lists(
        lists: &Lists,
        settings: Settings,
        snapshot: Arc<HostSnapshot>,
        weighted: bool,
        zones: bool,
    ) -> Self {
        let lb = settings.lb();
        let count = |p: &PriorityHosts| lists.weighing.count(p.hosts.iter().map(|l| (l.health, &l.host)));
        let counts: Vec<Counts> = lists.priorities.iter().map(count).collect();
        let loads = Loads::compute(&counts, lb.panic_threshold);
        let mut priorities: Vec<PriorityLists> = lists
            .priorities
            .iter()
            .zip(&loads.panic)
            .zip(counts)
            .map(|((hosts, panic), counts)| PriorityLists::new(hosts, counts, *panic, weighted, lb))
            .collect();
        let by_load = lb.load_aware().is_some();
        let divided = if by_load { priorities.len() } else { usize::from(zones) };
        for (hosts, lists) in lists.priorities.iter().zip(&mut priorities).take(divided) {
            lists.zones = hosts.zones(by_load);
        }
        let only = match &*loads.healthy {
            [100, ..] => Some(Choice { priority: 0, degraded: false }),
            _ => None,
        };
        let hashes = hash::is_hashing(&lb.policy);
        let fails_in_panic = match &lb.locality {
            LocalityLb::ZoneAware(zones) => zones.fail_traffic_on_panic && !hashes,
            LocalityLb::Weighted => false,
        };
        let by_address = OnceLock::new();
        Self {
            settings,
            snapshot,
            priorities,
            loads,
            only,
            fails_in_panic,
            hashes,
            subsets: None,
            by_address,
        }
    }

    /// The localities of each priority, where they may count.
    pub(crate) fn zones(&self) -> impl Iterator<Item = &[Zone]> {
        self.priorities.iter().map(|lists| &*lists.zones)
    }

    /// How many priorities have other hosts than in the layout before.
    pub(crate) fn changed_priorities(&self, before: &Self) -> usize {
        let hosts = |of: &Self, at: usize| -> Vec<*const HostShared> {
            let all = of.snapshot.priorities.get(at).into_iter().flatten().flat_map(|l| &l.hosts);
            all.map(Arc::as_ptr).collect()
        };
        let most = self.snapshot.priorities.len().max(before.snapshot.priorities.len());
        (0..most).filter(|at| hosts(self, *at) != hosts(before, *at)).count()
    }

    /// The hosts of each priority, counted.
    pub(super) fn counts(&self) -> Vec<Counts> {
        self.priorities.iter().map(|lists| lists.counts).collect()
    }

    /// How many priorities have hosts.
    pub(crate) fn filled_priorities(&self) -> usize {
        self.priorities.iter().filter(|lists| lists.counts.hosts > 0).count()
    }

    /// How the cluster balances.
    pub(super) fn lb(&self) -> &LbConfig {
        self.settings.lb()
    }

    /// Every host.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Arc<HostShared>> {
        self.snapshot.hosts()
    }

    /// The host that listens at an address, as text.
    pub(crate) fn host_at(&self, address: &str) -> Option<&Arc<HostShared>> {
        let map = || self.hosts().map(|h| (h.address().to_string().into(), Arc::clone(h))).collect();
        self.by_address.get_or_init(map).get(address)
    }

    /// Works out beforehand what whoever asked the layout `before` it for hosts by their addresses will ask it for.
    pub(crate) fn prepare(&self, before: Option<&Self>) {
        let asked = before.is_some_and(|before| before.by_address.get().is_some());
        if asked || self.lb().override_host.is_some() {
            let _ = self.host_at("");
        }
    }

    /// How the places of the tables spread over hosts; of several priorities the last one, as Envoy's gauges tell.
    pub(crate) fn spread(&self) -> Option<Spread> {
        self.priorities.iter().rev().find_map(|p| p.healthy.spread().or(p.all.spread()))
    }

    /// The subsets, where the cluster has any.
    pub(crate) fn subsets(&self) -> Option<&Subsets> {
        self.subsets.as_deref()
    }
}

impl Settings {
    fn lb(&self) -> &LbConfig {
        self.at_runtime.as_deref().unwrap_or(&self.cluster.lb)
    }
}

impl PriorityLists {
    fn new(hosts: &PriorityHosts, counts: Counts, panic: bool, weighted: bool, lb: &LbConfig) -> Self {
        let (nothing, zones) = (Source::Nothing, Box::default());
        if hash::is_hashing(&lb.policy) {
            let table = hash::table(&lb.policy, &hosts.shares(weighted, panic));
            let table = table.map_or(Source::Nothing, Source::Table);
            // Degraded hosts get nothing, as in Envoy.
            let (healthy, all) = if panic { (nothing, table) } else { (table, nothing) };
            return Self { healthy, degraded: Source::Nothing, all, zones, counts };
        }
        let of = |health| {
            let by_locality = if weighted { hosts.by_locality(health, counts.factor) } else { None };
            by_locality.unwrap_or_else(|| Source::plain(hosts.of_health(health)))
        };
        let all = if panic { Source::plain(hosts.hosts.iter()) } else { nothing };
        Self { healthy: of(Health::Healthy), degraded: of(Health::Degraded), all, zones, counts }
    }
}

impl PriorityHosts {
    fn of_health(&self, health: Health) -> impl Iterator<Item = &Listed> {
        self.hosts.iter().filter(move |listed| listed.health == health)
    }

    /// The places of each locality's hosts.
    fn grouped(&self) -> Vec<Vec<&Listed>> {
        let mut groups = vec![Vec::new(); self.localities.len()];
        for listed in &self.hosts {
            if let Some(group) = groups.get_mut(listed.locality) {
                group.push(listed);
            }
        }
        groups
    }

    /// Localities by their effective weight; `None` where none may get traffic.
    fn by_locality(&self, health: Health, factor: u32) -> Option<Source> {
        let members: Box<[_]> = self
            .grouped()
            .into_iter()
            .zip(&self.localities)
            .filter_map(|(hosts, locality)| {
                let counted = hosts.iter().filter(|l| l.health != Health::Excluded).count();
                let usable = || hosts.iter().copied().filter(|l| l.health == health);
                let weight = locality.weight.unwrap_or(0);
                let weight = effective_weight(weight, factor, usable().count(), counted);
                if weight > 0.0 { Some((weight, List::new(usable())?)) } else { None }
            })
            .collect();
        (!members.is_empty()).then_some(Source::Localities(members))
    }

    /// Hosts in lists that have shares of the whole: one list, or one for each locality that has a weight.
    fn shares(&self, weighted: bool, panic: bool) -> Vec<(f64, Vec<&Arc<HostShared>>)> {
        let usable = |listed: &&Listed| panic || listed.health == Health::Healthy;
        if !weighted {
            return vec![(1.0, self.hosts.iter().filter(usable).map(|l| &l.host).collect())];
        }
        let each = self.grouped().into_iter().zip(&self.localities);
        each.map(|(hosts, locality)| {
            let hosts = hosts.into_iter().filter(usable).map(|l| &l.host).collect();
            (f64::from(locality.weight.unwrap_or(0)), hosts)
        })
        .collect()
    }

    /// `all`: with the hosts that nobody would pick but in panic.
    fn zones(&self, all: bool) -> Box<[Zone]> {
        let each = self.grouped().into_iter().zip(&self.localities);
        each.map(|(hosts, locality)| {
            let of = |health| hosts.iter().copied().filter(move |l| l.health == health);
            Zone {
                locality: Arc::clone(&locality.locality),
                healthy: Source::plain(of(Health::Healthy)),
                degraded: Source::plain(of(Health::Degraded)),
                all: if all { Source::plain(hosts.iter().copied()) } else { Source::Nothing },
                hosts: of(Health::Healthy).count() as u64,
                weight: of(Health::Healthy).map(|l| u64::from(l.host.weight())).sum(),
            }
        })
        .collect()
    }
}
