//! `/runtime` and `/runtime_modify`.

use super::Admin;
use super::json::pretty;
use super::request::{Request, Response};
use serde_json::json;

/// `/runtime`.
pub(super) fn runtime(_: &Admin, _: &Request) -> Response {
    Response::json(pretty(&json!({ "entries": {}, "layers": [] })))
}

/// `/runtime_modify`.
pub(super) fn modify(_: &Admin, request: &Request) -> Response {
    if request.query.is_empty() && request.form.is_empty() {
        return Response::error(
            400,
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
             or send the parameters as form values\nuse an empty value to remove a previously added override",
        );
    }
    Response::error(503, "No admin layer specified")
}
