//! Subsets: hosts with the metadata that a request asks for (`LbSubsetConfig`).

use super::PickContext;
use super::layout::{Layout, Listed, Lists};
use super::set::{HostSet, Picked};
use crate::cluster::ClusterCore;
use crate::host::HostShared;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

/// What hosts shall have below `envoy.lb`, by key: values in a form in which equal ones are equal texts.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    values: Values,
    /// What `fallback_list` says shall be tried in turn, where there is one.
    alternatives: Option<Box<[Self]>>,
    /// Each of those over the values, once somebody has asked.
    tries: OnceLock<Box<[Self]>>,
}

impl PartialEq for Criteria {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Criteria {}

/// What is wanted, by key.
type Values = BTreeMap<Box<str>, Box<str>>;

/// The key whose list holds criteria to be tried in turn (`metadata_fallback_policy: FALLBACK_LIST`).
const FALLBACK_LIST: &str = "fallback_list";

fn text(kind: &Kind) -> Box<str> {
    format!("{kind:?}").into()
}

impl Criteria {
    /// Those of a message.
    pub fn new(fields: &Struct) -> Self {
        let pairs = fields.fields.iter();
        // Any other value counts as a list without elements.
        let alternatives = fields.fields.get(FALLBACK_LIST).map(|value| match &value.kind {
            Some(Kind::ListValue(list)) => list.values.iter().map(Self::of_value).collect(),
            _ => Box::default(),
        });
        let values = pairs.filter_map(|(k, v)| Some((k.as_str().into(), text(v.kind.as_ref()?)))).collect();
        Self { values, alternatives, tries: OnceLock::new() }
    }

    fn of_value(value: &Value) -> Self {
        match &value.kind {
            Some(Kind::StructValue(fields)) => Self::new(fields),
            _ => Self::default(),
        }
    }

    fn of(values: Values) -> Self {
        Self { values, ..Self::default() }
    }

    /// These, with those of `over` in place of their own of the same key.
    #[must_use]
    pub fn merged(&self, over: &Self) -> Self {
        let mut values = self.values.clone();
        values.extend(over.values.iter().map(|(k, v)| (k.clone(), v.clone())));
        let alternatives = match over.values.contains_key(FALLBACK_LIST) {
            true => over.alternatives.clone(),
            false => self.alternatives.clone(),
        };
        Self { values, alternatives, tries: OnceLock::new() }
    }

    /// The criteria to be tried in turn; `None` without such a list.
    fn tries(&self) -> Option<&[Self]> {
        let alternatives = self.alternatives.as_ref()?;
        let make = || {
            let mut rest = Self::of(self.values.clone());
            rest.values.remove(FALLBACK_LIST);
            match alternatives.is_empty() {
                true => [rest].into(),
                false => alternatives.iter().map(|over| rest.merged(over)).collect(),
            }
        };
        Some(self.tries.get_or_init(make))
    }

    fn has_keys(&self, keys: &BTreeSet<Box<str>>) -> bool {
        self.values.len() == keys.len() && self.values.keys().eq(keys.iter())
    }

    fn reduced(&self, keys: &BTreeSet<Box<str>>) -> Self {
        let kept = self.values.iter().filter(|(k, _)| keys.contains(*k));
        Self::of(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Whether a host has all of them.
    fn match_host(&self, host: &HostShared, list_as_any: bool) -> bool {
        self.values.iter().all(|(key, value)| values(host, key, list_as_any).contains(value))
    }
}

/// The values of a host's key: several where a list stands for any of its elements.
fn values(host: &HostShared, key: &str, list_as_any: bool) -> Vec<Box<str>> {
    let values = host.lb_value(key, |kind| match kind {
        Kind::ListValue(list) if list_as_any => {
            list.values.iter().filter_map(|v| v.kind.as_ref()).map(text).collect()
        }
        kind => vec![text(kind)],
    });
    values.unwrap_or_default()
}

/// A compiled `LbSubsetConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubsetConfig {
    /// `fallback_policy`
    pub fallback: Fallback,
    /// `default_subset`
    pub default_subset: Criteria,
    /// `subset_selectors`
    pub selectors: Vec<Selector>,
    /// `allow_redundant_keys`: a request may have keys that no selector has.
    pub redundant_keys: bool,
    /// `metadata_fallback_policy: FALLBACK_LIST`
    pub fallback_list: bool,
    /// `panic_mode_any`
    pub panic_mode_any: bool,
    /// `list_as_any`
    pub list_as_any: bool,
    /// `locality_weight_aware`
    pub locality_weight_aware: bool,
    /// `scale_locality_weight`
    pub scale_locality_weight: bool,
}

impl SubsetConfig {
    /// Requests may have more keys than a selector: the one with most keys counts.
    pub(crate) fn allow_redundant_keys(&mut self) {
        self.redundant_keys = true;
        self.selectors.sort_by_key(|selector| std::cmp::Reverse(selector.keys.len()));
    }

