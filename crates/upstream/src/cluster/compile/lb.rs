//! How a cluster balances, by its old fields or by `load_balancing_policy`.

use super::policies;
use crate::cluster::{ClusterConfig, HostSource};
use crate::host::HealthStatuses;
use crate::lb::{
    Criteria, Fallback, Hashing, LbConfig, LbPolicy, LeastRequest, LocalityLb, Maglev, RingHash, Selector,
    SlowStart, SubsetConfig, ZoneAware,
};
use nuncio_core::config::{CompileContext, duration};
use nuncio_proto::pb::envoy::config::cluster::v3 as pb;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::LbConfig as Legacy;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::LbSubsetConfig;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig as LegacyHashing, LocalityConfigSpecifier as LegacyLocality,
    LocalityWeightedLbConfig as LegacyWeighted, ZoneAwareLbConfig as LegacyZoneAware,
};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::lb_subset_config::{
    self, LbSubsetSelector, lb_subset_selector,
};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbPolicy as PolicyName, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
    RoundRobinLbConfig, SlowStartConfig as LegacySlowStart,
};
use nuncio_proto::pb::envoy::config::core::v3::{HealthStatus, HealthStatusSet, RuntimeDouble};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::SlowStartConfig;
use nuncio_proto::pb::envoy::r#type::v3::Percent;
use std::collections::BTreeSet;

/// Reads all that says how hosts are chosen. `load_balancing_policy` counts where it is set; of
/// `common_lb_config` then the panic threshold alone is left, as in Envoy.
pub(super) fn compile(
    lb_policy: i32,
    lb_config: Option<Legacy>,
    common: Option<CommonLbConfig>,
    policies: Option<pb::LoadBalancingPolicy>,
    cluster: &str,
    cx: &CompileContext<'_>,
) -> Option<LbConfig> {
    let mut config = LbConfig::default();
    let mut hashing = Hashing::default();
    if let Some(CommonLbConfig {
        healthy_panic_threshold,
        consistent_hashing_lb_config,
        locality_config_specifier,
        override_host_status,
        // Those are about hosts, whatever the policy.
        ignore_new_hosts_until_first_hc: _,
        close_connections_on_host_set_change: _,
    }) = common
    {
        if let Some(HealthStatusSet { statuses }) = override_host_status {
            let known = statuses.into_iter().filter_map(|status| HealthStatus::try_from(status).ok());
            config.session_statuses = HealthStatuses::new(known);
        }
        if policies.is_some()
            && (consistent_hashing_lb_config.is_some() || locality_config_specifier.is_some())
        {
            cx.field("common_lb_config").error(
                "cluster: load_balancing_policy cannot be combined with partial fields (zone_aware_lb_config, \
                 locality_weighted_lb_config, consistent_hashing_lb_config) of common_lb_config",
            );
            return None;
        }
        if let Some(LegacyHashing { use_hostname_for_hashing, hash_balance_factor }) =
            consistent_hashing_lb_config
        {
            hashing = Hashing {
                use_hostname: use_hostname_for_hashing,
                balance_factor: hash_balance_factor.unwrap_or(0),
            };
        }
        if let Some(threshold) = healthy_panic_threshold {
            config.panic_threshold = threshold.value.clamp(0.0, 100.0) as u32;
        }
        match locality_config_specifier {
            Some(LegacyLocality::ZoneAwareLbConfig(LegacyZoneAware {
                routing_enabled,
                min_cluster_size,
                fail_traffic_on_panic,
            })) => {
                let common = zone_aware(routing_enabled, min_cluster_size, fail_traffic_on_panic);
                config.locality = LocalityLb::ZoneAware(common);
            }
            Some(LegacyLocality::LocalityWeightedLbConfig(LegacyWeighted {})) => {
                config.locality = LocalityLb::Weighted;
            }
            None => {}
        }
    }
    if let Some(policies) = policies {
        config.locality = LocalityLb::default();
        let whose = format!("cluster: '{cluster}'");
        let none = |names: &[String]| policies::none_known(&whose, names);
        policies::first_known(Some(policies), &mut config, &cx.field("load_balancing_policy"), none)?;
        return Some(config);
    }
    config.policy = match PolicyName::try_from(lb_policy) {
        Ok(PolicyName::RoundRobin) | Err(_) => {
            if let Some(Legacy::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config })) = lb_config {
                config.slow_start = legacy_slow_start(slow_start_config, &cx.field("round_robin_lb_config"));
            }
            LbPolicy::RoundRobin
        }
        Ok(PolicyName::Random) => LbPolicy::Random,
        Ok(PolicyName::LeastRequest) => LbPolicy::LeastRequest(match lb_config {
            Some(Legacy::LeastRequestLbConfig(LeastRequestLbConfig {
                choice_count,
                active_request_bias,
                slow_start_config,
            })) => {
                config.slow_start =
                    legacy_slow_start(slow_start_config, &cx.field("least_request_lb_config"));
                least_request(choice_count, active_request_bias)
            }
            // The settings of another policy are not looked at, as in Envoy.
            _ => LeastRequest::default(),
        }),
        Ok(PolicyName::RingHash) => {
            let (murmur, minimum, maximum) = match lb_config {
                Some(Legacy::RingHashLbConfig(RingHashLbConfig {
                    minimum_ring_size,
                    hash_function,
                    maximum_ring_size,
                })) => (
                    HashFunction::try_from(hash_function) == Ok(HashFunction::MurmurHash2),
                    minimum_ring_size,
                    maximum_ring_size,
                ),
                _ => (false, None, None),
            };
            ring_hash(murmur, minimum, maximum, hashing, cx)?
        }
        Ok(PolicyName::Maglev) => {
            let size = match lb_config {
                Some(Legacy::MaglevLbConfig(MaglevLbConfig { table_size })) => table_size,
                _ => None,
            };
            maglev(size, hashing, cx)?
        }
        Ok(PolicyName::ClusterProvided) => LbPolicy::ClusterProvided,
        Ok(PolicyName::LoadBalancingPolicyConfig) => {
            cx.field("lb_policy").error("cluster: field load_balancing_policy need to be set");
            return None;
        }
    };
    Some(config)
}

