//! `envoy.filters.http.cors`: answers preflight requests of browsers, and marks the answers that other origins may
//! read (Fetch, section 3.2).

use super::frame::{Framed, Live, compiled};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::StringMatcher;
use nuncio_core::runtime::RuntimeFraction;
use nuncio_core::stats::Scope;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Levels, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::LocalReply;
use nuncio_proto::pb::envoy::extensions::filters::http::cors::v3::{Cors, CorsPolicy};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// What the filter counts, below `http.PREFIX.cors.`.
    struct CorsStats {
        counter origin_invalid,
        counter origin_valid,
    }
}

/// Compiles the filter's messages.
pub struct CorsFactory;

impl HttpFilterFactory for CorsFactory {
    type Config = Cors;
    type PerRoute = CorsPolicy;

    fn compile(&self, message: Cors, _cx: &CompileContext<'_>) -> Option<Compiled> {
        let Cors {} = message;
        compiled::<CorsFilter>(())
    }

    fn compile_route(
        &self,
        message: CorsPolicy,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Policy::compile(message, cx)?))
    }
}

/// What one level of the route table says. Each field of a more specific level outweighs the same one of another.
struct Policy {
    origins: Box<[StringMatcher]>,
    methods: Box<str>,
    headers: Box<str>,
    exposed: Box<str>,
    max_age: Box<str>,
    credentials: Option<bool>,
    private_network: Option<bool>,
    /// Preflights from origins that are not allowed go on to the upstream.
    forwards_others: Option<bool>,
    enabled: Option<RuntimeFraction>,
    shadow: Option<RuntimeFraction>,
}

impl Policy {
    fn compile(message: CorsPolicy, cx: &CompileContext<'_>) -> Option<Self> {
        let CorsPolicy {
            allow_origin_string_match,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
            allow_credentials,
            filter_enabled,
            shadow_enabled,
            allow_private_network_access,
            forward_not_matching_preflights,
        } = message;
        let origins = allow_origin_string_match
            .iter()
            .enumerate()
            .map(|(i, m)| StringMatcher::compile(m, &cx.item("allow_origin_string_match", i)))
            .collect::<Option<_>>()?;
        Some(Self {
            origins,
            methods: allow_methods.into(),
            headers: allow_headers.into(),
            exposed: expose_headers.into(),
            max_age: max_age.into(),
            credentials: allow_credentials,
            private_network: allow_private_network_access,
            forwards_others: forward_not_matching_preflights,
            enabled: filter_enabled.as_ref().map(RuntimeFraction::compile),
            shadow: shadow_enabled.as_ref().map(RuntimeFraction::compile),
        })
    }
}

/// One stream's filter. The filter itself has nothing to configure.
struct CorsFilter {
    live: Rc<Live<Self>>,
    /// Most specific first.
    policies: Levels<Policy>,
    /// Where the request comes from, if that place may read the answer.
    origin: Option<Box<[u8]>>,
}

impl Framed for CorsFilter {
    type Settings = ();
    type Stats = Scope<CorsStats>;
    const WAITS_FOR_ROUTES: bool = true;

    fn stat_prefix((): &(), hcm: &str) -> String {
        format!("{hcm}cors.")
    }

    fn make(live: Rc<Live<Self>>, _: Arc<()>, route: RouteSays<'_>) -> Option<Self> {
        let policies = route.levels();
        // As in Envoy, answers of the proxy's own belong to nobody's policy.
        (route.forwards() && !policies.is_empty()).then(|| Self { live, policies, origin: None })
    }
}

impl CorsFilter {
    fn flag(&self, field: impl Fn(&Policy) -> Option<bool>) -> bool {
        self.policies.iter().find_map(field).unwrap_or_default()
    }

    fn text(&self, field: impl Fn(&Policy) -> &str) -> &str {
        self.policies.iter().map(field).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// Whether any level has a fraction in which this request falls; `default` where a level has none.
    fn falls_in(
        &self,
        random: u64,
        default: bool,
        field: impl Fn(&Policy) -> Option<&RuntimeFraction>,
    ) -> bool {
        let runtime = &self.live.world.runtime;
        self.policies.iter().any(|p| field(p).map_or(default, |f| f.enabled(runtime, random)))
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let origins = self.policies.iter().map(|p| &p.origins).find(|origins| !origins.is_empty());
        origins.is_some_and(|origins| origins.iter().any(|m| m.matches(origin)))
    }

    /// The answer to a preflight request: with the origin where what it asks for may be made, without it where it may
    /// not.
    fn preflight(&self, head: &RequestHead, origin: Option<&[u8]>) -> LocalReply {
        let mut reply = LocalReply::new(200, "cors_response").whole();
        if let Some(origin) = origin {
            reply = reply.with_header("access-control-allow-origin", origin);
        }
        let exposed = if origin.is_some() { self.text(|p| &p.exposed) } else { "" };
        if self.flag(|p| p.credentials) {
            reply = reply.with_header("access-control-allow-credentials", "true");
        }
        for (name, value) in [
            ("access-control-allow-methods", self.text(|p| &p.methods)),
            ("access-control-allow-headers", self.text(|p| &p.headers)),
            ("access-control-expose-headers", exposed),
            ("access-control-max-age", self.text(|p| &p.max_age)),
        ] {
            if !value.is_empty() {
                reply = reply.with_header(name, value);
            }
        }
        let asks = head.headers.get(Known::AccessControlRequestPrivateNetwork) == Some(b"true");
        if asks && self.flag(|p| p.private_network) {
            reply = reply.with_header("access-control-allow-private-network", "true");
        }
        reply
    }
}

impl HttpFilter for CorsFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        let Request { head, info, .. } = request;
        let origin = head.headers.get(Known::Origin).filter(|origin| !origin.is_empty());
        let Some(origin) = origin else { return Flow::Continue };
        let enabled = self.falls_in(info.random, true, |p| p.enabled.as_ref());
        if !enabled && !self.falls_in(info.random, false, |p| p.shadow.as_ref()) {
            return Flow::Continue;
        }
        let asks = head.headers.get(Known::AccessControlRequestMethod).is_some_and(|m| !m.is_empty());
        let is_preflight = head.method() == b"OPTIONS" && asks;
        if !self.allows(origin) {
            self.live.stats.origin_invalid.inc();
            let forwarded = self.policies.iter().find_map(|p| p.forwards_others).unwrap_or(true);
            if enabled && is_preflight && !forwarded {
                return Flow::Reply(self.preflight(head, None));
            }
            return Flow::Continue;
        }
        self.live.stats.origin_valid.inc();
        if !enabled {
            return Flow::Continue;
        }
        if is_preflight {
            return Flow::Reply(self.preflight(head, Some(origin)));
        }
        self.origin = Some(origin.into());
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _end_stream: bool) -> Flow {
        let Response { head, .. } = response;
        if let Some(origin) = &self.origin {
            head.headers.set(Known::AccessControlAllowOrigin, origin);
            if self.flag(|p| p.credentials) {
                head.headers.set(Known::AccessControlAllowCredentials, b"true");
            }
            let exposed = self.text(|p| &p.exposed);
            if !exposed.is_empty() {
                head.headers.set(Known::AccessControlExposeHeaders, exposed.as_bytes());
            }
        }
        Flow::Continue
    }
}
