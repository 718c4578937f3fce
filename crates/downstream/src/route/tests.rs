//! Whole tables, compiled from text as an operator writes it.

mod errors;
mod matchers;
mod matching;
mod merging;
mod property;

use super::*;
use nuncio_codec::head::Known;
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::config::{CompileContext, Sink};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_proto::load::{LoadOptions, Source, load};
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use nuncio_proto::pb::envoy::config::listener::v3 as listener;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use nuncio_upstream::retry_plugin::RetryPlugins;
use prost_types::Any;

/// Knows one message, whose bytes are the configuration.
pub(super) struct Echo;

impl CompilePerRoute for Echo {
    fn knows(&self, config: &Any) -> bool {
        config.type_url.ends_with("Router")
    }

    fn compile(
        &self,
        filter: &str,
        config: &Any,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
        if !self.knows(config) {
            cx.error(format!("Didn't find a registered implementation for '{filter}'"));
            return None;
        }
        Some(Arc::new(config.value.clone()))
    }
}

/// A listener around `route_config` (YAML), compiled: the table, or everything that is wrong with it.
pub(super) fn compile(route_config: &str) -> Result<Arc<RouteTable>, String> {
    let indented =
        route_config.trim_matches('\n').lines().map(|l| format!("            {l}\n")).collect::<String>();
    let text = format!(
        r#"static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          route_config:
{}"#,
        indented
    );
    let loaded = load(&[Source::yaml("t.yaml", text.as_bytes())], LoadOptions::default());
    let loaded = loaded.map_err(|e| e.to_string())?;
    let sink = Sink::default();
    let resource = &loaded.listeners[0];
    let table = {
        let cx = resource.context(&sink);
        let mut message: listener::Listener = resource.decode().unwrap();
        let mut filter = message.filter_chains.remove(0).filters.remove(0);
        let Some(listener::filter::ConfigType::TypedConfig(any)) = filter.config_type.take() else {
            panic!()
        };
        let (chains, filters) = (cx.item("filter_chains", 0), "filters");
        let filter = chains.item(filters, 0);
        let at = filter.field("typed_config");
        let manager: hcm::HttpConnectionManager = at.unpack(&any).unwrap();
        let Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(message)) =
            manager.route_specifier
        else {
            panic!()
        };
        let options = RouteOptions {
            cluster_exists: &|name| name.starts_with('c'),
            nearest_cluster: &|_| None,
            validate_clusters_default: true,
            per_route: &Echo,
            retry_plugins: &RetryPlugins::default(),
            runtime: &Runtime::default(),
            stats: &nuncio_core::stats::Registry::new(),
        };
        RouteTable::compile(message, &at.field("route_config"), &options)
    };
    let (errors, _) = sink.finish();
    match table {
        Some(table) => {
            assert!(errors.is_empty(), "{errors}");
            Ok(table)
        }
        None => Err(errors.to_string()),
    }
}

/// One virtual host `*` with these routes.
pub(super) fn routes(list: &str) -> Arc<RouteTable> {
    let indented = list.trim_matches('\n').lines().map(|l| format!("  {l}\n")).collect::<String>();
    compile(&format!("name: t\nvirtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n{indented}")).unwrap()
}

/// A request as the connection manager hands it on.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new();
    head.headers.append(Known::Method, method.as_bytes());
    head.headers.append(Known::Path, path.as_bytes());
    head.headers.append(Known::Authority, b"ex.com");
    head.headers.append(Known::Scheme, b"http");
    head.headers.append(Known::XForwardedProto, b"http");
    for (name, value) in headers {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

pub(super) fn get(path: &str, headers: &[(&str, &str)]) -> RequestHead {
    request("GET", path, headers)
}

pub(super) fn find<'t>(table: &'t RouteTable, head: &RequestHead, random: u64) -> Found<'t> {
    let runtime = Runtime::default();
    let info = stream(random);
    let cx = MatchContext {
        info: &info,
        runtime: &runtime,
        peer_certificate: PeerCertificate::default(),
        counts: true,
    };
    table.find(head, &cx)
}

/// For what has no format that would read it.
pub(super) fn unread<'c>() -> FormatContext<'c> {
    unreachable!("there is no format here")
}

/// A stream with this random number.
pub(crate) fn stream(random: u64) -> StreamInfo {
    let clock = Clock::system();
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
    StreamInfo::new(clock.now(), clock.wall(), std::rc::Rc::new(connection), random)
}

/// The name of the route for `head`, `-` for none.
pub(super) fn name_for(table: &RouteTable, head: &RequestHead) -> String {
    match find(table, head, 0) {
        Found::Route(route) => route.name.to_string(),
        _ => "-".into(),
    }
}
