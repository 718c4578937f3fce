//! From `envoy.config.cluster.v3.Cluster` to a [`ClusterConfig`].

mod dns;
mod endpoints;
mod http;
mod lb;
mod options;
mod policies;
mod source;

pub(crate) use endpoints::assignment;

use super::{ClusterConfig, HTTP_OPTIONS, HostSource, Preconnect, Turnover, stat_prefix};
use crate::circuit::{Limits, PerPriority, RequestPriority, RetryBudget};
use crate::cluster::UpstreamProtocol;
use crate::dns_cache::DnsCaches;
use crate::event_log::EventLog;
use crate::health;
use crate::manager::ClusterSetConfig;
use crate::outlier::OutlierConfig;
use crate::requests::CompileRequests;
use crate::transport::{TransportMatch, TransportMatcher, UpstreamTransport};
use nuncio_core::config::{CompileContext, duration, timeout};
use nuncio_core::matcher::MetadataMatcher;
use nuncio_net::dns::OldMessages;
use nuncio_net::log_files::{LogFile, LogFiles};
use nuncio_net::stream::ConnectOptions;
use nuncio_net::tls::{TlsManager, TlsOwner};
use nuncio_proto::pb::envoy::config::cluster::v3 as pb;
use nuncio_proto::pb::envoy::config::cluster::v3::circuit_breakers::{Thresholds, thresholds};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, LbConfig as LegacyLbConfig, LbPolicy as LbPolicyName,
};
use nuncio_proto::pb::envoy::config::core::v3::{BindConfig, RoutingPriority};
use std::sync::Arc;
use std::time::Duration;

/// What compiling a cluster needs beyond its message: what it shares with others.
#[derive(Clone, Default)]
pub struct ClusterSurroundings {
    /// TLS secrets and contexts.
    pub tls: TlsManager,
    /// Names that requests want to go to.
    pub(crate) dns_caches: DnsCaches,
    /// Where events are written; nowhere, as in tests, without one.
    log_files: Option<Arc<LogFiles>>,
    /// Where ejections are written.
    outlier_log: EventLog,
    /// How connections of clusters leave the machine that do not say so themselves.
    connect: Option<ConnectOptions>,
    /// Who compiles what clusters say of requests; without one, that is refused.
    pub requests: Option<Arc<dyn CompileRequests>>,
}

/// What the bootstrap's `cluster_manager` says of all clusters.
#[derive(Clone, Debug, Default)]
pub struct ClusterDefaults {
    /// `outlier_detection.event_log_path`
    pub outlier_event_log: String,
    /// `upstream_bind_config`
    pub bind: Option<BindConfig>,
}

impl ClusterSurroundings {
    /// With nothing said of all clusters.
    pub fn new(tls: TlsManager, dns_caches: DnsCaches, log_files: Arc<LogFiles>) -> Self {
        Self { tls, dns_caches, log_files: Some(log_files), ..Self::default() }
    }

    /// Takes what is said of all clusters; `cx` is that of `cluster_manager`.
    pub fn take_defaults(&mut self, defaults: &ClusterDefaults, cx: &CompileContext<'_>) {
        let ClusterDefaults { outlier_event_log, bind } = defaults;
        if !outlier_event_log.is_empty() {
            let cx = cx.field("outlier_detection");
            if let Some(file) = self.open_log(outlier_event_log, &cx.field("event_log_path")) {
                self.outlier_log.add(file);
            }
        }
        self.connect = bind.clone().and_then(|bind| options::compile_bind("Bootstrap", bind, cx));
    }

    /// Opens the file at `path`, which the field of `cx` names.
    pub(crate) fn open_log(&self, path: &str, cx: &CompileContext<'_>) -> Option<Arc<LogFile>> {
        self.log_files.as_ref()?.open_for(path, cx)
    }
}

