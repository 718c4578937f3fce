//! `/config_dump`: the configuration as it was loaded, in `envoy.admin.v3.ConfigDump`.

use super::request::{Body, JSON, Request, Response};
use super::wire::{Wire, any, timestamp};
use super::{Admin, sub_clusters};
use crate::config::Dumped;
use crate::dynamic::{ClusterBook, DynamicCluster, DynamicRoute, DynamicSecret};
use nuncio_core::address::Address;
use nuncio_core::matcher::Regex;
use nuncio_core::stream_info::Metadata;
use nuncio_proto::json::{self, Style};
use nuncio_proto::schema::{Class, Message};
use nuncio_proto::wire::{Reader, Wire as Field};
use nuncio_upstream::cluster::{ClusterShared, HostSource};
use nuncio_upstream::host::HostShared;
use prost::Message as _;
use std::sync::Arc;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
const ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";

/// One entry of `configs`.
struct Part {
    /// The message type's full name.
    type_name: &'static str,
    bytes: Wire,
}

/// `/config_dump`.
pub(super) fn config_dump(admin: &Admin, request: &Request) -> Response {
    let names = match request.non_empty("name_regex").map(|p| (p, Regex::new(p))) {
        None => None,
        Some((_, Ok(regex))) => Some(regex),
        Some((pattern, Err(error))) => {
            let why = format!("INVALID_ARGUMENT: Error while parsing name_regex from {pattern}: {error}");
            return plain(400, why);
        }
    };
    let parts = parts(admin, names.as_ref(), request.has("include_eds"));
    let written = request.get("mask").unwrap_or_default();
    let mask: Vec<&str> = written.split(',').filter(|path| !path.is_empty()).collect();
    match request.non_empty("resource") {
        Some(resource) => one_resource(&parts, resource, &mask),
        None => all(&parts, &mask, written),
    }
}

fn plain(status: u16, body: impl Into<Body>) -> Response {
    Response { status, content_type: "text/plain", body: body.into() }
}

/// Everything, or with a mask (as it was `written`) those messages that have all of its paths.
fn all(parts: &[Part], mask: &[&str], written: &str) -> Response {
    let chosen: Vec<(&str, &[u8])> = parts
        .iter()
        .filter(|p| mask.iter().all(|path| has_path(Message::find(p.type_name), path)))
        .map(|p| (p.type_name, p.bytes.bytes()))
        .collect();
    if chosen.is_empty() {
        return plain(400, format!("FieldMask {written} could not be successfully applied to any configs."));
    }
    Response::json(print(&chosen, mask))
}

/// The items of one list, each as an entry of its own.
fn one_resource(parts: &[Part], resource: &str, mask: &[&str]) -> Response {
    let found = parts.iter().find_map(|p| Some((p, Message::find(p.type_name)?.field_named(resource)?)));
    let Some((part, field)) = found else {
        return plain(404, format!("{resource} not found in config dump"));
    };
    let (true, Some(item)) = (field.repeated(), field.message()) else {
        let why = "is not a repeated field. Use";
        return plain(400, format!("{resource} {why} ?mask={resource} to get only this field"));
    };
    let items: Vec<(&str, &[u8])> =
        fields(part.bytes.bytes(), field.number()).into_iter().map(|bytes| (item.name(), bytes)).collect();
    let fits = |path: &&str| items.iter().all(|(_, bytes)| has_path_in(item, bytes, path));
    if !mask.iter().all(fits) {
        let paths: String = mask.iter().map(|path| format!("paths: \"{path}\"\n")).collect();
        return plain(400, format!("FieldMask {paths} could not be successfully used."));
    }
    Response { status: 200, content_type: JSON, body: print(&items, mask).into() }
}

/// Whether a path of a field mask exists: only its last field may be a list.
fn has_path(message: Option<Message>, path: &str) -> bool {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(field) = message.and_then(|m| m.field_named(head)) else { return false };
    rest.is_empty() || (!field.repeated() && has_path(field.message(), rest))
}

