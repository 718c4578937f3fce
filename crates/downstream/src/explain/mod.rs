//! What would become of a request: `nuncio explain` and `/explain`.
//!
//! The request is led through the code that serves, on a listener and a connection manager that are live but have no
//! socket: first bytes through the listener filters, its head through the codec, the stream through policy, routes,
//! filters and router, up to the host that the balancer picks. There it ends; nothing is sent, logged or counted
//! where anybody sees it. A stream tells a [`Script`] what it meets; for every other stream that is compiled away.

mod bytes;
mod rehearsal;
mod script;
mod watcher;

pub use script::Script;
pub(crate) use script::{CONNECTION_MANAGER, Plan, ROUTER};
pub use watcher::Watcher;

use crate::filter::Standing;
use crate::hcm::{Hcm, HcmConfig};
use crate::listener::{Draining, Listener, ListenerConfig, Rehearsed};
use crate::world::World;
use nuncio_codec::head::RequestHead;
use nuncio_core::address::Address;
use nuncio_core::config::Place;
use nuncio_core::stream_info::{ConnectionInfo, TlsInfo};
use nuncio_core::why::{Note, Why, overhear};
use nuncio_net::stream::{ByteStream, pair};
use rehearsal::{Ended, rehearse};
use script::Told;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A request, and the connection that it comes on.
#[derive(Clone, Debug)]
pub struct Question {
    /// The listener's name; the one at [`to`](Self::to), or the only one, where it is not given.
    pub listener: Option<String>,
    /// The client's address.
    pub from: SocketAddr,
    /// Where the client connects to.
    pub to: Option<SocketAddr>,
    /// The port of the URL, by which a listener is found where [`to`](Self::to) is not given.
    pub port: u16,
    /// The client speaks TLS.
    pub tls: bool,
    /// The server name that it asks for.
    pub sni: Option<String>,
    /// The protocols that it offers by ALPN, best first.
    pub alpn: Vec<&'static str>,
    /// It begins with the HTTP/2 preface, whatever ALPN says.
    pub prior_knowledge: bool,
    /// The head, with `:method`, `:scheme`, `:authority` and `:path`.
    pub head: RequestHead,
    /// The body.
    pub body: Option<Vec<u8>>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// There is no listener of that name.
    #[error("there is no listener '{0}'; there are: {1}")]
    UnknownListener(String, String),
    /// There are several listeners, and none is at the address.
    #[error("no listener is at {0}; name one with --listener: {1}")]
    WhichListener(String, String),
    /// There is none.
    #[error("the configuration has no listener")]
    NoListener,
    /// The request cannot be put into bytes.
    #[error("the request cannot be sent: {0}")]
    Unsendable(&'static str),
}

/// One thing that holds for the request, and where the configuration says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, in the words of the configuration.
    pub name: &'static str,
    /// What it comes to.
    pub value: String,
    /// Where it stands; none where it is a default or follows from no single place.
    pub place: Option<Place>,
}

impl Fact {
    pub(crate) fn new(name: &'static str, value: impl Into<String>, place: Option<Place>) -> Self {
        Self { name, value: value.into(), place }
    }
}

/// A route that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its number in its virtual host.
    pub at: usize,
    /// Its name, which may be empty.
    pub name: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// Why.
    pub reason: String,
}

/// An HTTP filter before the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFact {
    /// Its name in the chain.
    pub name: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// What part it has in the request.
    pub state: &'static str,
    /// The levels of the route that say something of it, and where, the most specific one first.
    pub per_route: Vec<(&'static str, Option<Place>)>,
}

/// A header that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who changed it: a part of the proxy, a filter, a level of the routes, or a field of the route.
    pub by: Box<str>,
    /// Where that stands.
    pub place: Option<Place>,
    /// The header.
    pub name: String,
    /// Its values before.
    pub before: Vec<String>,
    /// Its values after.
    pub after: Vec<String>,
}

/// How the request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to a host.
    Forwarded,
    /// The proxy answers with this status.
    Answered(u16),
    /// There is no answer: the connection or the stream is closed, and this is why.
    Closed(String),
    /// It waits for something that is not rehearsed.
    Undecided(String),
}

