//! nuncio extensions.

pub mod access_log;

use nuncio_core::access_log::AnyAccessLogFactory;
use nuncio_core::registry::{DuplicateFactory, Table};
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
