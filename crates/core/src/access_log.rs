//! Access logs: what every sink is, which entries reach it, and where factories are found.

mod filter;

pub use filter::LogFilter;

use crate::config::CompileContext;
use crate::format::FormatContext;
use crate::registry::Table;
use crate::runtime::Runtime;
use nuncio_proto::pb::envoy::config::accesslog::v3 as pb;
use prost::{Message, Name};
use prost_types::Any;
use std::fmt;
use std::sync::Arc;

/// A sink of access-log entries, shared by all workers.
pub trait AccessLog: fmt::Debug + Send + Sync {
    /// Takes one entry, on the thread of worker number `worker` (0 is the first; any number beyond the last worker
    /// is the main thread). Never blocks for long.
    fn log(&self, cx: &FormatContext<'_>, worker: usize);
}

/// Makes sinks of one kind.
pub trait AccessLogFactory: Send + Sync {
    /// The configuration message; its full name is the registry's key.
    type Config: Message + Name + Default;

    /// Compiles a sink. `None`: refused, and the reason is recorded in `cx`.
    fn compile(&self, config: Self::Config, cx: &CompileContext<'_>) -> Option<Arc<dyn AccessLog>>;
}

/// A factory whose message type is erased.
pub trait AnyAccessLogFactory: Send + Sync {
    /// Unpacks and compiles.
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Arc<dyn AccessLog>>;
}

impl<F: AccessLogFactory> AnyAccessLogFactory for F {
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Arc<dyn AccessLog>> {
        self.compile(cx.unpack(config)?, cx)
    }
}

/// Every kind of access log that is built, and what compiling them needs.
pub struct AccessLogFactories {
    table: Table<dyn AnyAccessLogFactory>,
    runtime: Runtime,
}

impl AccessLogFactories {
    /// `runtime` is what the filters of the logs read.
    pub fn new(table: Table<dyn AnyAccessLogFactory>, runtime: Runtime) -> Self {
        Self { table, runtime }
    }

    /// The table, for listings.
    pub fn table(&self) -> &Table<dyn AnyAccessLogFactory> {
        &self.table
    }

    /// Compiles the list that stands in field `field` of `cx`. `None`: refused, and every reason is recorded.
    pub fn compile(
        &self,
        list: &[pb::AccessLog],
        cx: &CompileContext<'_>,
        field: &str,
    ) -> Option<Vec<Arc<dyn AccessLog>>> {
        let logs: Vec<_> = list
            .iter()
            .enumerate()
            .filter_map(|(i, log)| self.compile_one(log, &cx.item(field, i)))
            .collect();
        (logs.len() == list.len()).then_some(logs)
    }

    fn compile_one(&self, message: &pb::AccessLog, cx: &CompileContext<'_>) -> Option<Arc<dyn AccessLog>> {
        let pb::AccessLog { name, filter, config_type } = message;
        let Some(pb::access_log::ConfigType::TypedConfig(config)) = config_type else {
            cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
            return None;
        };
        let Some(factory) = self.table.get(&config.type_url) else {
            let text = format!(
                "Didn't find a registered implementation for '{name}' with type URL: '{}'",
                config.type_url
            );
            cx.field("typed_config").error(text);
            return None;
        };
        let log = factory.compile_any(config, &cx.field("typed_config"));
        match filter {
            None => log,
            Some(filter) => {
                let filter = LogFilter::compile(filter, &cx.field("filter"), &self.runtime);
                Some(Arc::new(Filtered { filter: filter?, log: log? }))
            }
        }
    }
}

/// A sink behind a filter.
#[derive(Debug)]
struct Filtered {
    filter: LogFilter,
    log: Arc<dyn AccessLog>,
}

impl AccessLog for Filtered {
    fn log(&self, cx: &FormatContext<'_>, worker: usize) {
        if self.filter.passes(cx) {
            self.log.log(cx, worker);
        }
    }
}
