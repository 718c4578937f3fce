//! `envoy.filters.http.fault`: delays requests and answers them with errors, to see how their senders take it.

mod slow;

use super::frame::{Framed, Live, compiled, of_route};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::{self, CompileContext, Fraction};
use nuncio_core::matcher::HeaderMatcher;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{ResponseFlag, StreamInfo};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::route::{Action, Route};
use nuncio_downstream::world::World;
use nuncio_proto::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, FaultRateLimit, fault_delay, fault_rate_limit,
};
use nuncio_proto::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use prost_types::Struct;
use slow::Slow;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

nuncio_core::stats_block! {
    /// What the filter counts, below `http.PREFIX.fault.`.
    struct FaultStats {
        counter aborts_injected,
        gauge active_faults,
        counter delays_injected,
        counter faults_overflow,
        counter response_rl_injected,
    }
}

/// Compiles the filter's message.
pub struct FaultFactory;

impl HttpFilterFactory for FaultFactory {
    type Config = HttpFault;
    type PerRoute = HttpFault;

    fn compile(&self, message: HttpFault, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<FaultFilter>(Settings::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: HttpFault,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        of_route(Settings::compile(message, cx)?)
    }
}

/// What is done to which requests; that of a route stands for all of the filter's.
struct Settings {
    /// Requests that are under a fault now, on all workers; only the filter's own count.
    active: AtomicU64,
    delay: Option<Delay>,
    abort: Option<Abort>,
    rate: Option<Rate>,
    /// `upstream_cluster`: only requests to it; empty: all.
    cluster: Box<str>,
    /// Faults are counted by the cluster that requests come from, too.
    counts_clusters: bool,
    headers: Box<[HeaderMatcher]>,
    /// `downstream_nodes`; empty: all.
    nodes: Box<[Box<str>]>,
    max_active: Option<u64>,
    max_active_key: Box<str>,
    /// What the stream's dynamic metadata says of delays and aborts, below the filter's name.
    metadata: Option<Struct>,
}

struct Delay {
    /// `None`: as `x-envoy-fault-delay-request` says.
    fixed: Option<Duration>,
    percentage: Fraction,
    percentage_key: Box<str>,
    duration_key: Box<str>,
}

struct Abort {
    status: AbortStatus,
    percentage: Fraction,
    percentage_key: Box<str>,
    http_key: Box<str>,
    grpc_key: Box<str>,
    body: ReplyBody,
}

/// How fast a response may be.
struct Rate {
    /// In KiB per second; `None`: as `x-envoy-fault-throughput-response` says.
    fixed: Option<u64>,
    percentage: Fraction,
    percentage_key: Box<str>,
}

#[derive(Clone, Copy)]
enum AbortStatus {
    Http(u64),
    Grpc(u64),
    /// As `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request` says.
    Header,
}

impl Settings {
    fn compile(message: HttpFault, cx: &CompileContext<'_>) -> Option<Self> {
        let HttpFault {
            delay,
            abort,
            upstream_cluster,
            headers,
            downstream_nodes,
            max_active_faults,
            response_rate_limit,
            delay_percent_runtime,
            abort_percent_runtime,
            delay_duration_runtime,
            abort_http_status_runtime,
            abort_grpc_status_runtime,
            max_active_faults_runtime,
            response_rate_limit_percent_runtime,
            disable_downstream_cluster_stats,
            filter_metadata,
        } = message;
        let key =
            |own: String, usual: &str| -> Box<str> { if own.is_empty() { usual.into() } else { own.into() } };
        let delay = match delay {
            None => None,
            Some(FaultDelay { percentage, fault_delay_secifier }) => {
                let fixed = match fault_delay_secifier? {
                    fault_delay::FaultDelaySecifier::FixedDelay(time) => {
                        Some(config::duration(&time, &cx.field("delay").field("fixed_delay"))?)
                    }
                    fault_delay::FaultDelaySecifier::HeaderDelay(_) => None,
                };
                Some(Delay {
                    fixed,
                    percentage: percentage.as_ref().map(config::fraction).unwrap_or_default(),
                    percentage_key: key(delay_percent_runtime, "fault.http.delay.fixed_delay_percent"),
                    duration_key: key(delay_duration_runtime, "fault.http.delay.fixed_duration_ms"),
                })
            }
        };
        let abort = match abort {
            None => None,
            Some(FaultAbort { percentage, error_type, response_body }) => Some(Abort {
                status: match error_type? {
                    fault_abort::ErrorType::HttpStatus(status) => AbortStatus::Http(status.into()),
                    fault_abort::ErrorType::GrpcStatus(status) => AbortStatus::Grpc(status.into()),
                    fault_abort::ErrorType::HeaderAbort(_) => AbortStatus::Header,
                },
                percentage: percentage.as_ref().map(config::fraction).unwrap_or_default(),
                percentage_key: key(abort_percent_runtime, "fault.http.abort.abort_percent"),
                http_key: key(abort_http_status_runtime, "fault.http.abort.http_status"),
                grpc_key: key(abort_grpc_status_runtime, "fault.http.abort.grpc_status"),
                body: match response_body.is_empty() {
                    true => ReplyBody::Static("fault filter abort"),
                    false => ReplyBody::Shared(response_body.into_bytes().into()),
                },
            }),
        };
        let rate = match response_rate_limit {
            None => None,
            Some(FaultRateLimit { percentage, limit_type }) => Some(Rate {
                fixed: match limit_type? {
                    fault_rate_limit::LimitType::FixedLimit(limit) => {
                        let fault_rate_limit::FixedLimit { limit_kbps } = limit;
                        Some(limit_kbps)
                    }
                    fault_rate_limit::LimitType::HeaderLimit(_) => None,
                },
                percentage: percentage.as_ref().map(config::fraction).unwrap_or_default(),
                percentage_key: key(
                    response_rate_limit_percent_runtime,
                    "fault.http.rate_limit.response_percent",
                ),
            }),
        };
        let headers = headers
            .iter()
            .enumerate()
            .map(|(i, h)| HeaderMatcher::compile(h, &cx.item("headers", i)))
            .collect::<Option<_>>()?;
        Some(Self {
            active: AtomicU64::new(0),
            delay,
            abort,
            rate,
            cluster: upstream_cluster.into(),
            counts_clusters: !disable_downstream_cluster_stats,
            headers,
            nodes: downstream_nodes.into_iter().map(Into::into).collect(),
            max_active: max_active_faults.map(u64::from),
            max_active_key: key(max_active_faults_runtime, "fault.http.max_active_faults"),
            metadata: filter_metadata,
        })
    }

