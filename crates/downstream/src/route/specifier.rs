//! `ClusterSpecifierPlugin`: who names a route's cluster when the route is found
//! (`envoy.router.cluster_specifier_plugin.matcher`).

use super::{MatchContext, Route, RouteOptions};
use nuncio_codec::head::RequestHead;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::{MatcherTree, Vocabulary};
use nuncio_core::matcher::{HttpFacts, HttpInput};
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_core::stream_info::StreamInfo;
use nuncio_proto::pb::envoy::extensions::router::cluster_specifiers::matcher::v3 as pb;
use prost::Name;
use prost_types::Any;
use std::cell::RefCell;
use std::sync::Arc;

/// A compiled `MatcherClusterSpecifier`.
#[derive(Debug)]
pub struct ClusterMatcher {
    /// Leads to a cluster's number.
    tree: MatcherTree<HttpInput, usize>,
    names: Box<[Arc<str>]>,
}

/// Its inputs and actions, with the names met so far.
struct Words<'a> {
    options: &'a RouteOptions<'a>,
    names: RefCell<Vec<Arc<str>>>,
}

impl Vocabulary for Words<'_> {
    type Input = HttpInput;
    type Action = usize;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        let input = HttpInput::compile(any, cx)?;
        if input.is_none() {
            cx.unsupported(format!("the matching input {} is not built", any.type_url));
        }
        input
    }

    fn action(&self, name: &str, any: &Any, cx: &CompileContext<'_>) -> Option<usize> {
        if type_name(&any.type_url) != pb::ClusterAction::full_name() {
            unknown(name, any, cx);
            return None;
        }
        let pb::ClusterAction { cluster } = cx.unpack(any)?;
        let mut names = self.names.borrow_mut();
        let known = names.iter().position(|name| **name == *cluster);
        Some(known.unwrap_or_else(|| {
            names.push(cluster.into());
            names.len() - 1
        }))
    }

    fn runtime(&self) -> Option<&Runtime> {
        Some(self.options.runtime)
    }

    fn stats(&self) -> Option<&Registry> {
        Some(self.options.stats)
    }

    fn may_keep_matching(&self) -> bool {
        true
    }
}

/// Records that nobody knows such a message here.
pub(super) fn unknown(name: &str, any: &Any, cx: &CompileContext<'_>) {
    let kind = type_name(&any.type_url);
    cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: '{kind}'"));
}

impl ClusterMatcher {
    pub(super) fn compile(
        message: pb::MatcherClusterSpecifier,
        options: &RouteOptions<'_>,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let pb::MatcherClusterSpecifier { cluster_matcher } = message;
        let words = Words { options, names: RefCell::default() };
        let cx = cx.field("cluster_matcher");
        let tree = MatcherTree::compile(cluster_matcher.unwrap_or_default(), &words, &cx)?;
        Some(Self { tree, names: words.names.into_inner().into() })
    }

    /// The cluster's name; empty where the tree leads nowhere.
    pub fn name(&self, head: &RequestHead, info: &StreamInfo) -> &str {
        let facts = HttpFacts::request(head, info);
        let found = self.tree.find(&|input| input.value(&facts));
        found.and_then(|at| self.names.get(*at)).map_or("", |name| name)
    }

    /// Every cluster that it may name.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    fn number(&self, head: &RequestHead, cx: &MatchContext<'_>) -> Option<usize> {
        let facts = HttpFacts::request(head, cx.info);
        self.tree.search(&|input| input.value(&facts), cx.counts).copied()
    }
}

/// A route whose cluster a plug-in names: each cluster is a route of its own.
#[derive(Debug)]
pub(super) struct Specified {
    by: Arc<ClusterMatcher>,
    /// In the order of the names.
    routes: Box<[Arc<Route>]>,
    /// Where the plug-in names none.
    none: Arc<Route>,
}

impl Specified {
    /// `route` makes a route to a cluster.
    pub(super) fn new(by: Arc<ClusterMatcher>, route: impl Fn(Arc<str>) -> Route) -> Self {
        let routes = by.names.iter().map(|name| Arc::new(route(Arc::clone(name)))).collect();
        Self { routes, none: Arc::new(route("".into())), by }
    }

    pub(super) fn pick(&self, head: &RequestHead, cx: &MatchContext<'_>) -> &Arc<Route> {
        self.by.number(head, cx).and_then(|at| self.routes.get(at)).unwrap_or(&self.none)
    }

    /// Every route that can be picked.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().chain([&self.none])
    }
}
