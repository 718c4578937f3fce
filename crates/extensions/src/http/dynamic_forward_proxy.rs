//! `envoy.filters.http.dynamic_forward_proxy`: the request's host is looked up before it goes on.

use super::frame::{Framed, Live, compiled};
use nuncio_codec::head::Known;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::stream_info::ResponseFlag;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::route;
use nuncio_proto::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::filter_config::ImplementationSpecifier;
use nuncio_proto::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::per_route_config::HostRewriteSpecifier;
use nuncio_proto::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{
    FilterConfig, PerRouteConfig, SubClusterConfig,
};
use nuncio_upstream::cluster::{Asking, Cluster, HostSource, SubCluster, TooMany, forwarded};
use nuncio_upstream::dns_cache::{DnsCache, DnsCaches, Unresolved};
use std::any::Any;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;

/// Compiles the filter's messages; caches are shared with clusters.
pub struct DynamicForwardProxyFactory(pub DnsCaches);

/// A compiled `FilterConfig`.
struct Settings {
    /// Where names are looked up before they are asked of a cluster whose hosts they are; without one, that cluster does it.
    cache: Option<Arc<DnsCache>>,
    /// `cluster_init_timeout`: how long a request waits for the cluster that is made for its name.
    patience: Duration,
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
        let mut settings = Settings {
            cache: None,
            patience: Duration::from_secs(5),
            by_filter_state: allow_dynamic_host_from_filter_state,
        };
        match implementation_specifier {
            Some(ImplementationSpecifier::DnsCacheConfig(message)) => {
                settings.cache = Some(self.0.compile(message, &cx.field("dns_cache_config"))?);
            }
            Some(ImplementationSpecifier::SubClusterConfig(SubClusterConfig {
                cluster_init_timeout: Some(time),
            })) => {
                let cx = cx.field("sub_cluster_config");
                settings.patience = duration(&time, &cx.field("cluster_init_timeout"))?;
            }
            Some(ImplementationSpecifier::SubClusterConfig(SubClusterConfig {
                cluster_init_timeout: None,
            }))
            | None => {}
        }
        compiled::<ForwardProxy>(settings)
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
    route: Arc<route::Route>,
    rewrite: Option<Arc<Rewrite>>,
    awaited: Option<Awaited>,
}

/// What the request waits for, or the answer that it gets.
type Awaited = Pin<Box<dyn Future<Output = Result<(), LocalReply>>>>;

impl Framed for ForwardProxy {
    type Settings = Settings;
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        hcm.to_owned()
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(live: Rc<Live<Self>>, _: Arc<Settings>, says: RouteSays<'_>) -> Option<Self> {
        let route = Arc::clone(says.route?);
        Some(Self { live, route, rewrite: says.own::<Rewrite>(), awaited: None })
    }
}

impl ForwardProxy {
    /// The cluster that the route leads to.
    fn cluster(&self, request: &Request<'_>) -> Option<Rc<Cluster>> {
        let route::Action::Cluster(action) = &self.route.action else { return None };
        self.live.world.clusters.get(action.cluster.name(&request.head.headers))
    }

    /// The name that the request wants to go to, as a DNS cache calls it.
    fn name(&self, cluster: &Cluster, request: &mut Request<'_>) -> Option<Arc<str>> {
        self.rewrite(request);
        let asking = Asking { request: Some(request.head), info: Some(request.info) };
        forwarded(&asking, cluster.config().default_port(), self.live.settings.by_filter_state)
    }

    /// The name's address, where it is not known yet.
    fn look_up(&self, cache: &Arc<DnsCache>, name: &Arc<str>) -> Result<Option<Awaited>, LocalReply> {
        let arrival = cache.ask(name).map_err(|error| unresolved(&error))?;
        Ok(arrival.map(|arrival| -> Awaited {
            Box::pin(async move { arrival.await.map_err(|error| unresolved(&error)) })
        }))
    }

    /// The cluster that is made of this one for the name, where it is not there yet.
    fn sub_cluster(&self, cluster: &Cluster, name: &str) -> Result<Option<Awaited>, LocalReply> {
        let to = SubCluster::of(name);
        cluster.want(&to).map_err(|TooMany| {
            LocalReply::new(503, "sub_cluster_overflow").with_body(ReplyBody::Static("Sub cluster overflow"))
        })?;
        let clusters = &self.live.world.clusters;
        if clusters.get(&to.cluster).is_some() {
            return Ok(None);
        }
        let arrival = timeout(self.live.settings.patience, Rc::clone(clusters).arrival(to.cluster));
        Ok(Some(Box::pin(async move {
            arrival.await.map_err(|_| {
                LocalReply::new(503, "sub_cluster_warming_timeout")
                    .with_body(ReplyBody::Static("Sub cluster warming timeout"))
            })
        })))
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
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        let Some(cluster) = self.cluster(request) else { return Flow::Continue };
        let cache = self.live.settings.cache.clone();
        let awaited = match (&cluster.config().discovery.source, &cache) {
            (HostSource::SubClusters(_), _) => {
                self.name(&cluster, request).map(|name| self.sub_cluster(&cluster, &name))
            }
            (HostSource::ForwardProxy(_), Some(cache)) => {
                self.name(&cluster, request).map(|name| self.look_up(cache, &name))
            }
            // Names are looked up by the cluster itself, or there is none to be looked up.
            _ => None,
        };
        match awaited {
            None | Some(Ok(None)) => Flow::Continue,
            Some(Ok(Some(awaited))) => {
                self.awaited = Some(awaited);
                Flow::Wait
            }
            Some(Err(reply)) => Flow::Reply(reply),
        }
    }

    fn poll_decode(&mut self, _: &mut Request<'_>, _: &mut Piece, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(awaited) = &mut self.awaited else { return Poll::Pending };
        let answer = ready!(awaited.as_mut().poll(cx));
        self.awaited = None;
        Poll::Ready(match answer {
            Ok(()) => Flow::Continue,
            Err(reply) => Flow::Reply(reply),
        })
    }
}

fn unresolved(error: &Unresolved) -> LocalReply {
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
