//! `load_balancing_policy`: policies as extensions.

mod hashing;
mod load_reports;
mod override_host;

use super::lb::{least_request, slow_start, subset_config, zone_aware};
use crate::lb::{LbConfig, LbPolicy, LocalityLb, ZoneAware};
use hashing::{maglev_table, ring};
use load_reports::{client_side_weighted, load_aware_locality, wrr_locality};
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
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::LocalityLbConfig;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::least_request::v3::least_request::SelectionMethod;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::{
    client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin, cluster_provided::v3::ClusterProvided,
    least_request::v3::LeastRequest, load_aware_locality::v3::LoadAwareLocality, maglev::v3::Maglev, override_host::v3::OverrideHost, random::v3::Random,
    ring_hash::v3::RingHash, round_robin::v3::RoundRobin, subset::v3 as subset, wrr_locality::v3::WrrLocality,
};
use override_host::override_host;
use prost::Name;
use prost_types::Any;

/// What one policy makes of a cluster's balancing.
type Compile = fn(&Any, &mut LbConfig, &CompileContext<'_>) -> Option<()>;

/// The policies that are built, by the full names of their messages.
fn known(name: &str) -> Option<Compile> {
    let all: [(String, Compile); 11] = [
        (ClientSideWeightedRoundRobin::full_name(), client_side_weighted),
        (ClusterProvided::full_name(), cluster_provided),
        (LeastRequest::full_name(), least_requests),
        (LoadAwareLocality::full_name(), load_aware_locality),
        (Maglev::full_name(), maglev_table),
        (OverrideHost::full_name(), override_host),
        (Random::full_name(), random),
        (RingHash::full_name(), ring),
        (RoundRobin::full_name(), round_robin),
        (subset::Subset::full_name(), subsets),
        (WrrLocality::full_name(), wrr_locality),
    ];
    all.into_iter().find(|(known, _)| known == name).map(|(_, compile)| compile)
}

/// Compiles the first policy whose type is known. Where none is, `error` says so, of the names of those that there are.
pub(super) fn first_known(
    message: Option<LoadBalancingPolicy>,
    config: &mut LbConfig,
    cx: &CompileContext<'_>,
    error: impl FnOnce(&[String]) -> String,
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
        cx.error(error(&names));
    }
    None
}

/// Envoy's words for a list of which no policy is known.
pub(super) fn none_known(whose: &str, names: &[String]) -> String {
    let names = names.join(", ");
    format!(
        "cluster: didn't find a registered load balancer factory implementation for {whose} with names from [{names}]"
    )
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
    subsets.drop_hidden_fallbacks();
    config.subsets = Some(Box::new(subsets));
    let above = config.override_host.is_some();
    first_known(subset_lb_policy, config, &cx.field("subset_lb_policy"), |names| {
        none_known("subset lb", names)
    })?;
    if let Some(own) = config.override_host.as_mut().filter(|_| !above) {
        // Envoy's subsets do not know their hosts by address: nobody is ever found.
        own.sources = Box::default();
    }
    if config.load_aware().is_some() {
        cx.field("subset_lb_policy").unsupported("load_aware_locality below subsets is not built");
        return None;
    }
    Some(())
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
