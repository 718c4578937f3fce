//! A TCP proxy's compiled configuration.

use crate::network::{ListenerFacts, NetworkFilterConfig, NetworkFilterFactory};
use crate::world::CompileEnv;
use nuncio_core::access_log::AccessLog;
use nuncio_core::config::{self, CompileContext};
use nuncio_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3 as pb;
use pb::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
use std::sync::Arc;
use std::time::Duration;

/// Envoy's default of `idle_timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A compiled `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
pub struct TcpProxyConfig {
    /// `tcp.PREFIX.`
    pub stat_prefix: String,
    /// How long neither side may send; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// `max_downstream_connection_duration`
    pub max_duration: Option<Duration>,
    /// `max_connect_attempts`, at least 1.
    pub max_connect_attempts: u32,
    /// Who is told of each connection that ends.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// Each with the end of its half-open interval.
    clusters: Box<[(u64, Arc<str>)]>,
}

impl TcpProxyConfig {
    /// The cluster into whose share of the weights `random` falls.
    pub fn cluster(&self, random: u64) -> Option<&Arc<str>> {
        let total = self.clusters.last()?.0;
        let at = random.checked_rem(total)?;
        let first = self.clusters.partition_point(|(end, _)| *end <= at);
        self.clusters.get(first).map(|(_, name)| name)
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
    ) -> Option<Arc<dyn NetworkFilterConfig>> {
        let pb::TcpProxy {
            stat_prefix,
            cluster_specifier,
            idle_timeout,
            max_connect_attempts,
            access_log,
            max_downstream_connection_duration,
        } = config;
        let clusters = match cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => Box::from([(1, Arc::from(name))]),
            Some(ClusterSpecifier::WeightedClusters(WeightedCluster { clusters })) => weighted(clusters),
            None => {
                cx.field("cluster_specifier").error("is required");
                return None;
            }
        };
        let max_duration = match max_downstream_connection_duration {
            None => None,
            Some(most) => Some(config::duration(&most, &cx.field("max_downstream_connection_duration"))?),
        };
        Some(Arc::new(TcpProxyConfig {
            stat_prefix: format!("tcp.{stat_prefix}."),
            idle_timeout: config::timeout(
                idle_timeout.as_ref(),
                Some(IDLE_TIMEOUT),
                &cx.field("idle_timeout"),
            ),
            max_duration,
            max_connect_attempts: max_connect_attempts.unwrap_or(1),
            access_logs: env.access_logs.compile(&access_log, cx, "access_log")?,
            clusters,
        }))
    }
}

fn weighted(clusters: Vec<ClusterWeight>) -> Box<[(u64, Arc<str>)]> {
    let mut end = 0;
    let clusters = clusters.into_iter().map(|ClusterWeight { name, weight }| {
        end += u64::from(weight);
        (end, Arc::from(name))
    });
    clusters.collect()
}
