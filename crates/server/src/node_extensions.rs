//! What is built, as `node.extensions` tells it: Envoy's name, its category, and the configuration message.

use crate::admin::object;
use crate::admin::wire::Wire;
use serde_json::{Value, json};

/// Messages that are built without a table of factories.
const BEYOND_TABLES: [&str; 7] = [
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    "envoy.extensions.load_balancing_policies.random.v3.Random",
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
];

/// An extension.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extension {
    name: String,
    category: String,
    message: &'static str,
}

impl Extension {
    /// Envoy names most extensions after their message's package, without `extensions` and the version.
    fn of(message: &'static str) -> Self {
        let named = |category: &str, name: &str| Self {
            name: name.to_owned(),
            category: category.to_owned(),
            message,
        };
        match message {
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
                return named("envoy.access_loggers", "envoy.access_loggers.stderr");
            }
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
                return named("envoy.access_loggers", "envoy.access_loggers.stdout");
            }
            "envoy.config.trace.v3.ZipkinConfig" => return named("envoy.tracers", "envoy.tracers.zipkin"),
            "envoy.config.trace.v3.OpenTelemetryConfig" => {
                return named("envoy.tracers", "envoy.tracers.opentelemetry");
            }
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" => {
                return named("envoy.upstream_options", message);
            }
            _ => {}
        }
        let package = message.strip_prefix("envoy.extensions.").unwrap_or(message);
        let package = package.rsplitn(3, '.').nth(2).unwrap_or(package);
        let (category, _) = package.rsplit_once('.').unwrap_or((package, ""));
        named(&format!("envoy.{category}"), &format!("envoy.{package}"))
    }
}

/// The extensions, sorted by category and name.
#[derive(Clone, Debug, Default)]
pub struct NodeExtensions(Vec<Extension>);

impl NodeExtensions {
    /// Those of the tables whose messages are `built`, and those that need no table.
    pub fn new(built: impl Iterator<Item = &'static str>) -> Self {
        let mut all: Vec<Extension> = built.chain(BEYOND_TABLES).map(Extension::of).collect();
        all.sort_by(|a, b| (&a.category, &a.name).cmp(&(&b.category, &b.name)));
        Self(all)
    }

    /// As `/server_info` prints them.
    pub(crate) fn json(&self) -> Value {
        let one = |e: &Extension| {
            object([
                ("name", Some(e.name.as_str().into())),
                ("category", Some(e.category.as_str().into())),
                ("type_descriptor", Some("".into())),
                ("disabled", Some(false.into())),
                ("type_urls", Some(json!([e.message]))),
            ])
        };
        self.0.iter().map(one).collect()
    }

    /// As fields of `envoy.config.core.v3.Node`.
    pub(crate) fn wire(&self) -> Wire {
        let one = |e: &Extension| {
            Wire::default()
                .with(1, e.name.as_bytes())
                .with(2, e.category.as_bytes())
                .with(6, e.message.as_bytes())
        };
        self.0.iter().fold(Wire::default(), |all, e| all.with(9, one(e).bytes()))
    }
}

#[cfg(test)]
mod tests;
