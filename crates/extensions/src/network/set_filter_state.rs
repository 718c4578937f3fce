//! `envoy.filters.network.set_filter_state`: objects of the filter state that are there from a connection's start.

use crate::filter_state::Objects;
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::{ConnectionInfo, StreamInfo};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::network::set_filter_state::v3::Config as Message;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct SetFilterStateFactory;

/// A compiled `set_filter_state.v3.Config`.
struct SetFilterStateConfig(Objects);

impl NetworkFilterFactory for SetFilterStateFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message { on_new_connection } = config;
        let objects = Objects::compile(on_new_connection, cx, "on_new_connection")?;
        Some(CompiledFilter::Gate(Arc::new(SetFilterStateConfig(objects))))
    }
}

struct SetFilterState {
    config: Arc<SetFilterStateConfig>,
    world: Rc<World>,
}

impl NetworkGateConfig for SetFilterStateConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate> {
        Rc::new(SetFilterState { config: self, world: Rc::clone(world) })
    }
}

impl NetworkGate for SetFilterState {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        let worker = &self.world.worker;
        let random = worker.rng().next();
        let info = StreamInfo::new(connection.accepted, worker.wall(), Rc::clone(&connection), random);
        let context = header_context(&info, worker, worker.now());
        for object in self.config.0.iter() {
            if let Some(made) = object.make(&context) {
                connection.state.filter_state.set(&object.key, made);
            }
        }
        Box::pin(ready(Some(Passed { io, hold: None })))
    }
}
