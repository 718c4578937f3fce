//! The hosts of a cluster on one worker, ready to be picked from.

use super::layout::{Layout, PriorityLists, Source, Zone};
use super::priority::{Choice, Loads};
use super::subset::{LiveSubsets, Road};
use super::zone::{Surveyor, Way, ZoneRouting};
use super::{Balancer, PickContext, Shares, Usable, make, slow_start};
use crate::cluster::ClusterCore;
use crate::host::HostShared;
use std::cell::OnceCell;
use std::sync::Arc;

/// Hosts by priority, with the worker's balancers. Made anew when hosts or their health change, which costs little:
/// what there is to work out stands in the layout that all workers share, and a balancer is made when it is first asked.
pub struct HostSet {
    layout: Arc<Layout>,
    priorities: Box<[Priority]>,
    routing: Option<Routing>,
    subsets: Option<Box<LiveSubsets>>,
}

type Slot = OnceCell<Option<Box<dyn Balancer>>>;

/// How a locality is chosen before a host.
enum Routing {
    /// The proxy's own zone comes first.
    ByZone(ZoneRouting),
    /// By the room that hosts report.
    ByLoad,
}

/// The balancers of one priority that somebody has asked for.
struct Priority {
    healthy: Slot,
    degraded: Slot,
    all: Slot,
    /// Of each locality's hosts, in the order of [`Usable`], where localities count.
    zones: Box<[[Slot; 3]]>,
}

/// A host, and how many of the sets that were asked for one are in panic.
pub(crate) struct Picked<'a> {
    pub(crate) host: Option<&'a Arc<HostShared>>,
    pub(crate) panics: u32,
    /// Whether the last of them is.
    pub(crate) last: bool,
}

impl Picked<'_> {
    /// No host, and no panic.
    pub(super) const NONE: Self = Self { host: None, panics: 0, last: false };

    fn of(host: Option<&Arc<HostShared>>, panic: bool) -> Picked<'_> {
        Picked { host, panics: u32::from(panic), last: panic }
    }
}

impl Priority {
    fn new(lists: &PriorityLists, zones: bool) -> Self {
        let count = if zones { lists.zones.len() } else { 0 };
        Self {
            healthy: Slot::new(),
            degraded: Slot::new(),
            all: Slot::new(),
            zones: (0..count).map(|_| <[Slot; 3]>::default()).collect(),
        }
    }
}

impl HostSet {
    /// A worker's set of the hosts in `layout`. `first`: the worker had none of the cluster before.
    pub(crate) fn new(layout: Arc<Layout>, core: &ClusterCore, first: bool) -> Self {
        if layout.lb().slow_start.is_some() {
            slow_start::note(layout.hosts(), core.worker.now());
        }
        let routing = match layout.lb().load_aware() {
            Some(_) => Some(Routing::ByLoad),
            None => Self::zones_of(&layout, core, first).map(Routing::ByZone),
        };
        let priorities =
            layout.priorities.iter().map(|lists| Priority::new(lists, routing.is_some())).collect();
        let subsets = layout.subsets().map(|subsets| Box::new(LiveSubsets::new(subsets)));
        Self { priorities, routing, subsets, layout }
    }

    fn zones_of(layout: &Layout, core: &ClusterCore, first: bool) -> Option<ZoneRouting> {
        let neighbours = core.shared.neighbours();
        let local = neighbours.cluster().filter(|local| !Arc::ptr_eq(local, &core.shared))?;
        let (own, runtime) = (neighbours.local.locality.as_ref(), core.shared.runtime());
        let (stats, times) = (core.lb_stats(), core.counts_for());
        Surveyor { local: &local.layout(), own, runtime, stats, times, first }.survey(layout)
    }