/// As [`has_path`], going on in what an `Any` on the way holds.
fn has_path_in(message: Message, bytes: &[u8], path: &str) -> bool {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(field) = message.field_named(head) else { return false };
    if rest.is_empty() {
        // As in Envoy, an `Any` is not kept as a whole.
        return field.message().is_none_or(|inner| inner.class() != Class::Any);
    }
    let Some(inner) = field.message().filter(|_| !field.repeated()) else { return false };
    let content = fields(bytes, field.number()).pop().unwrap_or_default();
    if inner.class() != Class::Any {
        return has_path_in(inner, content, rest);
    }
    let url = fields(content, 1).pop().map(String::from_utf8_lossy).unwrap_or_default();
    let held = Message::find(nuncio_core::config::type_name(&url));
    held.is_some_and(|m| has_path_in(m, fields(content, 2).pop().unwrap_or_default(), rest))
}

fn print(configs: &[(&str, &[u8])], mask: &[&str]) -> String {
    let (Some(message), false) = (Message::find("google.protobuf.Any"), configs.is_empty()) else {
        return "{}\n".to_owned();
    };
    let mut out = String::from("{\n \"configs\": [");
    for (i, (type_name, bytes)) in configs.iter().enumerate() {
        out.push_str(if i == 0 { "\n  " } else { ",\n  " });
        let style = Style { compact: false, mask };
        json::append(&mut out, message, any(type_name, bytes).bytes(), style, 2);
    }
    out.push_str("\n ]\n}\n");
    out
}

/// Every dump message, in Envoy's order.
fn parts(admin: &Admin, names: Option<&Regex>, endpoints: bool) -> Vec<Part> {
    let dump = &admin.dump;
    let wanted = |name: &str| names.is_none_or(|n| n.is_full_match(name.as_bytes()));
    let now = timestamp(dump.loaded);
    let dated = |resource: &Wire| Wire::default().with(1, resource.bytes()).with(2, now.bytes());
    let mut parts =
        vec![Part { type_name: "envoy.admin.v3.BootstrapConfigDump", bytes: dated(&bootstrap(admin)) }];
    let mut clusters: Vec<&Dumped> = dump.clusters.iter().filter(|c| wanted(&c.name)).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let fixed = items(2, clusters.iter().map(|c| dated(&any(c.type_name, &c.bytes))));
    let (set, book) = (admin.clusters.borrow(), &*admin.dynamic_clusters.borrow());
    let warms = |c: &&DynamicCluster| set.warming().iter().any(|w| *w.config().name == *c.name);
    let made = set.clusters().iter().chain(set.warming()).filter_map(|c| sub_clusters::dumped(admin, c));
    let made: Vec<_> = made.collect();
    let fed = || book.clusters.iter().chain(&made).filter(|c| wanted(&c.name));
    let active = items(3, fed().filter(|c| !warms(c)).map(dynamic_cluster));
    let warming = items(4, fed().filter(warms).map(dynamic_cluster));
    parts.push(Part {
        type_name: "envoy.admin.v3.ClustersConfigDump",
        bytes: text(Wire::default(), 1, &book.version)
            .merged(fixed.bytes())
            .merged(active.bytes())
            .merged(warming.bytes()),
    });
    if endpoints && !set.clusters().is_empty() {
        let chosen = |via_api: bool| {
            let of = move |c: &&Arc<ClusterShared>| via_api == is_dynamic(book, c);
            set.clusters().iter().filter(|c| wanted(&c.config().name)).filter(of)
        };
        let dump = |number| {
            move |c: &Arc<ClusterShared>| {
                Wire::default().with(number, any(ASSIGNMENT, assignment(c).bytes()).bytes())
            }
        };
        parts.push(Part {
            type_name: "envoy.admin.v3.EndpointsConfigDump",
            bytes: items(2, chosen(false).map(dump(1))).merged(items(3, chosen(true).map(dump(2))).bytes()),
        });
    }
    parts.push(Part {
        type_name: "envoy.admin.v3.ListenersConfigDump",
        bytes: items(
            2,
            dump.listeners.iter().filter(|l| wanted(&l.name)).map(|l| dated(&any(LISTENER, &l.bytes))),
        ),
    });
    let managers: Vec<&[u8]> = dump.listeners.iter().flat_map(|l| managers(&l.bytes)).collect();
    let routes: Vec<&[u8]> = managers.iter().flat_map(|m| inline_routes(m)).collect();
    let name_of = |bytes: &[u8]| {
        fields(bytes, 1).pop().map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default()
    };
    // Envoy keeps book of routes from the first HTTP connection manager on.
    if !managers.is_empty() {
        parts.push(Part { type_name: "envoy.admin.v3.ScopedRoutesConfigDump", bytes: Wire::default() });
        let fixed = items(2, routes.iter().filter(|r| wanted(&name_of(r))).map(|r| dated(&any(ROUTES, r))));
        let known = admin.routes.borrow();
        let dynamic = items(3, known.iter().filter(|r| wanted(&r.name)).map(dynamic_route));
        parts.push(Part {
            type_name: "envoy.admin.v3.RoutesConfigDump",
            bytes: fixed.merged(dynamic.bytes()),
        });
    }
    parts.push(Part { type_name: "envoy.admin.v3.SecretsConfigDump", bytes: secrets(admin, wanted) });
    parts
}

