//! Network filters: what a filter chain does with a connection's bytes.
//!
//! All that are built end their chain (the HTTP connection manager does), so a chain is one filter.

use crate::listener::Draining;
use crate::world::{CompileEnv, World};
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::ByteStream;
use prost::{Message, Name};
use prost_types::Any;
use std::future::Future;
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
}

/// A compiled network filter, shared by all workers.
pub trait NetworkFilterConfig: Send + Sync {
    /// One worker's live form of it, for a listener that may drain.
    fn start(self: Arc<Self>, world: &Rc<World>, draining: &Rc<Draining>) -> Rc<dyn NetworkFilter>;
}

/// One worker's network filter.
pub trait NetworkFilter {
    /// Serves a connection until it is closed.
    fn serve(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>>;
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
    ) -> Option<Arc<dyn NetworkFilterConfig>>;
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
    ) -> Option<Arc<dyn NetworkFilterConfig>>;
}

impl<F: NetworkFilterFactory> AnyNetworkFilterFactory for F {
    fn compile_any(
        &self,
        config: Any,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        listener: ListenerFacts<'_>,
    ) -> Option<Arc<dyn NetworkFilterConfig>> {
        let message = cx.unpack(&config)?;
        drop(config);
        self.compile(message, cx, env, listener)
    }
}
