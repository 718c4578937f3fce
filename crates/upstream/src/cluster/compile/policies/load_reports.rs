//! `client_side_weighted_round_robin`, and what may stand above it: `wrr_locality`, `load_aware_locality`.

use super::first_known;
use crate::cluster::compile::lb::slow_start;
use crate::lb::{LbConfig, LbPolicy, LoadAware, LocalityLb, is_hashing};
use crate::orca::{LoadReports, LoadWeights, OutOfBand};
use crate::transport::criteria;
use nuncio_core::config::{CompileContext, duration};
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::common::v3::OrcaOobReportingConfig;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::load_aware_locality::v3::LoadAwareLocality;
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
    let period = |value, field, default| period(value, field, default, cx);
    let blackout = period(blackout_period, "blackout_period", default.blackout);
    let expiration = period(weight_expiration_period, "weight_expiration_period", default.expiration);
    let update = period(weight_update_period, "weight_update_period", default.update);
    let oob = period(oob_reporting_period, "oob_reporting_period", Duration::from_secs(10));
    let out_of_band = out_of_band(oob?, oob_reporting_config);
    config.policy = LbPolicy::RoundRobin;
    let weights = LoadWeights {
        blackout: blackout?,
        expiration: expiration?,
        update: update?.max(LoadWeights::LEAST_UPDATE),
        penalty: error_utilization_penalty.map_or(default.penalty, f64::from),
        metrics: metric_names_for_computing_utilization.into_iter().map(String::into_boxed_str).collect(),
        out_of_band: enable_oob_load_report.unwrap_or(false).then_some(out_of_band),
    };
    config.reports = Some(Box::new(LoadReports { weights: Some(weights), localities: None }));
    config.slow_start = slow_start(slow_start_config, cx);
    Some(())
}

fn period(
    value: Option<prost_types::Duration>,
    field: &str,
    default: Duration,
    cx: &CompileContext<'_>,
) -> Option<Duration> {
    match value {
        None => Some(default),
        Some(value) => duration(&value, &cx.field(field)),
    }
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
    let LbConfig { slow_start, subsets, override_host, reports, .. } = within;
    let alone = subsets.is_none() && override_host.is_none();
    let Some(reports) = reports.filter(|of| alone && of.weights.is_some() && of.localities.is_none()) else {
        cx.error(
            "Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its endpoint \
             picking policy.",
        );
        return None;
    };
    (config.policy, config.locality) = (LbPolicy::RoundRobin, LocalityLb::Weighted);
    (config.slow_start, config.reports) = (slow_start, Some(reports));
    Some(())
}

/// Localities by the load that their hosts report, and another policy within them.
pub(super) fn load_aware_locality(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let LoadAwareLocality {
        endpoint_picking_policy,
        weight_update_period,
        metric_names_for_computing_utilization,
        utilization_variance_threshold,
        smoothing_time_constant,
        remote_probe_fraction,
        weight_expiration_period,
        enable_oob_load_report,
        oob_reporting_period,
        oob_reporting_config,
    } = cx.unpack(any)?;
    let period = |value, field, default| period(value, field, Duration::from_millis(default), cx);
    let update = period(weight_update_period, "weight_update_period", 1_000);
    let smoothing = period(smoothing_time_constant, "smoothing_time_constant", 5_000);
    let expiration = period(weight_expiration_period, "weight_expiration_period", 180_000);
    let oob = period(oob_reporting_period, "oob_reporting_period", 10_000);
    let out_of_band = out_of_band(oob?, oob_reporting_config);
    let (update, smoothing) = (update?, smoothing?);
    let localities = LoadAware {
        update,
        expiration: expiration?,
        metrics: metric_names_for_computing_utilization.into_iter().map(String::into_boxed_str).collect(),
        threshold: utilization_variance_threshold.unwrap_or(0.1),
        newness: 1.0 - (-update.as_secs_f64() / smoothing.as_secs_f64()).exp(),
        probes: remote_probe_fraction.unwrap_or(0.03),
        out_of_band: enable_oob_load_report.unwrap_or(false).then_some(out_of_band),
    };
    let cx = cx.field("endpoint_picking_policy");
    let above = (config.subsets.is_some(), config.override_host.is_some());
    first_known(endpoint_picking_policy, config, &cx, |_| "No supported endpoint picking policy.".into())?;
    if (config.subsets.is_some(), config.override_host.is_some()) != above {
        cx.unsupported("subsets and override_host below load_aware_locality are not built, only above it");
        return None;
    }
    if config.policy == LbPolicy::ClusterProvided {
        cx.error(
            "Unsupported endpoint picking policy for load_aware_locality: \
             envoy.load_balancing_policies.cluster_provided. Child load balancer could not be instantiated per locality.",
        );
        return None;
    }
    let reports = config.reports.get_or_insert_default();
    if reports.localities.is_some() {
        cx.error("load_aware_locality cannot be its own endpoint_picking_policy");
        return None;
    }
    reports.localities = Some(localities);
    if !is_hashing(&config.policy) {
        // It sees one locality at a time.
        config.locality = LocalityLb::default();
    }
    Some(())
}
