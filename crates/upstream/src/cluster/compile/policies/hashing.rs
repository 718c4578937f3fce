//! `ring_hash` and `maglev`.

use crate::cluster::compile::lb::{maglev, ring_hash};
use crate::lb::{Hashing, LbConfig, LocalityLb};
use nuncio_core::config::CompileContext;
use nuncio_core::hash_policy::HashPolicies;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::ConsistentHashingLbConfig;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::LocalityWeightedLbConfig;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::ring_hash::HashFunction;
use prost_types::Any;
use std::sync::Arc;

pub(super) fn ring(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
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
        Some(message) => hashing(Some(message), config, cx)?,
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

pub(super) fn maglev_table(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let Maglev { table_size, consistent_hashing_lb_config, locality_weighted_lb_config } = cx.unpack(any)?;
    let common = hashing(consistent_hashing_lb_config, config, cx)?;
    config.policy = maglev(table_size, common, cx)?;
    weigh_localities(locality_weighted_lb_config, config);
    Some(())
}

/// The settings that both kinds of hashing share.
fn hashing(
    message: Option<ConsistentHashingLbConfig>,
    config: &mut LbConfig,
    cx: &CompileContext<'_>,
) -> Option<Hashing> {
    let Some(ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor, hash_policy }) =
        message
    else {
        return Some(Hashing::default());
    };
    let policies = HashPolicies::compile(hash_policy, &cx.field("consistent_hashing_lb_config"))?;
    config.hash_policy = (!policies.is_empty()).then(|| Arc::new(policies));
    Some(Hashing { use_hostname: use_hostname_for_hashing, balance_factor: hash_balance_factor.unwrap_or(0) })
}

fn weigh_localities(message: Option<LocalityWeightedLbConfig>, config: &mut LbConfig) {
    config.locality = LocalityLb::weighted(message.is_some_and(|LocalityWeightedLbConfig {}| true));
}