    /// Takes a selector's own fallback away where its keys, by name, begin those of one before it: Envoy never finds it.
    pub(crate) fn drop_hidden_fallbacks(&mut self) {
        for at in 1..self.selectors.len() {
            let (before, rest) = self.selectors.split_at_mut(at);
            let Some(own) = rest.first_mut() else { return };
            if before.iter().any(|other| other.keys.iter().take(own.keys.len()).eq(&own.keys)) {
                own.fallback = None;
            }
        }
    }
}

/// `LbSubsetSelector`
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// `keys`
    pub keys: BTreeSet<Box<str>>,
    /// Its own `fallback_policy`, in place of the cluster's.
    pub fallback: Option<Fallback>,
    /// `fallback_keys_subset`
    pub fallback_keys: BTreeSet<Box<str>>,
    /// `single_host_per_subset`
    pub single_host: bool,
}

/// Where requests go that no subset takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Nowhere.
    #[default]
    None,
    /// To any host.
    Any,
    /// To the default subset.
    Default,
    /// To the subset by fewer keys, for a selector.
    Keys,
}

/// The subsets of a cluster's hosts, which all workers share.
pub(crate) struct Subsets {
    config: SubsetConfig,
    /// Where each one stands among `subsets`.
    by_criteria: BTreeMap<Values, usize>,
    subsets: Vec<Subset>,
    any: Option<Arc<Layout>>,
    default: Option<Arc<Layout>>,
    /// Hosts of the last priority beyond its first in subsets of a single host.
    duplicates: u64,
}

/// Where a pick by one subset leads.
enum Subset {
    /// To this host, whatever its health (`single_host_per_subset`).
    Single(Arc<HostShared>),
    Many(Arc<Layout>),
}

/// A worker's balancers for subsets, each made when it is first asked.
pub(super) struct LiveSubsets {
    sets: Box<[OnceCell<HostSet>]>,
    any: OnceCell<HostSet>,
    default: OnceCell<HostSet>,
}

/// How a pick came about, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Road {
    /// Not by subsets, or by a selector's own fallback, or not at all.
    #[default]
    Plain,
    /// By a subset.
    Selected,
    /// By the cluster's fallback.
    Fallback,
    /// By `panic_mode_any`.
    Panic,
}

/// The hosts of one subset, and whether it is one of a single host.
struct Members {
    lists: Lists,
    single: bool,
    /// The priorities that have one.
    found: HashSet<usize>,
}

