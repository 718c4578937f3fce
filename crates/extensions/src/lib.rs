//! The extensions that nuncio has: leaves, one file each. This file is the only list of them; the key of each
//! is the full name of its configuration message.

pub mod access_log;
pub mod http;

use nuncio_core::access_log::AnyAccessLogFactory;
use nuncio_core::registry::{DuplicateFactory, Table};
use nuncio_downstream::filter::AnyHttpFilterFactory;
use nuncio_downstream::hcm::HcmFactory;
use nuncio_downstream::network::AnyNetworkFilterFactory;
use std::sync::Arc;

/// Access logs, sorted by message name; `files` is where their lines go.
///
/// # Errors
/// Two factories of one message.
pub fn access_logs(
    files: &Arc<access_log::LogFiles>,
) -> Result<Table<dyn AnyAccessLogFactory>, DuplicateFactory> {
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

/// HTTP filters, sorted by message name.
///
/// # Errors
/// Two factories of one message.
pub fn http_filters() -> Result<Table<dyn AnyHttpFilterFactory>, DuplicateFactory> {
    Table::new(vec![
        (
            "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            Box::new(http::health_check::HealthCheckFactory) as Box<dyn AnyHttpFilterFactory>,
        ),
        ("envoy.extensions.filters.http.router.v3.Router", Box::new(http::router::RouterFactory)),
    ])
}

/// Network filters, sorted by message name.
///
/// # Errors
/// Two factories of one message.
pub fn network_filters() -> Result<Table<dyn AnyNetworkFilterFactory>, DuplicateFactory> {
    Table::new(vec![(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        Box::new(HcmFactory) as Box<dyn AnyNetworkFilterFactory>,
    )])
}
