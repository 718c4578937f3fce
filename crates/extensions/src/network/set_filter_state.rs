//! `envoy.filters.network.set_filter_state`: objects of the filter state that are there from a connection's start.

use crate::filter_state::Objects;
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::{ConnectionInfo, StreamInfo};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::{ByteStream, Layer, ReadBuf};
use nuncio_proto::pb::envoy::extensions::filters::network::set_filter_state::v3::Config as Message;
use std::cell::Cell;
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Compiles the filter's message.
pub struct SetFilterStateFactory;

/// A compiled `set_filter_state.v3.Config`.
struct SetFilterStateConfig {
    on_new_connection: Objects,
    /// Where there is a handshake, it is over when a connection comes to its filters.
    on_handshake: Objects,
    on_data: Objects,
}

impl NetworkFilterFactory for SetFilterStateFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message { on_new_connection, on_downstream_tls_handshake, on_downstream_data } = config;
        let on_new_connection = Objects::compile(on_new_connection, cx, "on_new_connection");
        let on_handshake = Objects::compile(on_downstream_tls_handshake, cx, "on_downstream_tls_handshake");
        let on_data = Objects::compile(on_downstream_data, cx, "on_downstream_data");
        Some(CompiledFilter::Gate(Arc::new(SetFilterStateConfig {
            on_new_connection: on_new_connection?,
            on_handshake: on_handshake?,
            on_data: on_data?,
        })))
    }
}

impl NetworkGateConfig for SetFilterStateConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate> {
        Rc::new(SetFilterState { config: self, world: Rc::clone(world) })
    }
}

struct SetFilterState {
    config: Arc<SetFilterStateConfig>,
    world: Rc<World>,
}

impl SetFilterState {
    fn set(&self, objects: &Objects, connection: &Rc<ConnectionInfo>) {
        let worker = &self.world.worker;
        let random = worker.rng().next();
        let info = StreamInfo::new(connection.accepted, worker.wall(), Rc::clone(connection), random);
        let context = header_context(&info, worker, worker.now());
        for object in objects.iter() {
            if let Some(made) = object.make(&context) {
                connection.state.filter_state.set(&object.key, made);
            }
        }
    }
}

impl NetworkGate for SetFilterState {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        self.set(&self.config.on_new_connection, &connection);
        self.set(&self.config.on_handshake, &connection);
        let io = match self.config.on_data.is_empty() {
            true => io,
            false => Box::new(FirstRead { io, waiting: Cell::new(Some((self, connection))) }),
        };
        Box::pin(ready(Some(Passed { io, hold: None })))
    }
}

/// A client's bytes: before the first of them, or their end, is given on, objects are set.
struct FirstRead {
    io: Box<dyn ByteStream>,
    waiting: Cell<Option<(Rc<SetFilterState>, Rc<ConnectionInfo>)>>,
}

impl Layer for FirstRead {
    fn beneath(&self) -> &dyn ByteStream {
        &*self.io
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.beneath().poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(())))
            && let Some((filter, connection)) = self.waiting.take()
        {
            filter.set(&filter.config.on_data, &connection);
        }
        read
    }
}
