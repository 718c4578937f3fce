//! One worker's connection manager: configuration, stats, and what its streams borrow.

use super::answer::Responder;
use super::config::HcmConfig;
use super::conn;
use super::h1::H1Connection;
use super::h2::H2Stream;
use super::slot::{BoxSlot, slot};
use super::stats::{HcmStats, ListenerHttpStats, RouterStats, TracingStats};
use super::stats::{Http1CodecStats, Http2CodecStats};
use super::stream::{self, Heads, StreamEnd, StreamStart};
use crate::explain::Script;
use crate::filter::{Chain, ChainConfig, LiveChain};
use crate::listener::Draining;
use crate::network::{NetworkFilter, NetworkFilterConfig};
use crate::route::{ApartStats, Route, RouteTable, Routes};
use crate::tracing::{Tracer, Unheard};
use crate::world::World;
use nuncio_codec::head::HeaderMap;
use nuncio_core::overload::{Overload, Timer};
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::ByteStream;
use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::iter;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How many idle slots a worker keeps for its next HTTP/1 streams.
const KEEP: usize = 64;

/// The same of slots for HTTP/2 streams, and of heads: a few connections have many streams at once.
const KEEP_STREAMS: usize = 256;

/// What only a connection manager that routes has: the router's stats, those of tracing, and who takes spans.
type Observers = (Scope<RouterStats>, Option<Scope<TracingStats>>, Option<Rc<dyn Tracer>>);

/// A slot for one HTTP/1 stream.
type StreamSlot = BoxSlot<StreamStart<Box<H1Connection>>, StreamEnd<Box<H1Connection>>>;

/// A slot for one HTTP/2 stream.
pub(super) type H2Slot = BoxSlot<StreamStart<H2Stream>, StreamEnd<H2Stream>>;

/// A route table as one worker has it. A stream keeps the one that it was born with.
pub struct Routing {
    /// The table.
    pub table: Arc<RouteTable>,
    /// `vhost.` stats, by their numbers in the table.
    pub apart_stats: Box<[Scope<ApartStats>]>,
    generation: u64,
}

impl Routing {
    fn new(routes: &Routes, registry: &Registry) -> Rc<Self> {
        match routes {
            Routes::Inline(table) => Self::of(Arc::clone(table), 0, registry),
            Routes::Rds(feed) => {
                let (generation, table) = feed.current();
                Self::of(table, generation, registry)
            }
            // Until the request's head has chosen one of them.
            Routes::Scoped(_) => Self::of(Arc::new(RouteTable::empty("")), 0, registry),
        }
    }

    fn of(table: Arc<RouteTable>, generation: u64, registry: &Registry) -> Rc<Self> {
        let apart_stats = table.stat_prefixes().iter().map(|p| registry.scope_verbatim(p)).collect();
        Rc::new(Self { table, apart_stats, generation })
    }
}

/// One worker's live connection manager.
pub struct Hcm {
    /// Its configuration.
    pub config: Arc<HcmConfig>,
    /// The worker's surroundings.
    pub world: Rc<World>,
    /// `http.PREFIX.` stats.
    pub stats: Scope<HcmStats>,
    /// `http.PREFIX.` stats of the router.
    pub router_stats: Scope<RouterStats>,
    routing: RefCell<Rc<Routing>>,
    /// Those of `scoped_routes`, by their numbers.
    scopes: Box<[Rc<Routing>]>,
    /// `listener.ADDR.http.PREFIX.` stats.
    pub listener_stats: Scope<ListenerHttpStats>,
    /// `http1.` stats.
    pub codec_stats: Scope<Http1CodecStats>,
    /// Whether its listener drains.
    pub draining: Rc<Draining>,
    /// Its filters: its own chain, then those of upgrades.
    chains: Box<[LiveChain]>,
    /// Their routers' filters of the upstream's side.
    upstream_chains: Box<[(Arc<ChainConfig>, Rc<LiveChain>)]>,
    /// What the overload manager asks of it, where it does.
    pub overload: Option<Arc<Overload>>,
    /// What answers in the router's place, where something does.
    pub(super) responder: Option<Rc<dyn Responder>>,
    pub(crate) tracing_stats: Option<Scope<TracingStats>>,
    /// Who takes the spans of its requests.
    pub(crate) tracer: Option<Rc<dyn Tracer>>,
    h2_codec_stats: OnceCell<Scope<Http2CodecStats>>,
    slots: RefCell<Vec<StreamSlot>>,
    h2_slots: RefCell<Vec<H2Slot>>,
    // Boxed, because a stream's future carries them along and hands them back.
    #[allow(clippy::vec_box, reason = "see above")]
    heads: RefCell<Vec<Box<Heads>>>,
}

