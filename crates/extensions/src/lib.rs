//! The extensions that nuncio has: leaves, one file each. This file is the only list of them; the key of each
//! is the full name of its configuration message.

pub mod access_log;
mod filter_state;
pub mod http;
pub mod listener;
pub mod network;
mod rbac;
pub mod retry;
mod token_bucket;
pub mod tracers;

use crate::http::local_ratelimit::LocalClusterKnown;
use nuncio_core::access_log::AnyAccessLogFactory;
use nuncio_core::registry::{DuplicateFactory, Table};
use nuncio_downstream::filter::AnyHttpFilterFactory;
use nuncio_downstream::hcm::HcmFactory;
use nuncio_downstream::listener::AnyListenerFilterFactory;
use nuncio_downstream::network::AnyNetworkFilterFactory;
use nuncio_downstream::tcp_proxy::TcpProxyFactory;
use nuncio_downstream::tracing::AnyTracerFactory;
use nuncio_net::log_files::LogFiles;
use nuncio_upstream::call::Caller;
use nuncio_upstream::dns_cache::DnsCaches;
use nuncio_upstream::retry_plugin::{AnyRetryPluginFactory, RetryHostPredicate, RetryPlugins, RetryPriority};
use std::sync::Arc;

/// Access logs, sorted by message name; `files` is where their lines go.
///
/// # Errors
/// Two factories of one message.
pub fn access_logs(files: &Arc<LogFiles>) -> Result<Table<dyn AnyAccessLogFactory>, DuplicateFactory> {
    use access_log::{FileAccessLogFactory, StderrAccessLogFactory, StdoutAccessLogFactory};
    let files = || Arc::clone(files);
    Table::new(vec![
        (
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            Box::new(FileAccessLogFactory(files())) as Box<dyn AnyAccessLogFactory>,
        ),
        (
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
            Box::new(StderrAccessLogFactory(files())),
        ),
        (
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            Box::new(StdoutAccessLogFactory(files())),
        ),
    ])
}

/// HTTP filters, sorted by message name; `dns_caches` are those that clusters share with them, `own` is what
/// their own requests have in common, `local_cluster` says whether there is one.
///
/// # Errors
/// Two factories of one message.
pub fn http_filters(
    dns_caches: &DnsCaches,
    own: &Caller,
    local_cluster: &LocalClusterKnown,
) -> Result<Table<dyn AnyHttpFilterFactory>, DuplicateFactory> {
    Table::new(vec![
        (
            "envoy.extensions.filters.http.buffer.v3.Buffer",
            Box::new(http::buffer::BufferFactory) as Box<dyn AnyHttpFilterFactory>,
        ),
        ("envoy.extensions.filters.http.cdn_loop.v3.CdnLoopConfig", Box::new(http::cdn_loop::CdnLoopFactory)),
        (
            "envoy.extensions.filters.http.compressor.v3.Compressor",
            Box::new(http::compressor::CompressorFactory),
        ),
        ("envoy.extensions.filters.http.cors.v3.Cors", Box::new(http::cors::CorsFactory)),
        ("envoy.extensions.filters.http.csrf.v3.CsrfPolicy", Box::new(http::csrf::CsrfFactory)),
        (
            "envoy.extensions.filters.http.custom_response.v3.CustomResponse",
            Box::new(http::custom_response::CustomResponseFactory),
        ),
        (
            "envoy.extensions.filters.http.decompressor.v3.Decompressor",
            Box::new(http::decompressor::DecompressorFactory),
        ),
        (
            "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
            Box::new(http::dynamic_forward_proxy::DynamicForwardProxyFactory(dns_caches.clone())),
        ),
        (
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            Box::new(http::ext_authz::ExtAuthzFactory(own.clone())),
        ),
        ("envoy.extensions.filters.http.fault.v3.HTTPFault", Box::new(http::fault::FaultFactory)),
        (
            "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
            Box::new(http::grpc_http1_bridge::GrpcHttp1BridgeFactory),
        ),
        (
            "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
            Box::new(http::grpc_stats::GrpcStatsFactory),
        ),
        ("envoy.extensions.filters.http.grpc_web.v3.GrpcWeb", Box::new(http::grpc_web::GrpcWebFactory)),
        (
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            Box::new(http::header_mutation::HeaderMutationFactory),
        ),
        (
            "envoy.extensions.filters.http.header_to_metadata.v3.Config",
            Box::new(http::header_to_metadata::HeaderToMetadataFactory),
        ),
        (
            "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            Box::new(http::health_check::HealthCheckFactory),
        ),
        (
            "envoy.extensions.filters.http.ip_tagging.v3.IPTagging",
            Box::new(http::ip_tagging::IpTaggingFactory),
        ),
        (
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            Box::new(http::jwt_authn::JwtAuthnFactory(own.clone())),
        ),
        (
            "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            Box::new(http::local_ratelimit::LocalRateLimitFactory(local_cluster.clone())),
        ),
        ("envoy.extensions.filters.http.on_demand.v3.OnDemand", Box::new(http::on_demand::OnDemandFactory)),
        ("envoy.extensions.filters.http.rbac.v3.RBAC", Box::new(http::rbac::RbacFactory)),
        ("envoy.extensions.filters.http.router.v3.Router", Box::new(http::router::RouterFactory)),
        (
            "envoy.extensions.filters.http.set_filter_state.v3.Config",
            Box::new(http::set_filter_state::SetFilterStateFactory),
        ),
        (
            "envoy.extensions.filters.http.set_metadata.v3.Config",
            Box::new(http::set_metadata::SetMetadataFactory),
        ),
        (
            "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
            Box::new(http::stateful_session::StatefulSessionFactory),
        ),
    ])
}

