//! A TCP proxy's compiled configuration.

use super::early::EarlyConfig;
use super::tlvs::TlvsConfig;
use super::tunnel::TunnelConfig;
use crate::network::{CompiledFilter, ListenerFacts, NetworkFilterFactory};
use crate::world::CompileEnv;
use nuncio_core::access_log::AccessLog;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::stream_info::StreamInfo;
use nuncio_core::why::FieldPlaces;
use nuncio_core::xx_hash::xx_hash64;
use nuncio_proto::pb::envoy::config::core::v3::{BackoffStrategy, Metadata};
use nuncio_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::{self as types, hash_policy};
use nuncio_upstream::host::LB_NAMESPACE;
use nuncio_upstream::lb::Criteria;
use pb::tcp_proxy::{
    ClusterSpecifier, TcpAccessLogOptions, WeightedCluster, weighted_cluster::ClusterWeight,
};
use std::sync::Arc;
use std::time::Duration;

/// Envoy's default of `idle_timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A compiled `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
pub struct TcpProxyConfig {
    /// Where it and its fields stand.
    pub places: FieldPlaces,
    /// `tcp.PREFIX.`
    pub stat_prefix: String,
    /// How long neither side may send; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// `max_downstream_connection_duration`
    pub max_duration: Option<Duration>,
    /// By how much of itself that is lengthened at most, by chance; 1 is all of it.
    pub max_duration_jitter: f64,
    /// `max_connect_attempts`, at least 1.
    pub max_connect_attempts: u32,
    /// `backoff_options`: the first wait before another attempt, and the longest.
    pub back_off: Option<(Duration, Option<Duration>)>,
    /// Who is told of each connection that ends.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// When they are told besides.
    pub log_times: LogTimes,
    /// `tunneling_config`
    pub tunnel: Option<TunnelConfig>,
    /// What is read of the client before there is a host; `None`: nothing.
    pub early: Option<EarlyConfig>,
    /// `proxy_protocol_tlvs`
    pub tlvs: TlvsConfig,
    /// `check_drain_close`: a connection whose listener drains is closed with its next bytes.
    pub closes_when_drained: bool,
    /// `hash_policy`
    hash: Option<HashSource>,
    clusters: Box<[Target]>,
    /// What the message says of balancing, for a cluster that a filter names.
    criteria: Option<Arc<Criteria>>,
}

/// `access_log_options`: entries before the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogTimes {
    /// `flush_access_log_on_start`
    pub on_start: bool,
    /// `flush_access_log_on_connected`
    pub on_connected: bool,
    /// `access_log_flush_interval`
    pub interval: Option<Duration>,
}

/// A cluster that connections may go to.
struct Target {
    /// The end of its half-open interval of the weights.
    end: u64,
    name: Arc<str>,
    /// Its `metadata_match`, on top of the message's.
    criteria: Option<Arc<Criteria>>,
}

#[derive(Debug)]
enum HashSource {
    ClientAddress,
    FilterState(Box<str>),
}

impl TcpProxyConfig {
    /// The cluster into whose share of the weights `random` falls, and what a host's metadata shall have.
    pub fn cluster(&self, random: u64) -> Option<(&Arc<str>, Option<&Criteria>)> {
        let total = self.clusters.last()?.end;
        let at = random.checked_rem(total)?;
        let first = self.clusters.partition_point(|target| target.end <= at);
        self.clusters.get(first).map(|target| (&target.name, target.criteria.as_deref()))
    }

    /// What a host's metadata shall have in a cluster that a filter names.
    pub fn criteria(&self) -> Option<&Criteria> {
        self.criteria.as_deref()
    }

    /// What consistent hashing places the connection by.
    pub fn hash(&self, info: &StreamInfo) -> Option<u64> {
        match self.hash.as_ref()? {
            HashSource::ClientAddress => {
                let mut text = Vec::with_capacity(40);
                info.remote_address().ip()?;
                info.remote_address().write_ip_to(&mut text);
                Some(xx_hash64(&text, 0))
            }
            HashSource::FilterState(key) => info.filter_state(key)?.hash(),
        }
    }
}

/// The network filter `envoy.filters.network.tcp_proxy`.
pub struct TcpProxyFactory;

impl NetworkFilterFactory for TcpProxyFactory {
    type Config = pb::TcpProxy;

