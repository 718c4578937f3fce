//! The router's own configuration.

use super::retry::RetryOn;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::filters::http::router::v3::Router;

/// A compiled `envoy.extensions.filters.http.router.v3.Router`.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The router neither adds nor honours `x-envoy-` headers.
    pub suppress_envoy_headers: bool,
    /// Responses are counted by code in the cluster's stats.
    pub dynamic_stats: bool,
    /// `x-envoy-expected-rq-timeout-ms` of the request is its time limit and goes on as it came.
    pub respect_expected_rq_timeout: bool,
    /// Each attempt has a span of its own (`start_child_span`).
    pub start_child_span: bool,
    /// Steering headers whose malformed values are refused.
    pub strict_check_headers: Box<[Known]>,
}

impl RouterConfig {
    /// Compiles the message.
    pub fn compile(message: Router, _cx: &CompileContext<'_>) -> Self {
        let Router {
            suppress_envoy_headers,
            dynamic_stats,
            respect_expected_rq_timeout,
            strict_check_headers,
            start_child_span,
        } = message;
        Self {
            suppress_envoy_headers,
            dynamic_stats: dynamic_stats.unwrap_or(true),
            respect_expected_rq_timeout,
            start_child_span,
            // The constraints name the five that are possible.
            strict_check_headers: strict_check_headers
                .iter()
                .map(|name| Known::find(name.as_bytes()))
                .collect(),
        }
    }

    /// The first header of `headers` that `strict_check_headers` names and that is malformed.
    pub fn malformed(&self, headers: &HeaderMap) -> Option<Known> {
        self.strict_check_headers.iter().copied().find(|&name| {
            let Some(value) = headers.get(name) else { return false };
            let good = match name {
                Known::XEnvoyRetryOn => RetryOn::names_conditions(value),
                Known::XEnvoyRetryGrpcOn => RetryOn::names_grpc_conditions(value),
                _ => std::str::from_utf8(value).is_ok_and(|v| v.trim().parse::<u64>().is_ok()),
            };
            !good
        })
    }
}