/// What would become of the request.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// How it ends.
    pub verdict: Verdict,
    /// From the listener to the connection manager.
    pub connection: Vec<Fact>,
    /// The virtual host, and what is said about its routes.
    pub routing: Vec<Fact>,
    /// Whether it is traced, and how.
    pub tracing: Vec<Fact>,
    /// The routes that were passed over, up to the one taken.
    pub passed_over: Vec<PassedOver>,
    /// So many more were, which are not listed.
    pub more_passed_over: usize,
    /// The HTTP filters.
    pub filters: Vec<FilterFact>,
    /// What became of the head on the way.
    pub changes: Vec<Change>,
    /// The head as it goes to the host.
    pub head: Vec<(String, String)>,
    /// Cluster, hash and host.
    pub upstream: Vec<Fact>,
    /// Time limits.
    pub timeouts: Vec<Fact>,
    /// When another attempt would be made.
    pub retries: Vec<Fact>,
    /// The descriptors that rate limits see.
    pub rate_limits: Vec<Fact>,
    /// What becomes of the host's answer.
    pub responses: Vec<Fact>,
    /// What the overload manager asks for; whoever knows it adds it.
    pub overload: Vec<Fact>,
    /// The proxy's own answer.
    pub answer: Vec<Fact>,
    /// Why it failed, where the configuration explains it.
    pub notes: Vec<(Why, Note)>,
}

