//! From a request's head to the router: policy, route, upgrade and filters, and who answers where the way ends
//! before.

use super::filtered::Filtered;
use super::{BadHead, End, Stream};
use crate::explain::CONNECTION_MANAGER;
use crate::hcm::Hcm;
use crate::hcm::answer;
use crate::hcm::exchange::{Downstream, DownstreamError};
use crate::hcm::local_reply::LocalReply;
use crate::hcm::normalize::Refusal;
use crate::hcm::policy::Outcome;
use crate::hcm::stream_limits;
use crate::hcm::upgrade::{self, Verdict};
use crate::route::{Action, Found, MatchContext, PeerCertificate, Route};
use crate::router;
use crate::why;
use nuncio_codec::head::{Known, RequestHead, ResponseHead};
use nuncio_core::cel::virtual_host_wanted;
use nuncio_core::clock::Clock;
use nuncio_core::format::{LogType, route_time_wanted};
use nuncio_core::runtime::Runtime;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

/// Whether the path had a fragment, which is now gone: the feature that refuses such paths may be switched off.
#[cold]
fn drops_fragment(request: &mut RequestHead, runtime: &Runtime) -> bool {
    let path = request.path();
    let Some(bare) = path.iter().position(|b| *b == b'#').and_then(|at| path.get(..at)) else { return false };
    if runtime.boolean("envoy.reloadable_features.http_reject_path_with_fragment", true) {
        return false;
    }
    let bare = bare.to_vec();
    request.headers.set(Known::Path, &bare);
    true
}

impl<D: Downstream> Stream<D> {
    /// Serves a request whose head is whole.
    pub(crate) async fn serve(&mut self) -> End {
        let hcm = Rc::clone(&self.hcm);
        let worker = &hcm.world.worker;
        if let Some(overload) = &hcm.overload
            && overload.refuses_request(worker.rng())
        {
            return self.shed().await;
        }
        // Whatever becomes of the request.
        if self.heads.request.headers.contains(Known::Expect) && !hcm.config.proxy_100_continue {
            self.answer_expect();
        }
        let request = &mut self.heads.request;
        // Envoy looks once for a route, for requests that it refuses too.
        self.info.route_resolutions = 1;
        let policy = &hcm.config.policy;
        let mut outcome = match self.again {
            None => policy.on_request(request, &mut self.info, worker.rng()),
            Some(_) => policy.on_redirected(request, &mut self.info),
        };
        if let Outcome::Refuse(_) = outcome
            && drops_fragment(request, &hcm.world.runtime)
        {
            outcome = policy.on_request(request, &mut self.info, worker.rng());
        }
        if let Outcome::Refuse(refusal) = outcome {
            return self.refused(refusal).await;
        }
        if let Some(scope) = hcm.scope(&self.heads.request.headers) {
            self.routing = scope;
        }
        if let Some(responder) = &hcm.responder {
            return answer::serve(self, &**responder).await;
        }
        if let Some(script) = self.down.script() {
            script.stage(CONNECTION_MANAGER, self.hcm.config.places.whole().place, &self.heads.request);
        }
        self.find_route(&hcm);
        if let Some(tracing) = &hcm.config.tracing {
            let (headers, again) = (&mut self.heads.request.headers, self.again.is_some());
            self.operation = tracing.begin(&hcm, headers, &mut self.info, self.route.as_ref(), again);
            if let Some(script) = self.down.script() {
                script.traced(tracing.told(&hcm, &self.info, self.route.as_deref()));
            }
        }
        if hcm.config.log_times.on_new_request {
            router::name_cluster(self);
            self.info.bytes = self.down.bytes();
            self.log(LogType::DownstreamStart, self.now());
        }
        let config = &hcm.config;
        let chain = match upgrade::requested(&self.heads.request.headers) {
            None => &config.chain,
            Some(kind) => {
                let route = self.route.as_ref().map_or(&[][..], |route| route.upgrades());
                match config.upgrades.judge(kind, route, &config.chain) {
                    Verdict::Through(chain) => {
                        self.begin_upgrade();
                        chain
                    }
                    // Without a route it is the router that answers.
                    Verdict::Refused if self.route.is_none() => &config.chain,
                    Verdict::Refused => {
                        hcm.stats.downstream_rq_ws_on_non_ws_route.inc();
                        why::upgrade_not_allowed(self, kind);
                        router::name_cluster(self);
                        // As in Envoy, where the client is to ask on another connection.
                        self.down.begin_drain(hcm.world.worker.now());
                        return self.reply(LocalReply::upgrade_failed()).await;
                    }
                }
            }
        };
        if let Some(script) = self.down.script() {
            script.stage(CONNECTION_MANAGER, hcm.config.places.whole().place, &self.heads.request);
            script.through(chain.id);
        }
        self.filtered = true;
        self.filters = hcm.filters(chain, self.route.as_ref(), &self.routing.table);
        if self.filters.is_some() {
            let filtered = match self.enter_filters() {
                None => Filtered::Through,
                Some(verdict) => self.stay_in_filters(verdict).await,
            };
            // A filter behind the one that wants the route looked up again asks for it, too.
            let reroutes = self.filters.as_ref().is_some_and(|filters| filters.reroutes());
            self.info.route_resolutions += u32::from(reroutes);
            if !matches!(filtered, Filtered::Through | Filtered::Again) {
                router::name_cluster(self);
            }
            match filtered {
                Filtered::Through => {}
                Filtered::Reply(reply) => return self.reply(reply).await,
                Filtered::ReplyAtEnd(reply) => return self.reply_at_end(reply).await,
                Filtered::Again => return self.begin_again(Vec::new()),
                Filtered::Timeout(timeout) => return self.timed_out(timeout).await,
                Filtered::Downstream(error) => return self.downstream_failed(error).await,
            }
            if reroutes {
                self.find_route(&hcm);
            }
        }
        match &chain.router {
            Some(config) => router::forward(self, config).await,
            None => self.reply(LocalReply::no_route()).await,
        }
    }

