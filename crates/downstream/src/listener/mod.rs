//! Listeners: from an accepted socket to the network filter that serves it.

mod access_log;
mod admit;
mod chain_matcher;
mod config;
mod draining;
mod filter;
mod limits;
mod matching;
mod predicate;
mod reachable;
mod rehearse;
mod sockets;
mod stats;
mod transport;

pub use config::{FilterChainConfig, ListenerConfig};
pub use draining::Draining;
pub use filter::{
    AnyListenerFilterFactory, Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory,
    MakeListenerFilter,
};
pub use matching::SocketFacts;
pub use reachable::{Entered, Reachable};
pub(crate) use rehearse::Rehearsed;
pub use stats::{ListenerDiscoveryStats, ListenerStats, ListenerWorkerStats};
pub use transport::DownstreamTransport;

use self::access_log::ConnectionLog;
use self::limits::Permit;
use self::predicate::Predicate;
use crate::network::{Gated, NetworkFilter};
use crate::world::World;
use nuncio_core::address::Address;
use nuncio_core::overload::Overload;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{ConnectionInfo, ConnectionState};
use nuncio_net::drain::Pace;
use nuncio_net::listen::{Accepted, BoundSocket, Listener as Socket, Pause};
use nuncio_net::stream::{ByteStream, PATIENCE_IS_OVER, Patient};
use nuncio_net::tls::{Side, SslStats};
use std::cell::OnceCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// One worker's listener: its socket and its filter chains.
pub struct Listener {
    config: Arc<ListenerConfig>,
    chains: Vec<Option<Rc<dyn NetworkFilter>>>,
    draining: Rc<Draining>,
    world: Rc<World>,
    stats: Scope<ListenerStats>,
    worker_stats: Scope<ListenerWorkerStats>,
    /// Where a chain is secured.
    ssl: Option<SslStats>,
    filters: Vec<(MakeListenerFilter, Option<Predicate>)>,
    /// Connections are looked at, or secured, before they are served.
    looks: bool,
    pause: Pause,
    _discovery_stats: Option<Scope<ListenerDiscoveryStats>>,
}

impl Listener {
    /// A listener's live form on this worker.
    pub fn new(config: Arc<ListenerConfig>, world: &Rc<World>) -> Rc<Self> {
        let draining = Draining::new(config.modify_only);
        let start = |chain: &FilterChainConfig| {
            let serving = Arc::clone(chain.filter.as_ref()?).start(world, &draining);
            if chain.gates.is_empty() {
                return Some(serving);
            }
            let gates = chain.gates.iter().map(|gate| Arc::clone(gate).start(world)).collect();
            let secured = matches!(chain.transport, DownstreamTransport::Tls(_));
            Some(Rc::new(Gated { gates, serving, secured }) as Rc<dyn NetworkFilter>)
        };
        let chains = config.filter_chains.iter().map(start).collect();
        let discovery = world.stats.scope(config.stat_prefix());
        let thread = format!("worker_{}", world.worker.id());
        Self::of(config, world, &thread, (chains, draining), Some(discovery))
    }

    /// A listener of the main thread whose connections `filter` serves, whatever chains `config` has.
    pub fn on_main_thread(
        config: Arc<ListenerConfig>,
        world: &Rc<World>,
        filter: Rc<dyn NetworkFilter>,
    ) -> Rc<Self> {
        Self::of(config, world, "main_thread", (vec![Some(filter)], Draining::new(false)), None)
    }

    fn of(
        config: Arc<ListenerConfig>,
        world: &Rc<World>,
        thread: &str,
        (chains, draining): (Vec<Option<Rc<dyn NetworkFilter>>>, Rc<Draining>),
        discovery_stats: Option<Scope<ListenerDiscoveryStats>>,
    ) -> Rc<Self> {
        let prefix = config.stat_prefix();
        let secured = config.filter_chains.iter().any(|c| matches!(c.transport, DownstreamTransport::Tls(_)));
        let start =
            |(f, disabled): &config::FilterAndPredicate| (Arc::clone(f).start(world), disabled.clone());
        let filters: Vec<_> = config.listener_filters.iter().map(start).collect();
        let matches = config.chain_matcher.is_some() || config.matches.iter().any(|m| !m.takes_all());
        Rc::new(Self {
            ssl: secured.then(|| SslStats::new(&world.stats, prefix, Side::Server)),
            looks: secured || matches || !filters.is_empty(),
            filters,
            chains,
            draining,
            pause: Pause::default(),
            stats: world.stats.scope(prefix),
            worker_stats: world.stats.scope(&format!("{prefix}{thread}.")),
            _discovery_stats: discovery_stats,
            world: Rc::clone(world),
            config,
        })
    }

    /// Its connections are asked to close, at this pace; it goes on accepting.
    pub fn drain(&self, pace: Pace) {
        self.draining.start(&self.world, pace);
    }

    /// Accepts until the task that runs this is dropped.
    ///
    /// # Errors
    /// The socket cannot be handed to the runtime.
    pub async fn run(self: Rc<Self>, socket: BoundSocket) -> io::Result<()> {
        let socket = Socket::new(socket)?;
        let per_turn = self.config.max_accepts_per_turn;
        let turn = |n: u32| self.stats.connections_accepted_per_socket_event.record(n.into());
        let each = |accepted: Accepted| self.accept(accepted.into_stream());
        self.follow_pressure();
        socket.accept_loop(per_turn, &self.pause, each, turn).await;
        Ok(())
    }