/// Listener filters, sorted by message name.
///
/// # Errors
/// Two factories of one message.
pub fn listener_filters() -> Result<Table<dyn AnyListenerFilterFactory>, DuplicateFactory> {
    Table::new(vec![
        (
            "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
            Box::new(listener::http_inspector::HttpInspectorFactory) as Box<dyn AnyListenerFilterFactory>,
        ),
        (
            "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
            Box::new(listener::local_ratelimit::LocalRateLimitFactory),
        ),
        (
            "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
            Box::new(listener::original_dst::OriginalDstFactory),
        ),
        (
            "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            Box::new(listener::proxy_protocol::ProxyProtocolFactory),
        ),
        (
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            Box::new(listener::tls_inspector::TlsInspectorFactory),
        ),
    ])
}

/// Network filters, sorted by message name.
///
/// # Errors
/// Two factories of one message.
pub fn network_filters() -> Result<Table<dyn AnyNetworkFilterFactory>, DuplicateFactory> {
    Table::new(vec![
        (
            "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
            Box::new(network::connection_limit::ConnectionLimitFactory) as Box<dyn AnyNetworkFilterFactory>,
        ),
        (
            "envoy.extensions.filters.network.direct_response.v3.Config",
            Box::new(network::direct_response::DirectResponseFactory),
        ),
        ("envoy.extensions.filters.network.echo.v3.Echo", Box::new(network::echo::EchoFactory)),
        (
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            Box::new(HcmFactory),
        ),
        (
            "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
            Box::new(network::local_ratelimit::LocalRateLimitFactory::default()),
        ),
        ("envoy.extensions.filters.network.rbac.v3.RBAC", Box::new(network::rbac::RbacFactory)),
        (
            "envoy.extensions.filters.network.set_filter_state.v3.Config",
            Box::new(network::set_filter_state::SetFilterStateFactory),
        ),
        (
            "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
            Box::new(network::sni_cluster::SniClusterFactory),
        ),
        ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", Box::new(TcpProxyFactory)),
    ])
}

/// Plug-ins for retries, each list sorted by message name.
///
/// # Errors
/// Two factories of one message.
pub fn retry_plugins() -> Result<RetryPlugins, DuplicateFactory> {
    type HostPredicate = Box<dyn AnyRetryPluginFactory<dyn RetryHostPredicate>>;
    type Priority = Box<dyn AnyRetryPluginFactory<dyn RetryPriority>>;
    Ok(RetryPlugins {
        host_predicates: Table::new(vec![
            (
                "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
                Box::new(retry::omit_canary_hosts::OmitCanaryHostsFactory) as HostPredicate,
            ),
            (
                "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
                Box::new(retry::omit_host_metadata::OmitHostMetadataFactory),
            ),
            (
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                Box::new(retry::previous_hosts::PreviousHostsFactory),
            ),
        ])?,
        priorities: Table::new(vec![(
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            Box::new(retry::previous_priorities::PreviousPrioritiesFactory) as Priority,
        )])?,
    })
}

/// Providers of traces, sorted by message name; `version` is what exports say of this program.
///
/// # Errors
/// Two factories of one message.
pub fn tracers(version: &str) -> Result<Table<dyn AnyTracerFactory>, DuplicateFactory> {
    Table::new(vec![
        (
            "envoy.config.trace.v3.OpenTelemetryConfig",
            Box::new(tracers::opentelemetry::OpenTelemetryFactory(version.into()))
                as Box<dyn AnyTracerFactory>,
        ),
        ("envoy.config.trace.v3.ZipkinConfig", Box::new(tracers::zipkin::ZipkinFactory)),
    ])
}