impl ClusterSetConfig {
    /// Compiles one more cluster and keeps it; errors go to the context's sink.
    pub fn add(&mut self, message: pb::Cluster, cx: &CompileContext<'_>, around: &ClusterSurroundings) {
        let name = message.name.clone();
        if self.clusters.iter().any(|c| *c.name == *name) {
            cx.field("name").error(format!("cluster manager: duplicate cluster '{name}'"));
            return;
        }
        if let Some(cluster) = ClusterConfig::compile(message, cx, around) {
            self.clusters.push(Arc::new(cluster));
        }
    }
}

impl ClusterConfig {
    /// Compiles a cluster; `None` where that is not possible, with errors in the context's sink.
    pub fn compile(
        message: pb::Cluster,
        cx: &CompileContext<'_>,
        around: &ClusterSurroundings,
    ) -> Option<Self> {
        let pb::Cluster {
            name,
            cluster_discovery_type,
            connect_timeout,
            per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout,
            lb_policy,
            max_requests_per_connection,
            circuit_breakers,
            http_protocol_options,
            http2_protocol_options,
            protocol_selection,
            upstream_bind_config,
            metadata,
            common_lb_config,
            alt_stat_name,
            common_http_protocol_options,
            upstream_connection_options,
            load_assignment,
            typed_extension_protocol_options,
            lb_config,
            load_balancing_policy,
            dns_refresh_rate,
            dns_failure_refresh_rate,
            respect_dns_ttl,
            dns_lookup_family,
            dns_jitter,
            wait_for_warm_on_init,
            transport_socket,
            transport_socket_matches,
            outlier_detection,
            health_checks,
            track_cluster_stats,
            track_timeout_budgets,
            lb_subset_config,
            cleanup_interval,
            eds_cluster_config,
            ignore_health_on_host_removal,
            close_connections_on_host_health_failure,
            typed_dns_resolver_config,
            dns_resolution_config,
            dns_resolvers,
            use_tcp_for_dns_lookups,
            upstream_http_protocol_options,
            preconnect_policy,
            connection_pool_per_downstream_connection,
            transport_socket_matcher,
            upstream_config,
            queuing_policies,
        } = message;
        let mut config = Self::new(&name);
        config.keep_places(cx);
        if !alt_stat_name.is_empty() {
            config.observability_name = alt_stat_name.as_str().into();
        }
        if let Some(limit) = per_connection_buffer_limit_bytes {
            config.per_connection_buffer_limit = limit;
        }
        let field = cx.field("per_connection_buffer_high_watermark_timeout");
        let patience = timeout(per_connection_buffer_high_watermark_timeout.as_ref(), None, &field);
        config.patience = patience.filter(|_| config.per_connection_buffer_limit > 0);
        let default = Some(config.connect_timeout);
        let connect = timeout(connect_timeout.as_ref(), default, &cx.field("connect_timeout"));
        config.connect_timeout = connect.unwrap_or(Duration::from_millis(1));
        config.metadata = metadata.map(nuncio_core::config::metadata);
        let pb::TrackClusterStats { timeout_budgets, request_response_sizes, per_endpoint_stats } =
            track_cluster_stats.unwrap_or_default();
        config.track = super::Tracked {
            timeout_budgets: timeout_budgets || track_timeout_budgets,
            request_response_sizes,
            per_endpoint: per_endpoint_stats,
        };
        config.closes_on_failure = close_connections_on_host_health_failure;
        config.turnover = Turnover {
            goes_at_once: ignore_health_on_host_removal,
            closes_connections: common_lb_config
                .as_ref()
                .is_some_and(|c| c.close_connections_on_host_set_change),
            counts_once_checked: common_lb_config.as_ref().is_some_and(|c| c.ignore_new_hosts_until_first_hc),
        };
        let (lb_config, original_dst) = match lb_config {
            Some(LegacyLbConfig::OriginalDstLbConfig(config)) => (None, Some(config)),
            other => (other, None),
        };
        if let Some(pb::cluster::PreconnectPolicy {
            per_upstream_preconnect_ratio,
            predictive_preconnect_ratio,
            preconnect_enabled_metadata,
        }) = preconnect_policy
        {
            let only = preconnect_enabled_metadata.map(|matcher| {
                let cx = cx.field("preconnect_policy");
                MetadataMatcher::compile(&matcher, &cx.field("preconnect_enabled_metadata")).map(Box::new)
            });
            config.preconnect = Some(Box::new(Preconnect {
                per_upstream: per_upstream_preconnect_ratio.unwrap_or(1.0),
                predictive: predictive_preconnect_ratio.unwrap_or(1.0),
                // An error was told where there is none.
                only: only.flatten(),
            }));
        }
        config.pool_per_client = connection_pool_per_downstream_connection;
        let hashes_names = common_lb_config
            .as_ref()
            .and_then(|c| c.consistent_hashing_lb_config.as_ref())
            .is_some_and(|hashing| hashing.use_hostname_for_hashing);
        if lb_subset_config.is_some() && load_balancing_policy.is_some() {
            let cx = cx.field("load_balancing_policy");
            cx.error("cluster: load_balancing_policy cannot be combined with lb_subset_config");
        }
        let has_policies = load_balancing_policy.is_some();
        let of_subs = matches!(cluster_discovery_type, Some(ClusterDiscoveryType::ClusterType(_)))
            .then(|| (lb_config.clone(), common_lb_config.clone()));
        let weighted = lb::is_weighted(common_lb_config.as_ref());
        let lb = lb::compile(lb_policy, lb_config, common_lb_config, load_balancing_policy, &name, cx);
        if let Some(breakers) = circuit_breakers {
            config.limits = limits(breakers, &cx.field("circuit_breakers"));
        }
        let has_options = typed_extension_protocol_options.contains_key(HTTP_OPTIONS);
        let http = http::compile(
            http::Messages {
                common: common_http_protocol_options,
                http1: http_protocol_options,
                http2: http2_protocol_options,
                protocol_selection,
                max_requests: max_requests_per_connection,
                typed: typed_extension_protocol_options,
                server_name: upstream_http_protocol_options,
            },
            cx,
            around.requests.as_deref(),
        );
        let carrier = http::carrier(upstream_config, cx);
        http::check_queues(queuing_policies, cx)?;
        let stat_prefix = stat_prefix(&config);
        let owner = TlsOwner { manager: &around.tls, stat_prefix: &stat_prefix };
        let transport = UpstreamTransport::compile(transport_socket, cx, owner);
        let count = transport_socket_matches.len();
        let each = transport_socket_matches.into_iter().enumerate();
        let matches: Vec<_> = each
            .filter_map(|(i, m)| TransportMatch::compile(m, &cx.item("transport_socket_matches", i), owner))
            .collect();
        let connect = options::compile(
            &name,
            upstream_bind_config,
            upstream_connection_options,
            cx,
            around.connect.as_ref(),
        );
        let subsets = lb::subsets(lb_subset_config, weighted, &name, cx);
        let checks = health::compile(health_checks, cx, around);
        let outlier = match outlier_detection {
            None => Some(None),
            Some(message) => {
                OutlierConfig::compile(message, &cx.field("outlier_detection"), &around.outlier_log).map(Some)
            }
        };
        let rates = dns::Messages {
            refresh: dns_refresh_rate,
            failure: dns_failure_refresh_rate,
            respect_ttl: respect_dns_ttl,
            family: dns_lookup_family,
            jitter: dns_jitter,
            wait_for_warm: wait_for_warm_on_init,
            min_refresh: None,
            resolver: typed_dns_resolver_config,
            old_resolver: OldMessages {
                resolution: dns_resolution_config,
                resolvers: dns_resolvers,
                tcp: use_tcp_for_dns_lookups,
            },
        };
        let source = source::Messages {
            kind: cluster_discovery_type,
            assignment: load_assignment,
            eds: eds_cluster_config,
            dns: rates,
            original_dst,
            cleanup: cleanup_interval,
            lb_policy,
        };
        let mut discovery = source::compile(source, cx, around);
        if let Some(HostSource::SubClusters(subs)) = discovery.as_mut().map(|d| &mut d.source)
            && let Some((lb_config, common)) = of_subs.filter(|_| !has_policies)
            && subs.policy != LbPolicyName::LoadBalancingPolicyConfig
        {
            subs.lb = Some(lb::compile(subs.policy.into(), lb_config, common, None, &name, cx)?);
        }
        if hashes_names && let Some(discovery) = &discovery {
            lb::check_hostnames(&discovery.source, cx)?;
        }
        (config.lb, config.http, config.connect, config.discovery) = (lb?, http?, connect?, discovery?);
        (config.outlier, config.health_checks) = (outlier?, checks?);
        if let Some(subsets) = subsets? {
            config.lb.subsets = Some(subsets);
        }
        lb::check_provided(&config, cx)?;
        source::secure_names(&mut config, has_options, cx)?;
        config.transport = transport?;
        if matches.len() < count {
            return None;
        }
        config.http.carrier = carrier?;
        config.matches = matches.into();
        if let Some(message) = transport_socket_matcher {
            config.matcher = TransportMatcher::compile(message, &config.matches, cx).map(Some)?;
        }
        health::check_protocols(&config, cx)?;
        if config.http.protocol == UpstreamProtocol::Auto && !config.is_secured() {
            cx.error(format!(
                "ALPN configured for cluster {} which has a transport socket without ALPN; auto_config asks for TLS",
                config.name
            ));
            return None;
        }
        config.told = config.may_be_told();
        Some(config)
    }
}

