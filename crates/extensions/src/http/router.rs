//! `envoy.filters.http.router`: the terminal filter, which lives in `downstream::router`.

use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{Compiled, HttpFilterFactory};
use nuncio_proto::pb::envoy::extensions::filters::http::router::v3::Router;

/// Hands the router's message on.
pub struct RouterFactory;

impl HttpFilterFactory for RouterFactory {
    type Config = Router;
    type PerRoute = Router;

    fn compile(&self, config: Router, _: &CompileContext<'_>) -> Option<Compiled> {
        Some(Compiled::Router(Box::new(config)))
    }
}
