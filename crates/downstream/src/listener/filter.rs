//! Listener filters: what looks at a connection's first bytes before its filter chain is chosen.

use super::SocketFacts;
use crate::world::World;
use nuncio_core::config::CompileContext;
use nuncio_net::stream::ByteStream;
use prost::{Message, Name};
use prost_types::Any;
use std::rc::Rc;
use std::sync::Arc;

/// A compiled listener filter, shared by all workers.
pub trait ListenerFilterConfig: Send + Sync {
    /// One worker's live form of it.
    fn start(self: Arc<Self>, world: &Rc<World>) -> MakeListenerFilter;
}

/// Makes what looks at one connection.
pub type MakeListenerFilter = Box<dyn Fn() -> Box<dyn ListenerFilter>>;

/// A look at one connection.
pub trait ListenerFilter {
    /// Looks at what has come so far, at first nothing. It is called again with more only after [`Inspected::More`].
    /// It never reads from `io`, which tells of the socket.
    fn inspect(&mut self, bytes: &[u8], facts: &mut SocketFacts, io: &dyn ByteStream) -> Inspected;
}

/// What a listener filter says of a connection's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// It has to see more.
    More,
    /// It is done; so many bytes are its own and nobody else's.
    Done {
        /// Bytes that are taken off the front.
        consumed: usize,
    },
    /// The connection is to be closed.
    Close,
}

/// Compiles a listener filter's message. `None`: refused, and the reason is recorded in the context.
pub trait ListenerFilterFactory: Send + Sync {
    /// The filter's configuration message; its full name is the registry's key.
    type Config: Message + Name + Default;

    /// Compiles the configuration.
    fn compile(&self, config: Self::Config, cx: &CompileContext<'_>)
    -> Option<Arc<dyn ListenerFilterConfig>>;
}

/// A factory whose message type is erased: what the registry holds.
pub trait AnyListenerFilterFactory: Send + Sync {
    /// Unpacks and compiles a configuration.
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>>;
}

impl<F: ListenerFilterFactory> AnyListenerFilterFactory for F {
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        self.compile(cx.unpack(config)?, cx)
    }
}