    fn compile(
        &self,
        config: Self::Config,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        _listener: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let pb::TcpProxy {
            stat_prefix,
            cluster_specifier,
            idle_timeout,
            max_connect_attempts,
            access_log,
            max_downstream_connection_duration,
            max_downstream_connection_duration_jitter_percentage,
            metadata_match,
            hash_policy,
            tunneling_config,
            access_log_flush_interval,
            flush_access_log_on_connected,
            access_log_options,
            backoff_options,
            proxy_protocol_tlvs,
            proxy_protocol_tlv_merge_policy,
            upstream_connect_mode,
            max_early_data_bytes,
            check_drain_close,
        } = config;
        let criteria = criteria(metadata_match);
        let clusters = match cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => {
                Box::from([Target { end: 1, name: name.into(), criteria: criteria.clone() }])
            }
            Some(ClusterSpecifier::WeightedClusters(WeightedCluster { clusters })) => {
                weighted(clusters, criteria.as_ref())
            }
            None => {
                cx.field("cluster_specifier").error("is required");
                return None;
            }
        };
        let max_duration = match max_downstream_connection_duration {
            None => None,
            Some(most) => Some(config::duration(&most, &cx.field("max_downstream_connection_duration"))?),
        };
        let jitter = max_downstream_connection_duration_jitter_percentage;
        let max_duration_jitter = jitter.map_or(0.0, |types::Percent { value }| value / 100.0);
        let log_times = LogTimes::compile(
            flush_access_log_on_connected,
            access_log_flush_interval,
            access_log_options,
            cx,
        );
        let back_off = match backoff_options {
            None => None,
            Some(message) => Some(back_off(message, &cx.field("backoff_options"))?),
        };
        let tunnel = match tunneling_config {
            None => None,
            Some(message) => Some(TunnelConfig::compile(message, &cx.field("tunneling_config"))?),
        };
        let early = EarlyConfig::compile(upstream_connect_mode, max_early_data_bytes, cx);
        let tlvs = TlvsConfig::compile(proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy, cx);
        Some(CompiledFilter::Serving(Arc::new(TcpProxyConfig {
            places: FieldPlaces::new(cx, &["cluster"]),
            stat_prefix: format!("tcp.{stat_prefix}."),
            idle_timeout: config::timeout(
                idle_timeout.as_ref(),
                Some(IDLE_TIMEOUT),
                &cx.field("idle_timeout"),
            ),
            max_duration,
            max_duration_jitter,
            max_connect_attempts: max_connect_attempts.unwrap_or(1),
            back_off,
            access_logs: env.access_logs.compile(&access_log, cx, "access_log")?,
            log_times: log_times?,
            tunnel,
            early: early.ok()?,
            tlvs: tlvs?,
            closes_when_drained: check_drain_close.unwrap_or_default(),
            hash: hash_policy.into_iter().find_map(hash_source),
            clusters,
            criteria,
        })))
    }
}

fn criteria(message: Option<Metadata>) -> Option<Arc<Criteria>> {
    let Metadata { filter_metadata, typed_filter_metadata: _ } = message?;
    filter_metadata.get(LB_NAMESPACE).map(|fields| Arc::new(Criteria::new(fields)))
}

fn weighted(clusters: Vec<ClusterWeight>, usual: Option<&Arc<Criteria>>) -> Box<[Target]> {
    let mut end = 0;
    let clusters = clusters.into_iter().map(|ClusterWeight { name, weight, metadata_match }| {
        end += u64::from(weight);
        let criteria = match (usual, criteria(metadata_match)) {
            (Some(usual), Some(own)) => Some(Arc::new(usual.merged(&own))),
            (usual, own) => own.or_else(|| usual.cloned()),
        };
        Target { end, name: name.into(), criteria }
    });
    clusters.collect()
}

fn hash_source(message: types::HashPolicy) -> Option<HashSource> {
    let types::HashPolicy { policy_specifier } = message;
    match policy_specifier? {
        hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {}) => Some(HashSource::ClientAddress),
        hash_policy::PolicySpecifier::FilterState(hash_policy::FilterState { key }) => {
            Some(HashSource::FilterState(key.into()))
        }
    }
}

fn back_off(message: BackoffStrategy, cx: &CompileContext<'_>) -> Option<(Duration, Option<Duration>)> {
    let BackoffStrategy { base_interval, max_interval } = message;
    let base = config::duration(&base_interval?, &cx.field("base_interval"))?;
    let max = match max_interval {
        None => None,
        Some(max) => Some(config::duration(&max, &cx.field("max_interval"))?),
    };
    if max.is_some_and(|max| max < base) {
        cx.error("max_backoff must be greater or equal to base_backoff");
        return None;
    }
    Some((base, max))
}

impl LogTimes {
    fn compile(
        on_connected: bool,
        interval: Option<prost_types::Duration>,
        options: Option<TcpAccessLogOptions>,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let clash = |field: &str| {
            let text = format!("Only one of {field} or access_log_options can be specified.");
            cx.field(field).error(text);
            None
        };
        let (on_start, on_connected, interval, cx) = match options {
            Some(_) if on_connected => return clash("flush_access_log_on_connected"),
            Some(_) if interval.is_some() => return clash("access_log_flush_interval"),
            Some(TcpAccessLogOptions {
                access_log_flush_interval,
                flush_access_log_on_connected,
                flush_access_log_on_start,
            }) => (
                flush_access_log_on_start,
                flush_access_log_on_connected,
                access_log_flush_interval,
                &cx.field("access_log_options"),
            ),
            None => (false, on_connected, interval, cx),
        };
        let interval = match interval {
            None => None,
            Some(interval) => Some(config::duration(&interval, &cx.field("access_log_flush_interval"))?),
        };
        Some(Self { on_start, on_connected, interval })
    }
}
