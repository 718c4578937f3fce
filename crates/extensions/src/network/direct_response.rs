//! `envoy.filters.network.direct_response`: every connection gets the same bytes, and is closed.

use nuncio_core::config::{CompileContext, data_source};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_downstream::listener::Draining;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilter, NetworkFilterConfig, NetworkFilterFactory,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::{ByteStream, poll_read_vec, poll_write_all};
use nuncio_net::timer::within;
use nuncio_proto::pb::envoy::extensions::filters::network::direct_response::v3::Config as Message;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A client that still speaks is heard for so long, so that the kernel does not reset what it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// Compiles the filter's message.
pub struct DirectResponseFactory;

/// A compiled `direct_response.v3.Config`.
struct DirectResponseConfig {
    response: Box<[u8]>,
}

struct DirectResponse(Arc<DirectResponseConfig>);

impl NetworkFilterFactory for DirectResponseFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message { response } = config;
        let response = match response {
            Some(source) if source.specifier.is_some() => data_source(&source, &cx.field("response"))?,
            _ => Vec::new(),
        };
        Some(CompiledFilter::Serving(Arc::new(DirectResponseConfig { response: response.into() })))
    }
}

impl NetworkFilterConfig for DirectResponseConfig {
    fn start(self: Arc<Self>, _: &Rc<World>, _: &Rc<Draining>) -> Rc<dyn NetworkFilter> {
        Rc::new(DirectResponse(self))
    }
}

impl NetworkFilter for DirectResponse {
    fn serve(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        _: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let mut at = 0;
            let written = poll_fn(|cx| poll_write_all(&*io, cx, &self.0.response, &mut at)).await;
            if written.is_err() || poll_fn(|cx| io.poll_shutdown(cx)).await.is_err() {
                return;
            }
            let discard = async {
                let mut buffer = Vec::with_capacity(4096);
                while let Ok(1..) = poll_fn(|cx| poll_read_vec(&*io, cx, &mut buffer)).await {
                    buffer.clear();
                }
            };
            within(Some(LINGER), discard).await;
        })
    }
}
