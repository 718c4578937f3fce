//! `envoy.filters.http.header_mutation`: changes headers, trailers and query parameters, one change after another.

mod query;

use super::frame::{Framed, Live, compiled};
use nuncio_core::config::CompileContext;
use nuncio_core::format::FormatContext;
use nuncio_core::header::{OrderedMutations, Side};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Levels, Piece, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_proto::pb::envoy::extensions::filters::http::header_mutation::v3 as pb;
use query::QueryMutations;
use std::any::Any;
use std::iter;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's messages.
pub struct HeaderMutationFactory;

impl HttpFilterFactory for HeaderMutationFactory {
    type Config = pb::HeaderMutation;
    type PerRoute = pb::HeaderMutationPerRoute;

    fn compile(&self, message: pb::HeaderMutation, cx: &CompileContext<'_>) -> Option<Compiled> {
        let pb::HeaderMutation { mutations, most_specific_header_mutations_wins } = message;
        let mutations = Mutations::compile(mutations.unwrap_or_default(), &cx.field("mutations"))?;
        let most_specific_last = most_specific_header_mutations_wins;
        compiled::<MutationFilter>(Settings { mutations, most_specific_last })
    }

    fn compile_route(
        &self,
        message: pb::HeaderMutationPerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let pb::HeaderMutationPerRoute { mutations } = message;
        Some(Arc::new(Mutations::compile(mutations.unwrap_or_default(), &cx.field("mutations"))?))
    }
}

struct Settings {
    mutations: Mutations,
    /// `most_specific_header_mutations_wins`: the route's changes come after those of the levels above it.
    most_specific_last: bool,
}

/// The changes of one level.
struct Mutations {
    request: OrderedMutations,
    response: OrderedMutations,
    query: QueryMutations,
    request_trailers: OrderedMutations,
    response_trailers: OrderedMutations,
}

impl Mutations {
    fn compile(message: pb::Mutations, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Mutations {
            request_mutations,
            response_mutations,
            query_parameter_mutations,
            response_trailers_mutations,
            request_trailers_mutations,
        } = message;
        let list = |list: &[_], field| OrderedMutations::compile(list, cx, field);
        let query = QueryMutations::compile(&query_parameter_mutations, cx, "query_parameter_mutations");
        Some(Self {
            request: list(&request_mutations, "request_mutations")?,
            response: list(&response_mutations, "response_mutations")?,
            query: query?,
            request_trailers: list(&request_trailers_mutations, "request_trailers_mutations")?,
            response_trailers: list(&response_trailers_mutations, "response_trailers_mutations")?,
        })
    }
}

impl Mutations {
    /// Whether they change nothing.
    fn is_empty(&self) -> bool {
        self.request.is_empty()
            && self.response.is_empty()
            && self.query.is_empty()
            && !self.changes_trailers()
    }

    fn changes_trailers(&self) -> bool {
        !(self.request_trailers.is_empty() && self.response_trailers.is_empty())
    }
}

/// One stream's filter.
struct MutationFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// What the route's levels change behind the filter's own changes, most specific first.
    levels: Levels<Mutations>,
}

impl Framed for MutationFilter {
    type Settings = Settings;
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}header_mutation.")
    }

    fn is_upstream_too(_: &Settings) -> bool {
        true
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, route: RouteSays<'_>) -> Option<Self> {
        let filter = Self { live, settings, levels: route.levels() };
        let changes = filter.all().any(|level| !level.is_empty());
        changes.then_some(filter)
    }
}

impl MutationFilter {
    /// All changes, in the order in which they are made.
    fn all(&self) -> impl Iterator<Item = &Mutations> {
        let last = self.settings.most_specific_last;
        let (upward, downward) =
            (last.then(|| self.levels.iter().rev()), (!last).then(|| self.levels.iter()));
        let own = iter::once(&self.settings.mutations);
        own.chain(upward.into_iter().flatten()).chain(downward.into_iter().flatten())
    }
}

impl HttpFilter for MutationFilter {
    fn sees_bodies(&self) -> bool {
        self.all().any(Mutations::changes_trailers)
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let worker = &self.live.world.worker;
        for level in self.all() {
            let cx = header_context(request.info, worker, worker.now());
            level.request.apply_request(request.head, &cx);
            level.query.apply(request.head, &cx);
        }
        Flow::Continue
    }

    fn decode_trailers(&mut self, request: &mut Request<'_>, _: &mut Piece) -> Flow {
        let worker = &self.live.world.worker;
        for level in self.all().filter(|level| !level.request_trailers.is_empty()) {
            let cx = header_context(request.info, worker, worker.now());
            let cx = FormatContext { request: Some(&request.head.headers), ..cx };
            level.request_trailers.apply_trailers(request.trailers, Side::Request, &cx);
        }
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        let worker = &self.live.world.worker;
        for level in self.all() {
            let cx = header_context(response.info, worker, worker.now());
            let cx = FormatContext { request: Some(&response.request.headers), ..cx };
            level.response.apply_response(response.head, &cx);
        }
        Flow::Continue
    }

    fn encode_trailers(&mut self, response: &mut Response<'_>, _: &mut Piece) -> Flow {
        let worker = &self.live.world.worker;
        for level in self.all().filter(|level| !level.response_trailers.is_empty()) {
            let cx = header_context(response.info, worker, worker.now());
            let of_response = Some((&response.head.headers, response.head.status));
            let cx = FormatContext { request: Some(&response.request.headers), response: of_response, ..cx };
            level.response_trailers.apply_trailers(response.trailers, Side::Response, &cx);
        }
        Flow::Continue
    }
}
