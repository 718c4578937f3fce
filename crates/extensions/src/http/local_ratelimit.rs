//! `envoy.filters.http.local_ratelimit`: token buckets of this process decide how many requests go on.

mod limiter;

use super::frame::{Framed, Live, compiled, of_route};
use crate::token_bucket::TokenBucket;
use limiter::{Limiter, Purse, Verdict};
use nuncio_core::config::CompileContext;
use nuncio_core::format::FormatContext;
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::runtime::RuntimeFraction;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{FilterState, ResponseFlag};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_downstream::route::{Action, Descriptor, RateLimits, Route, Subject};
use nuncio_proto::pb::envoy::config::core::v3::HeaderValueOption;
use nuncio_proto::pb::envoy::extensions::common::ratelimit::v3::{
    VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
};
use nuncio_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use nuncio_proto::pb::envoy::r#type::v3::HttpStatus;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

nuncio_core::stats_block! {
    /// What the filter counts, below `PREFIX.http_local_rate_limit.`.
    pub(super) struct RateLimitStats {
        counter enabled,
        counter enforced,
        counter ok,
        counter rate_limited,
        counter shadow_mode,
    }
}

/// Whether the bootstrap names the cluster that this process is a host of, which is known before filters are compiled.
#[derive(Clone, Default)]
pub struct LocalClusterKnown(Arc<AtomicBool>);

impl LocalClusterKnown {
    /// It does.
    pub fn tell(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_known(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Compiles the filter's message.
pub struct LocalRateLimitFactory(pub LocalClusterKnown);

impl HttpFilterFactory for LocalRateLimitFactory {
    type Config = LocalRateLimit;
    type PerRoute = LocalRateLimit;

    fn compile(&self, message: LocalRateLimit, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<RateLimitFilter>(Settings::compile(message, &self.0, cx)?)
    }

    fn compile_route(
        &self,
        message: LocalRateLimit,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        if message.token_bucket.is_none() {
            cx.field("token_bucket")
                .error("local rate limit token bucket must be set for per filter configs");
            return None;
        }
        of_route(Settings::compile(message, &self.0, cx)?)
    }
}

/// A compiled `LocalRateLimit`.
struct Settings {
    stat_prefix: Box<str>,
    status: u16,
    /// The buckets of all requests.
    limiter: Limiter,
    /// `rate_limits` of the filter itself; empty: those of the route say what descriptors requests have.
    limits: RateLimits,
    /// Which of the route's limits are for this filter.
    stage: u32,
    host_limits: HostLimits,
    enabled: Option<RuntimeFraction>,
    enforced: Option<RuntimeFraction>,
    reply_headers: HeaderMutations,
    /// Of requests that go on beyond the limit.
    request_headers: HeaderMutations,
    /// Every connection has a bucket of its own.
    per_connection: bool,
    /// `x-ratelimit-limit`, `-remaining` and `-reset` tell clients.
    tells: bool,
    /// `retry-after` tells those that are refused.
    tells_when: bool,
    /// gRPC clients see RESOURCE_EXHAUSTED.
    as_exhausted: bool,
    /// What the buckets hold is for all hosts of the local cluster.
    shared: bool,
}

/// What the virtual host's limits are to a route (`vh_rate_limits`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostLimits {
    /// They stand in for a route without any.
    Default,
    Beside,
    Ignored,
}

/// Combinations of a descriptor with wildcards that are kept where `max_dynamic_descriptors` does not say.
const MOST_DYNAMIC: u32 = 20;

impl Settings {
    fn compile(message: LocalRateLimit, known: &LocalClusterKnown, cx: &CompileContext<'_>) -> Option<Self> {
        let LocalRateLimit {
            stat_prefix,
            status,
            token_bucket,
            filter_enabled,
            filter_enforced,
            response_headers_to_add,
            request_headers_to_add_when_not_enforced,
            local_rate_limit_per_downstream_connection,
            enable_x_ratelimit_headers,
            rate_limited_as_resource_exhausted,
            descriptors,
            stage,
            vh_rate_limits,
            always_consume_default_token_bucket,
            rate_limits,
            max_dynamic_descriptors,
            enable_retry_after_header,
            local_cluster_rate_limit,
        } = message;
        let HttpStatus { code } = status.unwrap_or_default();
        let default = match token_bucket {
            None => None,
            Some(bucket) => {
                Some(TokenBucket::compile(&bucket, &cx.field("token_bucket"), "local rate limit")?)
            }
        };
        let always = always_consume_default_token_bucket.unwrap_or(true);
        let most = max_dynamic_descriptors.unwrap_or(MOST_DYNAMIC) as usize;
        let limiter = Limiter::compile(default, &descriptors, always, most, cx)?;
        if rate_limits.iter().any(|limit| limit.stage.is_some() || !limit.disable_key.is_empty()) {
            cx.field("rate_limits").error("'stage' field and 'disable_key' field are not supported");
            return None;
        }
        if local_cluster_rate_limit.is_some() {
            let wrong = match (local_rate_limit_per_downstream_connection, known.is_known()) {
                (true, _) => "and local_rate_limit_per_downstream_connection is set to true",
                (false, false) => "but no local cluster name is present",
                (false, true) => "",
            };
            if !wrong.is_empty() {
                cx.field("local_cluster_rate_limit")
                    .error(format!("local_cluster_rate_limit is set {wrong}"));
                return None;
            }
        }
        let headers = |list: &[HeaderValueOption], field| {
            HeaderMutations::compile(list, &[], cx, MutationFields { add: field, remove: "" })
        };
        let tells = XRateLimitHeadersRfcVersion::try_from(enable_x_ratelimit_headers);
        Some(Self {
            stat_prefix: stat_prefix.into(),
            status: if code < 400 { 429 } else { code as u16 },
            limiter,
            limits: RateLimits::of_filter(rate_limits, cx)?,
            stage,
            host_limits: match VhRateLimitsOptions::try_from(vh_rate_limits) {
                Ok(VhRateLimitsOptions::Include) => HostLimits::Beside,
                Ok(VhRateLimitsOptions::Ignore) => HostLimits::Ignored,
                Ok(VhRateLimitsOptions::Override) | Err(_) => HostLimits::Default,
            },
            enabled: filter_enabled.as_ref().map(RuntimeFraction::compile),
            enforced: filter_enforced.as_ref().map(RuntimeFraction::compile),
            reply_headers: headers(&response_headers_to_add, "response_headers_to_add")?,
            request_headers: headers(
                &request_headers_to_add_when_not_enforced,
                "request_headers_to_add_when_not_enforced",
            )?,
            per_connection: local_rate_limit_per_downstream_connection,
            tells: tells == Ok(XRateLimitHeadersRfcVersion::DraftVersion03),
            tells_when: enable_retry_after_header,
            as_exhausted: rate_limited_as_resource_exhausted,
            shared: local_cluster_rate_limit.is_some(),
        })
    }
}

/// A connection's own buckets.
#[derive(Debug)]
struct OfConnection(Limiter);

impl FilterState for OfConnection {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }
}

/// The name of a connection's buckets: the first filter that asks makes them for all, as in Envoy.
const OF_CONNECTION: &str = "per_connection_local_rate_limiter";

/// One stream's filter.
struct RateLimitFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// The route, whose limits say what descriptors requests have.
    route: Option<Arc<Route>>,
    /// Whose bucket clients are told of.
    purse: Option<Arc<Purse>>,
    /// Whether they are told; `None`: as the settings say.
    tells: Option<bool>,
    refused: bool,
}