    /// What it was made of.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// A pick by subsets, where there are any.
    pub(crate) fn pick_by_subset(
        &self,
        cx: &PickContext<'_>,
        core: &ClusterCore,
    ) -> Option<(Picked<'_>, Road)> {
        Some(self.subsets.as_ref()?.pick(self.layout.subsets()?, cx, core))
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostShared>> {
        self.layout.hosts()
    }

    /// The loads of the priorities.
    pub fn loads(&self) -> &Loads {
        &self.layout.loads
    }

    #[inline]
    pub(crate) fn pick(&self, cx: &PickContext<'_>, core: &ClusterCore) -> Picked<'_> {
        let (layout, rng) = (&*self.layout, core.worker.rng());
        // Only tables look at the request's hash.
        let by = || cx.hash.filter(|_| layout.hashes).unwrap_or_else(|| rng.next());
        // Tables do not hear of retries that leave priorities out, as in Envoy.
        let choice = match (cx.loads.filter(|_| !layout.hashes), layout.only) {
            (Some(loads), _) => loads.choose(by()),
            (None, Some(only)) => Some(only),
            (None, None) => layout.loads.choose(by()),
        };
        let Some(Choice { priority: at, degraded }) = choice else { return Picked::NONE };
        let (Some(live), Some(lists)) = (self.priorities.get(at), layout.priorities.get(at)) else {
            return Picked::NONE;
        };
        let panic = layout.loads.panic.get(at).copied().unwrap_or(false);
        let (slot, source) = if panic {
            if layout.fails_in_panic {
                return Picked::of(None, panic);
            }
            if matches!(self.routing, Some(Routing::ByLoad)) {
                return Picked::of(self.pick_by_load((at, Usable::All), cx, core), panic);
            }
            (&live.all, &lists.all)
        } else if let Some(routing) = self.routing.as_ref().filter(|_| !live.zones.is_empty()) {
            let host = match routing {
                Routing::ByZone(zones) => self.pick_by_zone(zones, (live, lists, degraded), cx, core),
                Routing::ByLoad if degraded => self.pick_by_load((at, Usable::Degraded), cx, core),
                Routing::ByLoad => self.pick_by_load((at, Usable::Healthy), cx, core),
            };
            return Picked::of(host, panic);
        } else if degraded && !lists.degraded.is_nothing() {
            (&live.degraded, &lists.degraded)
        } else {
            (&live.healthy, &lists.healthy)
        };
        let balancer = slot.get_or_init(|| make(layout.lb(), source, core));
        Picked::of(balancer.as_ref().and_then(|b| b.pick(cx, rng)), panic)
    }

    /// A pick at the first priority, where zones count.
    #[cold]
    fn pick_by_zone<'s>(
        &'s self,
        zones: &ZoneRouting,
        (live, lists, degraded): (&'s Priority, &'s PriorityLists, bool),
        cx: &PickContext<'_>,
        core: &ClusterCore,
    ) -> Option<&'s Arc<HostShared>> {
        let (lb, rng) = (self.layout.lb(), core.worker.rng());
        let weighted = |source: &Source| matches!(source, Source::Localities(_));
        let plain =
            if degraded { (&live.degraded, &lists.degraded) } else { (&live.healthy, &lists.healthy) };
        let (slot, source) = if weighted(plain.1) {
            plain
        } else {
            match zones.choose(lb.zone_aware(), core.shared.runtime(), rng, core.lb_stats()) {
                Way::Nowhere => return None,
                Way::Anywhere => plain,
                Way::Zone(at) => {
                    let ([healthy, others, _], zone) = (live.zones.get(at)?, lists.zones.get(at)?);
                    if degraded { (others, &zone.degraded) } else { (healthy, &zone.healthy) }
                }
            }
        };
        slot.get_or_init(|| make(lb, source, core)).as_ref()?.pick(cx, rng)
    }
    /// A pick at one priority, in the locality whose turn it is by load. A table has the hosts of all of them: the
    /// locality is then counted, and not followed.
    #[cold]
    fn pick_by_load(
        &self,
        (priority, usable): (usize, Usable),
        cx: &PickContext<'_>,
        core: &ClusterCore,
    ) -> Option<&Arc<HostShared>> {
        let (layout, rng) = (&*self.layout, core.worker.rng());
        let (live, lists) = (self.priorities.get(priority)?, layout.priorities.get(priority)?);
        let shares = core.shared.shares();
        let at = locality_of(&shares, (priority, usable), &lists.zones, core)?;
        let (slot, source) = if layout.hashes {
            if usable == Usable::All { (&live.all, &lists.all) } else { (&live.healthy, &lists.healthy) }
        } else {
            (live.zones.get(at)?.get(usable as usize)?, lists.zones.get(at)?.source(usable))
        };
        slot.get_or_init(|| make(layout.lb(), source, core)).as_ref()?.pick(cx, rng)
    }
}

/// The place of the locality that gets the next request, which is counted; `None` where none has hosts.
fn locality_of(
    shares: &Shares,
    (priority, usable): (usize, Usable),
    zones: &[Zone],
    core: &ClusterCore,
) -> Option<usize> {
    let share = shares.of(priority, usable);
    let wanted = share.map_or(0, |share| share.choose(zones, core.worker.rng()));
    let has_hosts = |at: &usize| zones.get(*at).is_some_and(|zone| !zone.source(usable).is_nothing());
    // Its hosts may be gone since shares were worked out.
    let at = Some(wanted).filter(has_hosts).or_else(|| (0..zones.len()).find(has_hosts))?;
    let own = core.shared.neighbours().local.locality.as_ref();
    let here = own.is_some() && zones.first().map(|zone| &*zone.locality) == own;
    if let Some(share) = share.filter(|_| here && usable != Usable::All) {
        let stats = core.lb_stats();
        match at {
            0 if share.stays() => &stats.lb_zone_routing_all_directly,
            0 => &stats.lb_zone_routing_sampled,
            _ => &stats.lb_zone_routing_cross_zone,
        }
        .inc();
    }
    Some(at)
}
