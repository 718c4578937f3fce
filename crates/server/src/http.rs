//! A small HTTP/1 server for what is not proxied: the admin port and the demo's upstreams.
//!
//! The proxy's own listener and connection manager do the reading, the writing, the logs and the stats; a
//! [`Responder`] stands in the router's place. One request is answered at a time, with the whole of its body
//! in memory on both sides.

use nuncio_core::access_log::AccessLogFactories;
use nuncio_core::address::Address;
use nuncio_core::config::{CompileContext, Sink, Unsupported};
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::registry::Table;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_downstream::hcm::answer::Responder;
use nuncio_downstream::hcm::{Hcm, HcmConfig};
use nuncio_downstream::listener::{Listener, ListenerConfig, Reachable};
use nuncio_downstream::network::ListenerFacts;
use nuncio_downstream::route::RouteFeeds;
use nuncio_downstream::tracing::{LiveTracers, Tracers};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::listen::{BindError, BoundSocket, ListenSpec, bind};
use nuncio_net::tls::TlsManager;
use nuncio_net::worker::Worker;
use nuncio_proto::pb::envoy::config::accesslog::v3::AccessLog;
use nuncio_proto::pb::envoy::config::core::v3::{Http1ProtocolOptions, HttpProtocolOptions};
use nuncio_proto::pb::envoy::config::route::v3::RouteConfiguration;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use nuncio_upstream::manager::{ClusterManager, ClusterSet, ClusterSetConfig};
use nuncio_upstream::retry_plugin::RetryPlugins;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes that may wait for a peer.
const BUFFER_LIMIT: u32 = 1 << 20;

/// A server's compiled shape.
#[derive(Clone)]
pub struct Site {
    listener: Arc<ListenerConfig>,
    manager: Arc<HcmConfig>,
    runtime: Runtime,
    lifecycle: Lifecycle,
}

impl Site {
    /// A server with the rules of Envoy's admin port: no timers, paths normalised, the peer's own address, no
    /// absolute URLs. `name` stands in its stats (`listener.NAME.`, `http.NAME.`); `logs` is the field
    /// `access_log` of `cx`. `None`: refused, with every reason recorded in `cx`.
    pub fn compile(
        name: &str,
        spec: ListenSpec,
        ignores_global_limit: bool,
        logs: Vec<AccessLog>,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Self> {
        let listener = ListenerConfig::own(name, spec, ignores_global_limit);
        let off = || Some(prost_types::Duration::default());
        let message = hcm::HttpConnectionManager {
            stat_prefix: name.to_owned(),
            route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(
                RouteConfiguration::default(),
            )),
            http_protocol_options: Some(Http1ProtocolOptions {
                allow_absolute_url: Some(false),
                ..Default::default()
            }),
            common_http_protocol_options: Some(HttpProtocolOptions {
                idle_timeout: off(),
                ..Default::default()
            }),
            access_log: logs,
            use_remote_address: Some(true),
            generate_request_id: Some(false),
            normalize_path: Some(true),
            merge_slashes: true,
            stream_idle_timeout: off(),
            delayed_close_timeout: off(),
            ..Default::default()
        };
        let facts = ListenerFacts {
            stat_prefix: listener.stat_prefix(),
            buffer_limit: BUFFER_LIMIT,
            outbound: false,
            bypasses_overload: true,
        };
        let manager = HcmConfig::compile(message, cx, env, facts)?;
        let (runtime, lifecycle) = Default::default();
        Some(Self { listener, manager: Arc::new(manager), runtime, lifecycle })
    }

    /// As [`compile`](Self::compile), without logs. `None`: its fixed message does not compile.
    pub fn plain(name: &str, address: Address) -> Option<Self> {
        let (runtime, sink) = (Runtime::default(), Sink::new(Unsupported::Refuse));
        let env = CompileEnv {
            http_filters: &Table::new(Vec::new()).ok()?,
            network_filters: &Table::new(Vec::new()).ok()?,
            listener_filters: &Table::default(),
            tls: &TlsManager::default(),
            access_logs: &AccessLogFactories::new(Table::new(Vec::new()).ok()?, runtime.clone()),
            runtime: &runtime,
            stats: &Registry::new(),
            route_feeds: &RouteFeeds::default(),
            retry_plugins: &RetryPlugins::default(),
            tracers: &Tracers::default(),
            default_tracer: None,
            cluster_exists: &|_| false,
            nearest_cluster: &|_| None,
            node_cluster: "",
            node_id: "",
            zone: "",
            internal_room: None,
            own_address: Ipv4Addr::LOCALHOST.into(),
        };
        Self::compile(
            name,
            ListenSpec::new(address),
            false,
            Vec::new(),
            &CompileContext::root(&sink, name, None),
            &env,
        )
    }

    /// Its connections count with those of the process, within the limits that the runtime sets.
    pub fn among(self, runtime: &Runtime, lifecycle: &Lifecycle) -> Self {
        // Its state is its own: it answers as before when the server is marked failed.
        Self { runtime: runtime.clone(), lifecycle: lifecycle.beside(), ..self }
    }

    /// Opens its port.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(&self) -> Result<BoundSocket, BindError> {
        let none = || BindError {
            address: self.listener.address.clone(),
            error: io::ErrorKind::AddrNotAvailable.into(),
        };
        bind(self.listener.listen_specs().first().ok_or_else(none)?, 1)?.pop().ok_or_else(none)
    }

    /// Accepts for ever on the thread of `worker`. Drop the future to stop accepting.
    ///
    /// # Errors
    /// The socket cannot be handed to the runtime.
    pub async fn serve(
        self,
        socket: BoundSocket,
        worker: Rc<Worker>,
        stats: &Registry,
        responder: Rc<dyn Responder>,
    ) -> io::Result<()> {
        let listener = Arc::clone(&self.listener);
        let manager = self.manager(worker, stats, responder);
        Listener::on_main_thread(listener, &Rc::clone(&manager.world), manager).run(socket).await
    }

    fn manager(self, worker: Rc<Worker>, stats: &Registry, responder: Rc<dyn Responder>) -> Rc<Hcm> {
        let Self { manager, runtime, lifecycle, .. } = self;
        let seat = ClusterSet::new(&ClusterSetConfig::default(), stats, &runtime).seat();
        let world = Rc::new(World {
            clusters: ClusterManager::new(&worker, seat),
            worker,
            lifecycle,
            stats: stats.clone(),
            runtime,
            node_cluster: "".into(),
            listeners: Reachable::default(),
            internal: Rc::default(),
            tracers: LiveTracers::default(),
        });
        Hcm::answering(manager, &world, responder)
    }
}

#[cfg(test)]
mod tests;