impl Framed for RateLimitFilter {
    type Settings = Settings;
    type Stats = Scope<RateLimitStats>;

    /// It would take a token.
    const REHEARSES: bool = false;

    fn stat_prefix(settings: &Settings, _: &str) -> String {
        format!("{}.http_local_rate_limit.", settings.stat_prefix)
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, says: RouteSays<'_>) -> Option<Self> {
        settings.enabled.as_ref()?;
        let wants_route = settings.limiter.has_descriptors() && says.forwards();
        let route = says.route.filter(|_| wants_route).map(Arc::clone);
        Some(Self { live, settings, route, purse: None, tells: None, refused: false })
    }
}

impl RateLimitFilter {
    /// The stats of these settings, which are a route's own where it has some.
    fn count(&self, count: impl Fn(&RateLimitStats)) {
        let own: &Scope<RateLimitStats> = &self.live.stats;
        if Arc::ptr_eq(&self.settings, &self.live.settings) {
            count(own);
        } else {
            count(&self.live.cluster_scope(&Self::stat_prefix(&self.settings, "")));
        }
    }

    /// What the request is told apart by.
    fn descriptors(&self, request: &Request<'_>) -> Vec<Descriptor> {
        let mut found = Vec::new();
        if !self.settings.limiter.has_descriptors() {
            return found;
        }
        let route = self.route.as_deref();
        let node_cluster = &self.live.world.node_cluster;
        let worker = &self.live.world.worker;
        let formats = FormatContext {
            request: Some(&request.head.headers),
            ..header_context(request.info, worker, worker.now())
        };
        let subject = Subject { head: request.head, formats, route, node_cluster };
        if !self.settings.limits.is_empty() {
            self.settings.limits.descriptors(0, &subject, &mut found);
            return found;
        }
        let Some(route) = route else { return found };
        let Action::Cluster(action) = &route.action else { return found };
        action.rate_limits.descriptors(self.settings.stage, &subject, &mut found);
        let with_host = match self.settings.host_limits {
            _ if action.include_host_rate_limits => true,
            HostLimits::Beside => true,
            HostLimits::Default => action.rate_limits.is_empty(),
            HostLimits::Ignored => false,
        };
        if with_host {
            route.virtual_host.rate_limits.descriptors(self.settings.stage, &subject, &mut found);
        }
        found
    }

