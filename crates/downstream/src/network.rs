//! Network filters: what a filter chain does with a connection's bytes.
//!
//! The last one of a chain serves the connection (the HTTP connection manager does). Those before it are gates: a
//! connection passes them one after another, and each may close it, or look at its bytes from then on.

use crate::hcm::HcmConfig;
use crate::listener::Draining;
use crate::world::{CompileEnv, World};
use nuncio_core::config::{CompileContext, Place};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::ByteStream;
use prost::{Message, Name};
use prost_types::Any;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// What a listener tells its network filters when they are compiled.
#[derive(Clone, Copy, Debug)]
pub struct ListenerFacts<'a> {
    /// The prefix of the listener's stats, with its trailing dot.
    pub stat_prefix: &'a str,
    /// `per_connection_buffer_limit_bytes`.
    pub buffer_limit: u32,
    /// `traffic_direction: OUTBOUND`.
    pub outbound: bool,
    /// `bypass_overload_manager`.
    pub bypasses_overload: bool,
}

/// A compiled network filter, shared by all workers.
pub trait NetworkFilterConfig: Send + Sync {
    /// One worker's live form of it, for a listener that may drain.
    fn start(self: Arc<Self>, world: &Rc<World>, draining: &Rc<Draining>) -> Rc<dyn NetworkFilter>;

    /// It, where it is an HTTP connection manager.
    fn connection_manager(self: Arc<Self>) -> Option<Arc<HcmConfig>> {
        None
    }
}

/// One worker's network filter.
pub trait NetworkFilter {
    /// Serves a connection until it is closed.
    fn serve(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>>;

    /// Whether a connection comes to it before its handshake, which then begins when bytes are read or written
    /// ([`ByteStream::poll_open`]).
    fn precedes_handshake(&self) -> bool {
        false
    }

    /// Counts a connection that a gate of its chain, or its handshake, has closed.
    ///
    /// It is `secured` where its chain is, whatever its handshake came to.
    fn turned_away(self: Rc<Self>, connection: &Rc<ConnectionInfo>, secured: bool) {
        let _ = (connection, secured);
    }
}

/// A compiled filter that stands before the one that serves, shared by all workers.
pub trait NetworkGateConfig: Send + Sync {
    /// One worker's live form of it.
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate>;
}

/// One worker's filter that stands before the one that serves.
pub trait NetworkGate {
    /// A connection has come; its handshake, where it has one, is still to come. `None` closes it.
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>>;

    /// Whether it may see a connection that is only explained. One that would take from what connections share
    /// (tokens, say) may not.
    fn rehearses(&self) -> bool {
        true
    }
}

/// A connection that has passed a gate.
pub struct Passed {
    /// Its bytes, which the gate may look at.
    pub io: Box<dyn ByteStream>,
    /// What the gate holds while the connection lives.
    pub hold: Option<Box<dyn std::any::Any>>,
}

/// What a factory makes.
pub enum CompiledFilter {
    /// It serves connections, and is the last one of its chain.
    Serving(Arc<dyn NetworkFilterConfig>),
    /// It stands before others.
    Gate(Arc<dyn NetworkGateConfig>),
}

/// A filter that serves what passes the gates before it.
pub(crate) struct Gated {
    pub(crate) gates: Vec<Rc<dyn NetworkGate>>,
    pub(crate) serving: Rc<dyn NetworkFilter>,
    /// Whether its chain has a handshake.
    pub(crate) secured: bool,
}

/// A network filter by its name, and where it stands.
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    pub(crate) place: Option<Place>,
}

impl NetworkFilter for Gated {
    fn serve(
        self: Rc<Self>,
        mut io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let mut holds = Vec::new();
            for gate in &self.gates {
                match Rc::clone(gate).pass(io, Rc::clone(&connection)).await {
                    None => return Rc::clone(&self.serving).turned_away(&connection, self.secured),
                    Some(passed) => {
                        io = passed.io;
                        holds.extend(passed.hold);
                    }
                }
            }
            if !self.serving.precedes_handshake() && poll_fn(|cx| io.poll_open(cx)).await.is_err() {
                return Rc::clone(&self.serving).turned_away(&connection, self.secured);
            }
            Rc::clone(&self.serving).serve(io, connection).await;
        })
    }

    fn precedes_handshake(&self) -> bool {
        true
    }
}

/// Compiles a network filter's message. `None`: refused, and the reason is recorded in the context.
pub trait NetworkFilterFactory: Send + Sync {
    /// The filter's configuration message; its full name is the registry's key.
    type Config: Message + Name + Default;

    /// Compiles the configuration.
    fn compile(
        &self,
        config: Self::Config,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        listener: ListenerFacts<'_>,
    ) -> Option<CompiledFilter>;
}

/// A factory whose message type is erased: what the registry holds.
pub trait AnyNetworkFilterFactory: Send + Sync {
    /// Unpacks and compiles a configuration. Its bytes are gone once they are unpacked: they may be most of a file.
    fn compile_any(
        &self,
        config: Any,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        listener: ListenerFacts<'_>,
    ) -> Option<CompiledFilter>;
}

impl<F: NetworkFilterFactory> AnyNetworkFilterFactory for F {
    fn compile_any(
        &self,
        config: Any,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        listener: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let message = cx.unpack(&config)?;
        drop(config);
        self.compile(message, cx, env, listener)
    }
}
