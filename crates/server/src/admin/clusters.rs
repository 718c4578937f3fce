//! `/clusters`: every cluster with its limits and hosts.

use super::Admin;
use super::config_dump::is_dynamic;
use super::json::{list, number, object, pretty};
use super::listeners::address;
use super::request::{Request, Response};
use super::search::Search;
use super::stats::general;
use nuncio_core::stats::Counter;
use nuncio_upstream::circuit::{Limits, RequestPriority};
use nuncio_upstream::cluster::{ClusterShared, HostSource};
use nuncio_upstream::host::{HealthFlags, HostShared};
use nuncio_upstream::outlier::SuccessRates;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// `/clusters`: text, or with `format=json` `envoy.admin.v3.Clusters`.
pub(super) fn clusters(admin: &Admin, request: &Request) -> Response {
    let filter = match request.non_empty("filter").map(Search::new).transpose() {
        Ok(filter) => filter,
        Err(_) => return Response::error(400, "Invalid re2 regex"),
    };
    let set = admin.clusters.borrow();
    let mut chosen: Vec<&Arc<ClusterShared>> = set
        .clusters()
        .iter()
        .filter(|c| filter.as_ref().is_none_or(|f| f.is_match(&c.config().name)))
        .collect();
    chosen.sort_by(|a, b| a.config().name.cmp(&b.config().name));
    if request.get("format") == Some("json") {
        let statuses = chosen.iter().map(|c| cluster_json(admin, c)).collect();
        return Response::json(pretty(&object([("cluster_statuses", list(statuses))])));
    }
    let mut out = String::new();
    for cluster in chosen {
        cluster_text(admin, cluster, &mut out);
    }
    Response::text(out)
}

/// The limits as they are shown: the text's word, JSON's name, and the value.
fn limits(limits: &Limits) -> [(&'static str, u32); 4] {
    [
        ("max_connections", limits.max_connections),
        ("max_pending_requests", limits.max_pending),
        ("max_requests", limits.max_requests),
        ("max_retries", limits.max_retries),
    ]
}

/// What all workers counted of a host.
pub(super) struct Counts {
    pub(super) cx_active: u64,
    pub(super) cx_connect_fail: u64,
    pub(super) cx_total: u64,
    pub(super) rq_active: u64,
    pub(super) rq_error: u64,
    pub(super) rq_pending_active: u64,
    pub(super) rq_success: u64,
    pub(super) rq_timeout: u64,
    pub(super) rq_total: u64,
}

impl Counts {
    pub(super) fn of(host: &HostShared) -> Self {
        let blocks = host.counters();
        let sum = |pick: fn(&nuncio_upstream::stats::HostCounters) -> &Counter| {
            blocks.iter().fold(0_u64, |n, b| n.wrapping_add(pick(b).value()))
        };
        let cx_total = sum(|c| &c.cx_total);
        Self {
            cx_active: cx_total.saturating_sub(sum(|c| &c.cx_closed)),
            cx_connect_fail: sum(|c| &c.cx_connect_fail),
            cx_total,
            rq_active: host.active_requests().into(),
            rq_error: sum(|c| &c.rq_error),
            rq_pending_active: sum(|c| &c.rq_pending_begun).saturating_sub(sum(|c| &c.rq_pending_done)),
            rq_success: sum(|c| &c.rq_success),
            rq_timeout: sum(|c| &c.rq_timeout),
            rq_total: sum(|c| &c.rq_total),
        }
    }
}

fn cluster_text(admin: &Admin, cluster: &ClusterShared, out: &mut String) {
    let config = cluster.config();
    let name = &config.name;
    // Writing to a String cannot fail.
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{name}::{key}::{value}");
    };
    line("observability_name", &config.observability_name);
    for (rates, origin) in cluster.success_rates().into_iter().flatten().zip(["", "local_origin_"]) {
        line(&format!("outlier::{origin}success_rate_average"), &general(rates.average));
        line(&format!("outlier::{origin}success_rate_ejection_threshold"), &general(rates.threshold));
    }
    for priority in RequestPriority::ALL {
        for (limit, value) in limits(config.limits.get(priority)) {
            line(&format!("{}_priority::{limit}", priority.as_str()), &value);
        }
    }
    line("added_via_api", &via_api(admin, cluster));
    if let Some(service) = service_name(cluster) {
        line("eds_service_name", &service);
    }
    for host in cluster.hosts().hosts() {
        let (spec, counts) = (host.spec(), Counts::of(host));
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            line(&format!("{}::{key}", spec.address), value);
        };
        line("cx_active", &counts.cx_active);
        line("cx_connect_fail", &counts.cx_connect_fail);
        line("cx_total", &counts.cx_total);
        line("rq_active", &counts.rq_active);
        line("rq_error", &counts.rq_error);
        line("rq_pending_active", &counts.rq_pending_active);
        line("rq_success", &counts.rq_success);
        line("rq_timeout", &counts.rq_timeout);
        line("rq_total", &counts.rq_total);
        line("hostname", &spec.hostname);
        line("health_flags", &host.health_flags());
        line("weight", &host.weight());
        line("region", &spec.locality.region);
        line("zone", &spec.locality.zone);
        line("sub_zone", &spec.locality.sub_zone);
        line("canary", &host.canary());
        line("priority", &host.priority());
        for (rate, origin) in host.success_rates().into_iter().zip(["", "local_origin_"]) {
            line(&format!("{origin}success_rate"), &general(rate));
        }
    }
}

