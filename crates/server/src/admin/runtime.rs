//! `/runtime` and `/runtime_modify`.

use super::Admin;
use super::json::pretty;
use super::request::{Request, Response};
use nuncio_core::runtime::Layer;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// `/runtime`: every key with its value in each layer; a layer without it shows an empty one.
pub(super) fn runtime(admin: &Admin, _: &Request) -> Response {
    let layers = admin.runtime.layers();
    let keys: BTreeSet<&str> = layers.iter().flat_map(|l| l.values.keys().map(|k| &**k)).collect();
    let entries: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), entry(&layers, key))).collect();
    let names: Vec<&str> = layers.iter().map(|l| &*l.name).collect();
    Response::json(pretty(&json!({ "entries": entries, "layers": names })))
}

fn entry(layers: &[Layer], key: &str) -> Value {
    let values: Vec<&str> = layers.iter().map(|l| l.values.get(key).map_or("", |v| v)).collect();
    let last = values.iter().rev().find(|v| !v.is_empty()).copied().unwrap_or_default();
    json!({ "final_value": last, "layer_values": values })
}

/// `/runtime_modify`: the parameters, of the query or of a form, become keys of the admin layer.
pub(super) fn modify(admin: &Admin, request: &Request) -> Response {
    let given = if request.query.is_empty() { &request.form } else { &request.query };
    if given.is_empty() {
        return Response::error(
            400,
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
             or send the parameters as form values\nuse an empty value to remove a previously added override",
        );
    }
    let changes = given.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into()));
    if !admin.runtime.modify(changes) {
        tracing::error!(target: "misc", "No admin layer specified");
        return Response::error(503, "No admin layer specified");
    }
    admin.clusters.borrow().runtime_changed();
    if let Some(stats) = &admin.stats {
        stats.count_runtime(&admin.runtime);
    }
    Response::ok()
}
