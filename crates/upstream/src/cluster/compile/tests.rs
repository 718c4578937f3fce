use super::*;
use crate::host::HealthFlags;
use crate::lb::{LbPolicy, LeastRequest};
use nuncio_core::config::{Sink, Unsupported};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy as PolicyName, LeastRequestLbConfig,
};
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::endpoint::v3 as endpoint;
use nuncio_proto::pb::envoy::r#type::v3::Percent;

fn endpoint(ip: &str, health: core::HealthStatus) -> endpoint::LbEndpoint {
    let socket = core::SocketAddress {
        address: ip.into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
        ..Default::default()
    };
    let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        health_status: health as i32,
        ..Default::default()
    }
}

fn cluster(name: &str, endpoints: Vec<endpoint::LbEndpoint>) -> pb::Cluster {
    pb::Cluster {
        name: name.into(),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.into(),
            endpoints: vec![endpoint::LocalityLbEndpoints { lb_endpoints: endpoints, ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn errors_of(run: impl FnOnce(&CompileContext<'_>)) -> Vec<(String, String)> {
    let sink = Sink::new(Unsupported::Refuse);
    run(&CompileContext::root(&sink, "static_resources.clusters[0]", None));
    let (errors, _) = sink.finish();
    errors.iter().map(|e| (e.path.clone(), e.message.clone())).collect()
}

#[test]
fn a_plain_cluster_has_envoys_defaults() {
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let message = cluster("c", vec![endpoint("127.0.0.1", core::HealthStatus::Draining)]);
    let config = ClusterConfig::compile(message, &cx, &Default::default()).unwrap();
    assert_eq!((&*config.name, &*config.observability_name), ("c", "c"));
    assert_eq!(config.connect_timeout, Duration::from_secs(5));
    assert_eq!((config.buffer_limit(), config.lb.panic_threshold), (1 << 20, 50));
    assert_eq!(config.limits.default, Limits::default());
    assert_eq!(config.http.idle_timeout, Some(Duration::from_secs(3600)));
    let host = &config.discovery.endpoints[0].hosts[0];
    assert_eq!((host.address.to_string().as_str(), host.weight), ("127.0.0.1:80", 1));
    assert_eq!(host.health, HealthFlags::EDS_STATUS_DRAINING);
}

#[test]
fn every_bad_address_and_duplicate_name_is_an_error_at_its_path() {
    let errors = errors_of(|cx| {
        let mut set = ClusterSetConfig::default();
        let bad = |ip| endpoint(ip, core::HealthStatus::Unknown);
        set.add(
            cluster("c", vec![bad("example.com"), bad("127.0.0.1"), bad("::x")]),
            cx,
            &Default::default(),
        );
        set.add(cluster("d", vec![]), cx, &Default::default());
        set.add(cluster("d", vec![]), cx, &Default::default());
        assert_eq!(set.clusters.len(), 1);
    });
    let at = |i| {
        format!(
            "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[{i}].endpoint.address.\
             socket_address.address"
        )
    };
    assert_eq!((&errors[0].0, &errors[1].0), (&at(0), &at(2)));
    assert!(errors[0].1.starts_with("malformed IP address: example.com. Consider setting resolver_name"));
    assert_eq!(errors[2].1, "cluster manager: duplicate cluster 'd'");
}

#[test]
fn least_request_and_panic_threshold_are_read() {
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let message = pb::Cluster {
        lb_policy: PolicyName::LeastRequest as i32,
        lb_config: Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            choice_count: Some(5),
            ..Default::default()
        })),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 12.9 }),
            ..Default::default()
        }),
        ..cluster("c", vec![])
    };
    let lb = ClusterConfig::compile(message, &cx, &Default::default()).unwrap().lb;
    assert_eq!(lb.panic_threshold, 12);
    assert_eq!(lb.policy, LbPolicy::LeastRequest(LeastRequest { choice_count: 5, ..Default::default() }));
}

#[test]
fn the_first_thresholds_of_a_priority_count() {
    let of = |max, priority| Thresholds { max_connections: Some(max), priority, ..Default::default() };
    let message = pb::CircuitBreakers {
        thresholds: vec![of(1, 1), of(2, 0), of(3, 0)],
        per_host_thresholds: Vec::new(),
    };
    let sink = Sink::new(Unsupported::Refuse);
    let limits = limits(message, &CompileContext::root(&sink, "", None));
    assert_eq!((limits.default.max_connections, limits.high.max_connections), (2, 1));
}