/// Whether a cluster came by CDS, or was made of another one.
pub(super) fn is_dynamic(book: &ClusterBook, cluster: &ClusterShared) -> bool {
    cluster.config().made.is_some() || book.get(&cluster.config().name).is_some()
}

/// `ClustersConfigDump.DynamicCluster`
fn dynamic_cluster(cluster: &DynamicCluster) -> Wire {
    text(Wire::default(), 1, &cluster.version)
        .with(2, any(CLUSTER, &cluster.bytes).bytes())
        .with(3, timestamp(cluster.updated).bytes())
}

/// `RoutesConfigDump.DynamicRouteConfig`
fn dynamic_route(route: &DynamicRoute) -> Wire {
    text(Wire::default(), 1, &route.version)
        .with(2, any(ROUTES, &route.bytes).bytes())
        .with(3, timestamp(route.updated).bytes())
}

/// `SecretsConfigDump`. What is sensitive is taken out when it is printed.
fn secrets(admin: &Admin, wanted: impl Fn(&str) -> bool) -> Wire {
    let known = admin.secrets.borrow();
    let mut out = Wire::default();
    for secret in admin.dump.secrets.iter().filter(|s| wanted(&s.name)) {
        // As in Envoy, without the time at which it was loaded.
        let item = text(Wire::default(), 1, &secret.name).with(3, any(SECRET, &secret.bytes).bytes());
        // `static_secrets`
        out.add(1, item.bytes());
    }
    for DynamicSecret { feed, version, updated } in &*known {
        let Some(feed) = feed.upgrade().filter(|feed| wanted(&feed.name)) else { continue };
        let present = feed.present();
        let bytes = present.as_ref().map_or_else(
            || Wire::default().with(1, feed.name.as_bytes()).bytes().to_vec(),
            |secret| secret.encode_to_vec(),
        );
        let item = text(Wire::default(), 1, &feed.name);
        let item = text(item, 2, version.as_deref().unwrap_or("uninitialized"))
            .with(3, timestamp(*updated).bytes())
            .with(4, any(SECRET, &bytes).bytes());
        // `dynamic_active_secrets`, `dynamic_warming_secrets`
        out.add(if present.is_some() { 2 } else { 3 }, item.bytes());
    }
    out
}

/// A message whose list `number` holds `items`.
fn items(number: u32, items: impl Iterator<Item = Wire>) -> Wire {
    items.fold(Wire::default(), |all, item| all.with(number, item.bytes()))
}

/// The bootstrap as Envoy shows it: with its static resources, and the node completed.
fn bootstrap(admin: &Admin) -> Wire {
    let dump = &admin.dump;
    let bytes = &dump.bootstrap.bytes;
    let mut resources = Wire::default();
    dump.listeners.iter().for_each(|l| resources.add(1, &l.bytes));
    dump.clusters.iter().for_each(|c| resources.add(2, &c.bytes));
    dump.secrets.iter().for_each(|s| resources.add(3, &s.bytes));
    let mut out = Wire::default().merged(bytes);
    out.add(1, &admin.node_bytes);
    if !resources.bytes().is_empty() {
        out.add(2, resources.bytes());
    }
    out
}

const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The number of a field.
pub(super) fn at(message: &str, field: &str) -> u32 {
    Message::find(message).and_then(|m| m.field_named(field)).map_or(0, |f| f.number())
}

/// The route configurations that stand in an HTTP connection manager.
fn inline_routes(manager: &[u8]) -> Vec<&[u8]> {
    fields(manager, at(HCM, "route_config"))
}

