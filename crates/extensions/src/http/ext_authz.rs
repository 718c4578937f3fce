//! `envoy.filters.http.ext_authz`: a service, over HTTP or gRPC, is asked whether a request may go on.

mod check;
mod compile;
mod permits;
mod service;
mod state;

use super::frame::{Framed, Live, cluster_of, compiled};
use super::query;
use compile::{Body, Route, Settings};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{FilterState, ResponseFlag};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::route;
use nuncio_proto::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use nuncio_proto::pb::envoy::extensions::filters::http::ext_authz::v3::{ExtAuthz, ExtAuthzPerRoute};
use nuncio_upstream::call::Caller;
use nuncio_upstream::cluster::Cluster;
use permits::Forbidden;
use prost_types::{Struct, Value, value::Kind};
use service::{Allowed, Asking, ForClient, Refusal, Verdict};
use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
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
        counter filter_state_name_collision,
        counter ignored_dynamic_metadata,
        counter invalid,
        counter ok,
        counter omitted_response_headers,
        counter request_header_limits_reached,
        counter response_header_limits_reached,
        counter shadow_denied,
        counter shadow_error,
    }
}

/// Compiles the filter's messages. This machine's address is what services over gRPC are told of us.
pub struct ExtAuthzFactory(pub Caller);

impl HttpFilterFactory for ExtAuthzFactory {
    type Config = ExtAuthz;
    type PerRoute = ExtAuthzPerRoute;

    fn compile(&self, message: ExtAuthz, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<AuthzFilter>(Settings::compile(message, &self.0, cx)?)
    }