    /// Whether the request is one that faults are for.
    fn concerns(&self, head: &RequestHead) -> bool {
        let node = head.headers.get(Known::XEnvoyDownstreamServiceNode);
        let of_node =
            self.nodes.is_empty() || node.is_some_and(|n| self.nodes.iter().any(|own| own.as_bytes() == n));
        of_node && self.headers.iter().all(|m| m.matches(&head.headers))
    }
}

/// A request under a fault, counted for as long as its filter lives.
struct Active(Rc<Live<FaultFilter>>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.settings.active.fetch_sub(1, Relaxed);
        self.0.stats.active_faults.dec();
    }
}

/// One stream's filter.
struct FaultFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// Where the request would go.
    route: Option<Arc<Route>>,
    /// The filter's name, where its settings say something of the stream.
    name: Option<Box<str>>,
    active: Option<Active>,
    /// What the request waits for.
    delay: Option<Pin<Box<Sleep>>>,
    /// What slows the response down.
    slow: Option<Box<Slow>>,
}

impl Framed for FaultFilter {
    type Settings = Settings;
    type Stats = Scope<FaultStats>;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}fault.")
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, says: RouteSays<'_>) -> Option<Self> {
        let route = says.route.filter(|_| !settings.cluster.is_empty()).map(Arc::clone);
        let name = settings.metadata.as_ref().map(|_| says.name.into());
        Some(Self { live, settings, route, name, active: None, delay: None, slow: None })
    }
}

