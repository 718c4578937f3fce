//! How a configuration message becomes a filter.

use super::HttpFilterConfig;
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::filters::http::router::v3::Router;
use prost::{Message, Name};
use prost_types::Any;
use std::any;
use std::sync::Arc;

/// What a factory makes of its message.
pub enum Compiled {
    /// A filter that passes on what it does not answer.
    Filter(Arc<dyn HttpFilterConfig>),
    /// The terminal filter, whose message the connection manager compiles.
    Router(Box<Router>),
}

/// Compiles one filter's messages. `None`: refused, and the reason is recorded in the context.
pub trait HttpFilterFactory: Send + Sync {
    /// The filter's configuration message; its full name is the registry's key.
    type Config: Message + Name + Default;
    /// What may stand in `typed_per_filter_config`; the configuration message itself where the filter has
    /// no other.
    type PerRoute: Message + Name + Default;

    /// Compiles the filter's configuration.
    fn compile(&self, config: Self::Config, cx: &CompileContext<'_>) -> Option<Compiled>;

    /// Compiles a route's own configuration of the filter. The default refuses it.
    fn compile_route(
        &self,
        config: Self::PerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn any::Any + Send + Sync>> {
        let _ = config;
        cx.error(format!("{} takes no configuration per route", Self::Config::full_name()));
        None
    }
}

/// A factory whose message types are erased: what the registry holds.
pub trait AnyHttpFilterFactory: Send + Sync {
    /// The configuration message's full name.
    fn config_type(&self) -> String;
    /// The per-route message's full name.
    fn route_type(&self) -> String;
    /// Unpacks and compiles a filter's configuration.
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Compiled>;
    /// Unpacks and compiles a route's configuration.
    fn compile_route_any(
        &self,
        config: &Any,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn any::Any + Send + Sync>>;
}

impl<F: HttpFilterFactory> AnyHttpFilterFactory for F {
    fn config_type(&self) -> String {
        F::Config::full_name()
    }

    fn route_type(&self) -> String {
        F::PerRoute::full_name()
    }

    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Compiled> {
        self.compile(cx.unpack(config)?, cx)
    }

    fn compile_route_any(
        &self,
        config: &Any,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn any::Any + Send + Sync>> {
        self.compile_route(cx.unpack(config)?, cx)
    }
}
