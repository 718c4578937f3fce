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
use std::future::{Future, poll_fn};
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
    /// Without a handshake it is over at once.
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
        let mut info = StreamInfo::new(connection.accepted, worker.wall(), Rc::clone(connection), random);
        info.be_connection();
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
        let SetFilterStateConfig { on_new_connection: _, on_handshake, on_data } = &*self.config;
        let (waits_for_handshake, waits_for_data) = (!on_handshake.is_empty(), !on_data.is_empty());
        let io = match waits_for_handshake || waits_for_data {
            false => io,
            true => {
                let (handshake, data) = (Cell::new(waits_for_handshake), Cell::new(waits_for_data));
                Box::new(Later { io, filter: self, connection, handshake, data })
            }
        };
        Box::pin(async move {
            if waits_for_handshake {
                // Where there is none it is over now.
                let _ = poll_fn(|cx| Poll::Ready(ByteStream::poll_open(&io, cx))).await;
            }
            Some(Passed { io, hold: None })
        })
    }
}

/// A connection with objects that are still to be set: behind its handshake, and before the first of the client's bytes,
/// or their end, is given on.
struct Later {
    io: Box<dyn ByteStream>,
    filter: Rc<SetFilterState>,
    connection: Rc<ConnectionInfo>,
    handshake: Cell<bool>,
    data: Cell<bool>,
}

impl Later {
    /// Sets what waits for the handshake, where that is over.
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Ok(_))) && self.handshake.take() {
            self.filter.set(&self.filter.config.on_handshake, &self.connection);
        }
        polled
    }
}

impl Layer for Later {
    fn beneath(&self) -> &dyn ByteStream {
        &*self.io
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note(self.beneath().poll_open(cx))
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note(self.beneath().poll_read_ready(cx))
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.note(self.beneath().poll_read(cx, buf));
        if matches!(read, Poll::Ready(Ok(()))) && self.data.take() {
            self.filter.set(&self.filter.config.on_data, &self.connection);
        }
        read
    }
}
