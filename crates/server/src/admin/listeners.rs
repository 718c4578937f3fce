//! `/listeners`.

use super::Admin;
use super::json::{list, number, object, pretty};
use super::request::{Request, Response};
use nuncio_core::address::Address;
use serde_json::{Value, json};

/// A listener as `/listeners` shows it.
#[derive(Clone, Debug)]
pub struct ListenerFacts {
    /// Its name.
    pub name: String,
    /// Where it listens, with the true port; further addresses behind the first.
    pub addresses: Vec<Address>,
}

/// `/listeners`: text, or with `format=json` `envoy.admin.v3.Listeners`.
pub(super) fn listeners(admin: &Admin, request: &Request) -> Response {
    if request.get("format") != Some("json") {
        let lines = admin.listeners.iter().flat_map(|l| l.addresses.iter().map(move |a| (l, a)));
        return Response::text(lines.map(|(l, a)| format!("{}::{a}\n", l.name)).collect::<String>());
    }
    let status = |l: &ListenerFacts| {
        let mut addresses = l.addresses.iter().map(address);
        object([
            ("name", Some(l.name.as_str().into())),
            ("local_address", addresses.next()),
            ("additional_local_addresses", list(addresses.collect())),
        ])
    };
    let statuses = admin.listeners.iter().map(status).collect();
    Response::json(pretty(&object([("listener_statuses", list(statuses))])))
}

/// `envoy.config.core.v3.Address`.
pub(super) fn address(address: &Address) -> Value {
    match address {
        Address::Ip(a) => object([(
            "socket_address",
            Some(object([
                ("address", Some(a.ip().to_string().into())),
                ("port_value", number(a.port().into())),
            ])),
        )]),
        Address::Pipe(path) => json!({ "pipe": { "path": &**path } }),
        Address::Internal(internal) => object([(
            "envoy_internal_address",
            Some(object([
                ("server_listener_name", Some((&*internal.listener).into())),
                ("endpoint_id", (!internal.endpoint.is_empty()).then(|| (&*internal.endpoint).into())),
            ])),
        )]),
    }
}
