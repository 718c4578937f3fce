//! The filter chain: compiled once per connection manager, made once per stream.

use super::lane::{Decode, Encode, Instead, Lane, Verdict};
use super::seat::{Filters, Seat};
use super::{HttpFilterConfig, LiveHttpFilter, Request, Response, RouteSays};
use crate::explain::{Script, Watcher};
use crate::hcm::exchange::RequestEvent;
use crate::hcm::stream::Heads;
use crate::route::{LevelName, Route, RouteConfigs, RouteTable};
use crate::router::RouterConfig;
use crate::tracing::Tracer;
use crate::world::World;
use nuncio_core::config::Place;
use nuncio_core::stream_info::StreamInfo;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A connection manager's filters in their order, and the router at the end.
pub struct ChainConfig {
    /// Which of its connection manager's chains it is.
    pub id: usize,
    /// The filters before the router.
    pub filters: Vec<ChainEntry>,
    /// The router's configuration; `None` where the list is empty, which answers every request 404.
    pub router: Option<Arc<RouterConfig>>,
}

/// One filter of the chain.
pub struct ChainEntry {
    /// The name by which routes refer to it.
    pub name: Arc<str>,
    /// Where it stands.
    pub place: Option<Place>,
    /// Its configuration.
    pub config: Arc<dyn HttpFilterConfig>,
    /// Off unless a route turns it on.
    pub disabled: bool,
}

/// One worker's live chain.
pub struct LiveChain {
    entries: Box<[LiveEntry]>,
    /// The numbers of those that may have a part in streams whose route says nothing of any filter, as most do.
    usual: Box<[usize]>,
    spare: Rc<Spare>,
}

/// Chains of streams that are over, kept for the next ones.
// Boxed, because streams carry them along and hand them back.
#[allow(clippy::vec_box, reason = "see above")]
type Spare = RefCell<Vec<Box<Chain>>>;

/// How many of them a worker keeps for each chain.
const KEEP: usize = 64;

struct LiveEntry {
    name: Arc<str>,
    place: Option<Place>,
    filter: Rc<dyn LiveHttpFilter>,
    disabled: bool,
    waits_for_routes: bool,
}

/// One stream's filters, and what is on its way through them.
pub struct Chain {
    filters: Filters,
    /// All of the request has come from the client.
    received: bool,
    request: Lane<Decode>,
    response: Lane<Encode>,
    limits: Limits,
    /// What a filter puts in the response's stead, out of turn.
    instead: Option<Instead>,
    home: Rc<Spare>,
}

/// What filters set for the whole chain.
#[derive(Clone, Copy, Default)]
struct Limits {
    request: usize,
    response: usize,
    reroute: bool,
}

impl ChainConfig {
    /// A worker's live form; `stat_prefix` as in [`HttpFilterConfig::start`].
    pub fn start(&self, world: &Rc<World>, stat_prefix: &str) -> LiveChain {
        let live = |entry: &ChainEntry| {
            let filter = Arc::clone(&entry.config).start(world, stat_prefix);
            let (waits_for_routes, disabled) = (filter.waits_for_routes(), entry.disabled);
            LiveEntry {
                name: Arc::clone(&entry.name),
                place: entry.place,
                filter,
                disabled,
                waits_for_routes,
            }
        };
        LiveChain::new(self.filters.iter().map(live).collect())
    }
}

impl LiveChain {
    fn new(entries: Box<[LiveEntry]>) -> Self {
        let numbered = entries.iter().enumerate();
        let usual = numbered.filter(|(_, entry)| !entry.disabled && !entry.waits_for_routes);
        Self { usual: usual.map(|(number, _)| number).collect(), entries, spare: Rc::default() }
    }

    /// The filters of a stream: those that the route does not switch off, with their per-route
    /// configuration. `None` where there are none before the router. `table` is where the route was looked for,
    /// `limit` how much of a body may wait.
    #[inline]
    pub fn make(
        &self,
        route: Option<&Arc<Route>>,
        table: Option<&Arc<RouteTable>>,
        limit: usize,
    ) -> Option<Box<Chain>> {
        if self.entries.is_empty() { None } else { self.fill(route, table, limit) }
    }

    fn fill<'a>(
        &'a self,
        route: Option<&'a Arc<Route>>,
        table: Option<&'a Arc<RouteTable>>,
        limit: usize,
    ) -> Option<Box<Chain>> {
        let spare = self.spare.borrow_mut().pop();
        let mut chain =
            spare.unwrap_or_else(|| Box::new(Chain::new(self.entries.len(), Rc::clone(&self.spare))));
        chain.limits = Limits { request: limit, response: limit, reroute: false };
        let mut says = RouteSays { route, table, ..RouteSays::default() };
        let mut seat = |number, entry: &'a LiveEntry, configs| {
            (says.name, says.configs) = (&entry.name, configs);
            chain.filters.seat(number, |seat| Rc::clone(&entry.filter).make(&says, seat));
        };
        if route.is_none_or(|route| route.filters.is_empty()) {
            for number in &self.usual {
                self.entries.get(*number).into_iter().for_each(|entry| seat(*number, entry, None));
            }
        } else {
            for (number, entry) in self.entries.iter().enumerate() {
                match entry.in_force(route) {
                    InForce::On(None) if entry.waits_for_routes => {}
                    InForce::On(configs) => seat(number, entry, configs),
                    InForce::Off => {}
                }
            }
        }
        if chain.filters.is_empty() {
            chain.give_back();
            return None;
        }
        Some(chain)
    }
}