pub(super) fn ring_hash(
    murmur: bool,
    minimum: Option<u64>,
    maximum: Option<u64>,
    common: Hashing,
    cx: &CompileContext<'_>,
) -> Option<LbPolicy> {
    let (minimum, maximum) = (minimum.unwrap_or(1024), maximum.unwrap_or(8 << 20));
    if minimum > maximum {
        cx.error(format!("ring hash: minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})"));
        return None;
    }
    Some(LbPolicy::RingHash(RingHash { murmur, minimum, maximum, common }))
}

pub(super) fn maglev(size: Option<u64>, common: Hashing, cx: &CompileContext<'_>) -> Option<LbPolicy> {
    let table_size = size.unwrap_or(65537);
    let divisible = (2..).take_while(|d| d * d <= table_size).any(|d| table_size.is_multiple_of(d));
    if table_size < 2 || divisible {
        cx.error("The table size of maglev must be prime number");
        return None;
    }
    Some(LbPolicy::Maglev(Maglev { table_size, common }))
}

pub(super) fn least_request(choice_count: Option<u32>, bias: Option<RuntimeDouble>) -> LeastRequest {
    let mut policy = LeastRequest::default();
    policy.choice_count = choice_count.unwrap_or(policy.choice_count);
    if let Some(RuntimeDouble { default_value, runtime_key }) = bias {
        // Envoy takes a negative one for 1.
        policy.active_request_bias = if default_value < 0.0 { 1.0 } else { default_value };
        policy.bias_key = runtime_key.into();
    }
    policy
}

fn legacy_slow_start(message: Option<LegacySlowStart>, cx: &CompileContext<'_>) -> Option<Box<SlowStart>> {
    let LegacySlowStart { slow_start_window, aggression, min_weight_percent } = message?;
    slow_start(Some(SlowStartConfig { slow_start_window, aggression, min_weight_percent }), cx)
}

/// `None` without a window.
pub(super) fn slow_start(
    message: Option<SlowStartConfig>,
    cx: &CompileContext<'_>,
) -> Option<Box<SlowStart>> {
    let SlowStartConfig { slow_start_window, aggression, min_weight_percent } = message?;
    let cx = cx.field("slow_start_config");
    let window = duration(&slow_start_window?, &cx.field("slow_start_window")).filter(|w| !w.is_zero())?;
    let (aggression, key) = match aggression {
        Some(RuntimeDouble { default_value, runtime_key }) => (default_value, runtime_key),
        None => (1.0, String::new()),
    };
    let least = min_weight_percent.map_or(10.0, |Percent { value }| value) / 100.0;
    Some(Box::new(SlowStart { window, aggression, aggression_key: key.into(), least }))
}

/// A cluster that makes its hosts or borrows them picks them itself, and no other does.
pub(super) fn check_provided(config: &ClusterConfig, cx: &CompileContext<'_>) -> Option<()> {
    let wanted = config.lb.policy == LbPolicy::ClusterProvided;
    if wanted && config.lb.subsets.is_some() {
        cx.field("lb_subset_config")
            .error("cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config");
        return None;
    }
    let (specified, did) = match (wanted, config.discovery.source.provides_hosts()) {
        (true, false) => ("specified", "did not provide one"),
        (false, true) => ("not specified", "provided one"),
        (true, true) | (false, false) => return Some(()),
    };
    cx.field("lb_policy").error(format!(
        "cluster manager: cluster provided LB {specified} but cluster '{}' {did}. Check cluster documentation.",
        config.name
    ));
    None
}

/// What the old and the new message have in common.
pub(super) fn zone_aware(
    enabled: Option<Percent>,
    least: Option<u64>,
    fail_traffic_on_panic: bool,
) -> ZoneAware {
    let default = ZoneAware::default();
    ZoneAware {
        routing_enabled: enabled
            .map_or(default.routing_enabled, |Percent { value }| value.clamp(0.0, 100.0).round() as u32),
        min_cluster_size: least.unwrap_or(default.min_cluster_size),
        fail_traffic_on_panic,
        ..default
    }
}