/// Whether the cluster came by CDS, or was made of another one.
fn via_api(admin: &Admin, cluster: &ClusterShared) -> bool {
    is_dynamic(&admin.dynamic_clusters.borrow(), cluster)
}

/// The name by which EDS knows the cluster, where it has one of its own.
fn service_name(cluster: &ClusterShared) -> Option<&str> {
    match &cluster.config().discovery.source {
        HostSource::Eds(config) => Some(&*config.service_name).filter(|name| !name.is_empty()),
        _ => None,
    }
}

fn cluster_json(admin: &Admin, cluster: &ClusterShared) -> Value {
    let config = cluster.config();
    let thresholds = RequestPriority::ALL.map(|priority| {
        let [a, b, c, d] = limits(config.limits.get(priority)).map(|(name, n)| (name, Some(n.into())));
        let high = (priority == RequestPriority::High).then(|| "HIGH".into());
        object([("priority", high), a, b, c, d])
    });
    let [external, local] = cluster.success_rates().unwrap_or([SuccessRates::UNKNOWN; 2]);
    let threshold =
        |rates: SuccessRates| (rates.threshold >= 0.0).then(|| json!({ "value": rates.threshold }));
    object([
        ("name", Some((*config.name).into())),
        ("added_via_api", via_api(admin, cluster).then_some(Value::Bool(true))),
        ("success_rate_ejection_threshold", threshold(external)),
        ("host_statuses", list(cluster.hosts().hosts().map(|h| host_json(h)).collect())),
        ("local_origin_success_rate_ejection_threshold", threshold(local)),
        ("circuit_breakers", Some(json!({ "thresholds": thresholds }))),
        ("observability_name", Some((*config.observability_name).into())),
        ("eds_service_name", service_name(cluster).map(Into::into)),
    ])
}

fn host_json(host: &HostShared) -> Value {
    let (spec, counts) = (host.spec(), Counts::of(host));
    let counter = |name: &str, n: u64| object([("value", text(n)), ("name", Some(name.into()))]);
    let gauge = |name: &str, n: u64| {
        object([("type", Some("GAUGE".into())), ("value", text(n)), ("name", Some(name.into()))])
    };
    let part = |t: &str| (!t.is_empty()).then(|| t.into());
    let locality = &spec.locality;
    let [external, local] = host.success_rates().map(|r| (r >= 0.0).then(|| json!({ "value": r })));
    object([
        ("address", Some(address(&spec.address))),
        (
            "stats",
            Some(json!([
                counter("cx_connect_fail", counts.cx_connect_fail),
                counter("cx_total", counts.cx_total),
                counter("rq_error", counts.rq_error),
                counter("rq_success", counts.rq_success),
                counter("rq_timeout", counts.rq_timeout),
                counter("rq_total", counts.rq_total),
                gauge("cx_active", counts.cx_active),
                gauge("rq_active", counts.rq_active),
                gauge("rq_pending_active", counts.rq_pending_active),
            ])),
        ),
        ("health_status", Some(health(host.health_flags()))),
        ("success_rate", external),
        ("weight", number(host.weight().into())),
        ("hostname", part(&spec.hostname)),
        ("priority", number(host.priority().into())),
        ("local_origin_success_rate", local),
        (
            "locality",
            Some(object([
                ("region", part(&locality.region)),
                ("zone", part(&locality.zone)),
                ("sub_zone", part(&locality.sub_zone)),
            ])),
        ),
    ])
}

/// A uint64 in protobuf's JSON: a string, left out when 0.
fn text(n: u64) -> Option<Value> {
    (n != 0).then(|| n.to_string().into())
}

/// `envoy.admin.v3.HostHealthStatus`.
fn health(flags: HealthFlags) -> Value {
    let flag = |flag| flags.contains(flag).then_some(Value::Bool(true));
    let eds = if flags.contains(HealthFlags::EDS_STATUS_DRAINING) {
        "DRAINING"
    } else if flags.contains(HealthFlags::FAILED_EDS_HEALTH) {
        "UNHEALTHY"
    } else if flags.contains(HealthFlags::DEGRADED_EDS_HEALTH) {
        "DEGRADED"
    } else {
        "HEALTHY"
    };
    object([
        ("failed_active_health_check", flag(HealthFlags::FAILED_ACTIVE_HC)),
        ("failed_outlier_check", flag(HealthFlags::FAILED_OUTLIER_CHECK)),
        ("failed_degraded_outlier_detection", flag(HealthFlags::DEGRADED_OUTLIER_DETECTION)),
        ("failed_active_degraded_check", flag(HealthFlags::DEGRADED_ACTIVE_HC)),
        ("pending_dynamic_removal", flag(HealthFlags::PENDING_DYNAMIC_REMOVAL)),
        ("pending_active_hc", flag(HealthFlags::PENDING_ACTIVE_HC)),
        ("excluded_via_immediate_hc_fail", flag(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL)),
        ("active_hc_timeout", flag(HealthFlags::ACTIVE_HC_TIMEOUT)),
        ("eds_health_status", Some(eds.into())),
    ])
}