impl Subsets {
    /// The subsets of the hosts in `lists`, each laid out by `make`.
    pub(super) fn new(config: &SubsetConfig, lists: &Lists, make: &dyn Fn(&Lists) -> Layout) -> Self {
        let (mut all, mut duplicates) = (BTreeMap::<Values, Members>::new(), 0);
        let last = lists.priorities.iter().rposition(|p| !p.hosts.is_empty());
        let each =
            lists.priorities.iter().enumerate().flat_map(|(at, p)| p.hosts.iter().map(move |l| (at, l)));
        for (priority, listed) in each {
            for selector in &config.selectors {
                for criteria in combinations(&listed.host, selector, config.list_as_any) {
                    let empty = || Members { lists: lists.emptied(), single: false, found: HashSet::new() };
                    let members = all.entry(criteria).or_insert_with(empty);
                    let is_second = members.add(priority, listed, selector.single_host);
                    // Envoy goes through one priority after another and remembers what it met in the last.
                    duplicates += u64::from(is_second && Some(priority) == last);
                }
            }
        }
        let lay_out = |mut of: Lists| {
            if config.scale_locality_weight {
                scale(&mut of, lists);
            }
            Arc::new(make(&of))
        };
        let filtered = |fits: &dyn Fn(&HostShared) -> bool| {
            let mut of = lists.emptied();
            for (of, all) in of.priorities.iter_mut().zip(&lists.priorities) {
                of.hosts.extend(all.hosts.iter().filter(|l| fits(&l.host)).cloned());
            }
            lay_out(of)
        };
        let fallbacks = || config.selectors.iter().filter_map(|s| s.fallback).chain([config.fallback]);
        let wants = |fallback: Fallback| fallbacks().any(|f| f == fallback);
        let any = wants(Fallback::Any) || config.panic_mode_any;
        let default = |host: &HostShared| config.default_subset.match_host(host, config.list_as_any);
        let mut subsets = Vec::with_capacity(all.len());
        let mut place = |(criteria, members): (Values, Members)| {
            let Members { lists, single, found: _ } = members;
            let first = || lists.priorities.iter().flat_map(|p| &p.hosts).next();
            subsets.push(match first().filter(|_| single).map(|listed| Arc::clone(&listed.host)) {
                Some(host) => Subset::Single(host),
                None => Subset::Many(lay_out(lists)),
            });
            (criteria, subsets.len() - 1)
        };
        Self {
            by_criteria: all.into_iter().map(&mut place).collect(),
            any: any.then(|| filtered(&|_| true)),
            default: wants(Fallback::Default).then(|| filtered(&default)),
            config: config.clone(),
            subsets,
            duplicates,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_criteria.len()
    }

    /// Hosts of the last priority beyond its first in subsets of a single host.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many of these are not among `others`.
    pub(crate) fn beyond(&self, others: &Self) -> usize {
        self.by_criteria.keys().filter(|criteria| !others.by_criteria.contains_key(*criteria)).count()
    }
}

impl Members {
    /// A subset of a single host keeps the first one; whether this is another one of the same priority.
    fn add(&mut self, priority: usize, listed: &Listed, single: bool) -> bool {
        self.single |= single;
        let is_second = !self.found.insert(priority);
        let taken = self.lists.priorities.iter().any(|p| !p.hosts.is_empty());
        if self.single && taken {
            return is_second;
        }
        if let Some(of) = self.lists.priorities.get_mut(priority) {
            // Two selectors may want the same keys.
            let last = of.hosts.last();
            if last.is_none_or(|last| !Arc::ptr_eq(&last.host, &listed.host)) {
                of.hosts.push(listed.clone());
            }
        }
        false
    }
}

/// Gives each locality the share of its weight that it has of its hosts (`scale_locality_weight`).
fn scale(of: &mut Lists, all: &Lists) {
    for (of, all) in of.priorities.iter_mut().zip(&all.priorities) {
        for (at, locality) in of.localities.iter_mut().enumerate() {
            let count = |hosts: &[Listed]| hosts.iter().filter(|l| l.locality == at).count() as f64;
            let share = count(&of.hosts) / count(&all.hosts);
            locality.weight = locality.weight.map(|weight| (f64::from(weight) * share).round() as u32);
        }
    }
}

impl LiveSubsets {
    pub(super) fn new(subsets: &Subsets) -> Self {
        let sets = (0..subsets.subsets.len()).map(|_| OnceCell::new()).collect();
        Self { sets, any: OnceCell::new(), default: OnceCell::new() }
    }

    pub(super) fn pick<'s>(
        &'s self,
        subsets: &'s Subsets,
        cx: &PickContext<'_>,
        core: &ClusterCore,
    ) -> (Picked<'s>, Road) {
        let picking = Picking { live: self, subsets, cx, core, panics: Cell::new(0), last: Cell::new(false) };
        let (host, road) = match cx.metadata {
            None => picking.fall_back(),
            Some(criteria) => match criteria.tries().filter(|_| subsets.config.fallback_list) {
                None => picking.by_either(criteria),
                Some(tries) => {
                    let mut each = tries.iter().map(|criteria| picking.by_either(criteria));
                    each.find(|(host, _)| host.is_some()).unwrap_or_default()
                }
            },
        };
        (Picked { host, panics: picking.panics.get(), last: picking.last.get() }, road)
    }
}