impl NetworkFilterConfig for HcmConfig {
    fn start(self: Arc<Self>, world: &Rc<World>, draining: &Rc<Draining>) -> Rc<dyn NetworkFilter> {
        Hcm::new(self, world, Rc::clone(draining))
    }

    fn connection_manager(self: Arc<Self>) -> Option<Arc<HcmConfig>> {
        Some(self)
    }
}

impl NetworkFilter for Hcm {
    fn serve(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(conn::serve(io, self, connection))
    }

    fn turned_away(self: Rc<Self>, connection: &Rc<ConnectionInfo>, secured: bool) {
        let stats = &self.stats;
        stats.downstream_cx_total.inc();
        stats.downstream_cx_destroy.inc();
        if secured {
            stats.downstream_cx_ssl_total.inc();
        }
        match connection.state.local_close.get() {
            Some(_) => stats.downstream_cx_destroy_local.inc(),
            None => stats.downstream_cx_destroy_remote.inc(),
        }
    }
}

impl Hcm {
    /// A worker's live form of `config`.
    pub fn new(config: Arc<HcmConfig>, world: &Rc<World>, draining: Rc<Draining>) -> Rc<Self> {
        let tracer = config.tracing.as_ref().and_then(|tracing| tracing.start(world));
        Self::routing_to(config, world, draining, tracer)
    }

    fn routing_to(
        config: Arc<HcmConfig>,
        world: &Rc<World>,
        draining: Rc<Draining>,
        tracer: Option<Rc<dyn Tracer>>,
    ) -> Rc<Self> {
        let registry = &world.stats;
        let router = registry.scope(&config.stat_prefix);
        let tracing = registry.scope(&format!("{}tracing.", config.stat_prefix));
        Self::of(config, world, draining, (router, Some(tracing), tracer), None)
    }

    /// A connection manager that asks `responder` instead of routing. It has neither the router's stats nor
    /// those of tracing.
    pub fn answering(config: Arc<HcmConfig>, world: &Rc<World>, responder: Rc<dyn Responder>) -> Rc<Self> {
        let unseen = Registry::new().scope(&config.stat_prefix);
        Self::of(config, world, Draining::new(false), (unseen, None, None), Some(responder))
    }

    /// As [`new`](Self::new), for requests that are explained: without the filters of these names, those that do not
    /// rehearse, and spans.
    pub(crate) fn new_without(
        config: Arc<HcmConfig>,
        world: &Rc<World>,
        draining: Rc<Draining>,
        names: &[Arc<str>],
        script: &Rc<Script>,
    ) -> Rc<Self> {
        let tracer = config.tracing.as_ref().and_then(|tracing| tracing.start(world));
        let tracer = tracer.map(|tracer| -> Rc<dyn Tracer> { Rc::new(Unheard(tracer)) });
        let mut hcm = Self::routing_to(config, world, draining, tracer);
        if let Some(own) = Rc::get_mut(&mut hcm) {
            own.chains.iter_mut().for_each(|chain| chain.rehearse(names, script));
        }
        hcm
    }

    fn of(
        config: Arc<HcmConfig>,
        world: &Rc<World>,
        draining: Rc<Draining>,
        (router_stats, tracing_stats, tracer): Observers,
        responder: Option<Rc<dyn Responder>>,
    ) -> Rc<Self> {
        let registry = &world.stats;
        let chains = || iter::once(&config.chain).chain(config.upgrades.chains());
        let upstream = chains().filter_map(|chain| chain.router.as_ref()?.upstream_filters.as_ref());
        // As in Envoy, the prefix of these has no dot at its end.
        let bare_prefix = config.stat_prefix.trim_end_matches('.');
        let start = |chain: &Arc<ChainConfig>| (Arc::clone(chain), Rc::new(chain.start(world, bare_prefix)));
        Rc::new(Self {
            upstream_chains: upstream.map(start).collect(),
            chains: chains().map(|chain| chain.start(world, &config.stat_prefix)).collect(),
            stats: registry.scope(&config.stat_prefix),
            router_stats,
            routing: RefCell::new(Routing::new(&config.routes, registry)),
            scopes: match &config.routes {
                Routes::Scoped(scopes) => {
                    scopes.tables().iter().map(|table| Routing::of(Arc::clone(table), 0, registry)).collect()
                }
                Routes::Inline(_) | Routes::Rds(_) => Box::default(),
            },
            listener_stats: registry.scope(&format!("{}{}", config.listener_stat_prefix, config.stat_prefix)),
            codec_stats: registry.scope("http1."),
            overload: world.lifecycle.overload().filter(|_| !config.bypasses_overload).cloned(),
            world: Rc::clone(world),
            tracer,
            config,
            draining,
            responder,
            tracing_stats,
            h2_codec_stats: OnceCell::new(),
            slots: RefCell::default(),
            h2_slots: RefCell::default(),
            heads: RefCell::default(),
        })
    }

