//! `ClusterLoadAssignment`.

use crate::cluster::{Discovery, HostSource, LocalityEndpoints, NamedEndpoint};
use crate::health::CheckTarget;
use crate::host::{HealthFlags, HostSpec, Locality};
use nuncio_core::address::Address;
use nuncio_core::config::{CompileContext, duration, host_address, name_and_port};
use nuncio_proto::pb::envoy::config::core::v3::address::Address as AddressKind;
use nuncio_proto::pb::envoy::config::core::v3::{Address as PbAddress, HealthStatus, Locality as PbLocality};
use nuncio_proto::pb::envoy::config::endpoint::v3 as pb;
use nuncio_proto::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use nuncio_proto::pb::envoy::config::endpoint::v3::cluster_load_assignment::policy::DropOverload;
use nuncio_proto::pb::envoy::config::endpoint::v3::endpoint::AdditionalAddress;
use nuncio_proto::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use nuncio_proto::pb::envoy::r#type::v3::FractionalPercent;
use nuncio_proto::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

/// The hosts of a static cluster, or the names of one that looks them up.
pub(super) fn compile(
    source: HostSource,
    message: Option<pb::ClusterLoadAssignment>,
    cx: &CompileContext<'_>,
) -> Option<Discovery> {
    let cx = cx.field("load_assignment");
    let message = message.unwrap_or_default();
    let discovery = assignment(source, message, &cx)?;
    if matches!(discovery.source, HostSource::LogicalDns(_)) {
        let names: Vec<usize> = discovery.endpoints.iter().map(|l| l.names.len()).collect();
        if names != [1] {
            cx.error("LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint");
            return None;
        }
    }
    Some(discovery)
}

/// The hosts that an assignment names, or the names where the source looks them up.
pub(crate) fn assignment(
    source: HostSource,
    message: pb::ClusterLoadAssignment,
    cx: &CompileContext<'_>,
) -> Option<Discovery> {
    let mut discovery = Discovery { source, ..Discovery::default() };
    let mut whole = true;
    // Only EDS asks for the assignment by name.
    let pb::ClusterLoadAssignment { cluster_name: _, endpoints, policy } = message;
    if let Some(Policy {
        overprovisioning_factor,
        weighted_priority_health,
        endpoint_stale_after,
        drop_overloads,
    }) = policy
    {
        discovery.dropped = dropped(drop_overloads, &cx.field("policy"))?;
        discovery.overprovisioning_factor = overprovisioning_factor.unwrap_or(140);
        discovery.weighted_priority_health = weighted_priority_health;
        if let Some(after) = endpoint_stale_after {
            let after = duration(&after, &cx.field("policy").field("endpoint_stale_after"))?;
            discovery.stale_after = (!after.is_zero()).then_some(after);
        }
    }
    discovery.endpoints.reserve_exact(endpoints.len());
    for (i, endpoints) in endpoints.into_iter().enumerate() {
        match locality(endpoints, &discovery.source, &cx.item("endpoints", i)) {
            Some(endpoints) => discovery.endpoints.push(endpoints),
            None => whole = false,
        }
    }
    whole.then_some(discovery)
}

const MILLION: u32 = 1_000_000;

/// How many of a million requests are dropped.
fn dropped(message: Vec<DropOverload>, cx: &CompileContext<'_>) -> Option<u32> {
    let count = message.len();
    if count > 1 {
        cx.field("drop_overloads")
            .error(format!("Cluster drop_overloads config has {count} categories. Envoy only support one."));
        return None;
    }
    let Some(DropOverload { category: _, drop_percentage }) = message.into_iter().next() else {
        return Some(0);
    };
    let FractionalPercent { numerator, denominator } = drop_percentage.unwrap_or_default();
    let of = match DenominatorType::try_from(denominator) {
        Ok(DenominatorType::Hundred) | Err(_) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => MILLION,
    };
    if numerator > of {
        let share = f64::from(numerator) / f64::from(of);
        cx.item("drop_overloads", 0).field("drop_percentage").error(format!(
            "Cluster drop_overloads config is invalid. drop_ratio={share}(Numerator {numerator} / Denominator {of}). \
             The valid range is 0~1."
        ));
        return None;
    }
    Some(numerator * (MILLION / of))
}

fn locality(
    message: pb::LocalityLbEndpoints,
    source: &HostSource,
    cx: &CompileContext<'_>,
) -> Option<LocalityEndpoints> {
    let pb::LocalityLbEndpoints { locality, lb_endpoints, load_balancing_weight, priority, metadata } =
        message;
    let metadata = metadata.map(nuncio_core::config::metadata);
    // As in Envoy the weight of nowhere counts for nothing.
    let weight = load_balancing_weight.filter(|_| locality.is_some());
    static NOWHERE: LazyLock<Arc<Locality>> = LazyLock::new(Arc::default);
    let locality = match locality {
        None => Arc::clone(&NOWHERE),
        Some(PbLocality { region, zone, sub_zone }) => {
            Arc::new(Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() })
        }
    };
    let mut all = LocalityEndpoints { priority, weight, locality, hosts: Vec::new(), names: Vec::new() };
    match source {
        HostSource::Static | HostSource::Eds(_) => all.hosts.reserve_exact(lb_endpoints.len()),
        HostSource::StrictDns(_) | HostSource::LogicalDns(_) => all.names.reserve_exact(lb_endpoints.len()),
        HostSource::OriginalDst(_)
        | HostSource::ForwardProxy(_)
        | HostSource::SubClusters(_)
        | HostSource::Aggregate(_) => {}
    }
    let mut whole = true;
    for (i, endpoint) in lb_endpoints.into_iter().enumerate() {
        let cx = cx.item("lb_endpoints", i);
        let spec = host(endpoint, priority, &all.locality, &cx)
            .map(|(spec, at)| (HostSpec { locality_metadata: metadata.clone(), ..spec }, at));
        whole &= match (spec, source) {
            (Some((spec, at)), HostSource::Static | HostSource::Eds(_)) => {
                static_host(spec, &at, &cx).map(|h| all.hosts.push(h))
            }
            // Further addresses count for nothing where names are looked up, as in Envoy.
            (Some((spec, at)), HostSource::StrictDns(_) | HostSource::LogicalDns(_)) => {
                named_host(spec, &at.first, &cx).map(|n| all.names.push(n))
            }
            // Whoever makes hosts of its own has no assignment.
            (
                Some(_),
                HostSource::OriginalDst(_)
                | HostSource::ForwardProxy(_)
                | HostSource::SubClusters(_)
                | HostSource::Aggregate(_),
            )
            | (None, _) => None,
        }
        .is_some();
    }
    whole.then_some(all)
}

