//! `envoy.filters.http.health_check`: answers health checks for the server itself, without an upstream.

use super::frame::{Framed, Live, compiled};
use nuncio_codec::head::Known;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::matcher::HeaderMatcher;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::ResponseFlag;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::LocalReply;
use nuncio_downstream::world::World;
use nuncio_proto::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use nuncio_upstream::host::Health;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Compiles the filter's message.
pub struct HealthCheckFactory;

nuncio_core::stats_block! {
    /// `http.PREFIX.health_check.`
    struct HealthCheckFilterStats {
        counter cached_response,
        counter degraded,
        counter failed,
        counter failed_cluster_empty,
        counter failed_cluster_not_found,
        counter failed_cluster_unhealthy,
        counter ok,
        counter request_total,
    }
}

/// A compiled `HealthCheck`.
struct Settings {
    pass_through: bool,
    headers: Box<[HeaderMatcher]>,
    /// Clusters that must have so many percent of healthy hosts; Envoy cuts fractions off.
    minimums: Box<[(Box<str>, f64)]>,
    /// `cache_time`: the upstream's last answer to a health check.
    cache: Option<Cache>,
}

/// An answer that is remembered until the next of the moments that lie `cache_time` apart.
struct Cache {
    time: Duration,
    /// When the first health check was seen.
    begun: OnceLock<Instant>,
    /// The number of the span in which it was stored plus one in the upper half, the answer in the lower: the
    /// status, and a bit that says that the upstream was degraded.
    answer: AtomicU64,
}

/// The bit of a degraded answer.
const DEGRADED: u64 = 1 << 16;

impl Cache {
    fn new(time: Duration) -> Self {
        Self { time, begun: OnceLock::new(), answer: AtomicU64::new(0) }
    }

    fn span(&self, now: Instant) -> u64 {
        let begun = *self.begun.get_or_init(|| now);
        let passed = now.saturating_duration_since(begun).as_nanos() / self.time.as_nanos().max(1);
        (passed as u64 & 0x7fff_ffff) + 1
    }

    fn store(&self, now: Instant, status: u16, degraded: bool) {
        let answer = u64::from(status) | if degraded { DEGRADED } else { 0 };
        self.answer.store((self.span(now) << 32) | answer, Relaxed);
    }

    /// The status and whether the upstream was degraded.
    fn load(&self, now: Instant) -> Option<(u16, bool)> {
        let stored = self.answer.load(Relaxed);
        (stored >> 32 == self.span(now)).then_some((stored as u16, stored & DEGRADED != 0))
    }
}

impl HttpFilterFactory for HealthCheckFactory {
    type Config = HealthCheck;
    type PerRoute = HealthCheck;

    fn compile(&self, message: HealthCheck, cx: &CompileContext<'_>) -> Option<Compiled> {
        let HealthCheck { pass_through_mode, headers, cluster_min_healthy_percentages, cache_time } = message;
        let pass_through = pass_through_mode.unwrap_or_default();
        let cache_time = match &cache_time {
            Some(time) => config::duration(time, &cx.field("cache_time"))?,
            None => Duration::ZERO,
        };
        if !pass_through && !cache_time.is_zero() {
            cx.field("cache_time").error("cache_time must not be set when path_through_mode is disabled");
            return None;
        }
        // Who passes checks on asks no cluster.
        let minimums = if pass_through { Default::default() } else { cluster_min_healthy_percentages };
        let headers = headers
            .iter()
            .enumerate()
            .map(|(i, h)| HeaderMatcher::compile(h, &cx.item("headers", i)))
            .collect::<Option<_>>()?;
        let mut minimums: Vec<(Box<str>, f64)> =
            minimums.into_iter().map(|(name, p)| (name.into(), p.value.trunc())).collect();
        minimums.sort_by(|a, b| a.0.cmp(&b.0));
        compiled::<HealthCheckFilter>(Settings {
            pass_through,
            headers,
            minimums: minimums.into(),
            cache: (!cache_time.is_zero()).then(|| Cache::new(cache_time)),
        })
    }
}

