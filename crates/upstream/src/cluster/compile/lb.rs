//! How a cluster balances, by its old fields or by `load_balancing_policy`.

use crate::cluster::ClusterConfig;
use crate::lb::{
    Criteria, Fallback, Hashing, LbConfig, LbPolicy, LeastRequest, LocalityLb, Maglev, RingHash, Selector,
    SlowStart, SubsetConfig, ZoneAware,
};
use nuncio_core::config::{CompileContext, duration, type_name};
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
use nuncio_proto::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use nuncio_proto::pb::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies as ext;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::zone_aware_lb_config::{
    ForceLocalZone, LocalityBasis,
};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::{
    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::ring_hash::HashFunction as ExtHashFunction;
use nuncio_proto::pb::envoy::r#type::v3::Percent;
use prost::Name;
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
        // That is about hosts, whatever the policy.
        ignore_new_hosts_until_first_hc: _,
    }) = common
    {
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
        extension(policies, cluster, &mut config, &cx.field("load_balancing_policy"))?;
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

fn ring_hash(
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

fn maglev(size: Option<u64>, common: Hashing, cx: &CompileContext<'_>) -> Option<LbPolicy> {
    let table_size = size.unwrap_or(65537);
    let divisible = (2..).take_while(|d| d * d <= table_size).any(|d| table_size.is_multiple_of(d));
    if table_size < 2 || divisible {
        cx.error("The table size of maglev must be prime number");
        return None;
    }
    Some(LbPolicy::Maglev(Maglev { table_size, common }))
}

/// The settings that both kinds of hashing share.
fn hashing(message: Option<ConsistentHashingLbConfig>) -> Hashing {
    let Some(ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor }) = message else {
        return Hashing::default();
    };
    Hashing { use_hostname: use_hostname_for_hashing, balance_factor: hash_balance_factor.unwrap_or(0) }
}

fn least_request(choice_count: Option<u32>, bias: Option<RuntimeDouble>) -> LeastRequest {
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
fn slow_start(message: Option<SlowStartConfig>, cx: &CompileContext<'_>) -> Option<Box<SlowStart>> {
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

/// The first policy whose type is known counts.
fn extension(
    policies: pb::LoadBalancingPolicy,
    cluster: &str,
    config: &mut LbConfig,
    cx: &CompileContext<'_>,
) -> Option<()> {
    let pb::LoadBalancingPolicy { policies } = policies;
    let mut names = Vec::new();
    let mut told = false;
    for (i, Policy { typed_extension_config }) in policies.into_iter().enumerate() {
        let cx = cx.item("policies", i);
        let cx = cx.field("typed_extension_config");
        let Some(TypedExtensionConfig { name, typed_config: Some(any) }) = typed_extension_config else {
            continue;
        };
        names.push(name);
        told |= cx.told_of("typed_config");
        let cx = cx.field("typed_config");
        let name = type_name(&any.type_url);
        if name == ext::round_robin::v3::RoundRobin::full_name() {
            let ext::round_robin::v3::RoundRobin { locality_lb_config, slow_start_config } =
                cx.unpack(&any)?;
            config.policy = LbPolicy::RoundRobin;
            config.slow_start = slow_start(slow_start_config, &cx);
            locality(locality_lb_config, config);
            return Some(());
        }
        if name == ext::cluster_provided::v3::ClusterProvided::full_name() {
            let ext::cluster_provided::v3::ClusterProvided {} = cx.unpack(&any)?;
            config.policy = LbPolicy::ClusterProvided;
            return Some(());
        }
        if name == ext::random::v3::Random::full_name() {
            let ext::random::v3::Random { locality_lb_config } = cx.unpack(&any)?;
            config.policy = LbPolicy::Random;
            locality(locality_lb_config, config);
            return Some(());
        }
        if name == ext::ring_hash::v3::RingHash::full_name() {
            let ext::ring_hash::v3::RingHash {
                hash_function,
                minimum_ring_size,
                maximum_ring_size,
                use_hostname_for_hashing,
                hash_balance_factor,
                consistent_hashing_lb_config,
                locality_weighted_lb_config,
            } = cx.unpack(&any)?;
            // The old fields count only without the new message.
            let common = match consistent_hashing_lb_config {
                Some(message) => hashing(Some(message)),
                None => Hashing {
                    use_hostname: use_hostname_for_hashing,
                    balance_factor: hash_balance_factor.unwrap_or(0),
                },
            };
            let murmur = ExtHashFunction::try_from(hash_function) == Ok(ExtHashFunction::MurmurHash2);
            config.policy = ring_hash(murmur, minimum_ring_size, maximum_ring_size, common, &cx)?;
            config.locality = LocalityLb::weighted(
                locality_weighted_lb_config.is_some_and(|LocalityWeightedLbConfig {}| true),
            );
            return Some(());
        }
        if name == ext::maglev::v3::Maglev::full_name() {
            let ext::maglev::v3::Maglev {
                table_size,
                consistent_hashing_lb_config,
                locality_weighted_lb_config,
            } = cx.unpack(&any)?;
            config.policy = maglev(table_size, hashing(consistent_hashing_lb_config), &cx)?;
            config.locality = LocalityLb::weighted(
                locality_weighted_lb_config.is_some_and(|LocalityWeightedLbConfig {}| true),
            );
            return Some(());
        }
        if name == ext::least_request::v3::LeastRequest::full_name() {
            let ext::least_request::v3::LeastRequest {
                choice_count,
                active_request_bias,
                locality_lb_config,
                enable_full_scan,
                selection_method,
                slow_start_config,
            } = cx.unpack(&any)?;
            config.slow_start = slow_start(slow_start_config, &cx);
            let mut policy = least_request(choice_count, active_request_bias);
            policy.full_scan = enable_full_scan == Some(true)
                || SelectionMethod::try_from(selection_method) == Ok(SelectionMethod::FullScan);
            config.policy = LbPolicy::LeastRequest(policy);
            locality(locality_lb_config, config);
            return Some(());
        }
    }
    if !told {
        cx.error(format!(
            "cluster: didn't find a registered load balancer factory implementation for cluster: '{cluster}' with \
             names from [{}]",
            names.join(", ")
        ));
    }
    None
}

/// What the old and the new message have in common.
fn zone_aware(enabled: Option<Percent>, least: Option<u64>, fail_traffic_on_panic: bool) -> ZoneAware {
    let default = ZoneAware::default();
    ZoneAware {
        routing_enabled: enabled
            .map_or(default.routing_enabled, |Percent { value }| value.clamp(0.0, 100.0).round() as u32),
        min_cluster_size: least.unwrap_or(default.min_cluster_size),
        fail_traffic_on_panic,
        ..default
    }
}

fn locality(message: Option<LocalityLbConfig>, config: &mut LbConfig) {
    match message.and_then(|LocalityLbConfig { locality_config_specifier }| locality_config_specifier) {
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled,
            min_cluster_size,
            fail_traffic_on_panic,
            force_locality_direct_routing,
            force_local_zone,
            locality_basis,
        })) => {
            // The older field means one host.
            let old = force_locality_direct_routing.then_some(1);
            let force_local_from = match force_local_zone {
                Some(ForceLocalZone { min_size }) => Some(min_size.unwrap_or(1)),
                None => old,
            };
            config.locality = LocalityLb::ZoneAware(ZoneAware {
                force_local_from,
                by_weight: LocalityBasis::try_from(locality_basis) == Ok(LocalityBasis::HealthyHostsWeight),
                ..zone_aware(routing_enabled, min_cluster_size, fail_traffic_on_panic)
            });
        }
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})) => {
            config.locality = LocalityLb::Weighted;
        }
        None => {}
    }
}