impl Explanation {
    fn new() -> Self {
        Self {
            verdict: Verdict::Closed(String::new()),
            connection: Vec::new(),
            routing: Vec::new(),
            tracing: Vec::new(),
            passed_over: Vec::new(),
            more_passed_over: 0,
            filters: Vec::new(),
            changes: Vec::new(),
            head: Vec::new(),
            upstream: Vec::new(),
            timeouts: Vec::new(),
            retries: Vec::new(),
            rate_limits: Vec::new(),
            responses: Vec::new(),
            overload: Vec::new(),
            answer: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Explains what would become of a request. `world` has stats and clusters of its own, so that nothing of it shows;
/// to be called on a runtime of its thread. At most `routes` routes are listed as passed over.
///
/// # Errors
/// The question names nothing that there is.
pub fn explain(
    listeners: &[Arc<ListenerConfig>],
    world: &Rc<World>,
    question: &Question,
    routes: usize,
) -> Result<Explanation, QuestionError> {
    let config = listener_of(listeners, question)?;
    let wire = bytes::Wire::of(question, world.worker.now()).map_err(QuestionError::Unsendable)?;
    let mut told = Explanation::new();
    let ((), notes) = overhear(|| connect(config, world, question, &wire, routes, &mut told));
    told.notes = notes;
    Ok(told)
}

fn listener_of<'a>(
    listeners: &'a [Arc<ListenerConfig>],
    question: &Question,
) -> Result<&'a Arc<ListenerConfig>, QuestionError> {
    let names = || listeners.iter().map(|l| format!("'{}'", l.label())).collect::<Vec<_>>().join(", ");
    if let Some(name) = &question.listener {
        let found = listeners.iter().find(|l| l.label() == **name);
        return found.ok_or_else(|| QuestionError::UnknownListener(name.clone(), names()));
    }
    let takes = |l: &&Arc<ListenerConfig>| {
        let any_ip = l.address.ip().is_some_and(|ip| ip.is_unspecified());
        match question.to {
            Some(to) => l.address.port() == Some(to.port()) && (any_ip || l.address.ip() == Some(to.ip())),
            None => l.address.port() == Some(question.port),
        }
    };
    match (listeners.iter().find(takes), listeners) {
        (Some(found), _) => Ok(found),
        (None, []) => Err(QuestionError::NoListener),
        (None, [only]) => Ok(only),
        (None, _) => {
            let at = question.to.map_or_else(|| format!("port {}", question.port), |to| to.to_string());
            Err(QuestionError::WhichListener(at, names()))
        }
    }
}

/// The output of a future that has nothing to wait for.
pub(crate) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// From the listener to its filter chain, and to the connection manager there.
fn connect(
    config: &Arc<ListenerConfig>,
    world: &Rc<World>,
    question: &Question,
    wire: &bytes::Wire,
    routes: usize,
    told: &mut Explanation,
) {
    let place = config.places.whole().place;
    told.connection.push(Fact::new("listener", format!("{} ({})", config.label(), config.address), place));
    let to = question.to.map_or_else(|| config.address.clone(), Address::Ip);
    let from = Address::Ip(question.from);
    let (client, server) = pair(usize::MAX, from, to);
    let first = wire.first();
    let _ = at_once(std::future::poll_fn(|cx| client.poll_write(cx, first)));
    let listener = Listener::new(Arc::clone(config), world);
    match listener.rehearse(Box::new(server)) {
        Rehearsed::Closed(why) => told.verdict = Verdict::Closed(why),
        Rehearsed::Undecided(why) => told.verdict = Verdict::Undecided(why),
        Rehearsed::Chain { at, mut connection, secured } => {
            let Some(chain) = config.filter_chains.get(at) else { return };
            let name =
                if chain.name.is_empty() { format!("number {at}") } else { format!("'{}'", chain.name) };
            told.connection.push(Fact::new("filter chain", name, chain.places.whole().place));
            if let Some(name) = &connection.requested_server_name {
                let place = chain.places.spot("filter_chain_match").place;
                told.connection.push(Fact::new("server name", &**name, place));
            }
            for gate in &chain.gate_names {
                told.connection.push(Fact::new("network filter", &*gate.name, gate.place));
            }
            let mut alpn = "";
            if let Some(context) = secured {
                alpn =
                    question.alpn.iter().find(|p| context.speaks(p.as_bytes())).copied().unwrap_or_default();
                let server_name = question.sni.as_deref().map(Box::from);
                let tls = TlsInfo { alpn: alpn.as_bytes().into(), server_name, ..TlsInfo::default() };
                connection.tls = Rc::new(tls).into();
                let agreed =
                    if alpn.is_empty() { "no protocol by ALPN".into() } else { format!("ALPN {alpn}") };
                told.connection.push(Fact::new(
                    "TLS",
                    format!("terminated here, {agreed}; certificates are not judged"),
                    chain.places.spot("transport_socket").place,
                ));
            }
            if let Some(why) = listener.turns_away(at, &connection) {
                told.verdict = Verdict::Closed(why);
                return;
            }
            let Some(hcm) = chain.filter.as_ref().and_then(|f| Arc::clone(f).connection_manager()) else {
                let name = chain.filter_name.as_ref().map_or("nothing", |named| &*named.name);
                let why = format!("the chain is served by {name}, which is no HTTP connection manager");
                told.verdict = Verdict::Undecided(why);
                return;
            };
            let clear = connection.tls().is_some() || !question.tls;
            let bytes = if clear { wire.request(question.prior_knowledge || alpn == "h2") } else { first };
            converse(&hcm, world, Rc::new(*connection), bytes, question.body.as_deref(), routes, told);
        }
    }
}

/// From the connection manager on. A filter that waits for something is left out the next time, so that what comes
/// behind it is told too.
fn converse(
    config: &Arc<HcmConfig>,
    world: &Rc<World>,
    connection: Rc<ConnectionInfo>,
    bytes: &[u8],
    body: Option<&[u8]>,
    routes: usize,
    told: &mut Explanation,
) {
    let spot = config.places.whole();
    told.connection.push(Fact::new(
        "connection manager",
        config.stat_prefix.trim_end_matches('.'),
        spot.place,
    ));
    let mut waiting: Vec<Arc<str>> = Vec::new();
    loop {
        let script = Rc::new(Script::new(routes));
        let hcm = Hcm::new_without(Arc::clone(config), world, Draining::new(false), &waiting, &script);
        let (head, codec) = match hcm.read_head(&connection, bytes) {
            Ok(read) => read,
            Err(why) => {
                told.verdict = Verdict::Closed(why);
                return;
            }
        };
        if waiting.is_empty() {
            told.connection.push(Fact::new(
                "protocol",
                codec.as_str(),
                config.places.spot("codec_type").place,
            ));
        }
        let ended = rehearse(&hcm, &script, &connection, head, codec, body);
        if let Ended::Waits(Some(name)) = &ended
            && !waiting.contains(name)
        {
            waiting.push(Arc::clone(name));
            continue;
        }
        let Told { routing, tracing, passed_over, more, heads, plan, chain, route, answer } = script.take();
        (told.routing, told.tracing) = (routing, tracing);
        (told.passed_over, told.more_passed_over) = (passed_over, more);
        told.filters = hcm.filter_facts(chain, route.as_ref(), &waiting);
        told.changes = script::changes(&heads);
        if let Some(plan) = plan {
            told.head = heads.last().map(|stage| script::lines(&stage.head)).unwrap_or_default();
            let Plan { matched, upstream, timeouts, retries, rate_limits, responses } = plan;
            told.routing.extend(matched);
            (told.upstream, told.timeouts, told.retries) = (upstream, timeouts, retries);
            (told.rate_limits, told.responses) = (rate_limits, responses);
        }
        (told.verdict, told.answer) = ended.verdict(answer);
        return;
    }
}

impl FilterFact {
    /// A filter of the chain, and what the route says of it. `waits`: it was left out because it waits.
    pub(crate) fn new(standing: Standing, waits: bool) -> Self {
        let Standing { name, place, state, per_route, made, rehearses } = standing;
        let state = match (made, rehearses, waits) {
            (true, false, _) => "left out: it takes from what requests share",
            (true, true, true) => "left out: it waits for something",
            _ => state,
        };
        let per_route = per_route.into_iter().map(|(level, place)| (level.as_str(), place)).collect();
        Self { name: name.to_string(), place, state, per_route }
    }
}
