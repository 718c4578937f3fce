//! `envoy.filters.network.sni_cluster`: a connection goes to the cluster that its SNI names.

use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::tcp_proxy::CLUSTER_STATE;
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster as Message;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::filter_state::Text;

/// Compiles the filter's message.
pub struct SniClusterFactory;

/// A compiled `SniCluster`.
struct SniClusterConfig;

struct SniCluster;

impl NetworkFilterFactory for SniClusterFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        _: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message {} = config;
        Some(CompiledFilter::Gate(Arc::new(SniClusterConfig)))
    }
}

impl NetworkGateConfig for SniClusterConfig {
    fn start(self: Arc<Self>, _: &Rc<World>) -> Rc<dyn NetworkGate> {
        Rc::new(SniCluster)
    }
}

impl NetworkGate for SniCluster {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        if let Some(name) = connection.requested_server_name.as_deref().filter(|n| !n.is_empty()) {
            connection.state.filter_state.set(CLUSTER_STATE, Rc::new(Text::new(name.to_owned())));
        }
        Box::pin(ready(Some(Passed { io, hold: None })))
    }
}