    /// Accepts nothing while the overload manager wants that; to be called whenever it may have changed its mind.
    pub fn follow_pressure(&self) {
        let stops = |overload: &Arc<Overload>| overload.stop_accepting_connections.is_saturated();
        self.pause.set(self.overload().is_some_and(stops));
    }

    /// What the overload manager asks of it, where it does.
    #[inline]
    fn overload(&self) -> Option<&Arc<Overload>> {
        self.world.lifecycle.overload().filter(|_| !self.config.bypasses_overload)
    }

    /// While the answer lives, other listeners of the worker hand it the connections that were going to `bound`, or,
    /// where it has no sockets (`bind_to_port: false`), to where it would listen.
    pub fn reachable(self: &Rc<Self>, bound: &[Address]) -> Entered {
        let specs = self.config.listen_specs();
        let entries = specs.iter().enumerate().map(|(i, spec)| {
            let address = bound.get(i).unwrap_or(&spec.address);
            (address.clone(), spec.ipv4_compat)
        });
        Reachable::enter(self, entries)
    }

    /// Takes a connection: a task of its own serves it until it is closed.
    pub fn accept(self: &Rc<Self>, io: Box<dyn ByteStream>) {
        let facts = SocketFacts::of(io.local_address(), io.peer_address());
        self.take(io, facts);
    }

    /// As [`accept`](Self::accept), of a connection of which these `facts` are known.
    fn take(self: &Rc<Self>, io: Box<dyn ByteStream>, facts: SocketFacts) {
        let worker = &self.world.worker;
        let accepted = worker.now();
        let Some(permit) = Permit::take(self) else { return };
        if self.looks {
            worker.spawn(admit::admit(permit, io, facts, accepted));
            return;
        }
        // There is one chain, and it takes every connection as it is.
        // One without filters closes it before it counts as one.
        let Some(Some(chain)) = self.chains.first() else { return };
        let connection = Rc::new(self.connection_info(&*io, 0, facts, accepted));
        let (io, log) = ConnectionLog::begin(self, self.limit_patience(io, &connection), &connection);
        let guard = ConnectionGuard::new(permit, accepted);
        let serve = Rc::clone(chain).serve(io, connection);
        worker.spawn(async move {
            serve.await;
            drop(log);
            drop(guard);
        });
    }

    /// Has the connection end where its client takes nothing for too long.
    fn limit_patience(
        &self,
        io: Box<dyn ByteStream>,
        connection: &Rc<ConnectionInfo>,
    ) -> Box<dyn ByteStream> {
        let Some(time) = self.config.patience else { return io };
        let connection = Rc::clone(connection);
        Patient::new(io, time, move || connection.state.local_close.set(Some(PATIENCE_IS_OVER)))
    }

    /// What is known of a connection that chain number `chain` takes.
    fn connection_info(
        &self,
        io: &dyn ByteStream,
        chain: usize,
        facts: SocketFacts,
        accepted: Instant,
    ) -> ConnectionInfo {
        let chain = self.config.filter_chains.get(chain);
        ConnectionInfo {
            id: self.world.worker.next_connection_id(),
            local: facts.local,
            direct_local: io.local_address().clone(),
            direct_remote: facts.direct_remote,
            remote: facts.remote,
            requested_server_name: facts.server_name,
            listener: Arc::clone(&self.config.name),
            direction: self.config.direction,
            filter_chain: chain.map(|c| Arc::clone(&c.name)).unwrap_or_default(),
            tls: OnceCell::new(),
            accepted,
            listener_metadata: self.config.metadata.clone(),
            filter_chain_metadata: chain.and_then(|c| c.metadata.clone()),
            state: ConnectionState {
                filter_state: facts.filter_state,
                metadata: (!facts.metadata.is_empty()).then(|| Box::new(facts.metadata)),
                fingerprints: facts.fingerprints,
                ..ConnectionState::default()
            },
        }
    }
}

/// Raises a listener's connection gauges and lowers them when the connection is gone.
struct ConnectionGuard {
    permit: Permit,
    accepted: Instant,
    _count: nuncio_net::worker::ConnectionCount,
}

impl ConnectionGuard {
    fn new(permit: Permit, accepted: Instant) -> Self {
        let listener = permit.listener();
        listener.stats.downstream_cx_total.inc();
        listener.stats.downstream_cx_active.inc();
        listener.stats.downstream_pre_cx_active.add(0);
        listener.worker_stats.downstream_cx_total.inc();
        listener.worker_stats.downstream_cx_active.inc();
        let _count = listener.world.worker.count_connection();
        Self { permit, accepted, _count }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Listener { stats, worker_stats, world, .. } = &**self.permit.listener();
        stats.downstream_cx_active.dec();
        stats.downstream_cx_destroy.inc();
        worker_stats.downstream_cx_active.dec();
        let lived = world.worker.now().saturating_duration_since(self.accepted);
        stats.downstream_cx_length_ms.record(lived.as_millis() as u64);
    }
}