/// One stream's health check filter.
struct HealthCheckFilter {
    live: Rc<Live<Self>>,
    /// This request is a health check.
    checks: bool,
}

impl Framed for HealthCheckFilter {
    type Settings = Settings;
    type Stats = Scope<HealthCheckFilterStats>;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}health_check.")
    }

    fn make(live: Rc<Live<Self>>, _: Arc<Settings>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { live, checks: false })
    }
}

impl HttpFilter for HealthCheckFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        let Request { head, info, .. } = request;
        self.checks = self.live.settings.headers.iter().all(|m| m.matches(&head.headers));
        if !self.checks {
            return Flow::Continue;
        }
        info.health_check = true;
        if let Some(span) = &mut info.span {
            span.context.sampled = false;
        }
        let now = self.live.world.worker.now();
        let cached = self.live.settings.cache.as_ref().and_then(|cache| cache.load(now));
        if self.live.settings.pass_through
            && !self.live.world.lifecycle.health_check_failed()
            && cached.is_none()
        {
            return Flow::Continue;
        }
        let stats = &self.live.stats;
        stats.request_total.inc();
        let reply = self.live.settings.answer(&self.live.world, cached, stats);
        if reply.status / 100 == 2 {
            stats.ok.inc();
        } else {
            stats.failed.inc();
        }
        Flow::ReplyAtEnd(reply)
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _end_stream: bool) -> Flow {
        let Response { head, .. } = response;
        if self.checks {
            if let Some(cache) = &self.live.settings.cache {
                let degraded = head.headers.contains("x-envoy-degraded");
                cache.store(self.live.world.worker.now(), head.status, degraded);
            }
            head.headers
                .set(Known::XEnvoyUpstreamHealthcheckedCluster, self.live.world.node_cluster.as_bytes());
        }
        if self.live.world.lifecycle.health_check_failed() {
            head.headers.set(Known::XEnvoyImmediateHealthCheckFail, b"true");
        }
        Flow::Continue
    }
}

impl Settings {
    /// 200 where the server and every named cluster are well, else 503 with the reason in the details.
    /// In pass-through mode `cached` is the upstream's word.
    fn answer(
        &self,
        world: &World,
        cached: Option<(u16, bool)>,
        stats: &HealthCheckFilterStats,
    ) -> LocalReply {
        if world.lifecycle.health_check_failed() {
            return failed("health_check_failed");
        }
        if let Some((status, degraded)) = cached {
            stats.cached_response.inc();
            if degraded {
                stats.degraded.inc();
            }
            let reply = LocalReply::new(status, "health_check_cached");
            let reply = match status / 100 {
                2 => reply,
                _ => reply.with_flag(ResponseFlag::FailedLocalHealthCheck),
            };
            return if degraded { reply.with_header("x-envoy-degraded", "") } else { reply };
        }
        for (name, percent) in &self.minimums {
            let Some(cluster) = world.clusters.get(name) else {
                stats.failed_cluster_not_found.inc();
                return failed("health_check_failed_no_cluster_found");
            };
            let (total, well) = cluster.with_hosts(|set| {
                let well = set
                    .hosts()
                    .filter(|h| matches!(h.health_flags().health(), Health::Healthy | Health::Degraded));
                (set.hosts().count(), well.count())
            });
            if total == 0 {
                if *percent == 0.0 {
                    continue;
                }
                stats.failed_cluster_empty.inc();
                return failed("health_check_failed_cluster_empty");
            }
            if 100.0 * (well as f64) < *percent * (total as f64) {
                stats.failed_cluster_unhealthy.inc();
                return failed("health_check_failed_cluster_unhealthy");
            }
        }
        if self.minimums.is_empty() {
            LocalReply::new(200, "health_check_ok")
        } else {
            LocalReply::new(200, "health_check_ok_cluster_healthy")
        }
    }
}

fn failed(details: &'static str) -> LocalReply {
    LocalReply::new(503, details).with_flag(ResponseFlag::FailedLocalHealthCheck)
}
