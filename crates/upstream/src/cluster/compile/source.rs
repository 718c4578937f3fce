//! Where a cluster's hosts come from: `type` or `cluster_type`.

use super::ClusterSurroundings;
use super::{dns, endpoints};
use crate::cluster::destination::OriginalDstConfig;
use crate::cluster::{ClusterConfig, Discovery, Forwarding, HostSource, SubClustersConfig};
use crate::discovery::EdsConfig;
use crate::transport::AutoServerName;
use nuncio_core::config::{CompileContext, duration, type_name};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, EdsClusterConfig, LbPolicy, OriginalDstLbConfig,
};
use nuncio_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use nuncio_proto::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use nuncio_proto::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3::cluster_config::ClusterImplementationSpecifier;
use nuncio_proto::pb::envoy::extensions::clusters::{aggregate, dynamic_forward_proxy as forward_proxy};
use prost::Name;
use prost_types::{Any, Duration};
use std::time::Duration as StdDuration;

/// The fields that say where hosts come from.
pub(super) struct Messages {
    pub(super) kind: Option<ClusterDiscoveryType>,
    pub(super) assignment: Option<ClusterLoadAssignment>,
    pub(super) eds: Option<EdsClusterConfig>,
    pub(super) dns: dns::Messages,
    pub(super) original_dst: Option<OriginalDstLbConfig>,
    pub(super) cleanup: Option<Duration>,
    pub(super) lb_policy: i32,
}

/// The cluster types that are known by the name of their extension alone.
const BY_NAME: [(&str, DiscoveryType); 5] = [
    ("envoy.cluster.eds", DiscoveryType::Eds),
    ("envoy.cluster.static", DiscoveryType::Static),
    ("envoy.cluster.strict_dns", DiscoveryType::StrictDns),
    ("envoy.cluster.logical_dns", DiscoveryType::LogicalDns),
    ("envoy.cluster.original_dst", DiscoveryType::OriginalDst),
];

/// `None` for what is not built, which the support check has refused, and for what is wrong.
pub(super) fn compile(
    messages: Messages,
    cx: &CompileContext<'_>,
    around: &ClusterSurroundings,
) -> Option<Discovery> {
    let Messages { kind, assignment, eds, dns, original_dst, cleanup, lb_policy } = messages;
    let caches = &around.dns_caches;
    let kind = match kind {
        None if cx.told_of("cluster_type") || cx.told_of("type") => return None,
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(number).ok()?,
        Some(ClusterDiscoveryType::ClusterType(CustomClusterType { name, typed_config })) => {
            let (outer, cx) = (cx, cx.field("cluster_type"));
            let any = typed_config.unwrap_or_default();
            match type_name(&any.type_url) {
                kind if kind == aggregate::v3::ClusterConfig::full_name() => {
                    return aggregate(&any, &cx).map(Discovery::of);
                }
                kind if kind == forward_proxy::v3::ClusterConfig::full_name() => {
                    return forwarding(&any, &cx, outer, dns, around).map(Discovery::of);
                }
                kind if kind == DnsCluster::full_name() => {
                    let source = dns::typed(
                        cx.field("typed_config").unpack(&any)?,
                        &cx.field("typed_config"),
                        caches,
                    )?;
                    return endpoints::compile(source, assignment, outer);
                }
                "" if name == "envoy.cluster.dns" => {
                    let source = dns::typed(DnsCluster::default(), &cx, caches)?;
                    return endpoints::compile(source, assignment, outer);
                }
                _ if cx.told_of("typed_config") => return None,
                _ => match BY_NAME.iter().find(|(known, _)| *known == name) {
                    Some((_, kind)) => *kind,
                    None => {
                        unknown(&name, &cx);
                        return None;
                    }
                },
            }
        }
    };
    if eds.is_some() && kind != DiscoveryType::Eds {
        cx.field("eds_cluster_config").error("eds_cluster_config set in a non-EDS cluster");
        return None;
    }
    let source = match kind {
        // A load assignment beside it counts for nothing, as in Envoy.
        DiscoveryType::Eds => return EdsConfig::compile(eds, cx).map(HostSource::Eds).map(Discovery::of),
        DiscoveryType::Static => HostSource::Static,
        DiscoveryType::StrictDns => HostSource::StrictDns(dns::compile(dns, cx, caches)?),
        DiscoveryType::LogicalDns => HostSource::LogicalDns(dns::compile(dns, cx, caches)?),
        DiscoveryType::OriginalDst => {
            if assignment.is_some() {
                cx.field("load_assignment")
                    .error("ORIGINAL_DST clusters must have no load assignment configured");
                return None;
            }
            return original_destination(original_dst, cleanup, lb_policy, cx).map(Discovery::of);
        }
    };
    endpoints::compile(source, assignment, cx)
}

/// Names that Envoy would take, and others.
fn unknown(name: &str, cx: &CompileContext<'_>) {
    if name.starts_with("envoy.") {
        cx.unsupported(format!("the cluster type {name} is not built"));
    } else {
        cx.error(format!("Didn't find a registered cluster factory implementation for name: '{name}'"));
    }
}