/// The first thresholds of a priority count, as in Envoy.
fn limits(message: pb::CircuitBreakers, cx: &CompileContext<'_>) -> PerPriority<Limits> {
    let pb::CircuitBreakers { thresholds, per_host_thresholds } = message;
    let mut all = PerPriority::<Limits>::default();
    let mut seen = PerPriority::<bool>::default();
    for (i, thresholds) in thresholds.into_iter().enumerate() {
        let Thresholds {
            priority,
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            track_remaining,
            max_connection_pools,
            retry_budget,
        } = thresholds;
        let priority = request_priority(priority);
        if std::mem::replace(seen.get_mut(priority), true) {
            continue;
        }
        let default = Limits::default();
        *all.get_mut(priority) = Limits {
            max_connections: max_connections.unwrap_or(default.max_connections),
            max_pending: max_pending_requests.unwrap_or(default.max_pending),
            max_requests: max_requests.unwrap_or(default.max_requests),
            max_retries: max_retries.unwrap_or(default.max_retries),
            max_pools: max_connection_pools.unwrap_or(default.max_pools),
            track_remaining,
            max_per_host: None,
            retry_budget: retry_budget.map(|budget| {
                let thresholds::RetryBudget { budget_percent, min_retry_concurrency, budget_interval } =
                    budget;
                let interval = budget_interval.and_then(|interval| {
                    let cx = cx.item("thresholds", i);
                    duration(&interval, &cx.field("retry_budget").field("budget_interval"))
                });
                Box::new(RetryBudget {
                    interval: interval.filter(|interval: &Duration| !interval.is_zero()),
                    percent: budget_percent.map_or(20.0, |p| p.value),
                    min_concurrency: min_retry_concurrency.unwrap_or(3),
                })
            }),
        };
    }
    for (i, thresholds) in per_host_thresholds.into_iter().enumerate().rev() {
        let Thresholds {
            priority,
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            track_remaining: _,
            max_connection_pools,
            retry_budget,
        } = thresholds;
        let others = [max_pending_requests, max_requests, max_retries, max_connection_pools];
        if others.iter().any(Option::is_some) || retry_budget.is_some() {
            cx.item("per_host_thresholds", i)
                .error("max_connections is the only threshold that a host may have of its own");
        }
        all.get_mut(request_priority(priority)).max_per_host = max_connections;
    }
    all
}

fn request_priority(number: i32) -> RequestPriority {
    match RoutingPriority::try_from(number) {
        Ok(RoutingPriority::High) => RequestPriority::High,
        Ok(RoutingPriority::Default) | Err(_) => RequestPriority::Default,
    }
}

#[cfg(test)]
mod tests;
