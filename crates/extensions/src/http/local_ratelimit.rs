//! `envoy.filters.http.local_ratelimit`: a token bucket of this process decides how many requests go on.

mod bucket;

use super::frame::{Framed, Live, compiled, of_route};
use bucket::Bucket;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::runtime::RuntimeFraction;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{FilterState, ResponseFlag};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_proto::pb::envoy::config::core::v3::HeaderValueOption;
use nuncio_proto::pb::envoy::extensions::common::ratelimit::v3::XRateLimitHeadersRfcVersion;
use nuncio_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use nuncio_proto::pb::envoy::r#type::v3::{HttpStatus, TokenBucket};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

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

/// Compiles the filter's message.
pub struct LocalRateLimitFactory;

impl HttpFilterFactory for LocalRateLimitFactory {
    type Config = LocalRateLimit;
    type PerRoute = LocalRateLimit;

    fn compile(&self, message: LocalRateLimit, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<RateLimitFilter>(Settings::compile(message, cx)?)
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
        of_route(Settings::compile(message, cx)?)
    }
}

/// A compiled `LocalRateLimit`.
struct Settings {
    stat_prefix: Box<str>,
    status: u16,
    /// `None`: nothing is limited.
    limit: Option<Limit>,
    enabled: Option<RuntimeFraction>,
    enforced: Option<RuntimeFraction>,
    reply_headers: HeaderMutations,
    /// Of requests that go on beyond the limit.
    request_headers: HeaderMutations,
    /// Every connection has a bucket of its own.
    per_connection: bool,
    /// `x-ratelimit-limit`, `-remaining` and `-reset` tell clients.
    tells: bool,
    /// gRPC clients see RESOURCE_EXHAUSTED.
    as_exhausted: bool,
}

/// A compiled `TokenBucket`.
struct Limit {
    most: u32,
    /// Tokens per second.
    rate: f64,
    /// The bucket of all requests.
    shared: Bucket,
}

impl Settings {
    fn compile(message: LocalRateLimit, cx: &CompileContext<'_>) -> Option<Self> {
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
        } = message;
        let HttpStatus { code } = status.unwrap_or_default();
        let limit = match token_bucket {
            None => None,
            Some(bucket) => Some(Limit::compile(bucket, &cx.field("token_bucket"))?),
        };
        let headers = |list: &[HeaderValueOption], field| {
            HeaderMutations::compile(list, &[], cx, MutationFields { add: field, remove: "" })
        };
        let tells = XRateLimitHeadersRfcVersion::try_from(enable_x_ratelimit_headers);
        Some(Self {
            stat_prefix: stat_prefix.into(),
            status: if code < 400 { 429 } else { code as u16 },
            limit,
            enabled: filter_enabled.as_ref().map(RuntimeFraction::compile),
            enforced: filter_enforced.as_ref().map(RuntimeFraction::compile),
            reply_headers: headers(&response_headers_to_add, "response_headers_to_add")?,
            request_headers: headers(
                &request_headers_to_add_when_not_enforced,
                "request_headers_to_add_when_not_enforced",
            )?,
            per_connection: local_rate_limit_per_downstream_connection,
            tells: tells == Ok(XRateLimitHeadersRfcVersion::DraftVersion03),
            as_exhausted: rate_limited_as_resource_exhausted,
        })
    }
}

impl Limit {
    fn compile(message: TokenBucket, cx: &CompileContext<'_>) -> Option<Self> {
        let TokenBucket { max_tokens, tokens_per_fill, fill_interval } = message;
        let cx = cx.field("fill_interval");
        let interval = duration(&fill_interval?, &cx)?;
        if interval.as_millis() < 50 {
            cx.error("local rate limit token bucket fill timer must be >= 50ms");
            return None;
        }
        let rate = f64::from(tokens_per_fill.unwrap_or(1)) / interval.as_secs_f64();
        Some(Self { most: max_tokens, rate, shared: Bucket::new(max_tokens, rate) })
    }
}

/// A connection's own bucket.
#[derive(Debug)]
struct OfConnection(Bucket);

impl FilterState for OfConnection {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }
}

/// One stream's filter.
struct RateLimitFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// What is left for whoever comes next, and when there is more, in seconds.
    left: Option<(u32, u64)>,
}

impl Framed for RateLimitFilter {
    type Settings = Settings;
    type Stats = RateLimitStats;

    /// It would take a token.
    const REHEARSES: bool = false;

    fn stat_prefix(settings: &Settings, _: &str) -> String {
        format!("{}.http_local_rate_limit.", settings.stat_prefix)
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Box<dyn HttpFilter>> {
        settings.limit.as_ref()?;
        Some(Box::new(Self { live, settings, left: None }))
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

    /// Takes a token, where there is one.
    fn take(&mut self, request: &Request<'_>, limit: &Limit) -> bool {
        let now = self.live.world.worker.now();
        if !self.settings.per_connection {
            let taken = limit.shared.take(now);
            self.left = Some(limit.shared.left(now));
            return taken;
        }
        let key = format!("local_ratelimit.{:p}", Arc::as_ptr(&self.settings));
        let states = &request.info.connection.state.filter_state;
        let state = states.get(&key).unwrap_or_else(|| {
            let fresh: Rc<dyn FilterState> = Rc::new(OfConnection(Bucket::new(limit.most, limit.rate)));
            states.set(&key, Rc::clone(&fresh));
            fresh
        });
        let Some(OfConnection(bucket)) = state.as_any().downcast_ref() else { return true };
        let taken = bucket.take(now);
        self.left = Some(bucket.left(now));
        taken
    }

    /// The answer to a request that is too many.
    fn refuse(&self, request: &Request<'_>) -> LocalReply {
        let worker = &self.live.world.worker;
        let mut head = nuncio_codec::head::ResponseHead::new(self.settings.status);
        self.settings.reply_headers.apply_response(
            &mut head,
            &nuncio_core::format::FormatContext {
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
        let Some(limit) = settings.limit.as_ref().filter(|_| falls_in(&settings.enabled)) else {
            return Flow::Continue;
        };
        let enforced = falls_in(&settings.enforced);
        self.count(|stats| stats.enabled.inc());
        if self.take(request, limit) {
            self.count(|stats| stats.ok.inc());
            return Flow::Continue;
        }
        self.count(|stats| stats.rate_limited.inc());
        if !enforced {
            let worker = &self.live.world.worker;
            let cx = header_context(request.info, worker, worker.now());
            settings.request_headers.apply_request(request.head, &cx);
            return Flow::Continue;
        }
        self.count(|stats| stats.enforced.inc());
        Flow::Reply(self.refuse(request))
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        if let Some((left, more_in)) = self.left
            && let Some(limit) = self.settings.limit.as_ref().filter(|_| self.settings.tells)
        {
            let headers = &mut response.head.headers;
            for (name, value) in [
                ("x-ratelimit-limit", u64::from(limit.most)),
                ("x-ratelimit-remaining", left.into()),
                ("x-ratelimit-reset", more_in),
            ] {
                headers.append(name, value.to_string().as_bytes());
            }
        }
        Flow::Continue
    }
}