    /// Lets the request pay.
    fn ask(&self, request: &Request<'_>) -> Verdict {
        let now = self.live.world.worker.now();
        let descriptors = self.descriptors(request);
        if !self.settings.per_connection {
            let members = if self.settings.shared { self.live.world.clusters.local_members() } else { 1 };
            return self.settings.limiter.ask(&descriptors, members, now);
        }
        let states = &request.info.connection.state.filter_state;
        let state = states.get(OF_CONNECTION).unwrap_or_else(|| {
            let fresh: Rc<dyn FilterState> = Rc::new(OfConnection(self.settings.limiter.fresh()));
            states.set(OF_CONNECTION, Rc::clone(&fresh));
            fresh
        });
        let own = state.as_any().downcast_ref::<OfConnection>();
        own.map_or(&self.settings.limiter, |own| &own.0).ask(&descriptors, 1, now)
    }

    /// The answer to a request that is too many.
    fn refuse(&self, request: &Request<'_>) -> LocalReply {
        let worker = &self.live.world.worker;
        let mut head = nuncio_codec::head::ResponseHead::new(self.settings.status);
        self.settings.reply_headers.apply_response(
            &mut head,
            &FormatContext {
                request: Some(&request.head.headers),
                ..header_context(request.info, worker, worker.now())
            },
        );
        let mut reply = LocalReply::new(self.settings.status, "local_rate_limited")
            .with_flag(ResponseFlag::RateLimited)
            .with_body(ReplyBody::Static("local_rate_limited"));
        for (name, value) in head.headers.iter() {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            reply = reply.with_header(name, value);
        }
        if self.settings.as_exhausted { reply.with_grpc_status(8) } else { reply }
    }
}

impl HttpFilter for RateLimitFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let settings = Arc::clone(&self.settings);
        let (runtime, random) = (&self.live.world.runtime, request.info.random);
        let falls_in = |f: &Option<RuntimeFraction>| f.as_ref().is_some_and(|f| f.enabled(runtime, random));
        if !falls_in(&settings.enabled) {
            return Flow::Continue;
        }
        let enforced = falls_in(&settings.enforced);
        self.count(|stats| stats.enabled.inc());
        let Verdict { allowed, purse, tells } = self.ask(request);
        let shadow = purse.as_ref().is_some_and(|purse| purse.shadow);
        (self.purse, self.tells) = (purse, tells);
        if allowed {
            self.count(|stats| stats.ok.inc());
            return Flow::Continue;
        }
        self.count(|stats| stats.rate_limited.inc());
        if shadow {
            self.count(|stats| stats.shadow_mode.inc());
            return Flow::Continue;
        }
        if !enforced {
            let worker = &self.live.world.worker;
            let cx = header_context(request.info, worker, worker.now());
            settings.request_headers.apply_request(request.head, &cx);
            return Flow::Continue;
        }
        self.count(|stats| stats.enforced.inc());
        self.refused = true;
        Flow::Reply(self.refuse(request))
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        let Some(purse) = &self.purse else { return Flow::Continue };
        let headers = &mut response.head.headers;
        let (left, more_in) = purse.bucket.left(self.live.world.worker.now());
        if self.tells.unwrap_or(self.settings.tells) {
            for (name, value) in [
                ("x-ratelimit-limit", u64::from(purse.bucket.most())),
                ("x-ratelimit-remaining", left.into()),
                ("x-ratelimit-reset", more_in),
            ] {
                headers.append(name, value.to_string().as_bytes());
            }
        }
        if self.refused && self.settings.tells_when {
            headers.set("retry-after", more_in.to_string().as_bytes());
        }
        Flow::Continue
    }
}