/// Whether a filter is in force, and what the route says of it.
enum InForce<'r> {
    Off,
    On(Option<&'r RouteConfigs>),
}

impl LiveEntry {
    /// What the route taken says to the filter.
    #[inline]
    fn in_force<'r>(&self, route: Option<&'r Arc<Route>>) -> InForce<'r> {
        let of_route = route.and_then(|r| r.filters.get(&self.name));
        let disabled = of_route.and_then(|o| o.disabled()).unwrap_or(self.disabled && of_route.is_none());
        if disabled { InForce::Off } else { InForce::On(of_route.and_then(|o| o.configs())) }
    }
}

/// What part a filter of a chain has in a stream, for explanations.
pub(crate) struct Standing {
    pub(crate) name: Arc<str>,
    pub(crate) place: Option<Place>,
    pub(crate) state: &'static str,
    /// Which levels of the route say something of it, and where.
    pub(crate) per_route: Vec<(LevelName, Option<Place>)>,
    /// A stream of this route has an instance of it.
    pub(crate) made: bool,
    /// An instance may see requests that are explained.
    pub(crate) rehearses: bool,
}

impl LiveChain {
    /// Leaves out the filters of these names, and those that do not rehearse. Behind each that is left, `script` hears
    /// what it has made of the head.
    pub(crate) fn rehearse(&mut self, names: &[Arc<str>], script: &Rc<Script>) {
        let entries = std::mem::take(&mut self.entries).into_vec();
        let left = entries.into_iter().filter(|e| e.filter.rehearses() && !names.contains(&e.name));
        let watched = left.flat_map(|entry| {
            let watcher = LiveEntry {
                name: Arc::clone(&entry.name),
                place: entry.place,
                filter: Watcher::of(&entry.name, entry.place, script),
                disabled: entry.disabled,
                waits_for_routes: false,
            };
            [entry, watcher]
        });
        *self = Self::new(watched.collect());
    }

    /// Every filter, and what part it has in a stream of this route.
    pub(crate) fn standings(&self, route: Option<&Arc<Route>>, table: &Arc<RouteTable>) -> Vec<Standing> {
        let standing = |entry: &LiveEntry| {
            let of_route = route.and_then(|r| r.filters.get(&entry.name));
            let (state, made) = match entry.in_force(route) {
                InForce::Off => ("off", false),
                InForce::On(configs) => {
                    let says = RouteSays { name: &entry.name, configs, route, table: Some(table) };
                    match Rc::clone(&entry.filter).make(&says, &mut Seat::default()) {
                        false => ("has no part in this route", false),
                        true => ("in force", true),
                    }
                }
            };
            let per_route = of_route.map(|o| o.places().to_vec()).unwrap_or_default();
            let (name, rehearses) = (Arc::clone(&entry.name), entry.filter.rehearses());
            Standing { name, place: entry.place, state, per_route, made, rehearses }
        };
        self.entries.iter().map(standing).collect()
    }
}

/// The parts of a stream that filters see, the response's heads among them.
pub(crate) struct Parts<'a> {
    pub(crate) heads: &'a mut Heads,
    pub(crate) info: &'a mut StreamInfo,
    pub(crate) tracer: Option<&'a Rc<dyn Tracer>>,
}

impl Chain {
    fn new(count: usize, home: Rc<Spare>) -> Self {
        Self {
            filters: Filters::new(count),
            received: false,
            request: Lane::default(),
            response: Lane::default(),
            limits: Limits::default(),
            instead: None,
            home,
        }
    }

    /// The stream is over: the filters go, their room stays.
    pub(crate) fn give_back(mut self: Box<Self>) {
        self.filters.clear();
        self.received = false;
        self.request.clear();
        self.response.clear();
        self.instead = None;
        let home = Rc::clone(&self.home);
        let mut spare = home.borrow_mut();
        if spare.len() < KEEP {
            spare.push(self);
        }
    }

    /// Whether nobody looks at the response.
    #[inline]
    pub(crate) fn lets_responses_pass(&self) -> bool {
        !self.sees_bodies() && self.filters.up_count() == 0
    }

    /// The number of the filter that has the request's head; `None` where it is through.
    pub(crate) fn holder(&self) -> Option<usize> {
        (!self.request.is_through()).then(|| self.request.passed())
    }

    /// Whether one of the filters sees bodies.
    #[inline]
    pub(crate) fn sees_bodies(&self) -> bool {
        self.filters.sees_bodies()
    }

