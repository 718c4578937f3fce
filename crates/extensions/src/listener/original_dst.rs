//! `envoy.filters.listener.original_dst`: where a redirected connection was going.

use nuncio_core::config::CompileContext;
use nuncio_downstream::listener::{
    Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory, MakeListenerFilter, SocketFacts,
};
use nuncio_downstream::world::World;
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst as Message;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct OriginalDstFactory;

/// A compiled `OriginalDst`.
struct OriginalDstConfig;

impl ListenerFilterFactory for OriginalDstFactory {
    type Config = Message;

    fn compile(&self, config: Message, _cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message {} = config;
        Some(Arc::new(OriginalDstConfig))
    }
}

impl ListenerFilterConfig for OriginalDstConfig {
    fn start(self: Arc<Self>, _world: &Rc<World>) -> MakeListenerFilter {
        Box::new(|| Box::new(OriginalDst))
    }
}

/// Asks the kernel about one connection.
struct OriginalDst;

impl ListenerFilter for OriginalDst {
    fn inspect(&mut self, _: &[u8], facts: &mut SocketFacts, io: &dyn ByteStream) -> Inspected {
        if let Some(address) = io.original_destination() {
            facts.local = address;
        }
        Inspected::Done { consumed: 0 }
    }
}
