//! The router's own configuration.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::filters::http::router::v3::Router;

/// A compiled `envoy.extensions.filters.http.router.v3.Router`.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The router neither adds nor honours `x-envoy-` headers.
    pub suppress_envoy_headers: bool,
    /// Responses are counted by code in the cluster's stats.
    pub dynamic_stats: bool,
}

impl RouterConfig {
    /// Compiles the message.
    pub fn compile(message: Router, _cx: &CompileContext<'_>) -> Self {
        let Router { suppress_envoy_headers, dynamic_stats } = message;
        Self { suppress_envoy_headers, dynamic_stats: dynamic_stats.unwrap_or(true) }
    }
}
