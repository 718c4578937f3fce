//! What filters share: settings that a route replaces whole, stats below the connection manager's prefix, and a
//! worker's surroundings.

use nuncio_codec::head::RequestHead;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::StringMatcher;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::{Block, Registry, Scope};
use nuncio_downstream::filter::{Compiled, HttpFilter, HttpFilterConfig, LiveHttpFilter, RouteSays, Seat};
use nuncio_downstream::route::{Action, Route};
use nuncio_downstream::world::World;
use nuncio_proto::pb::envoy::config::core::v3::RuntimeFeatureFlag;
use nuncio_proto::pb::envoy::r#type::matcher::v3::ListStringMatcher;
use nuncio_upstream::cluster::Cluster;
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

/// A filter in this frame.
pub(super) trait Framed: HttpFilter + Sized + 'static {
    /// What its message compiles to, and a route's.
    type Settings: Send + Sync + 'static;
    /// What it counts in: a scope below its prefix, or several; nothing is `()`.
    type Stats: Counts<Self::Settings>;
    /// Instances may see requests that are only explained.
    const REHEARSES: bool = true;

    /// It has no part in streams whose route says nothing of it.
    const WAITS_FOR_ROUTES: bool = false;

    /// Whether it may stand on the upstream's side ([`HttpFilterConfig::is_upstream_too`]).
    fn is_upstream_too(_: &Self::Settings) -> bool {
        false
    }

    /// Below what it counts; `hcm` is the connection manager's prefix, `http.PREFIX.`.
    fn stat_prefix(settings: &Self::Settings, hcm: &str) -> String;

    /// The settings in force for a stream: the most specific of the route, or else the filter's own. `None` where
    /// the filter has no part in it.
    fn settings(live: &Live<Self>, route: RouteSays<'_>) -> Option<Arc<Self::Settings>> {
        match route.said::<OfRoute<Self::Settings>>() {
            None => Some(Arc::clone(&live.settings)),
            Some(OfRoute::Disabled) => None,
            Some(OfRoute::Settings(settings)) => Some(Arc::clone(settings)),
        }
    }

    /// A worker begins with the filter: what is to be counted from the start can be made here.
    fn start(_: &Live<Self>) {}

    /// An instance for one stream; `None` as above.
    fn make(live: Rc<Live<Self>>, settings: Arc<Self::Settings>, route: RouteSays<'_>) -> Option<Self>;
}

/// What a filter counts in on one worker.
pub(super) trait Counts<S>: 'static {
    /// There from the start, below `prefix`.
    fn begin(settings: &S, stats: &Registry, prefix: &str) -> Self;
}

impl<S, B: Block + Default + 'static> Counts<S> for Scope<B> {
    fn begin(_: &S, stats: &Registry, prefix: &str) -> Self {
        stats.scope(prefix)
    }
}

impl<S> Counts<S> for () {
    fn begin(_: &S, _: &Registry, _: &str) {}
}

/// What a route says of a filter that it may replace or switch off.
pub(super) enum OfRoute<S> {
    /// It has no part in the route's streams.
    Disabled,
    /// These settings stand for all of its own.
    Settings(Arc<S>),
}

/// A route's own settings, as a factory hands them on.
pub(super) fn of_route<S: Send + Sync + 'static>(settings: S) -> Option<Arc<dyn Any + Send + Sync>> {
    Some(Arc::new(OfRoute::Settings(Arc::new(settings))))
}

/// A route that switches a filter off, as a factory hands it on.
pub(super) fn off<S: Send + Sync + 'static>() -> Option<Arc<dyn Any + Send + Sync>> {
    Some(Arc::new(OfRoute::<S>::Disabled))
}

/// A filter's own settings, as a factory hands them on.
pub(super) fn compiled<F: Framed>(settings: F::Settings) -> Option<Compiled> {
    Some(Compiled::Filter(Arc::new(Config::<F> { settings: Arc::new(settings), filter: PhantomData })))
}

struct Config<F: Framed> {
    settings: Arc<F::Settings>,
    filter: PhantomData<fn() -> F>,
}

/// A prefix, and what is counted below it.
type ScopeKey = (Box<str>, TypeId);

/// One worker's filter.
pub(super) struct Live<F: Framed> {
    pub(super) settings: Arc<F::Settings>,
    pub(super) world: Rc<World>,
    pub(super) stats: F::Stats,
    /// Below what it counts.
    prefix: Box<str>,
    /// Scopes of other names, made with their first use.
    scopes: RefCell<HashMap<ScopeKey, Rc<dyn Any>>>,
}

