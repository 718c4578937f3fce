//! `envoy.filters.http.dynamic_forward_proxy`: the request's host is looked up before it goes on.

use super::frame::{Framed, Live, NoStats, compiled};
use nuncio_codec::head::Known;
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::route;
use nuncio_proto::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::filter_config::ImplementationSpecifier;
use nuncio_proto::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::per_route_config::HostRewriteSpecifier;
use nuncio_proto::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{
    FilterConfig, PerRouteConfig,
};
use nuncio_upstream::cluster::{Asking, HostSource, forwarded};
use nuncio_upstream::dns_cache::{Arrival, DnsCache, DnsCaches, Unresolved};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Compiles the filter's messages; caches are shared with clusters.
pub struct DynamicForwardProxyFactory(pub DnsCaches);

/// A compiled `FilterConfig`; without a cache it does nothing.
struct Settings {
    cache: Option<Arc<DnsCache>>,
    /// `allow_dynamic_host_from_filter_state`
    by_filter_state: bool,
}

/// A compiled `PerRouteConfig`.
enum Rewrite {
    /// `host_rewrite_literal`
    To(Box<str>),
    /// `host_rewrite_header`
    ToHeader(Box<str>),
}

impl HttpFilterFactory for DynamicForwardProxyFactory {
    type Config = FilterConfig;
    type PerRoute = PerRouteConfig;

    fn compile(&self, message: FilterConfig, cx: &CompileContext<'_>) -> Option<Compiled> {
        let FilterConfig { allow_dynamic_host_from_filter_state, implementation_specifier } = message;
        let cache = match implementation_specifier {
            Some(ImplementationSpecifier::DnsCacheConfig(message)) => {
                Some(self.0.compile(message, &cx.field("dns_cache_config"))?)
            }
            None if cx.told_of("sub_cluster_config") => return None,
            None => None,
        };
        compiled::<ForwardProxy>(Settings { cache, by_filter_state: allow_dynamic_host_from_filter_state })
    }

    fn compile_route(
        &self,
        message: PerRouteConfig,
        _: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let PerRouteConfig { host_rewrite_specifier } = message;
        Some(match host_rewrite_specifier? {
            HostRewriteSpecifier::HostRewriteLiteral(name) => Arc::new(Rewrite::To(name.into())),
            HostRewriteSpecifier::HostRewriteHeader(name) => Arc::new(Rewrite::ToHeader(name.into())),
        })
    }
}

/// One stream's filter.
struct ForwardProxy {
    live: Rc<Live<Self>>,
    cache: Arc<DnsCache>,
    route: Arc<route::Route>,
    rewrite: Option<Arc<Rewrite>>,
    arrival: Option<Arrival>,
}

impl Framed for ForwardProxy {
    type Settings = Settings;
    type Stats = NoStats;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        hcm.to_owned()
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(
        live: Rc<Live<Self>>,
        settings: Arc<Settings>,
        says: RouteSays<'_>,
    ) -> Option<Box<dyn HttpFilter>> {
        let (route, cache) = (Arc::clone(says.route?), Arc::clone(settings.cache.as_ref()?));
        Some(Box::new(Self { live, cache, route, rewrite: says.own::<Rewrite>(), arrival: None }))
    }
}

impl ForwardProxy {
    /// The port of names without one, if the route leads to a cluster that goes where requests want to go.
    fn default_port(&self, request: &Request<'_>) -> Option<u16> {
        let route::Action::Cluster(action) = &self.route.action else { return None };
        let cluster = self.live.world.clusters.get(action.cluster.name(&request.head.headers))?;
        let config = cluster.config();
        matches!(config.discovery.source, HostSource::ForwardProxy(_)).then(|| config.default_port())
    }

    fn rewrite(&self, request: &mut Request<'_>) {
        let headers = &mut request.head.headers;
        match self.rewrite.as_deref() {
            Some(Rewrite::To(name)) if !name.is_empty() => headers.set(Known::Authority, name.as_bytes()),
            Some(Rewrite::ToHeader(name)) if !name.is_empty() => {
                if let Some(name) = headers.get(&**name).map(Box::<[u8]>::from) {
                    headers.set(Known::Authority, &name);
                }
            }
            Some(Rewrite::To(_) | Rewrite::ToHeader(_)) | None => {}
        }
    }
}

impl HttpFilter for ForwardProxy {
    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        let Some(port) = self.default_port(request) else { return Flow::Continue };
        self.rewrite(request);
        let asking = Asking { request: Some(request.head), info: Some(request.info) };
        let Some(key) = forwarded(&asking, port, self.live.settings.by_filter_state) else {
            return Flow::Continue;
        };
        match self.cache.ask(&key) {
            Ok(None) => Flow::Continue,
            Ok(Some(arrival)) => {
                self.arrival = Some(arrival);
                Flow::Wait
            }
            Err(error) => Flow::Reply(reply(&error)),
        }
    }

    fn poll_decode(&mut self, _: &mut Request<'_>, _: &mut Piece, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(arrival) = &mut self.arrival else { return Poll::Pending };
        let answer = ready!(arrival.as_mut().poll(cx));
        self.arrival = None;
        Poll::Ready(match answer {
            Ok(()) => Flow::Continue,
            Err(error) => Flow::Reply(reply(&error)),
        })
    }
}

fn reply(error: &Unresolved) -> LocalReply {
    let body = match error {
        Unresolved::Failed(_) => "DNS resolution failure",
        Unresolved::Hosts => "DNS cache overflow",
        Unresolved::Requests => "Dynamic forward proxy pending request overflow",
    };
    let reply = LocalReply::new(503, error.details()).with_body(ReplyBody::Static(body));
    match error {
        Unresolved::Failed(_) => reply.with_flag(ResponseFlag::DnsResolutionFailed),
        Unresolved::Hosts | Unresolved::Requests => reply,
    }
}
