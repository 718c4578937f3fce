//! A virtual host's routes: one list, or a matcher tree that leads to one of several.

use super::conditions::Conditions;
use super::index::PathIndex;
use super::specifier::Specified;
use super::weighted::WeightedClusters;
use super::{MatchContext, Route};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::Place;
use nuncio_core::matcher::tree::MatcherTree;
use nuncio_core::matcher::{HttpFacts, HttpInput};
use std::sync::Arc;

/// What a virtual host has.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per virtual host, read for each request")]
pub(super) enum HostRoutes {
    /// `routes`
    List(RouteList),
    /// `matcher`, and where it stands. The list that it leads to is final: no other one is looked at.
    Matcher(Box<MatcherTree<HttpInput, RouteList>>, Option<Place>),
}

/// Routes of which the first that matches takes a request.
#[derive(Debug)]
pub(super) struct RouteList {
    /// Where the action stands that leads to it.
    pub place: Option<Place>,
    pub index: PathIndex,
    pub entries: Box<[Entry]>,
    /// The first route takes every path that begins with `/`, so that none is looked up.
    pub first_takes_all: bool,
    /// The routes that a request without a path can take.
    pub pathless: Box<[u32]>,
}

/// One route of a list.
#[derive(Debug)]
pub(super) struct Entry {
    pub conditions: Option<Box<Conditions>>,
    pub target: Target,
}

/// Where a matched route leads.
#[derive(Debug)]
pub(super) enum Target {
    One(Arc<Route>),
    Weighted(Box<WeightedClusters>),
    Specified(Box<Specified>),
}

impl HostRoutes {
    /// The list that holds for a request.
    #[inline]
    pub(super) fn of(&self, head: &RequestHead, cx: &MatchContext<'_>) -> Option<&RouteList> {
        match self {
            Self::List(list) => Some(list),
            Self::Matcher(tree, _) => {
                let facts = HttpFacts::request(head, cx.info);
                tree.search(&|input| input.value(&facts), cx.counts)
            }
        }
    }

    /// Every list.
    pub(super) fn all(&self) -> Vec<&RouteList> {
        match self {
            Self::List(list) => vec![list],
            Self::Matcher(tree, _) => tree.actions(),
        }
    }
}

impl RouteList {
    /// The first route that takes a request; `path` is what routes are matched on.
    #[inline]
    pub(super) fn find(&self, head: &RequestHead, path: &[u8], cx: &MatchContext<'_>) -> Option<&Entry> {
        if self.first_takes_all && path.first() == Some(&b'/') {
            return self.entries.first();
        }
        if !head.headers.contains(Known::Path) {
            return self.pathless.iter().find_map(|&i| self.passing(i, head, path, cx));
        }
        let at = self.index.first(path, &head.headers, |i| self.passing(i, head, path, cx).is_some())?;
        self.entries.get(at as usize)
    }

    /// The route with number `i`, if its conditions hold.
    #[inline]
    fn passing(&self, i: u32, head: &RequestHead, path: &[u8], cx: &MatchContext<'_>) -> Option<&Entry> {
        let entry = self.entries.get(i as usize)?;
        let holds = entry.conditions.as_ref().is_none_or(|c| c.mismatch(head, path, cx).is_none());
        holds.then_some(entry)
    }
}

impl Target {
    /// The route that a request takes.
    #[inline]
    pub(super) fn route(&self, head: &RequestHead, cx: &MatchContext<'_>) -> Option<&Arc<Route>> {
        match self {
            Self::One(route) => Some(route),
            Self::Weighted(clusters) => clusters.pick(cx, head),
            Self::Specified(specified) => Some(specified.pick(head, cx)),
        }
    }

    /// Every route that it may be.
    pub(super) fn routes(&self) -> Vec<&Arc<Route>> {
        match self {
            Self::One(route) => vec![route],
            Self::Weighted(clusters) => clusters.routes().collect(),
            Self::Specified(specified) => specified.routes().collect(),
        }
    }
}