    /// The routes that hold now.
    #[inline]
    pub fn routing(&self) -> Rc<Routing> {
        let present = Rc::clone(&self.routing.borrow());
        match &self.config.routes {
            Routes::Rds(feed) if feed.generation() != present.generation => {
                let new = Routing::new(&self.config.routes, &self.world.stats);
                self.routing.replace(Rc::clone(&new));
                new
            }
            _ => present,
        }
    }

    /// The routes of the scope that a request's head chooses, where there are scopes and one of them fits.
    #[inline]
    pub(super) fn scope(&self, headers: &HeaderMap) -> Option<Rc<Routing>> {
        match &self.config.routes {
            Routes::Scoped(scopes) => self.scopes.get(scopes.find(headers)?).cloned(),
            Routes::Inline(_) | Routes::Rds(_) => None,
        }
    }

    /// A chain by its number.
    pub(super) fn chain(&self, id: usize) -> Option<&LiveChain> {
        self.chains.get(id)
    }

    /// A router's filters of the upstream's side.
    pub(crate) fn upstream_chain(&self, of: &Arc<ChainConfig>) -> Option<Rc<LiveChain>> {
        self.upstream_chains
            .iter()
            .find(|(config, _)| Arc::ptr_eq(config, of))
            .map(|(_, live)| Rc::clone(live))
    }

    /// The filters of one stream through `chain`; `route` is the one taken, of `table`.
    #[inline]
    pub fn filters(
        &self,
        chain: &ChainConfig,
        route: Option<&Arc<Route>>,
        table: &Arc<RouteTable>,
    ) -> Option<Box<Chain>> {
        self.chains.get(chain.id)?.make(route, Some(table), self.config.buffer_limit)
    }

    /// Whether a connection that answers now should be closed after its response.
    #[inline]
    pub fn draining(&self) -> bool {
        self.draining.closes(&self.world)
    }

    /// How long a timer of `full` runs here.
    #[inline]
    pub(super) fn timeout(&self, timer: Timer, full: Option<Duration>) -> Option<Duration> {
        match &self.overload {
            None => full,
            Some(overload) => overload.timeout(timer, full),
        }
    }

    /// How long a connection may be without a stream.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.timeout(Timer::ConnectionIdle, self.config.timeouts.idle)
    }

    /// How long this connection may last.
    #[inline]
    pub(super) fn max_duration_of(&self, connection: &ConnectionInfo) -> Option<Duration> {
        self.timeout(Timer::ConnectionMax, self.config.timeouts.max_duration_of(connection))
    }

    pub(super) fn take_slot(&self) -> StreamSlot {
        let spare = self.slots.borrow_mut().pop();
        spare.unwrap_or_else(|| slot(stream::run::<Box<H1Connection>>))
    }

    pub(super) fn give_slot(&self, slot: StreamSlot) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() < KEEP {
            slots.push(slot);
        }
    }

    /// `http2.` stats, made with the first HTTP/2 connection.
    pub(super) fn h2_codec_stats(&self) -> &Http2CodecStats {
        self.h2_codec_stats.get_or_init(|| self.world.stats.scope("http2."))
    }

    pub(super) fn take_h2_slot(&self) -> H2Slot {
        let spare = self.h2_slots.borrow_mut().pop();
        spare.unwrap_or_else(|| slot(stream::run::<H2Stream>))
    }

    pub(super) fn give_h2_slot(&self, slot: H2Slot) {
        let mut slots = self.h2_slots.borrow_mut();
        if slots.len() < KEEP_STREAMS {
            slots.push(slot);
        }
    }

    pub(crate) fn take_heads(&self) -> Box<Heads> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give_heads(&self, mut heads: Box<Heads>) {
        let mut spare = self.heads.borrow_mut();
        if spare.len() < KEEP_STREAMS {
            heads.clear();
            spare.push(heads);
        }
    }
}