    /// A head has passed all filters, and nothing waits behind it: bodies pass by from now on where none of them wants
    /// them any more.
    pub(crate) fn ask_again(&mut self) {
        self.filters.ask_again();
    }

    /// Whether a filter wants the route to be looked up anew.
    pub(crate) fn reroutes(&self) -> bool {
        self.limits.reroute
    }

    /// The way of the request.
    pub(crate) fn request(&mut self) -> &mut Lane<Decode> {
        &mut self.request
    }

    /// The way of the response.
    pub(crate) fn response(&mut self) -> &mut Lane<Encode> {
        &mut self.response
    }

    /// The request's bytes that came out last.
    pub(crate) fn request_data(&self) -> &[u8] {
        self.request.data()
    }

    /// All of the request has come from the client.
    pub(crate) fn received(&mut self) {
        self.received = true;
    }

    /// Whether it has.
    pub(crate) fn is_received(&self) -> bool {
        self.received
    }

    /// Whether the request's end has come out.
    pub(crate) fn request_is_finished(&self) -> bool {
        self.request.is_finished()
    }

    /// Whether more of the request is to be read.
    pub(crate) fn wants_request(&self) -> bool {
        self.instead.is_none()
            && !self.received
            && self.request.wants_data()
            && self.request.waiting() <= self.limits.request
    }

    /// Bytes of the request that wait, where nobody gathers them: then they are bounded by that filter's limit.
    pub(crate) fn request_waiting(&self) -> usize {
        if self.request.is_through() || !self.request.wants_data() { self.request.waiting() } else { 0 }
    }

    /// Whether a response is on its way, even where its head waits for a filter.
    pub(crate) fn has_response(&self) -> bool {
        self.response.is_born()
    }

    /// Bytes of the response that wait for filters.
    pub(crate) fn held_back(&self) -> usize {
        self.response.waiting() + self.filters.iter().map(|f| f.held_back()).sum::<usize>()
    }

    /// Keeps what a filter puts in the response's stead until the stream can see to it.
    pub(crate) fn keep(&mut self, verdict: Verdict) {
        if let Some(instead) = verdict.instead() {
            self.instead = Some(instead);
        }
    }

    /// What was kept.
    pub(crate) fn take_kept(&mut self) -> Option<Instead> {
        self.instead.take()
    }

    /// The request's head comes in.
    pub(crate) fn start_request(&mut self, parts: Parts<'_>, end_stream: bool) -> Verdict {
        let Self { filters, request, limits, .. } = self;
        request.start(filters, &mut limits.request_of(parts), end_stream)
    }

    /// A piece of the request comes in; `data` are its bytes.
    pub(crate) fn push_request(&mut self, parts: Parts<'_>, event: RequestEvent, data: &[u8]) -> Verdict {
        let Self { filters, request, limits, .. } = self;
        let message = &mut limits.request_of(parts);
        match event {
            RequestEvent::Data { end_stream } => request.push(filters, message, data, end_stream),
            RequestEvent::End => request.push(filters, message, &[], true),
            RequestEvent::Metadata => Verdict::Going,
            RequestEvent::Trailers => request.push_trailers(filters, message),
        }
    }

    /// Filters that keep the request waiting may go on.
    pub(crate) fn poll_request(&mut self, parts: Parts<'_>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let Self { filters, request, limits, .. } = self;
        request.poll(filters, &mut limits.request_of(parts), cx)
    }

    /// The response's head comes in.
    pub(crate) fn start_response(&mut self, parts: Parts<'_>, end_stream: bool) -> Verdict {
        let Self { filters, response, limits, .. } = self;
        response.start(filters, &mut limits.response_of(parts), end_stream)
    }

    /// Body of the response comes in.
    pub(crate) fn push_response(&mut self, parts: Parts<'_>, data: &[u8], end_stream: bool) -> Verdict {
        let Self { filters, response, limits, .. } = self;
        response.push(filters, &mut limits.response_of(parts), data, end_stream)
    }

    /// The response's trailers come in.
    pub(crate) fn push_response_trailers(&mut self, parts: Parts<'_>) -> Verdict {
        let Self { filters, response, limits, .. } = self;
        response.push_trailers(filters, &mut limits.response_of(parts))
    }

    /// Filters that keep the response waiting may go on.
    pub(crate) fn poll_response(&mut self, parts: Parts<'_>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let Self { filters, response, limits, .. } = self;
        response.poll(filters, &mut limits.response_of(parts), cx)
    }
}

impl Limits {
    fn request_of<'a>(&'a mut self, Parts { heads, info, tracer }: Parts<'a>) -> Request<'a> {
        Request {
            head: &mut heads.request,
            trailers: &mut heads.request_trailers,
            info,
            limit: &mut self.request,
            reroute: &mut self.reroute,
            tracer,
        }
    }

    fn response_of<'a>(&'a mut self, Parts { heads, info, tracer: _ }: Parts<'a>) -> Response<'a> {
        Response {
            head: &mut heads.response,
            trailers: &mut heads.response_trailers,
            request: &mut heads.request,
            info,
            limit: &mut self.response,
        }
    }
}