fn aggregate(any: &Any, cx: &CompileContext<'_>) -> Option<HostSource> {
    let aggregate::v3::ClusterConfig { clusters } = cx.field("typed_config").unpack(any)?;
    Some(HostSource::Aggregate(clusters.into_iter().map(Into::into).collect()))
}

fn forwarding(
    any: &Any,
    cx: &CompileContext<'_>,
    outer: &CompileContext<'_>,
    dns: dns::Messages,
    around: &ClusterSurroundings,
) -> Option<HostSource> {
    let cx = cx.field("typed_config");
    let forward_proxy::v3::ClusterConfig { cluster_implementation_specifier, allow_insecure_cluster_options } =
        cx.unpack(any)?;
    let insecure = allow_insecure_cluster_options;
    match cluster_implementation_specifier {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(message)) => {
            let cache = around.dns_caches.compile(message, &cx.field("dns_cache_config"))?;
            Some(HostSource::ForwardProxy(Forwarding { cache, insecure }))
        }
        Some(ClusterImplementationSpecifier::SubClustersConfig(message)) => {
            let cx = cx.field("sub_clusters_config");
            let config = sub_clusters(message, insecure, &cx, outer, dns, around)?;
            Some(HostSource::SubClusters(Box::new(config)))
        }
        None => {
            cx.unsupported(
                "a dynamic_forward_proxy cluster without dns_cache_config and sub_clusters_config is not built",
            );
            None
        }
    }
}

/// What sub clusters are like; how they balance is read behind everything else.
fn sub_clusters(
    message: forward_proxy::v3::SubClustersConfig,
    insecure: bool,
    cx: &CompileContext<'_>,
    outer: &CompileContext<'_>,
    dns: dns::Messages,
    around: &ClusterSurroundings,
) -> Option<SubClustersConfig> {
    let forward_proxy::v3::SubClustersConfig {
        lb_policy,
        max_sub_clusters,
        sub_cluster_ttl,
        dns_cluster_config,
    } = message;
    let policy = LbPolicy::try_from(lb_policy).unwrap_or(LbPolicy::RoundRobin);
    if policy == LbPolicy::ClusterProvided {
        cx.field("lb_policy").error("unsupported lb_policy 'CLUSTER_PROVIDED' in sub_cluster_config");
        return None;
    }
    let ttl = match sub_cluster_ttl {
        Some(ttl) => duration(&ttl, &cx.field("sub_cluster_ttl"))?,
        None => StdDuration::from_secs(300),
    };
    let caches = &around.dns_caches;
    let source = match dns_cluster_config {
        Some(message) => dns::typed(message, &cx.field("dns_cluster_config"), caches)?,
        None => HostSource::StrictDns(dns::compile(dns, outer, caches)?),
    };
    let most = max_sub_clusters.unwrap_or(1024) as usize;
    Some(SubClustersConfig { policy, lb: None, most, ttl, source, insecure })
}

/// A cluster whose hosts clients choose asks each for its certificate. Where `HttpProtocolOptions` are set they have
/// to say so, unless `allow_insecure_cluster_options` lets them not.
pub(super) fn secure_names(
    config: &mut ClusterConfig,
    has_options: bool,
    cx: &CompileContext<'_>,
) -> Option<()> {
    let insecure = match &config.discovery.source {
        HostSource::ForwardProxy(forwarding) => forwarding.insecure,
        HostSource::SubClusters(subs) => subs.insecure,
        _ => return Some(()),
    };
    if !has_options {
        let auto = AutoServerName { server_name: true, san: true, ..AutoServerName::default() };
        config.http.auto_server_name = Some(Box::new(auto));
        return Some(());
    }
    let secure = config.http.auto_server_name.as_ref().is_some_and(|auto| auto.server_name && auto.san);
    if !secure && !insecure {
        cx.error(
            "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless \
             allow_insecure_cluster_options is set.",
        );
        return None;
    }
    Some(())
}

fn original_destination(
    message: Option<OriginalDstLbConfig>,
    cleanup: Option<Duration>,
    lb_policy: i32,
    cx: &CompileContext<'_>,
) -> Option<HostSource> {
    let policy = LbPolicy::try_from(lb_policy).unwrap_or(LbPolicy::RoundRobin);
    if policy != LbPolicy::ClusterProvided {
        cx.field("lb_policy").error(format!(
            "cluster: LB policy {} is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed \
             with cluster type 'ORIGINAL_DST'",
            policy.as_str_name()
        ));
        return None;
    }
    let cleanup = match cleanup {
        Some(cleanup) => duration(&cleanup, &cx.field("cleanup_interval"))?,
        None => StdDuration::from_secs(5),
    };
    OriginalDstConfig::compile(message, cleanup, cx).map(|config| HostSource::OriginalDst(Box::new(config)))
}
