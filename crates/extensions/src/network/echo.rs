//! `envoy.filters.network.echo`: what a client says comes back.

use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_downstream::listener::Draining;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilter, NetworkFilterConfig, NetworkFilterFactory,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::{ByteStream, poll_read_vec, poll_write_all};
use nuncio_proto::pb::envoy::extensions::filters::network::echo::v3::Echo as Message;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct EchoFactory;

/// A compiled `Echo`.
struct EchoConfig;

struct Echo {
    world: Rc<World>,
}

impl NetworkFilterFactory for EchoFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        _: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message {} = config;
        Some(CompiledFilter::Serving(Arc::new(EchoConfig)))
    }
}

impl NetworkFilterConfig for EchoConfig {
    fn start(self: Arc<Self>, world: &Rc<World>, _: &Rc<Draining>) -> Rc<dyn NetworkFilter> {
        Rc::new(Echo { world: Rc::clone(world) })
    }
}

impl NetworkFilter for Echo {
    fn serve(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        _: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let buffers = self.world.worker.buffers();
            // Without a buffer while the client is silent.
            while poll_fn(|cx| io.poll_read_ready(cx)).await.is_ok() {
                let mut buffer = buffers.take();
                let read = poll_fn(|cx| poll_read_vec(&*io, cx, &mut buffer)).await;
                let mut at = 0;
                let said = matches!(read, Ok(n) if n > 0)
                    && poll_fn(|cx| poll_write_all(&*io, cx, &buffer, &mut at)).await.is_ok();
                buffers.give(buffer);
                if !said {
                    return;
                }
            }
        })
    }
}
