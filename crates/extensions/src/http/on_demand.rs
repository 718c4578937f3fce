//! `envoy.filters.http.on_demand`: asks for virtual hosts and clusters that are fetched when they are wanted. Neither is
//! built, and where all of them are there from the start Envoy's filter lets everything pass, too.

use super::frame::{Framed, Live, compiled, of_route};
use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{Compiled, HttpFilter, HttpFilterFactory, RouteSays};
use nuncio_proto::pb::envoy::extensions::filters::http::on_demand::v3::{OnDemand, PerRouteConfig};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's messages.
pub struct OnDemandFactory;

impl HttpFilterFactory for OnDemandFactory {
    type Config = OnDemand;
    type PerRoute = PerRouteConfig;

    fn compile(&self, OnDemand {}: OnDemand, _: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<Passes>(())
    }

    fn compile_route(
        &self,
        PerRouteConfig {}: PerRouteConfig,
        _: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        of_route(())
    }
}

/// It has no part in any stream.
struct Passes;

impl HttpFilter for Passes {}

impl Framed for Passes {
    type Settings = ();
    type Stats = ();

    fn stat_prefix(_: &(), hcm: &str) -> String {
        format!("{hcm}on_demand.")
    }

    fn make(_: Rc<Live<Self>>, _: Arc<()>, _: RouteSays<'_>) -> Option<Self> {
        None
    }
}
