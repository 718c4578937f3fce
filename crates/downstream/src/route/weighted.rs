//! `WeightedCluster`: which of several clusters a request goes to.

use super::{MatchContext, Route};
use nuncio_codec::head::{HeaderMap, RequestHead};
use nuncio_core::hash_policy::HashPolicies;
use nuncio_core::header::HeaderName;
use nuncio_core::runtime::Runtime;
use std::sync::Arc;

/// The compiled choice: each cluster is a route of its own, its header changes and per-filter configuration
/// merged in.
#[derive(Debug)]
pub(super) struct WeightedClusters {
    /// With the end of its half-open interval.
    clusters: Box<[(u64, Arc<Route>)]>,
    by: Choice,
    /// `runtime_key_prefix` and the cluster's name, which may set another weight; empty without a prefix.
    runtime_keys: Box<[Box<str>]>,
}

/// What decides between the clusters; where it says nothing, the stream's random number does.
#[derive(Debug)]
pub(super) enum Choice {
    /// Chance alone.
    Random,
    /// `header_name`: its single decimal value.
    Header(HeaderName),
    /// `use_hash_policy`: the hash by the route's `hash_policy`, for which no cookie is made.
    Hash(Arc<HashPolicies>),
}

impl Choice {
    fn value(&self, cx: &MatchContext<'_>, head: &RequestHead) -> u64 {
        let said = match self {
            Self::Random => None,
            Self::Header(name) => header_number(&head.headers, name),
            Self::Hash(policies) => policies.hash(Some(head), cx.info, None),
        };
        said.unwrap_or(cx.info.random)
    }
}

impl WeightedClusters {
    /// `clusters` in order, each with its weight and name.
    pub(super) fn new(clusters: Vec<(u32, Arc<str>, Arc<Route>)>, by: Choice, runtime_prefix: &str) -> Self {
        let keyed = if runtime_prefix.is_empty() { &[][..] } else { &clusters };
        let runtime_keys =
            keyed.iter().map(|(_, name, _)| format!("{runtime_prefix}.{name}").into_boxed_str()).collect();
        let mut end = 0;
        let clusters = clusters.into_iter().map(|(weight, _, route)| {
            end += u64::from(weight);
            (end, route)
        });
        Self { clusters: clusters.collect(), by, runtime_keys }
    }

    /// The cluster in whose interval the value falls that decides.
    pub(super) fn pick(&self, cx: &MatchContext<'_>, head: &RequestHead) -> Option<&Arc<Route>> {
        let value = self.by.value(cx, head);
        if !self.runtime_keys.is_empty() {
            return self.pick_by_runtime(cx, value);
        }
        let total = self.clusters.last()?.0;
        let at = value.checked_rem(total)?;
        let first = self.clusters.partition_point(|(end, _)| *end <= at);
        self.clusters.get(first).map(|(_, route)| route)
    }

    /// The weights and their clusters, with what runtime keys say now.
    fn weights<'a>(&'a self, runtime: &Runtime) -> impl Iterator<Item = (u64, &'a Arc<Route>)> {
        let mut start = 0;
        let mut keys = self.runtime_keys.iter();
        self.clusters.iter().map(move |(end, route)| {
            let configured = end - std::mem::replace(&mut start, *end);
            (keys.next().map_or(configured, |key| runtime.integer(key, configured)), route)
        })
    }

    /// What the weights add up to now; `None` where that is 0 or more than 32 bits hold.
    fn total(&self, runtime: &Runtime) -> Option<u64> {
        let add = |sum: u64, (weight, _)| sum.checked_add(weight).filter(|sum| u32::try_from(*sum).is_ok());
        self.weights(runtime).try_fold(0, add).filter(|total| *total > 0)
    }

    /// Weights are read anew for each request.
    fn pick_by_runtime(&self, cx: &MatchContext<'_>, value: u64) -> Option<&Arc<Route>> {
        let mut at = value.checked_rem(self.total(cx.runtime)?)?;
        self.weights(cx.runtime).find_map(|(weight, route)| {
            let hit = at < weight;
            at = at.saturating_sub(weight);
            hit.then_some(route)
        })
    }

    /// Every route that can be picked.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.clusters.iter().map(|(_, route)| route)
    }
}

/// The number in `name`, if it stands there once.
fn header_number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = name.values(headers);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}