impl<F: Framed> Live<F> {
    /// The stats of this type below the filter's own prefix and `infix`.
    pub(super) fn below<B: Block + Default + 'static>(&self, infix: &str) -> Rc<Scope<B>> {
        self.cluster_scope(&format!("{}{infix}", self.prefix))
    }

    /// Below what the filter counts.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Adds one to the counter of that whole name, which is there from then on.
    pub(super) fn count(&self, name: &str) {
        self.cluster_scope::<Lone>(name).count.inc();
    }

    /// The stats of this type below `prefix`, of which there are as many as there are clusters, say.
    pub(super) fn cluster_scope<B: Block + Default + 'static>(&self, prefix: &str) -> Rc<Scope<B>> {
        let mut scopes = self.scopes.borrow_mut();
        let key = (Box::from(prefix), TypeId::of::<B>());
        let known = scopes.get(&key).and_then(|scope| Rc::clone(scope).downcast().ok());
        known.unwrap_or_else(|| {
            let scope = Rc::new(self.world.stats.scope::<B>(prefix));
            let any: Rc<dyn Any> = Rc::clone(&scope) as Rc<dyn Any>;
            scopes.insert(key, any);
            scope
        })
    }
}

impl<F: Framed> HttpFilterConfig for Config<F> {
    fn is_upstream_too(&self) -> bool {
        F::is_upstream_too(&self.settings)
    }

    fn start(self: Arc<Self>, world: &Rc<World>, hcm: &str) -> Rc<dyn LiveHttpFilter> {
        let settings = Arc::clone(&self.settings);
        let prefix = F::stat_prefix(&settings, hcm);
        let live = Live::<F> {
            stats: F::Stats::begin(&settings, &world.stats, &prefix),
            prefix: prefix.into(),
            settings,
            world: Rc::clone(world),
            scopes: RefCell::default(),
        };
        F::start(&live);
        Rc::new(live)
    }
}

impl<F: Framed> LiveHttpFilter for Live<F> {
    fn make(self: Rc<Self>, route: &RouteSays<'_>, seat: &mut Seat) -> bool {
        let made = F::settings(&self, *route).and_then(|settings| F::make(self, settings, *route));
        made.map(|filter| seat.fill(filter)).is_some()
    }

    fn waits_for_routes(&self) -> bool {
        F::WAITS_FOR_ROUTES
    }

    fn rehearses(&self) -> bool {
        F::REHEARSES
    }
}

/// A name below a prefix, whether or not a dot ends that.
pub(super) fn below(prefix: &str, name: &str) -> String {
    let dot = if prefix.ends_with('.') { "" } else { "." };
    format!("{prefix}{dot}{name}")
}

/// The cluster that a request would go to by its route.
pub(super) fn cluster_of(world: &World, route: &Route, head: &RequestHead) -> Option<Rc<Cluster>> {
    let Action::Cluster(action) = &route.action else { return None };
    world.clusters.get(action.cluster.name(&head.headers))
}

nuncio_core::stats_block! {
    /// A counter that is there with its first use: the prefix is its whole name.
    pub(super) struct Lone { counter count = "" }
}

nuncio_core::stats_block! {
    /// The same of times in milliseconds.
    pub(super) struct LoneTime { histogram time = "" }
}

/// A list of string matchers, in `field`; none is an empty one.
pub(super) fn string_matchers(
    list: Option<&ListStringMatcher>,
    cx: &CompileContext<'_>,
    field: &str,
) -> Option<Box<[StringMatcher]>> {
    let cx = cx.field(field);
    let patterns = list.map(|ListStringMatcher { patterns }| patterns.as_slice()).unwrap_or_default();
    patterns
        .iter()
        .enumerate()
        .map(|(i, pattern)| StringMatcher::compile(pattern, &cx.item("patterns", i)))
        .collect()
}

/// A `RuntimeFeatureFlag`.
pub(super) struct RuntimeFlag {
    default: bool,
    key: Box<str>,
}

impl RuntimeFlag {
    /// `unset` is what holds where the message, or its default, is not there.
    pub(super) fn compile(message: Option<RuntimeFeatureFlag>, unset: bool) -> Self {
        let RuntimeFeatureFlag { default_value, runtime_key } = message.unwrap_or_default();
        Self { default: default_value.unwrap_or(unset), key: runtime_key.into() }
    }

    /// Whether it is on now.
    pub(super) fn is_on(&self, runtime: &Runtime) -> bool {
        if self.key.is_empty() { self.default } else { runtime.boolean(&self.key, self.default) }
    }
}