/// A listener's HTTP connection managers.
fn managers(listener: &[u8]) -> Vec<&[u8]> {
    let chains = [at(LISTENER, "filter_chains"), at(LISTENER, "default_filter_chain")];
    let filters = at("envoy.config.listener.v3.FilterChain", "filters");
    let typed = at("envoy.config.listener.v3.Filter", "typed_config");
    let mut found = Vec::new();
    for chain in chains.into_iter().flat_map(|number| fields(listener, number)) {
        for filter in fields(chain, filters) {
            for config in fields(filter, typed) {
                let url = fields(config, 1).pop().unwrap_or_default();
                if url.ends_with(HCM.as_bytes()) {
                    found.push(fields(config, 2).pop().unwrap_or_default());
                }
            }
        }
    }
    found
}

/// The hosts of a cluster as `ClusterLoadAssignment`, with their health now.
fn assignment(cluster: &ClusterShared) -> Wire {
    let hosts = cluster.hosts();
    let source = &cluster.config().discovery.source;
    let resolved = matches!(source, HostSource::StrictDns(_) | HostSource::LogicalDns(_));
    let name = match source {
        HostSource::Eds(eds) if !eds.service_name.is_empty() => &eds.service_name,
        _ => &cluster.config().name,
    };
    let mut out = Wire::default().with(1, name.as_bytes());
    for (priority, localities) in (0_u64..).zip(&hosts.priorities) {
        for l in localities.iter().filter(|l| !l.hosts.is_empty()) {
            let locality = text(
                text(text(Wire::default(), 1, &l.locality.region), 2, &l.locality.zone),
                3,
                &l.locality.sub_zone,
            );
            let mut endpoints = Wire::default().with(1, locality.bytes());
            l.hosts.iter().for_each(|h| endpoints.add(2, endpoint(h, resolved).bytes()));
            // A wrapper that holds 0 is an empty message.
            let weight = Wire::default().number(1, l.weight.unwrap_or(0).into());
            out.add(2, endpoints.with(3, weight.bytes()).number(5, priority).bytes());
        }
    }
    let factor = Wire::default().number(1, hosts.overprovisioning_factor.into());
    out.with(4, Wire::default().with(3, factor.bytes()).bytes())
}

fn text(wire: Wire, number: u32, text: &str) -> Wire {
    if text.is_empty() { wire } else { wire.with(number, text.as_bytes()) }
}

/// `envoy.config.endpoint.v3.LbEndpoint`. Hosts that were resolved have metadata, be it empty.
fn endpoint(host: &HostShared, resolved: bool) -> Wire {
    use nuncio_upstream::host::Health;
    let spec = host.spec();
    let inner = text(Wire::default().with(1, address(&spec.address).bytes()).with(2, &[]), 3, &spec.hostname);
    let further = spec.further.iter().flat_map(|all| all.iter());
    let inner =
        further.fold(inner, |inner, a| inner.with(4, Wire::default().with(1, address(a).bytes()).bytes()));
    let status = match host.health_flags().health() {
        Health::Healthy => 1,
        Health::Unhealthy | Health::Excluded => 2,
        Health::Degraded => 5,
    };
    let weight = Wire::default().number(1, host.weight().into());
    let out = Wire::default().with(1, inner.bytes()).number(2, status);
    let out = match host.metadata() {
        Some(metadata) => out.with(3, namespaces(&metadata).bytes()),
        None if resolved => out.with(3, &[]),
        None => out,
    };
    out.with(4, weight.bytes())
}

/// `envoy.config.core.v3.Address`
fn address(address: &Address) -> Wire {
    match (address.ip(), address.port()) {
        (Some(ip), Some(port)) => {
            let socket = Wire::default().with(2, ip.to_string().as_bytes()).number(3, port.into());
            Wire::default().with(1, socket.bytes())
        }
        _ => Wire::default().with(2, Wire::default().with(1, address.to_string().as_bytes()).bytes()),
    }
}

/// `envoy.config.core.v3.Metadata`
fn namespaces(metadata: &Metadata) -> Wire {
    let entry = |(name, fields): (&String, &prost_types::Struct)| {
        Wire::default().with(1, name.as_bytes()).with(2, &fields.encode_to_vec())
    };
    items(1, metadata.iter().map(entry))
}

/// The bodies of a field, in their order.
pub(super) fn fields(message: &[u8], number: u32) -> Vec<&[u8]> {
    Reader::new(message)
        .flatten()
        .filter_map(|(n, wire)| match wire {
            Field::Bytes(bytes) if n == number => Some(bytes),
            _ => None,
        })
        .collect()
}