    /// The request may become a tunnel.
    #[cold]
    fn begin_upgrade(&mut self) {
        self.upgrading = true;
        self.hcm.stats.downstream_cx_upgrades_total.inc();
        self.hcm.stats.downstream_cx_upgrades_active.inc();
    }

    /// The overload manager has the request refused, which passes no filter.
    #[cold]
    async fn shed(&mut self) -> End {
        self.hcm.stats.downstream_rq_overload_close.inc();
        self.filtered = true;
        let reply = LocalReply::overloaded(self.hcm.config.append_local_overload);
        self.reply(reply).await
    }

    /// The request policy answers.
    async fn refused(&mut self, refusal: Refusal) -> End {
        let stats = &self.hcm.stats;
        let reply = match refusal {
            Refusal::Reply(reply) => reply,
            Refusal::NonRelativePath(reply) => {
                stats.downstream_rq_non_relative_path.inc();
                reply
            }
            Refusal::FailedPathNormalization(reply) => {
                stats.downstream_rq_failed_path_normalization.inc();
                why::path_refused(self);
                reply
            }
            Refusal::RedirectedWithNormalizedPath(reply) => {
                stats.downstream_rq_redirected_with_normalized_path.inc();
                why::path_refused(self);
                reply
            }
            Refusal::RejectedViaIpDetection(reply) => {
                stats.downstream_rq_rejected_via_ip_detection.inc();
                reply
            }
        };
        self.reply(reply).await
    }

    /// There is no head to serve.
    pub(super) async fn refuse(&mut self, bad: BadHead) -> End {
        match bad {
            BadHead::Codec(error) => {
                let (status, details) = (error.status(), error.details());
                self.downstream_failed(DownstreamError::Protocol { status, details }).await
            }
            BadHead::Disconnected => self.disconnected(),
            BadHead::Gone => {
                let error = poll_fn(|cx| self.down.poll_disconnect(cx)).await;
                self.gone(error)
            }
            BadHead::HeadersTimeout => {
                self.hcm.stats.downstream_rq_header_timeout.inc();
                why::late_head(self);
                self.reply(LocalReply::request_headers_timeout()).await
            }
            BadHead::Timeout(timeout) => self.timed_out(timeout).await,
            BadHead::Shed => {
                self.hcm.stats.downstream_rq_overload_close.inc();
                self.reply(LocalReply::codec_error(500, "overload")).await
            }
        }
    }

    /// Looks the route up, and takes it.
    fn find_route(&mut self, hcm: &Hcm) {
        let routes = &self.routing.table;
        if !self.info.internal {
            for name in routes.internal_only_headers() {
                self.heads.request.headers.remove(&**name);
            }
        }
        let context = MatchContext {
            info: &self.info,
            runtime: &hcm.world.runtime,
            peer_certificate: PeerCertificate::of(&self.info.connection),
            counts: self.down.script().is_none(),
        };
        let clock = route_time_wanted().then(|| hcm.world.worker.clock());
        let begun = clock.map(Clock::now);
        let found = routes.find(&self.heads.request, &context);
        if let Some(script) = self.down.script() {
            script.looked_up(routes, &self.heads.request, &context, &found);
        }
        if let (Some(clock), Some(begun)) = (clock, begun) {
            self.info.route_resolution = clock.now().saturating_duration_since(begun);
        }
        if let Found::Route(route) = found {
            let route = Arc::clone(route);
            if virtual_host_wanted() {
                self.info.virtual_host_name = Some(Arc::clone(&route.virtual_host.name));
            }
            self.take_route(route);
        }
    }

    fn take_route(&mut self, route: Arc<Route>) {
        Route::tell(Some(&route), &mut self.info);
        if let Action::Cluster(action) = &route.action {
            if let Some(idle) = action.idle_timeout {
                self.deadlines.idle = idle.time();
            }
            if let Some(limits) = &action.stream_limits {
                let usual = self.hcm.config.timeouts.max_stream_duration;
                let most = stream_limits::duration(limits, usual, &mut self.heads.request.headers);
                self.deadlines.max_duration = most.and_then(|most| self.info.start.checked_add(most));
            }
        }
        self.route = Some(route);
    }

    /// `Expect: 100-continue` is answered here and goes no further.
    fn answer_expect(&mut self) {
        let expects = self
            .heads
            .request
            .headers
            .get(Known::Expect)
            .is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
        if expects {
            self.heads.request.headers.remove(Known::Expect);
            self.down.encode_informational(&ResponseHead::new(100));
            self.was_informed(100);
        }
    }
}
