//! `envoy.filters.http.ext_authz`: an HTTP service is asked whether a request may go on.

mod compile;
mod service;

use super::frame::{Framed, Live, cluster_of, compiled};
use compile::{Body, Route, Settings};
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::route;
use nuncio_proto::pb::envoy::extensions::filters::http::ext_authz::v3::{ExtAuthz, ExtAuthzPerRoute};
use nuncio_upstream::cluster::Cluster;
use prost_types::{Struct, Value, value::Kind};
use service::{Allowed, Asking, Verdict};
use std::any::Any;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// The namespace of its dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

nuncio_core::stats_block! {
    /// What the filter counts, below `http.PREFIX.ext_authz.`.
    pub(super) struct AuthzStats {
        counter denied,
        counter disabled,
        counter error,
        counter failure_mode_allowed,
        counter ignored_dynamic_metadata,
        counter invalid,
        counter ok,
    }
}

/// Compiles the filter's messages.
pub struct ExtAuthzFactory;

impl HttpFilterFactory for ExtAuthzFactory {
    type Config = ExtAuthz;
    type PerRoute = ExtAuthzPerRoute;

    fn compile(&self, message: ExtAuthz, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<AuthzFilter>(Settings::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: ExtAuthzPerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Route::compile(message, cx)?))
    }
}

/// One stream's filter.
struct AuthzFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// What the route says apart.
    of_route: Option<Arc<Route>>,
    /// The cluster that the route leads to, which answers are counted for.
    route: Arc<route::Route>,
    state: State,
    /// Headers of the service's answer that go to the client.
    for_client: Vec<(Box<str>, Vec<u8>)>,
}

/// Where a request is.
enum State {
    /// It has not come, or needs not ask.
    Idle,
    /// Its body is gathered, for the service to see.
    Gathers(Body),
    /// The service was asked.
    Asked(Pin<Box<Asking>>, Instant),
}

impl Framed for AuthzFilter {
    type Settings = Settings;
    type Stats = AuthzStats;

    fn stat_prefix(settings: &Settings, hcm: &str) -> String {
        format!("{hcm}ext_authz.{}", settings.stat_infix)
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(
        live: Rc<Live<Self>>,
        settings: Arc<Settings>,
        says: RouteSays<'_>,
    ) -> Option<Box<dyn HttpFilter>> {
        let route = Arc::clone(says.route?);
        let of_route = says.own::<Route>();
        if of_route.as_ref().is_some_and(|r| r.disabled) {
            return None;
        }
        Some(Box::new(Self { live, settings, of_route, route, state: State::Idle, for_client: Vec::new() }))
    }
}

impl AuthzFilter {
    /// The cluster that the request would go to.
    fn cluster(&self, request: &Request<'_>) -> Option<Rc<Cluster>> {
        cluster_of(&self.live.world, &self.route, request.head)
    }

    /// Counts what became of the request for the cluster that it would go to.
    fn count(&self, cluster: Option<&Cluster>, what: &str) {
        if let Some(cluster) = cluster {
            let infix = &self.settings.stat_infix;
            self.live.count(&format!("{}ext_authz.{infix}{what}", cluster.stat_prefix()));
        }
    }

    fn body(&self) -> Option<Body> {
        match self.of_route.as_deref() {
            Some(route) if route.no_body => None,
            Some(Route { body: Some(body), .. }) => Some(*body),
            _ => self.settings.body,
        }
    }

    /// Asks the service; `piece` is what is there of the body where that is gathered.
    fn ask(&mut self, request: &Request<'_>, piece: Option<(&Piece, Body)>) -> Flow {
        let of_route = self.of_route.as_ref().and_then(|r| r.service.as_ref());
        let service = Arc::clone(of_route.unwrap_or(&self.settings.service));
        let now = self.live.world.worker.now();
        let asking = service.ask(&self.live.world, &self.settings, request.head, piece);
        self.state = State::Asked(Box::pin(asking), now);
        Flow::Wait
    }