/// A header's value as a number.
fn number(head: &RequestHead, name: &str) -> Option<u64> {
    head.headers.get_str(name)?.parse().ok()
}

impl FaultFilter {
    /// Whether chance says so: `percentage`, which the runtime overrides, and which a header may make smaller.
    fn falls_in(&self, head: &RequestHead, percentage: Fraction, key: &str, header: Option<&str>) -> bool {
        let World { runtime, worker, .. } = &*self.live.world;
        let asked = header.and_then(|name| number(head, name));
        let percentage =
            asked.map_or(percentage, |asked| percentage.at_most(u32::try_from(asked).unwrap_or(u32::MAX)));
        runtime.fraction(key, percentage).hit(worker.rng().next())
    }

    /// Counts the request among those under a fault; false where there are too many already.
    fn take(&mut self) -> bool {
        if self.active.is_some() {
            return true;
        }
        let (live, settings) = (&self.live, &self.settings);
        let most =
            live.world.runtime.integer(&settings.max_active_key, settings.max_active.unwrap_or(u64::MAX));
        if live.settings.active.load(Relaxed) >= most {
            live.stats.faults_overflow.inc();
            return false;
        }
        live.settings.active.fetch_add(1, Relaxed);
        live.stats.active_faults.inc();
        self.active = Some(Active(Rc::clone(live)));
        true
    }

    /// Whether the request goes to the cluster that faults are for, if they are for one.
    fn leads_there(&self, head: &RequestHead) -> bool {
        let wanted = &self.settings.cluster;
        wanted.is_empty()
            || self.route.as_ref().is_some_and(|route| match &route.action {
                Action::Cluster(action) => action.cluster.name(&head.headers) == &**wanted,
                _ => false,
            })
    }

    /// Counts a fault for the cluster that the request comes from, if it says so.
    fn count_client(&self, head: &RequestHead, what: &str) {
        let name = head.headers.get_str(Known::XEnvoyDownstreamServiceCluster);
        if let Some(name) = name.filter(|name| !name.is_empty() && self.settings.counts_clusters) {
            self.live.count(&format!("{}{name}.{what}", self.live.prefix()));
        }
    }

    /// How fast the response may be, in bytes per second.
    fn chosen_rate(&self, head: &RequestHead) -> Option<u64> {
        let Rate { fixed, percentage, percentage_key } = self.settings.rate.as_ref()?;
        let header = fixed.is_none().then_some("x-envoy-fault-throughput-response-percentage");
        if !self.falls_in(head, *percentage, percentage_key, header) {
            return None;
        }
        let kib = match fixed {
            Some(kib) => *kib,
            None => number(head, "x-envoy-fault-throughput-response")?,
        };
        (kib > 0).then(|| kib.saturating_mul(1024))
    }