/// Whether `common_lb_config` weighs localities.
pub(super) fn is_weighted(common: Option<&CommonLbConfig>) -> bool {
    let specifier = common.and_then(|c| c.locality_config_specifier.as_ref());
    matches!(specifier, Some(LegacyLocality::LocalityWeightedLbConfig(_)))
}

/// `lb_subset_config`; without selectors it does nothing, as in Envoy.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
pub(super) fn subsets(
    message: Option<LbSubsetConfig>,
    weighted: bool,
    cluster: &str,
    cx: &CompileContext<'_>,
) -> Option<Option<Box<SubsetConfig>>> {
    let Some(message) = message else { return Some(None) };
    let cx = cx.field("lb_subset_config");
    let mut config = subset_config(message, &cx)?;
    if config.locality_weight_aware && !weighted {
        cx.field("locality_weight_aware").error(format!(
            "Locality weight aware subset LB requires that a locality_weighted_lb_config be set in {cluster}"
        ));
        return None;
    }
    config.drop_hidden_fallbacks();
    Some((!config.selectors.is_empty()).then(|| Box::new(config)))
}

/// Subsets, as the old message and the new one name them.
pub(super) fn subset_config(message: LbSubsetConfig, cx: &CompileContext<'_>) -> Option<SubsetConfig> {
    let LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
    } = message;
    // As in Envoy, one without keys is none, whatever else it says.
    let each = subset_selectors.into_iter().enumerate().filter(|(_, selector)| !selector.keys.is_empty());
    let selectors: Option<Vec<_>> =
        each.map(|(i, message)| selector(message, &cx.item("subset_selectors", i))).collect();
    use lb_subset_config::{LbSubsetFallbackPolicy as Policy, LbSubsetMetadataFallbackPolicy as ByList};
    Some(SubsetConfig {
        fallback: match Policy::try_from(fallback_policy) {
            Ok(Policy::AnyEndpoint) => Fallback::Any,
            Ok(Policy::DefaultSubset) => Fallback::Default,
            Ok(Policy::NoFallback) | Err(_) => Fallback::None,
        },
        default_subset: default_subset.as_ref().map(Criteria::new).unwrap_or_default(),
        selectors: selectors?,
        redundant_keys: false,
        panic_mode_any,
        list_as_any,
        locality_weight_aware,
        scale_locality_weight,
        fallback_list: ByList::try_from(metadata_fallback_policy) == Ok(ByList::FallbackList),
    })
}

fn selector(message: LbSubsetSelector, cx: &CompileContext<'_>) -> Option<Selector> {
    let LbSubsetSelector { keys: own, single_host_per_subset, fallback_policy, fallback_keys_subset } =
        message;
    use lb_subset_selector::LbSubsetSelectorFallbackPolicy as Own;
    let fallback = match Own::try_from(fallback_policy) {
        Ok(Own::NoFallback) => Some(Fallback::None),
        Ok(Own::AnyEndpoint) => Some(Fallback::Any),
        Ok(Own::DefaultSubset) => Some(Fallback::Default),
        Ok(Own::KeysSubset) => Some(Fallback::Keys),
        Ok(Own::NotDefined) | Err(_) => None,
    };
    let keys = |list: Vec<String>| list.into_iter().map(String::into_boxed_str).collect::<BTreeSet<_>>();
    let (own, fallback_keys) = (keys(own), keys(fallback_keys_subset));
    if fallback != Some(Fallback::Keys) {
        if !fallback_keys.is_empty() {
            cx.error("fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy");
            return None;
        }
    } else {
        let wrong = if fallback_keys.is_empty() {
            Some("cannot be empty")
        } else if !fallback_keys.is_subset(&own) {
            Some("must be a subset of selector keys")
        } else if fallback_keys == own {
            Some("cannot be equal to keys")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            cx.error(format!("fallback_keys_subset {wrong}"));
            return None;
        }
    }
    Some(Selector { keys: own, fallback, fallback_keys, single_host: single_host_per_subset })
}

/// Only hosts of `STRICT_DNS` may be hashed by their names in `common_lb_config`.
pub(super) fn check_hostnames(source: &HostSource, cx: &CompileContext<'_>) -> Option<()> {
    let kind = match source {
        HostSource::StrictDns(_) => return Some(()),
        HostSource::Static => "envoy.cluster.static",
        HostSource::LogicalDns(_) => "envoy.cluster.logical_dns",
        HostSource::Eds(_) => "envoy.cluster.eds",
        HostSource::OriginalDst(_) => "envoy.cluster.original_dst",
        HostSource::ForwardProxy(_) | HostSource::SubClusters(_) => "envoy.clusters.dynamic_forward_proxy",
        HostSource::Aggregate(_) => "envoy.clusters.aggregate",
    };
    let cx = cx.field("common_lb_config");
    cx.field("consistent_hashing_lb_config").error(format!(
        "Cannot use hostname for consistent hashing loadbalancing for cluster of type: '{kind}'"
    ));
    None
}