    /// The service has spoken, or did not.
    fn decide(&mut self, request: &mut Request<'_>, verdict: Verdict, asked: Instant) -> Flow {
        let cluster = self.cluster(request);
        let cluster = cluster.as_deref();
        match verdict {
            Verdict::Ok(allowed) => {
                self.live.stats.ok.inc();
                self.count(cluster, "ok");
                self.allow(request, allowed, asked);
                Flow::Continue
            }
            Verdict::Denied { status, headers, body } => {
                self.live.stats.denied.inc();
                self.count(cluster, "denied");
                if let Some(cluster) = cluster.filter(|_| self.settings.charges_cluster) {
                    cluster.stats().upstream_rq.inc(status);
                    cluster.stats().external_upstream_rq.inc(status);
                }
                let mut reply = LocalReply::new(status, "ext_authz_denied")
                    .with_flag(ResponseFlag::UnauthorizedExternalService)
                    .with_body(ReplyBody::Owned(body));
                reply.headers = headers;
                Flow::Reply(reply)
            }
            Verdict::Error => {
                self.live.stats.error.inc();
                self.count(cluster, "error");
                if !self.settings.allows_failures {
                    return self.refuse(self.settings.status_on_error);
                }
                self.live.stats.failure_mode_allowed.inc();
                self.count(cluster, "failure_mode_allowed");
                if self.settings.tells_of_failures {
                    request.head.headers.set("x-envoy-auth-failure-mode-allowed", b"true");
                }
                Flow::Continue
            }
        }
    }

    fn refuse(&self, status: u16) -> Flow {
        let flag = ResponseFlag::UnauthorizedExternalService;
        Flow::Reply(LocalReply::new(status, "ext_authz_error").with_flag(flag))
    }

    /// The request goes on, changed as the service says.
    fn allow(&mut self, request: &mut Request<'_>, allowed: Allowed, asked: Instant) {
        let headers = &mut request.head.headers;
        let changes = !(allowed.set.is_empty() && allowed.append.is_empty() && allowed.remove.is_empty());
        *request.reroute |= changes && self.settings.clears_route;
        for (name, value) in &allowed.set {
            headers.set(&**name, value);
        }
        for (name, value) in &allowed.append {
            if headers.contains(&**name) {
                headers.append(&**name, value);
            }
        }
        for name in &allowed.remove {
            headers.remove(&**name);
        }
        self.for_client = allowed.for_client;
        if !allowed.metadata.is_empty() {
            let took = self.live.world.worker.now().saturating_duration_since(asked).as_millis() as f64;
            let text = |value: Vec<u8>| Kind::StringValue(String::from_utf8_lossy(&value).into_owned());
            let mut fields: std::collections::BTreeMap<String, Value> = allowed
                .metadata
                .into_iter()
                .map(|(name, value)| (name.into(), Value { kind: Some(text(value)) }))
                .collect();
            let took = Value { kind: Some(Kind::NumberValue(took)) };
            fields.insert("ext_authz_duration".to_owned(), took);
            request.info.set_dynamic_metadata(NAMESPACE, Struct { fields });
        }
    }
}

impl HttpFilter for AuthzFilter {
    fn sees_bodies(&self) -> bool {
        self.body().is_some()
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        let runtime = &self.live.world.runtime;
        if !self.settings.enabled.as_ref().is_none_or(|f| f.enabled(runtime, request.info.random)) {
            self.live.stats.disabled.inc();
            if self.settings.denies_when_disabled.is_on(runtime) {
                return self.refuse(self.settings.status_on_error);
            }
            return Flow::Continue;
        }
        match self.body().filter(|_| !end_stream) {
            None => self.ask(request, None),
            Some(body) => {
                if !body.partial {
                    *request.limit = body.most;
                }
                self.state = State::Gathers(body);
                Flow::Buffer
            }
        }
    }

    fn decode_data(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        let State::Gathers(body) = self.state else { return Flow::Continue };
        let fits = piece.data.len() <= body.most;
        if piece.end_stream && (fits || body.partial) || body.partial && piece.data.len() >= body.most {
            return self.ask(request, Some((piece, body)));
        }
        Flow::Buffer
    }

    fn decode_trailers(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        match self.state {
            State::Gathers(body) => self.ask(request, Some((piece, body))),
            _ => Flow::Continue,
        }
    }

    fn poll_decode(&mut self, request: &mut Request<'_>, _: &mut Piece, cx: &mut Context<'_>) -> Poll<Flow> {
        let State::Asked(asking, asked) = &mut self.state else { return Poll::Pending };
        let (verdict, asked) = (ready!(asking.as_mut().poll(cx)), *asked);
        self.state = State::Idle;
        Poll::Ready(self.decide(request, verdict, asked))
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        for (name, value) in self.for_client.drain(..) {
            response.head.headers.append(&*name, &value);
        }
        Flow::Continue
    }
}