/// `lb_subset_config`; without selectors it does nothing, as in Envoy.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
pub(super) fn subsets(
    message: Option<LbSubsetConfig>,
    cx: &CompileContext<'_>,
) -> Option<Option<Box<SubsetConfig>>> {
    let Some(message) = message else { return Some(None) };
    let LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
    } = message;
    let cx = cx.field("lb_subset_config");
    let keys = |list: Vec<String>| list.into_iter().map(String::into_boxed_str).collect::<BTreeSet<_>>();
    let mut selectors = Vec::new();
    for (i, selector) in subset_selectors.into_iter().enumerate() {
        let LbSubsetSelector { keys: own, single_host_per_subset, fallback_policy, fallback_keys_subset } =
            selector;
        use lb_subset_selector::LbSubsetSelectorFallbackPolicy as Own;
        let fallback = match Own::try_from(fallback_policy) {
            Ok(Own::NoFallback) => Some(Fallback::None),
            Ok(Own::AnyEndpoint) => Some(Fallback::Any),
            Ok(Own::DefaultSubset) => Some(Fallback::Default),
            Ok(Own::KeysSubset) => Some(Fallback::Keys),
            Ok(Own::NotDefined) | Err(_) => None,
        };
        let (own, fallback_keys) = (keys(own), keys(fallback_keys_subset));
        let fewer = fallback_keys.is_subset(&own) && fallback_keys.len() < own.len();
        if fallback == Some(Fallback::Keys) && (fallback_keys.is_empty() || !fewer) {
            cx.item("subset_selectors", i)
                .error("fallback_keys_subset must be a non-empty, true subset of the selector's keys");
            return None;
        }
        selectors.push(Selector { keys: own, fallback, fallback_keys, single_host: single_host_per_subset });
    }
    use lb_subset_config::LbSubsetFallbackPolicy as Policy;
    Some((!selectors.is_empty()).then(|| {
        Box::new(SubsetConfig {
            fallback: match Policy::try_from(fallback_policy) {
                Ok(Policy::AnyEndpoint) => Fallback::Any,
                Ok(Policy::DefaultSubset) => Fallback::Default,
                Ok(Policy::NoFallback) | Err(_) => Fallback::None,
            },
            default_subset: default_subset.as_ref().map(Criteria::new).unwrap_or_default(),
            selectors,
            panic_mode_any,
            list_as_any,
            locality_weight_aware,
            scale_locality_weight,
        })
    }))
}