/// One pick.
struct Picking<'s, 'c> {
    live: &'s LiveSubsets,
    subsets: &'s Subsets,
    cx: &'c PickContext<'c>,
    core: &'c ClusterCore,
    /// How many of the sets that were asked are in panic, and whether the last one is.
    panics: Cell<u32>,
    last: Cell<bool>,
}

/// A host, if there is one, and how it was found.
type Found<'s> = (Option<&'s Arc<HostShared>>, Road);

impl<'s> Picking<'s, '_> {
    /// By the criteria, or by as many of them as a selector has.
    fn by_either(&self, criteria: &Criteria) -> Found<'s> {
        let config = &self.subsets.config;
        if !config.redundant_keys {
            return self.by(criteria);
        }
        let has_all = |s: &&Selector| s.keys.iter().all(|key| criteria.values.contains_key(key));
        match config.selectors.iter().find(has_all) {
            Some(selector) => self.by(&criteria.reduced(&selector.keys)),
            None => self.fall_back(),
        }
    }

    fn by(&self, criteria: &Criteria) -> Found<'s> {
        if let Some(at) = self.subsets.by_criteria.get(&criteria.values)
            && let (Some(set), Some(subset)) = (self.live.sets.get(*at), self.subsets.subsets.get(*at))
        {
            let picked = match subset {
                Subset::Single(host) => Some(host),
                Subset::Many(layout) => self.from(set, Some(layout)),
            };
            return (picked, Road::Selected);
        }
        let selector = self.subsets.config.selectors.iter().find(|s| criteria.has_keys(&s.keys));
        let Some((selector, fallback)) = selector.and_then(|s| Some((s, s.fallback?))) else {
            return self.fall_back();
        };
        match fallback {
            Fallback::None => (None, Road::Plain),
            Fallback::Any => (self.any(), Road::Plain),
            Fallback::Default => (self.default(), Road::Plain),
            // The configuration has fewer keys in the fallback than in the selector, so this ends.
            Fallback::Keys => self.by(&criteria.reduced(&selector.fallback_keys)),
        }
    }

    fn fall_back(&self) -> Found<'s> {
        let picked = match self.subsets.config.fallback {
            Fallback::Any => self.any(),
            Fallback::Default => self.default(),
            Fallback::None | Fallback::Keys => return (None, Road::Plain),
        };
        if picked.is_some() {
            return (picked, Road::Fallback);
        }
        let any = if self.subsets.config.panic_mode_any { self.any() } else { None };
        (any, if any.is_some() { Road::Panic } else { Road::Plain })
    }

    fn any(&self) -> Option<&'s Arc<HostShared>> {
        self.from(&self.live.any, self.subsets.any.as_ref())
    }

    fn default(&self) -> Option<&'s Arc<HostShared>> {
        self.from(&self.live.default, self.subsets.default.as_ref())
    }

    fn from(
        &self,
        set: &'s OnceCell<HostSet>,
        layout: Option<&'s Arc<Layout>>,
    ) -> Option<&'s Arc<HostShared>> {
        let layout = layout?;
        let set = set.get_or_init(|| HostSet::new(Arc::clone(layout), self.core, false));
        // A retry that leaves priorities out does so among the subset's own.
        let loads = self.cx.loads.and_then(|loads| loads.among(&layout.counts()));
        let Picked { host, panics, last } =
            set.pick(&PickContext { loads: loads.as_ref(), ..*self.cx }, self.core);
        self.panics.set(self.panics.get() + panics);
        self.last.set(last);
        host
    }
}

/// The subsets that a host is in by a selector: one, or several where lists stand for their elements.
fn combinations(host: &HostShared, selector: &Selector, list_as_any: bool) -> Vec<Values> {
    let mut made = vec![Values::default()];
    for key in &selector.keys {
        let values = values(host, key, list_as_any);
        made = made
            .iter()
            .flat_map(|c| {
                values.iter().map(|value| {
                    let mut more = c.clone();
                    more.insert(key.clone(), value.clone());
                    more
                })
            })
            .collect();
    }
    made
}
