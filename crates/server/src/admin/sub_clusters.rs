//! Clusters that were made of another one, as messages: nobody has written them.

use super::Admin;
use super::config_dump::{at, fields};
use super::wire::{Wire, any};
use crate::dynamic::DynamicCluster;
use nuncio_proto::wire::Reader;
use nuncio_upstream::cluster::{ClusterShared, MadeFor};

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const FORWARD_PROXY: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
const SUB_CLUSTERS: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.SubClustersConfig";
const DNS: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";

/// The message of a cluster that was made of another one, whose fields it has but for a few; `None` for every other one.
pub(super) fn dumped(admin: &Admin, cluster: &ClusterShared) -> Option<DynamicCluster> {
    let MadeFor { parent, to, at: updated } = cluster.config().made.as_deref()?;
    let book = admin.dynamic_clusters.borrow();
    let fixed = || admin.dump.clusters.iter().find(|c| *c.name == **parent).map(|c| &c.bytes);
    let parent = book.get(parent).map(|c| &c.bytes).or_else(fixed)?;
    let field = |name| at(CLUSTER, name);
    let changed = ["name", "type", "cluster_type", "lb_policy", "load_assignment"].map(field);
    let mut message = without(parent, &changed).with(field("name"), to.cluster.as_bytes());
    let typed = fields(parent, field("cluster_type")).pop().and_then(|custom| fields(custom, 2).pop());
    let typed = typed.and_then(|any| fields(any, 2).pop()).unwrap_or_default();
    let subs = fields(typed, at(FORWARD_PROXY, "sub_clusters_config")).pop().unwrap_or_default();
    message = match fields(subs, at(SUB_CLUSTERS, "dns_cluster_config")).pop() {
        // `STRICT_DNS`
        None => message.number(field("type"), 1),
        Some(dns) => {
            let custom = Wire::default().with(1, b"envoy.cluster.dns").with(2, any(DNS, dns).bytes());
            message.with(field("cluster_type"), custom.bytes())
        }
    };
    let policy = Reader::new(subs).flatten().find_map(|(number, wire)| match wire {
        nuncio_proto::wire::Wire::Varint(policy) if number == at(SUB_CLUSTERS, "lb_policy") => Some(policy),
        _ => None,
    });
    message = message.number(field("lb_policy"), policy.unwrap_or(0));
    let options = field("upstream_http_protocol_options");
    if fields(parent, options).is_empty() {
        // `auto_sni`, `auto_san_validation`
        message = message.with(options, Wire::default().number(1, 1).number(2, 1).bytes());
    }
    let socket = Wire::default().with(2, to.host.as_bytes()).number(3, to.port.into());
    let address = Wire::default().with(1, socket.bytes());
    let endpoint = Wire::default().with(1, Wire::default().with(1, address.bytes()).bytes());
    let locality = Wire::default().with(2, endpoint.bytes());
    let assignment = Wire::default().with(1, to.cluster.as_bytes()).with(2, locality.bytes());
    message = message.with(field("load_assignment"), assignment.bytes());
    Some(DynamicCluster {
        name: to.cluster.to_string(),
        version: String::new(),
        bytes: message.bytes().to_vec(),
        updated: *updated,
    })
}

/// A message's bytes without some of its fields.
fn without(message: &[u8], numbers: &[u32]) -> Wire {
    let mut left = Wire::default();
    let mut reader = Reader::new(message);
    loop {
        let before = reader.rest();
        let Some(Ok((number, _))) = reader.next() else { return left };
        let len = before.len() - reader.rest().len();
        if !numbers.contains(&number) {
            left = left.merged(before.get(..len).unwrap_or_default());
        }
    }
}
