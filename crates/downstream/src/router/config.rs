//! The router's own configuration.

use super::upstream_filters;
use super::upstream_log::UpstreamLog;
use crate::filter::ChainConfig;
use crate::world::CompileEnv;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::filters::http::router::v3::Router;
use nuncio_upstream::retry_on::RetryOn;
use std::sync::Arc;

/// A compiled `envoy.extensions.filters.http.router.v3.Router`.
pub struct RouterConfig {
    /// The router neither adds nor honours `x-envoy-` headers.
    pub suppress_envoy_headers: bool,
    /// Responses are counted by code in the cluster's stats.
    pub dynamic_stats: bool,
    /// `x-envoy-expected-rq-timeout-ms` of the request is its time limit and goes on as it came.
    pub respect_expected_rq_timeout: bool,
    /// Each attempt has a span of its own (`start_child_span`).
    pub start_child_span: bool,
    /// Of gRPC requests, the cluster counts no codes by name (`suppress_grpc_request_failure_code_stats`).
    pub suppress_grpc_codes: bool,
    /// `upstream_log`; none where it is empty.
    pub upstream_log: Option<Arc<UpstreamLog>>,
    /// `upstream_http_filters`, where there are any but the codec.
    pub upstream_filters: Option<Arc<ChainConfig>>,
    /// What comes for a CONNECT before it is granted has it refused (`reject_connect_request_early_data`).
    pub rejects_early_data: bool,
    /// Steering headers whose malformed values are refused.
    pub strict_check_headers: Box<[Known]>,
}

impl RouterConfig {
    /// Compiles the message.
    pub fn compile(message: Router, cx: &CompileContext<'_>, env: &CompileEnv<'_>) -> Option<Self> {
        let Router {
            suppress_envoy_headers,
            dynamic_stats,
            respect_expected_rq_timeout,
            strict_check_headers,
            start_child_span,
            suppress_grpc_request_failure_code_stats,
            upstream_log,
            upstream_log_options,
            upstream_http_filters,
            reject_connect_request_early_data,
        } = message;
        let log = UpstreamLog::compile(&upstream_log, upstream_log_options, cx, env.access_logs);
        let filters =
            upstream_filters::compile(upstream_http_filters, cx, "upstream_http_filters", env.http_filters);
        Some(Self {
            suppress_envoy_headers,
            dynamic_stats: dynamic_stats.unwrap_or(true),
            respect_expected_rq_timeout,
            start_child_span,
            rejects_early_data: reject_connect_request_early_data.unwrap_or_default(),
            suppress_grpc_codes: suppress_grpc_request_failure_code_stats,
            upstream_log: log?.map(Arc::new),
            upstream_filters: filters?.map(Arc::new),
            // The constraints name the five that are possible.
            strict_check_headers: strict_check_headers
                .iter()
                .map(|name| Known::find(name.as_bytes()))
                .collect(),
        })
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