    fn compile_route(
        &self,
        message: ExtAuthzPerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Route::compile(message, &self.0, cx)?))
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
    /// What routes say to a gRPC service, the most specific one first of all.
    context: BTreeMap<String, String>,
    /// Headers of the service's answer that go to the client.
    for_client: Vec<ForClient>,
    /// What it leaves in the filter state is called so; where it leaves nothing there is no name.
    name: Option<Box<str>>,
    /// How the question went, for logs.
    told: Option<Rc<state::Asked>>,
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
    type Stats = Scope<AuthzStats>;

    fn stat_prefix(settings: &Settings, hcm: &str) -> String {
        format!("{hcm}ext_authz.{}", settings.stat_infix)
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, says: RouteSays<'_>) -> Option<Self> {
        let route = Arc::clone(says.route?);
        let of_route = says.own::<Route>();
        if of_route.as_ref().is_some_and(|r| r.disabled) {
            return None;
        }
        let mut context = BTreeMap::new();
        for level in says.levels::<Route>().iter() {
            for (key, value) in &level.context {
                context.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        let name = (settings.keeps_state || settings.shadow).then(|| says.name.into());
        let (state, for_client, told) = (State::Idle, Vec::new(), None);
        Some(Self { live, settings, of_route, route, state, context, for_client, name, told })
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
    fn ask(&mut self, request: &mut Request<'_>, piece: Option<(&Piece, Body)>) -> Flow {
        if self.settings.keeps_state
            && let Some(name) = &self.name
        {
            match request.info.filter_state(name) {
                Some(_) => self.live.stats.filter_state_name_collision.inc(),
                None => {
                    let told = Rc::new(state::Asked::default());
                    request.info.set_filter_state(name.to_string(), Rc::clone(&told) as Rc<dyn FilterState>);
                    self.told = Some(told).filter(|_| self.settings.tells_logs);
                }
            }
        }
        let of_route = self.of_route.as_ref().and_then(|r| r.service.as_ref());
        let service = of_route.unwrap_or(&self.settings.service);
        let now = self.live.world.worker.now();
        let told = self.of_route.as_ref().and_then(|r| r.spans).unwrap_or(self.settings.spans);
        let context = (&self.context, told);
        let asking = service.ask(&self.live.world, &self.settings, request, context, piece);
        self.state = State::Asked(asking, now);
        Flow::Wait
    }

    /// The service has spoken, or did not.
    fn decide(&mut self, request: &mut Request<'_>, verdict: Verdict, asked: Instant) -> Flow {
        let cluster = self.cluster(request);
        let cluster = cluster.as_deref();
        match verdict {
            Verdict::Ok(mut allowed) => {
                if let Err(Forbidden) = self.settings.permits.check(&mut allowed) {
                    return self.invalid(cluster);
                }
                self.live.stats.ok.inc();
                self.count(cluster, "ok");
                if self.settings.shadow {
                    self.would_decide(request, "OK", 200, Vec::new());
                }
                self.allow(request, *allowed, asked);
                Flow::Continue
            }
            Verdict::Denied(refusal) => self.deny(request, refusal, cluster),
            Verdict::Error(refusal) => self.fail(request, refusal, cluster),
        }
    }

    /// The request may not go on.
    fn deny(&self, request: &mut Request<'_>, refusal: Refusal, cluster: Option<&Cluster>) -> Flow {
        self.live.stats.denied.inc();
        self.count(cluster, "denied");
        if let Some(cluster) = cluster.filter(|_| self.settings.charges_cluster) {
            cluster.stats().upstream_rq.inc(refusal.status);
            cluster.stats().external_upstream_rq.inc(refusal.status);
        }
        if let Err(Forbidden) = self.settings.permits.check_refusal(&refusal) {
            return self.invalid(cluster);
        }
        if !self.settings.shadow {
            return self.refuse_as(request, refusal, "ext_authz_denied");
        }
        self.live.stats.shadow_denied.inc();
        self.ingest(request, refusal.metadata);
        self.would_decide(request, "DENIED", refusal.status, refusal.headers);
        Flow::Continue
    }

    /// There was no answer that means anything.
    fn fail(&self, request: &mut Request<'_>, refusal: Option<Refusal>, cluster: Option<&Cluster>) -> Flow {
        self.live.stats.error.inc();
        self.count(cluster, "error");
        let usual = self.settings.status_on_error;
        if self.settings.shadow {
            self.live.stats.shadow_error.inc();
            let status = refusal.map_or(usual, |refusal| refusal.status);
            self.would_decide(request, "ERROR", status, Vec::new());
            return Flow::Continue;
        }
        if !self.settings.allows_failures {
            return match refusal {
                None => self.refuse(usual, "ext_authz_error"),
                Some(refusal) => self.refuse_as(request, refusal, "ext_authz_error"),
            };
        }
        self.live.stats.failure_mode_allowed.inc();
        self.count(cluster, "failure_mode_allowed");
        if self.settings.tells_of_failures {
            request.head.headers.append("x-envoy-auth-failure-mode-allowed", b"true");
        }
        Flow::Continue
    }

    /// Says in the filter state what would have been decided.
    fn would_decide(
        &self,
        request: &mut Request<'_>,
        result: &'static str,
        status: u16,
        headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    ) {
        let name = self.name.as_deref().unwrap_or_default();
        let decision = state::Decision { result, status, headers };
        request.info.set_filter_state(format!("{name}.shadow"), Rc::new(decision));
    }

    /// The service asked for what it may not.
    fn invalid(&self, cluster: Option<&Cluster>) -> Flow {
        self.live.stats.invalid.inc();
        self.count(cluster, "invalid");
        self.refuse(500, "ext_authz_invalid")
    }

    /// Answers as the service says.
    fn refuse_as(&self, request: &mut Request<'_>, refusal: Refusal, details: &'static str) -> Flow {
        let Refusal { status, headers, body, metadata } = refusal;
        self.ingest(request, metadata);
        let mut reply = LocalReply::new(status, details)
            .with_flag(ResponseFlag::UnauthorizedExternalService)
            .with_body(ReplyBody::Owned(body));
        reply.headers = headers;
        reply.headers.retain(|(name, _)| {
            !(name.starts_with(':')
                || matches!(&**name, "content-length" | "transfer-encoding" | "connection"))
        });
        Flow::Reply(reply)
    }

    /// Takes over what the service says as dynamic metadata.
    fn ingest(&self, request: &mut Request<'_>, metadata: Struct) {
        if metadata.fields.is_empty() {
            return;
        }
        match self.settings.ingests {
            true => request.info.set_dynamic_metadata(NAMESPACE, metadata),
            false => self.live.stats.ignored_dynamic_metadata.inc(),
        }
    }

    fn refuse(&self, status: u16, details: &'static str) -> Flow {
        let flag = ResponseFlag::UnauthorizedExternalService;
        Flow::Reply(LocalReply::new(status, details).with_flag(flag))
    }

    /// Whether a response that came from an upstream has outgrown what that one's may be.
    fn outgrows(&self, response: &Response<'_>) -> bool {
        let upstream = response.info.upstream.cluster.as_ref();
        let Some(cluster) = upstream.and_then(|info| self.live.world.clusters.get(&info.name)) else {
            return false;
        };
        let limits = &cluster.config().http.h1.limits;
        let headers = &response.head.headers;
        // The status counts as a header.
        headers.len() + 1 > limits.max_headers as usize
            || headers.byte_size() + ":status200".len() > limits.max_head_bytes as usize
    }

    /// The request goes on, changed as the service says.
    fn allow(&mut self, request: &mut Request<'_>, allowed: Allowed, asked: Instant) {
        *request.reroute |= allowed.changes() && self.settings.clears_route;
        let Allowed { set, append, join, remove, query_set, query_remove, for_client, mut metadata } =
            allowed;
        let headers = &mut request.head.headers;
        for (name, value) in &set {
            headers.set(header_name(name), value);
        }
        for (name, value) in &append {
            headers.append(header_name(name), value);
        }
        for (name, value) in &join {
            if let Some(old) = headers.get(header_name(name)) {
                let joined = [old, b",", value].concat();
                headers.set(header_name(name), &joined);
            }
        }
        for name in &remove {
            headers.remove(&**name);
        }
        if !(query_set.is_empty() && query_remove.is_empty()) {
            query::rewrite(request.head, &query_set, &query_remove);
        }
        self.for_client = for_client;
        if !metadata.fields.is_empty() {
            let took = self.live.world.worker.now().saturating_duration_since(asked).as_millis() as f64;
            let took = Value { kind: Some(Kind::NumberValue(took)) };
            metadata.fields.insert("ext_authz_duration".to_owned(), took);
        }
        self.ingest(request, metadata);
    }
}

/// The name of a header as heads have it.
fn header_name(name: &str) -> &str {
    if name == "host" { ":authority" } else { name }
}

impl HttpFilter for AuthzFilter {
    fn sees_bodies(&self) -> bool {
        self.body().is_some()
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        let runtime = &self.live.world.runtime;
        let metadata = request.info.dynamic_metadata();
        let enabled = self.settings.enabled.as_ref().is_none_or(|f| f.enabled(runtime, request.info.random))
            && self.settings.enabled_metadata.as_ref().is_none_or(|m| m.matches(metadata));
        if !enabled {
            self.live.stats.disabled.inc();
            if self.settings.denies_when_disabled.is_on(runtime) {
                let status = self.settings.status_on_error;
                if !self.settings.shadow {
                    return self.refuse(status, "ext_authz_error");
                }
                self.live.stats.shadow_denied.inc();
                request.info.flags.set(ResponseFlag::UnauthorizedExternalService);
                self.would_decide(request, "DENIED", status, Vec::new());
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
        let ((verdict, bytes), asked) = (ready!(asking.as_mut().poll(cx)), *asked);
        if let Some(told) = &self.told {
            told.ended(self.live.world.worker.since(asked), bytes);
        }
        self.state = State::Idle;
        Poll::Ready(self.decide(request, verdict, asked))
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        if self.for_client.is_empty() {
            return Flow::Continue;
        }
        let headers = &mut response.head.headers;
        for (name, value, action) in self.for_client.drain(..) {
            let there = headers.contains(&*name);
            match action {
                HeaderAppendAction::AddIfAbsent if there => {}
                HeaderAppendAction::OverwriteIfExists if !there => {}
                HeaderAppendAction::OverwriteIfExists | HeaderAppendAction::OverwriteIfExistsOrAdd => {
                    headers.set(&*name, &value);
                }
                HeaderAppendAction::AddIfAbsent | HeaderAppendAction::AppendIfExistsOrAdd => {
                    headers.append(&*name, &value);
                }
            }
        }
        if self.settings.limits_responses && self.outgrows(response) {
            self.live.stats.response_header_limits_reached.inc();
            return self.refuse(500, "ext_authz_invalid");
        }
        Flow::Continue
    }
}
