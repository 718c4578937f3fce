//! Subsets: hosts with the metadata that a request asks for (`LbSubsetConfig`).

use super::set::{HostSet, Lists, Picked};
use super::{LbConfig, PickContext};
use crate::host::Host;
use nuncio_core::rng::Rng;
use prost_types::Struct;
use prost_types::value::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// What hosts shall have below `envoy.lb`, by key: values in a form in which equal ones are equal texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Criteria(BTreeMap<Box<str>, Box<str>>);

fn text(kind: &Kind) -> Box<str> {
    format!("{kind:?}").into()
}

impl Criteria {
    /// Those of a message.
    pub fn new(fields: &Struct) -> Self {
        let pairs = fields.fields.iter();
        Self(pairs.filter_map(|(k, v)| Some((k.as_str().into(), text(v.kind.as_ref()?)))).collect())
    }

    /// These, with those of `over` in place of their own of the same key.
    #[must_use]
    pub fn merged(&self, over: &Self) -> Self {
        let mut all = self.clone();
        all.0.extend(over.0.iter().map(|(k, v)| (k.clone(), v.clone())));
        all
    }

    fn has_keys(&self, keys: &BTreeSet<Box<str>>) -> bool {
        self.0.len() == keys.len() && self.0.keys().eq(keys.iter())
    }

    fn reduced(&self, keys: &BTreeSet<Box<str>>) -> Self {
        Self(self.0.iter().filter(|(k, _)| keys.contains(*k)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Whether a host has all of them.
    fn match_host(&self, host: &Host, list_as_any: bool) -> bool {
        self.0.iter().all(|(key, value)| values(host, key, list_as_any).contains(value))
    }
}

/// The values of a host's key: several where a list stands for any of its elements.
fn values(host: &Host, key: &str, list_as_any: bool) -> Vec<Box<str>> {
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
    /// `panic_mode_any`
    pub panic_mode_any: bool,
    /// `list_as_any`
    pub list_as_any: bool,
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

/// The subsets of a cluster's hosts.
pub(super) struct Subsets {
    config: SubsetConfig,
    by_criteria: BTreeMap<Criteria, HostSet>,
    any: Option<HostSet>,
    default: Option<HostSet>,
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

impl Subsets {
    pub(super) fn new(config: &SubsetConfig, lists: &Lists, lb: &LbConfig, rng: &Rng) -> Self {
        let mut all = BTreeSet::new();
        for selector in &config.selectors {
            for host in lists.hosts() {
                combine(host, selector, config.list_as_any, &mut all);
            }
        }
        let of = |criteria: &Criteria, single: bool| {
            let mut taken = false;
            let lists = lists.filtered(|host| {
                let fits = criteria.match_host(host, config.list_as_any) && !(single && taken);
                taken |= fits;
                fits
            });
            HostSet::of_lists(lists, lb, rng)
        };
        let fallbacks = || config.selectors.iter().filter_map(|s| s.fallback).chain([config.fallback]);
        let wants = |fallback: Fallback| fallbacks().any(|f| f == fallback);
        let any = wants(Fallback::Any) || config.panic_mode_any;
        Self {
            by_criteria: all.into_iter().map(|(c, single)| (c.clone(), of(&c, single))).collect(),
            any: any.then(|| HostSet::of_lists(lists.filtered(|_| true), lb, rng)),
            default: wants(Fallback::Default).then(|| of(&config.default_subset, false)),
            config: config.clone(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_criteria.len()
    }

    pub(super) fn pick<'s>(&'s self, cx: &PickContext<'_>, rng: &Rng) -> (Picked<'s>, Road) {
        if let Some(criteria) = cx.metadata {
            return self.pick_by(criteria, cx, rng);
        }
        self.fall_back(cx, rng)
    }

    fn pick_by<'s>(&'s self, criteria: &Criteria, cx: &PickContext<'_>, rng: &Rng) -> (Picked<'s>, Road) {
        if let Some(subset) = self.by_criteria.get(criteria) {
            return (subset.pick(cx, rng), Road::Selected);
        }
        let selector = self.config.selectors.iter().find(|s| criteria.has_keys(&s.keys));
        let Some((selector, fallback)) = selector.and_then(|s| Some((s, s.fallback?))) else {
            return self.fall_back(cx, rng);
        };
        match fallback {
            Fallback::None => (Picked::NONE, Road::Plain),
            Fallback::Any => (pick(self.any.as_ref(), cx, rng), Road::Plain),
            Fallback::Default => (pick(self.default.as_ref(), cx, rng), Road::Plain),
            Fallback::Keys => {
                let fewer = criteria.reduced(&selector.fallback_keys);
                // The configuration has fewer keys in the fallback than in the selector, so this ends.
                self.pick_by(&fewer, cx, rng)
            }
        }
    }

    fn fall_back<'s>(&'s self, cx: &PickContext<'_>, rng: &Rng) -> (Picked<'s>, Road) {
        let picked = match self.config.fallback {
            Fallback::Any => pick(self.any.as_ref(), cx, rng),
            Fallback::Default => pick(self.default.as_ref(), cx, rng),
            Fallback::None | Fallback::Keys => return (Picked::NONE, Road::Plain),
        };
        if picked.host.is_none() && self.config.panic_mode_any {
            return (pick(self.any.as_ref(), cx, rng), Road::Panic);
        }
        let road = if picked.host.is_some() { Road::Fallback } else { Road::Plain };
        (picked, road)
    }
}

fn pick<'s>(set: Option<&'s HostSet>, cx: &PickContext<'_>, rng: &Rng) -> Picked<'s> {
    set.map_or(Picked::NONE, |set| set.pick(cx, rng))
}

/// Adds the subsets that a host is in by a selector: one, or several where lists stand for their elements.
fn combine(host: &Host, selector: &Selector, list_as_any: bool, all: &mut BTreeSet<(Criteria, bool)>) {
    let mut made = vec![Criteria::default()];
    for key in &selector.keys {
        let values = values(host, key, list_as_any);
        made = made
            .iter()
            .flat_map(|c| {
                values.iter().map(|value| {
                    let mut more = c.clone();
                    more.0.insert(key.clone(), value.clone());
                    more
                })
            })
            .collect();
    }
    all.extend(made.into_iter().map(|c| (c, selector.single_host)));
}
