//! `ClusterLoadAssignment`.

use crate::cluster::{Discovery, LocalityEndpoints};
use crate::host::{HealthFlags, HostSpec, Locality};
use nuncio_core::config::{CompileContext, address};
use nuncio_proto::pb::envoy::config::core::v3::{HealthStatus, Locality as PbLocality};
use nuncio_proto::pb::envoy::config::endpoint::v3 as pb;
use nuncio_proto::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use nuncio_proto::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use std::sync::Arc;

/// The hosts of a static cluster.
pub(super) fn compile(message: pb::ClusterLoadAssignment, cx: &CompileContext<'_>) -> Option<Discovery> {
    // Only EDS asks for the assignment by name.
    let pb::ClusterLoadAssignment { cluster_name: _, endpoints, policy } = message;
    let mut discovery = Discovery::default();
    if let Some(Policy { overprovisioning_factor, weighted_priority_health }) = policy {
        discovery.overprovisioning_factor = overprovisioning_factor.unwrap_or(140);
        discovery.weighted_priority_health = weighted_priority_health;
    }
    let mut whole = true;
    for (i, endpoints) in endpoints.into_iter().enumerate() {
        match locality(endpoints, &cx.item("endpoints", i)) {
            Some(endpoints) => discovery.endpoints.push(endpoints),
            None => whole = false,
        }
    }
    whole.then_some(discovery)
}

fn locality(message: pb::LocalityLbEndpoints, cx: &CompileContext<'_>) -> Option<LocalityEndpoints> {
    let pb::LocalityLbEndpoints { locality, lb_endpoints, load_balancing_weight, priority } = message;
    let locality = Arc::new(locality.map_or_else(Locality::default, |locality| {
        let PbLocality { region, zone, sub_zone } = locality;
        Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() }
    }));
    let total: u64 = lb_endpoints.iter().map(|e| u64::from(e.load_balancing_weight.unwrap_or(1))).sum();
    if total > u64::from(u32::MAX) {
        cx.field("lb_endpoints")
            .error(format!("The sum of weights of all endpoints in the locality exceeds max {}", u32::MAX));
        return None;
    }
    let mut hosts = Vec::with_capacity(lb_endpoints.len());
    let mut whole = true;
    for (i, endpoint) in lb_endpoints.into_iter().enumerate() {
        match host(endpoint, priority, &locality, &cx.item("lb_endpoints", i)) {
            Some(host) => hosts.push(host),
            None => whole = false,
        }
    }
    whole.then_some(LocalityEndpoints { priority, weight: load_balancing_weight, locality, hosts })
}

fn host(
    message: pb::LbEndpoint,
    priority: u32,
    locality: &Arc<Locality>,
    cx: &CompileContext<'_>,
) -> Option<HostSpec> {
    let pb::LbEndpoint { host_identifier, health_status, metadata, load_balancing_weight } = message;
    let endpoint_cx = cx.field("endpoint");
    let Some(HostIdentifier::Endpoint(pb::Endpoint { address: to, hostname })) = host_identifier else {
        cx.error("an endpoint is required");
        return None;
    };
    let address_cx = endpoint_cx.field("address");
    let Some(to) = to else {
        address_cx.error("value is required");
        return None;
    };
    Some(HostSpec {
        address: address(&to, &address_cx)?,
        hostname: hostname.into(),
        locality: Arc::clone(locality),
        weight: load_balancing_weight.unwrap_or(1),
        priority,
        health: health(health_status),
        metadata: metadata.map(Arc::new),
    })
}

fn health(status: i32) -> HealthFlags {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => HealthFlags::FAILED_EDS_HEALTH,
        Ok(HealthStatus::Draining) => HealthFlags::FAILED_EDS_HEALTH.with(HealthFlags::EDS_STATUS_DRAINING),
        Ok(HealthStatus::Degraded) => HealthFlags::DEGRADED_EDS_HEALTH,
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) | Err(_) => HealthFlags::default(),
    }
}
