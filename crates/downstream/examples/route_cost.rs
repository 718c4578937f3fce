//! What a route look-up costs: `route_cost KIND ROUTES LOOKUPS` compiles a table of ROUTES routes of which the last
//! one matches, and looks it up LOOKUPS times. Run it under `valgrind --tool=callgrind` (or `perf stat`) with two
//! numbers of look-ups; the difference is the cost without the start. `load` as KIND prints how long compiling takes.

use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::config::{CompileContext, Sink};
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_core::stream_info::{ConnectionInfo, StreamInfo};
use nuncio_downstream::route::{
    CompilePerRoute, Found, MatchContext, PeerCertificate, RouteOptions, RouteTable,
};
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_proto::pb::envoy::r#type::matcher::v3::RegexMatcher;
use nuncio_upstream::retry_plugin::RetryPlugins;
use pb::route_match::PathSpecifier;
use prost::Message as _;
use std::rc::Rc;
use std::sync::Arc;

struct NoFilters;

impl CompilePerRoute for NoFilters {
    fn knows(&self, _: &prost_types::Any) -> bool {
        false
    }

    fn compile(
        &self,
        _: &str,
        _: &prost_types::Any,
        _: &CompileContext<'_>,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        None
    }
}

fn route(kind: &str, i: usize) -> pb::Route {
    let mut headers = Vec::new();
    let path = match kind {
        "path" => PathSpecifier::Path(format!("/service-{i}/items")),
        "regex" => PathSpecifier::SafeRegex(RegexMatcher { regex: format!("/service-{i}/[a-z]+") }),
        "suffix" => PathSpecifier::SafeRegex(RegexMatcher { regex: format!(".*/items-{i}") }),
        "header" => {
            let value = pb::header_matcher::HeaderMatchSpecifier::ExactMatch(format!("tenant-{i}"));
            headers.push(pb::HeaderMatcher {
                name: "x-tenant".into(),
                header_match_specifier: Some(value),
                ..Default::default()
            });
            PathSpecifier::Prefix("/".into())
        }
        _ => PathSpecifier::Prefix(format!("/service-{i}/")),
    };
    let action = pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    };
    pb::Route {
        r#match: Some(pb::RouteMatch { path_specifier: Some(path), headers, ..Default::default() }),
        action: Some(pb::route::Action::Route(action)),
        ..Default::default()
    }
}

fn stream(clock: &Clock) -> StreamInfo {
    let address = Address::Ip(([127, 0, 0, 1], 1).into());
    let connection = ConnectionInfo {
        id: 1,
        local: address.clone(),
        direct_local: address.clone(),
        direct_remote: address.clone(),
        remote: address,
        requested_server_name: None,
        direction: TrafficDirection::Unspecified,
        listener: "l".into(),
        filter_chain: "".into(),
        tls: Default::default(),
        accepted: clock.now(),
        listener_metadata: None,
        filter_chain_metadata: None,
        state: Default::default(),
    };
    StreamInfo::new(clock.now(), clock.wall(), Rc::new(connection), 7)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |i: usize| arguments.get(i).map_or("", String::as_str);
    let kind = argument(1);
    let number = |i: usize| argument(i).parse::<usize>().unwrap_or(1);
    let (count, lookups) = (number(2), number(3));
    let host = pb::VirtualHost {
        name: "v".into(),
        domains: vec!["*.example.com".into(), "example.com".into()],
        routes: (0..count).map(|i| route(kind, i).encode_to_vec()).collect(),
        ..Default::default()
    };
    let message = pb::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() };
    let sink = Sink::default();
    let options = RouteOptions {
        cluster_exists: &|_| true,
        nearest_cluster: &|_| None,
        validate_clusters_default: true,
        per_route: &NoFilters,
        retry_plugins: &RetryPlugins::default(),
        runtime: &Runtime::default(),
        stats: &Registry::new(),
    };
    let clock = Clock::system();
    let began = clock.now();
    let table = RouteTable::compile(message, &CompileContext::root(&sink, "", None), &options);
    let took = clock.now() - began;
    let Some(table) = table else { return };
    let last = count - 1;
    let mut head = RequestHead::new();
    for (name, value) in [
        (Known::Method, "GET"),
        (Known::Path, &*format!("/service-{last}/items?page=2")),
        (Known::Authority, "www.example.com"),
        (Known::Scheme, "http"),
        (Known::XForwardedProto, "http"),
    ] {
        head.headers.append(name, value.as_bytes());
    }
    if kind == "suffix" {
        head.headers.set(Known::Path, format!("/service/items-{last}").as_bytes());
    }
    head.headers.append("x-tenant", format!("tenant-{last}").as_bytes());
    let runtime = Runtime::default();
    let info = stream(&clock);
    let cx = MatchContext {
        info: &info,
        runtime: &runtime,
        peer_certificate: PeerCertificate::default(),
        counts: true,
    };
    let hits = (0..lookups)
        .filter(|_| matches!(table.find(std::hint::black_box(&head), &cx), Found::Route(_)))
        .count();
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = memory.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    println!("{kind}: {count} routes compiled in {took:?}, {hits} of {lookups} found, {memory}");
}
