//! `client_side_weighted_round_robin`, and `wrr_locality` above it.

use super::first_known;
use crate::cluster::compile::lb::slow_start;
use crate::lb::{LbConfig, LbPolicy, LocalityLb};
use crate::orca::{LoadWeights, OutOfBand};
use crate::transport::criteria;
use nuncio_core::config::{CompileContext, duration};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::OrcaOobReportingConfig;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::wrr_locality::v3::WrrLocality;
use prost_types::Any;
use std::time::Duration;

pub(super) fn client_side_weighted(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let ClientSideWeightedRoundRobin {
        blackout_period,
        weight_expiration_period,
        weight_update_period,
        error_utilization_penalty,
        metric_names_for_computing_utilization,
        slow_start_config,
        enable_oob_load_report,
        oob_reporting_period,
        oob_reporting_config,
    } = cx.unpack(any)?;
    let default = LoadWeights::default();
    let period = |value: Option<prost_types::Duration>, field, default| match value {
        None => Some(default),
        Some(value) => duration(&value, &cx.field(field)),
    };
    let blackout = period(blackout_period, "blackout_period", default.blackout);
    let expiration = period(weight_expiration_period, "weight_expiration_period", default.expiration);
    let update = period(weight_update_period, "weight_update_period", default.update);
    let oob = period(oob_reporting_period, "oob_reporting_period", Duration::from_secs(10));
    let out_of_band = out_of_band(oob?, oob_reporting_config);
    config.policy = LbPolicy::ClientSideWeighted(Box::new(LoadWeights {
        blackout: blackout?,
        expiration: expiration?,
        update: update?.max(LoadWeights::LEAST_UPDATE),
        penalty: error_utilization_penalty.map_or(default.penalty, f64::from),
        metrics: metric_names_for_computing_utilization.into_iter().map(String::into_boxed_str).collect(),
        out_of_band: enable_oob_load_report.unwrap_or(false).then_some(out_of_band),
    }));
    config.slow_start = slow_start(slow_start_config, cx);
    Some(())
}

fn out_of_band(period: Duration, message: Option<OrcaOobReportingConfig>) -> OutOfBand {
    let OrcaOobReportingConfig { port_value, authority, transport_socket_match_criteria } =
        message.unwrap_or_default();
    OutOfBand {
        period,
        port: u16::try_from(port_value).ok().filter(|port| *port != 0),
        authority: authority.into(),
        criteria: transport_socket_match_criteria.map(criteria),
    }
}

/// Localities by their weights; within them nothing but weights by reports, as in Envoy.
pub(super) fn wrr_locality(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let WrrLocality { endpoint_picking_policy } = cx.unpack(any)?;
    let cx = cx.field("endpoint_picking_policy");
    let mut within = LbConfig::default();
    first_known(endpoint_picking_policy, &mut within, &cx, |_| {
        "No supported endpoint picking policy.".into()
    })?;
    let LbConfig { policy, slow_start, subsets, override_host, .. } = within;
    if !matches!(policy, LbPolicy::ClientSideWeighted(_)) || subsets.is_some() || override_host.is_some() {
        cx.error(
            "Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its endpoint \
             picking policy.",
        );
        return None;
    }
    (config.policy, config.slow_start, config.locality) = (policy, slow_start, LocalityLb::Weighted);
    Some(())
}
