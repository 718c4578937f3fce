//! `load_balancing_policy`: policies as extensions.

use super::lb::{least_request, maglev, ring_hash, slow_start, subset_config, zone_aware};
use crate::lb::{Hashing, LbConfig, LbPolicy, LocalityLb, ZoneAware};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_proto::pb::envoy::config::cluster::v3::LoadBalancingPolicy;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::LbSubsetConfig;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::lb_subset_config;
use nuncio_proto::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::zone_aware_lb_config::{
    ForceLocalZone, LocalityBasis,
};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::{
    ConsistentHashingLbConfig, LocalityLbConfig,
};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::ring_hash::HashFunction;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::{
    cluster_provided::v3::ClusterProvided, least_request::v3::LeastRequest, maglev::v3::Maglev,
    random::v3::Random, ring_hash::v3::RingHash, round_robin::v3::RoundRobin, subset::v3 as subset,
};
use prost::Name;
use prost_types::Any;

/// What one policy makes of a cluster's balancing.
type Compile = fn(&Any, &mut LbConfig, &CompileContext<'_>) -> Option<()>;

/// The policies that are built, by the full names of their messages.
fn known(name: &str) -> Option<Compile> {
    let all: [(String, Compile); 7] = [
        (ClusterProvided::full_name(), cluster_provided),
        (LeastRequest::full_name(), least_requests),
        (Maglev::full_name(), maglev_table),
        (Random::full_name(), random),
        (RingHash::full_name(), ring),
        (RoundRobin::full_name(), round_robin),
        (subset::Subset::full_name(), subsets),
    ];
    all.into_iter().find(|(known, _)| known == name).map(|(_, compile)| compile)
}

/// Compiles the first policy whose type is known. `whose`: for what there is none, in the error's words.
pub(super) fn first_known(
    message: Option<LoadBalancingPolicy>,
    config: &mut LbConfig,
    whose: &str,
    cx: &CompileContext<'_>,
) -> Option<()> {
    let LoadBalancingPolicy { policies } = message.unwrap_or_default();
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
        if let Some(compile) = known(type_name(&any.type_url)) {
            return compile(&any, config, &cx.field("typed_config"));
        }
    }
    if !told {
        cx.error(format!(
            "cluster: didn't find a registered load balancer factory implementation for {whose} with names from [{}]",
            names.join(", ")
        ));
    }
    None
}

fn round_robin(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let RoundRobin { locality_lb_config, slow_start_config } = cx.unpack(any)?;
    config.policy = LbPolicy::RoundRobin;
    config.slow_start = slow_start(slow_start_config, cx);
    locality(locality_lb_config, config);
    Some(())
}

fn cluster_provided(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let ClusterProvided {} = cx.unpack(any)?;
    config.policy = LbPolicy::ClusterProvided;
    Some(())
}

fn random(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let Random { locality_lb_config } = cx.unpack(any)?;
    config.policy = LbPolicy::Random;
    locality(locality_lb_config, config);
    Some(())
}

fn ring(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let RingHash {
        hash_function,
        minimum_ring_size,
        maximum_ring_size,
        use_hostname_for_hashing,
        hash_balance_factor,
        consistent_hashing_lb_config,
        locality_weighted_lb_config,
    } = cx.unpack(any)?;
    // The old fields count only without the new message.
    let common = match consistent_hashing_lb_config {
        Some(message) => hashing(Some(message)),
        None => Hashing {
            use_hostname: use_hostname_for_hashing,
            balance_factor: hash_balance_factor.unwrap_or(0),
        },
    };
    let murmur = HashFunction::try_from(hash_function) == Ok(HashFunction::MurmurHash2);
    config.policy = ring_hash(murmur, minimum_ring_size, maximum_ring_size, common, cx)?;
    weigh_localities(locality_weighted_lb_config, config);
    Some(())
}

fn maglev_table(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let Maglev { table_size, consistent_hashing_lb_config, locality_weighted_lb_config } = cx.unpack(any)?;
    config.policy = maglev(table_size, hashing(consistent_hashing_lb_config), cx)?;
    weigh_localities(locality_weighted_lb_config, config);
    Some(())
}

fn least_requests(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let LeastRequest {
        choice_count,
        active_request_bias,
        locality_lb_config,
        enable_full_scan,
        selection_method,
        slow_start_config,
    } = cx.unpack(any)?;
    config.slow_start = slow_start(slow_start_config, cx);
    let mut policy = least_request(choice_count, active_request_bias);
    policy.full_scan = enable_full_scan == Some(true)
        || SelectionMethod::try_from(selection_method) == Ok(SelectionMethod::FullScan);
    config.policy = LbPolicy::LeastRequest(policy);
    locality(locality_lb_config, config);
    Some(())
}

/// Subsets over another policy.
fn subsets(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let subset::Subset {
        fallback_policy,
        default_subset,
        subset_selectors,
        allow_redundant_keys,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
        subset_lb_policy,
    } = cx.unpack(any)?;
    if config.subsets.is_some() {
        cx.unsupported("subsets of subsets are not built");
        return None;
    }
    let selector = |selector| {
        let subset::subset::LbSubsetSelector {
            keys,
            single_host_per_subset,
            fallback_policy,
            fallback_keys_subset,
        } = selector;
        lb_subset_config::LbSubsetSelector {
            keys,
            single_host_per_subset,
            fallback_policy,
            fallback_keys_subset,
        }
    };
    // The values of the enums have the same numbers in the older message.
    let message = LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors: subset_selectors.into_iter().map(selector).collect(),
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
    };
    let mut subsets = subset_config(message, cx)?;
    if allow_redundant_keys {
        subsets.allow_redundant_keys();
    }
    config.subsets = Some(Box::new(subsets));
    first_known(subset_lb_policy, config, "subset lb", &cx.field("subset_lb_policy"))
}

/// The settings that both kinds of hashing share.
fn hashing(message: Option<ConsistentHashingLbConfig>) -> Hashing {
    let Some(ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor }) = message else {
        return Hashing::default();
    };
    Hashing { use_hostname: use_hostname_for_hashing, balance_factor: hash_balance_factor.unwrap_or(0) }
}

fn weigh_localities(message: Option<LocalityWeightedLbConfig>, config: &mut LbConfig) {
    config.locality = LocalityLb::weighted(message.is_some_and(|LocalityWeightedLbConfig {}| true));
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