    /// How long the request is to wait.
    fn chosen_delay(&self, head: &RequestHead) -> Option<Duration> {
        let Delay { fixed, percentage, percentage_key, duration_key } = self.settings.delay.as_ref()?;
        let header = fixed.is_none().then_some("x-envoy-fault-delay-request-percentage");
        if !self.falls_in(head, *percentage, percentage_key, header) {
            return None;
        }
        let millis = match fixed {
            Some(time) => time.as_millis() as u64,
            None => number(head, "x-envoy-fault-delay-request")?,
        };
        let millis = self.live.world.runtime.integer(duration_key, millis);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Says of the stream what the settings say of those under a fault.
    fn tell(&self, info: &mut StreamInfo) {
        if let (Some(name), Some(metadata)) = (&self.name, &self.settings.metadata) {
            info.set_dynamic_metadata(name, metadata.clone());
        }
    }

    /// The answer that the request gets instead of the upstream's.
    fn abort(&mut self, head: &RequestHead, info: &mut StreamInfo) -> Flow {
        let settings = Arc::clone(&self.settings);
        let Some(abort) = &settings.abort else { return Flow::Continue };
        let header =
            matches!(abort.status, AbortStatus::Header).then_some("x-envoy-fault-abort-request-percentage");
        if !self.falls_in(head, abort.percentage, &abort.percentage_key, header) {
            return Flow::Continue;
        }
        let (http, grpc) = match abort.status {
            AbortStatus::Http(status) => (Some(status), None),
            AbortStatus::Grpc(status) => (None, Some(status)),
            AbortStatus::Header => (
                number(head, "x-envoy-fault-abort-request"),
                number(head, "x-envoy-fault-abort-grpc-request"),
            ),
        };
        let runtime = &self.live.world.runtime;
        // As in Envoy a runtime key may say anything that is a status, a header only what is usual.
        let http = http.filter(|s| (200..600).contains(s));
        let http = http.map(|status| runtime.integer(&abort.http_key, status));
        let http = http.filter(|s| (200..1000).contains(s));
        let grpc = match http {
            Some(_) => None,
            None => grpc.map(|status| runtime.integer(&abort.grpc_key, status)),
        };
        let reply = match (http, grpc) {
            (Some(status), _) => LocalReply::new(status as u16, "fault_filter_abort"),
            (None, Some(status)) => {
                LocalReply::new(200, "fault_filter_abort").with_grpc_status(u8::try_from(status).unwrap_or(2))
            }
            (None, None) => return Flow::Continue,
        };
        if !self.take() {
            return Flow::Continue;
        }
        self.live.stats.aborts_injected.inc();
        self.count_client(head, "aborts_injected");
        info.flags.set(ResponseFlag::FaultInjected);
        self.tell(info);
        Flow::Reply(reply.with_body(abort.body.clone()))
    }
}

impl HttpFilter for FaultFilter {
    fn sees_bodies(&self) -> bool {
        self.settings.rate.is_some()
    }

    fn sees_responses(&self) -> bool {
        self.settings.rate.is_some()
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        let Request { head, info, .. } = request;
        if !self.leads_there(head) || !self.settings.concerns(head) {
            return Flow::Continue;
        }
        if let Some(rate) = self.chosen_rate(head)
            && self.take()
        {
            self.live.stats.response_rl_injected.inc();
            self.slow = Some(Box::new(Slow::new(rate)));
        }
        match self.chosen_delay(head) {
            Some(time) if self.take() => {
                self.live.stats.delays_injected.inc();
                self.count_client(head, "delays_injected");
                info.flags.set(ResponseFlag::DelayInjected);
                self.tell(info);
                self.delay = Some(Box::pin(tokio::time::sleep(time)));
                Flow::Wait
            }
            _ => self.abort(head, info),
        }
    }

    fn poll_decode(&mut self, request: &mut Request<'_>, _: &mut Piece, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(delay) = &mut self.delay else { return Poll::Pending };
        ready!(delay.as_mut().poll(cx));
        self.delay = None;
        Poll::Ready(self.abort(request.head, request.info))
    }
    fn encode_data(&mut self, _: &mut Response<'_>, piece: &mut Piece) -> Flow {
        if let Some(slow) = &mut self.slow {
            slow.hold(piece);
        }
        Flow::Continue
    }

    fn encode_trailers(&mut self, _: &mut Response<'_>, _: &mut Piece) -> Flow {
        let waits = self.slow.as_mut().is_some_and(|slow| slow.holds_before_trailers());
        if waits { Flow::Wait } else { Flow::Continue }
    }

    fn poll_encode(&mut self, _: &mut Response<'_>, piece: &mut Piece, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(slow) = &mut self.slow else { return Poll::Pending };
        slow.poll(piece, cx).map(|()| Flow::Continue)
    }

    fn held_back(&self) -> usize {
        self.slow.as_ref().map_or(0, |slow| slow.held())
    }
}