/// Where an endpoint listens, as configuration says.
struct At {
    first: PbAddress,
    further: Vec<AdditionalAddress>,
}

fn static_host(mut spec: HostSpec, at: &At, cx: &CompileContext<'_>) -> Option<HostSpec> {
    let cx = cx.field("endpoint");
    spec.address = host_address(&at.first, &cx.field("address"))?;
    let mut further = Vec::with_capacity(at.further.len());
    for (i, AdditionalAddress { address: to }) in at.further.iter().enumerate() {
        let item = cx.item("additional_addresses", i);
        let cx = item.field("address");
        let Some(to) = to else {
            cx.error("value is required");
            return None;
        };
        further.push(host_address(to, &cx)?);
    }
    spec.further = (!further.is_empty()).then(|| further.into());
    Some(spec)
}

fn named_host(mut spec: HostSpec, to: &PbAddress, cx: &CompileContext<'_>) -> Option<NamedEndpoint> {
    let cx = cx.field("endpoint");
    let cx = cx.field("address");
    let PbAddress { address } = to;
    let Some(AddressKind::SocketAddress(socket)) = address else {
        cx.unsupported("only a socket address has a name that could be looked up");
        return None;
    };
    let (name, port) = name_and_port(socket, &cx.field("socket_address"))?;
    let name: Arc<str> = name.into();
    if spec.hostname.is_empty() {
        spec.hostname = Arc::clone(&name);
    }
    Some(NamedEndpoint { name, port, spec })
}

/// What an endpoint is like, with a place for its address, and the address.
fn host(
    message: pb::LbEndpoint,
    priority: u32,
    locality: &Arc<Locality>,
    cx: &CompileContext<'_>,
) -> Option<(HostSpec, At)> {
    let pb::LbEndpoint { host_identifier, health_status, metadata, load_balancing_weight } = message;
    let endpoint_cx = cx.field("endpoint");
    let Some(HostIdentifier::Endpoint(pb::Endpoint {
        address: to,
        hostname,
        health_check_config,
        additional_addresses,
        observability_name,
    })) = host_identifier
    else {
        cx.error("an endpoint is required");
        return None;
    };
    let address_cx = endpoint_cx.field("address");
    let Some(to) = to else {
        address_cx.error("value is required");
        return None;
    };
    let check = match health_check_config {
        None => None,
        Some(message) => Some(Arc::new(check_target(message, &endpoint_cx.field("health_check_config"))?)),
    };
    let spec = HostSpec {
        stat_name: (!observability_name.is_empty()).then(|| Arc::new(observability_name)),
        check,
        address: Address::Ip(SocketAddr::from(([0, 0, 0, 0], 0))),
        further: None,
        hostname: hostname.into(),
        locality: Arc::clone(locality),
        locality_metadata: None,
        weight: load_balancing_weight.unwrap_or(1),
        priority,
        health: health(health_status),
        metadata: metadata.map(nuncio_core::config::metadata),
    };
    Some((spec, At { first: to, further: additional_addresses }))
}

fn check_target(message: pb::endpoint::HealthCheckConfig, cx: &CompileContext<'_>) -> Option<CheckTarget> {
    let pb::endpoint::HealthCheckConfig { port_value, hostname, address: other, disable_active_health_check } =
        message;
    let other = match other {
        None => None,
        Some(other) => Some(host_address(&other, &cx.field("address"))?),
    };
    let port = u16::try_from(port_value).unwrap_or_default();
    Some(CheckTarget {
        port,
        address: other,
        hostname: hostname.into(),
        disabled: disable_active_health_check,
    })
}

fn health(status: i32) -> HealthFlags {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unhealthy) => HealthFlags::FAILED_EDS_HEALTH,
        Ok(HealthStatus::Timeout) => HealthFlags::FAILED_EDS_HEALTH.with(HealthFlags::EDS_STATUS_TIMEOUT),
        Ok(HealthStatus::Draining) => HealthFlags::EDS_STATUS_DRAINING,
        Ok(HealthStatus::Degraded) => HealthFlags::DEGRADED_EDS_HEALTH,
        Ok(HealthStatus::Healthy) => HealthFlags::EDS_STATUS_HEALTHY,
        Ok(HealthStatus::Unknown) | Err(_) => HealthFlags::default(),
    }
}
