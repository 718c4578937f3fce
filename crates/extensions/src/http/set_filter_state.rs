//! `envoy.filters.http.set_filter_state`: objects of the filter state that requests give their streams.

use super::frame::{Framed, Live, compiled};
use crate::filter_state::Objects;
use nuncio_core::config::CompileContext;
use nuncio_core::format::FormatContext;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_proto::pb::envoy::extensions::filters::http::set_filter_state::v3::Config;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct SetFilterStateFactory;

impl HttpFilterFactory for SetFilterStateFactory {
    type Config = Config;
    type PerRoute = Config;

    fn compile(&self, message: Config, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<SetFilterState>(Settings::compile(message, cx)?)
    }

    fn compile_route(&self, message: Config, cx: &CompileContext<'_>) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Settings::compile(message, cx)?))
    }
}

/// What the filter makes, or a level of the routes.
struct Settings {
    objects: Objects,
    /// `clear_route_cache`.
    reroutes: bool,
}

impl Settings {
    fn compile(message: Config, cx: &CompileContext<'_>) -> Option<Self> {
        let Config { on_request_headers, clear_route_cache } = message;
        let objects = Objects::compile(on_request_headers, cx, "on_request_headers")?;
        Some(Self { objects, reroutes: clear_route_cache })
    }

    fn does_something(&self) -> bool {
        self.reroutes || !self.objects.is_empty()
    }
}

/// One stream's filter.
struct SetFilterState {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// What the route adds behind it.
    of_route: Option<Arc<Settings>>,
}

impl Framed for SetFilterState {
    type Settings = Settings;
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}set_filter_state.")
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, route: RouteSays<'_>) -> Option<Self> {
        let of_route = route.own::<Settings>();
        let sets =
            [Some(&settings), of_route.as_ref()].into_iter().flatten().any(|level| level.does_something());
        sets.then_some(Self { live, settings, of_route })
    }
}

impl HttpFilter for SetFilterState {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let worker = &self.live.world.worker;
        for level in [Some(&self.settings), self.of_route.as_ref()].into_iter().flatten() {
            for object in level.objects.iter() {
                let context = header_context(request.info, worker, worker.now());
                let context = FormatContext { request: Some(&request.head.headers), ..context };
                if let Some(made) = object.make(&context) {
                    request.info.set_filter_state(object.key.to_string(), made);
                }
            }
            *request.reroute |= level.reroutes;
        }
        Flow::Continue
    }
}
