//! `envoy.filters.http.custom_response`: answers of the configuration's own take the place of those that a matcher tree
//! finds, the upstream's and the proxy's alike.

mod local;
mod redirect;

use super::frame::{Framed, Live, compiled};
use local::Local;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::format::FormatContext;
use nuncio_core::matcher::tree::{MatcherTree, Vocabulary};
use nuncio_core::matcher::{HttpFacts, HttpInput};
use nuncio_core::stats::Scope;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Levels, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_downstream::route::RouteTable;
use nuncio_proto::pb::envoy::extensions::filters::http::custom_response::v3::CustomResponse;
use nuncio_proto::pb::envoy::extensions::http::custom_response::local_response_policy::v3::LocalResponsePolicy;
use nuncio_proto::pb::envoy::extensions::http::custom_response::redirect_policy::v3::RedirectPolicy;
use prost::Name;
use prost_types::Any;
use redirect::{Redirect, RedirectStats};
use std::any;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct CustomResponseFactory;

impl HttpFilterFactory for CustomResponseFactory {
    type Config = CustomResponse;
    type PerRoute = CustomResponse;

    fn compile(&self, message: CustomResponse, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<Filter>(Settings::compile(message, false, cx)?)
    }

    fn compile_route(
        &self,
        message: CustomResponse,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn any::Any + Send + Sync>> {
        Some(Arc::new(Settings::compile(message, true, cx)?))
    }
}

/// A compiled `CustomResponse`, of the filter or of a level of its routes.
struct Settings {
    policies: Option<MatcherTree<HttpInput, Policy>>,
    /// One of them needs the routes.
    redirects: bool,
    /// It is a route's, whose redirects Envoy counts without a prefix.
    of_route: bool,
}

impl Settings {
    fn compile(message: CustomResponse, of_route: bool, cx: &CompileContext<'_>) -> Option<Self> {
        let CustomResponse { custom_response_matcher } = message;
        let words = Words::default();
        let policies = match custom_response_matcher {
            None => None,
            Some(tree) => Some(MatcherTree::compile(tree, &words, &cx.field("custom_response_matcher"))?),
        };
        Some(Self { policies, redirects: words.redirects.get(), of_route })
    }

    /// What its redirects count, where it has some.
    fn stats(&self, live: &Live<Filter>) -> Option<Rc<Scope<RedirectStats>>> {
        let scope = || if self.of_route { live.cluster_scope("") } else { live.below("") };
        self.redirects.then(scope)
    }

    /// What stands for a response, where something does.
    fn find(&self, facts: &HttpFacts<'_>) -> Option<&Policy> {
        self.policies.as_ref()?.find(&|input| input.value(facts))
    }
}

/// What stands for a response.
#[derive(Debug)]
enum Policy {
    Local(Box<Local>),
    Redirect(Arc<Redirect>),
}

/// The inputs and actions of the filter.
#[derive(Default)]
struct Words {
    /// There was a `RedirectPolicy`.
    redirects: Cell<bool>,
}

impl Vocabulary for Words {
    type Input = HttpInput;
    type Action = Policy;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        let input = HttpInput::compile(any, cx)?;
        if input.is_none() {
            cx.unsupported(format!("the matching input {} is not built", any.type_url));
        }
        input
    }

    fn action(&self, _: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Policy> {
        match type_name(&any.type_url) {
            kind if kind == LocalResponsePolicy::full_name() => {
                Local::compile(cx.unpack(any)?, cx).map(|local| Policy::Local(Box::new(local)))
            }
            kind if kind == RedirectPolicy::full_name() => {
                self.redirects.set(true);
                Redirect::compile(cx.unpack(any)?, cx).map(Policy::Redirect)
            }
            _ => {
                cx.unsupported(format!("the policy {} is not built", any.type_url));
                None
            }
        }
    }
}

/// One stream's filter.
struct Filter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// The route's, most specific first.
    levels: Levels<Settings>,
    /// Where a redirect leads, in the routes that hold for the stream; `None` where there is no redirect.
    table: Option<Arc<RouteTable>>,
    /// It has seen the request.
    asked: bool,
}

impl Framed for Filter {
    type Settings = Settings;
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        hcm.into()
    }

    fn start(live: &Live<Self>) {
        live.settings.stats(live);
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, says: RouteSays<'_>) -> Option<Self> {
        let mut filter = Self { live, settings, levels: says.levels(), table: None, asked: false };
        // With a level's first stream its stats are there.
        let redirects = filter.all().filter(|level| level.stats(&filter.live).is_some()).count() > 0;
        filter.table = says.table.filter(|_| redirects).map(Arc::clone);
        Some(filter)
    }
}

impl Filter {
    /// The levels, most specific first: the filter's own settings are the last.
    fn all(&self) -> impl Iterator<Item = &Settings> {
        self.levels.iter().chain([&*self.settings])
    }
}

impl HttpFilter for Filter {
    fn decode_headers(&mut self, _: &mut Request<'_>, _: bool) -> Flow {
        self.asked = true;
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        let world = &self.live.world;
        if redirect::finish(response, world) {
            return Flow::Continue;
        }
        let Response { head, request, info, .. } = &mut *response;
        let facts = HttpFacts { response: Some(head), ..HttpFacts::request(request, info) };
        let found = self.all().find_map(|level| Some((level, level.find(&facts)?)));
        match (found, &self.table) {
            (Some((_, Policy::Local(local))), _) => {
                let formats = FormatContext {
                    request: Some(&request.headers),
                    response: Some((&head.headers, head.status)),
                    ..header_context(info, &world.worker, world.worker.now())
                };
                Flow::Reply(local.answer(head, info, &formats))
            }
            (Some((level, Policy::Redirect(redirect))), Some(table)) if self.asked => {
                let Some(stats) = level.stats(&self.live) else { return Flow::Continue };
                redirect.follow(response, table, world, &stats)
            }
            _ => Flow::Continue,
        }
    }
}
