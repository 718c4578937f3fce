//! What one worker offers to everything downstream, and what compiling needs from the server.

use crate::filter::AnyHttpFilterFactory;
use crate::listener::{AnyListenerFilterFactory, Reachable};
use crate::network::AnyNetworkFilterFactory;
use crate::route::RouteFeeds;
use crate::tracing::{LiveTracers, TracerConfig, Tracers};
use nuncio_core::access_log::AccessLogFactories;
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::registry::Table;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_net::tls::TlsManager;
use nuncio_net::worker::Worker;
use nuncio_upstream::manager::ClusterManager;
use nuncio_upstream::pool::InternalListeners;
use nuncio_upstream::retry_plugin::RetryPlugins;
use std::rc::Rc;
use std::sync::Arc;

/// One worker's surroundings.
pub struct World {
    /// The worker: clock, chance, buffers, tasks.
    pub worker: Rc<Worker>,
    /// The worker's clusters.
    pub clusters: Rc<ClusterManager>,
    /// The server's state.
    pub lifecycle: Lifecycle,
    /// Where stats are registered.
    pub stats: Registry,
    /// Runtime keys.
    pub runtime: Runtime,
    /// `node.cluster` of the bootstrap.
    pub node_cluster: Arc<str>,
    /// The worker's listeners by address.
    pub listeners: Reachable,
    /// Those of them that have no socket, by name: what its clusters connect to.
    pub internal: Rc<InternalListeners>,
    /// The worker's tracers.
    pub tracers: LiveTracers,
}

/// What compiling a listener needs to know beyond its message.
pub struct CompileEnv<'a> {
    /// HTTP filters by the full name of their configuration message.
    pub http_filters: &'a Table<dyn AnyHttpFilterFactory>,
    /// Network filters by the full name of their configuration message.
    pub network_filters: &'a Table<dyn AnyNetworkFilterFactory>,
    /// Listener filters by the full name of their configuration message.
    pub listener_filters: &'a Table<dyn AnyListenerFilterFactory>,
    /// TLS secrets and contexts.
    pub tls: &'a TlsManager,
    /// Access logs by the full name of their configuration message.
    pub access_logs: &'a AccessLogFactories,
    /// Route configurations that are subscribed to.
    pub route_feeds: &'a RouteFeeds,
    /// What may be plugged into retries.
    pub retry_plugins: &'a RetryPlugins,
    /// Providers of traces.
    pub tracers: &'a Tracers,
    /// The provider of connection managers whose `tracing` names none (the bootstrap's `tracing`).
    pub default_tracer: Option<&'a Arc<dyn TracerConfig>>,
    /// Whether a cluster of that name is configured.
    pub cluster_exists: &'a dyn Fn(&str) -> bool,
    /// The configured cluster whose name is most like this one, where one is.
    pub nearest_cluster: &'a dyn Fn(&str) -> Option<String>,
    /// Runtime keys.
    pub runtime: &'a Runtime,
    /// Where stats are registered.
    pub stats: &'a Registry,
    /// `node.cluster`, for `add_user_agent`.
    pub node_cluster: &'a str,
    /// `node.id`, for `add_user_agent`.
    pub node_id: &'a str,
    /// `node.locality.zone`
    pub zone: &'a str,
    /// Bytes that a connection to an internal listener holds in each direction; none where there are no internal
    /// listeners (`envoy.bootstrap.internal_listener`).
    pub internal_room: Option<usize>,
    /// This machine's first address that is not loopback.
    pub own_address: std::net::IpAddr,
}
