//! The bootstrap's own fields, compiled: node, admin port, stats.

use crate::admin::object;
use crate::admin::wire::Wire;
use crate::cli::{self, Options};
use crate::node_extensions::NodeExtensions;
use crate::runtime_keys;
use nuncio_core::address::Address;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::matcher::StringMatcher;
use nuncio_core::runtime::{Layer, Runtime};
use nuncio_core::stats::StatsConfig;
use nuncio_proto::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use nuncio_proto::pb::envoy::config::bootstrap::v3 as pb;
use nuncio_proto::pb::envoy::config::bootstrap::v3::bootstrap::StatsFlush;
use nuncio_proto::pb::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use nuncio_proto::pb::envoy::config::core::v3 as core_pb;
use serde_json::{Value, json};
use std::time::Duration;

/// A compiled `envoy.config.bootstrap.v3.Bootstrap`; its static resources go their own way.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// Who this process is.
    pub node: NodeConfig,
    /// Where the admin port listens, if anywhere.
    pub admin: Option<AdminConfig>,
    /// How often gauges and histogram intervals are brought up to date; 5 s by default. None: when `/stats` is
    /// asked (`stats_flush_on_admin`).
    pub stats_flush_interval: Option<Duration>,
    /// Runtime keys, by layer.
    pub runtime: Runtime,
    /// Which stats are shown, and what in their names is a tag (`stats_config`).
    pub stats: StatsConfig,
    /// Whether a cluster's traffic is shown from its first use on only (`deferred_stat_options`).
    pub defer_stats: bool,
}

/// The admin port.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where it listens.
    pub address: Address,
    /// On an IPv6 address, it takes IPv4 peers too.
    pub ipv4_compat: bool,
    /// Targets that are served; empty: all.
    pub allow_paths: Box<[StringMatcher]>,
    /// What is written about its requests, to be compiled with the listeners' logs.
    pub access_log: Vec<AccessLog>,
    /// `ignore_global_conn_limit`: it may be connected to when the process has all the connections that it may have.
    pub ignores_global_limit: bool,
}

/// A compiled `envoy.config.core.v3.Node`; the command line wins over the file.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// `id`, or `--service-node`.
    pub id: String,
    /// `cluster`, or `--service-cluster`.
    pub cluster: String,
    /// `locality.zone`, or `--service-zone`.
    pub zone: String,
    /// What is built.
    pub extensions: NodeExtensions,
    metadata: Option<Value>,
    region: String,
    sub_zone: String,
    has_locality: bool,
}

impl BootstrapConfig {
    /// Compiles the message. `None`: refused, with every reason recorded in `cx`.
    pub fn compile(message: pb::Bootstrap, cx: &CompileContext<'_>, options: &Options) -> Option<Self> {
        // The items of static_resources are compiled one at a time, apart from the message.
        let pb::Bootstrap {
            node,
            static_resources: _,
            stats_flush_interval,
            admin,
            stats_config,
            layered_runtime,
            stats_flush,
            deferred_stat_options,
        } = message;
        let pb::bootstrap::DeferredStatOptions { enable_deferred_creation_stats } =
            deferred_stat_options.unwrap_or_default();
        let admin = admin.map_or(Some(None), |m| AdminConfig::compile(m, &cx.field("admin")));
        let stats_flush_interval = match &stats_flush_interval {
            None => Some(Duration::from_secs(5)),
            Some(value) => config::duration(value, &cx.field("stats_flush_interval")),
        };
        let stats = match &stats_config {
            None => Some(StatsConfig::default()),
            Some(message) => StatsConfig::compile(message, &cx.field("stats_config")),
        };
        let runtime = runtime(layered_runtime.unwrap_or_default(), &cx.field("layered_runtime"));
        Some(Self {
            node: NodeConfig::compile(node.unwrap_or_default(), options),
            admin: admin?,
            stats_flush_interval: match stats_flush {
                Some(StatsFlush::StatsFlushOnAdmin(true)) => None,
                Some(StatsFlush::StatsFlushOnAdmin(false)) | None => Some(stats_flush_interval?),
            },
            runtime: runtime?,
            stats: stats?,
            defer_stats: enable_deferred_creation_stats,
        })
    }
}

/// The layers of `layered_runtime`. `None`: refused, with every reason recorded.
fn runtime(message: pb::LayeredRuntime, cx: &CompileContext<'_>) -> Option<Runtime> {
    let pb::LayeredRuntime { layers } = message;
    let mut compiled: Vec<Layer> = Vec::with_capacity(layers.len());
    let count = layers.len();
    for (i, layer) in layers.into_iter().enumerate() {
        let cx = cx.item("layers", i);
        let pb::RuntimeLayer { name, layer_specifier } = layer;
        if compiled.iter().any(|l| *l.name == *name) {
            cx.field("name").error(format!("Duplicate layer name: {name}"));
            continue;
        }
        match layer_specifier {
            Some(LayerSpecifier::StaticLayer(fields)) => {
                if let Some(key) = meaningless(&fields) {
                    cx.field("static_layer").error(format!("Invalid runtime entry value for {key}"));
                    continue;
                }
                let mut layer = Layer::fixed(&name, &fields);
                runtime_keys::check(&mut layer, &cx.field("static_layer"));
                compiled.push(layer);
            }
            Some(LayerSpecifier::AdminLayer(pb::runtime_layer::AdminLayer {})) => {
                if compiled.iter().any(|l| l.admin) {
                    cx.error(
                        "Too many admin layers specified in LayeredRuntime, at most one may be specified",
                    );
                    continue;
                }
                compiled.push(Layer::admin(&name));
            }
            None => {
                cx.error("a layer needs a specifier");
            }
        }
    }
    (compiled.len() == count).then(|| Runtime::new(compiled))
}

/// The first key whose value is a list or null, which no runtime key can be.
fn meaningless(fields: &prost_types::Struct) -> Option<&str> {
    use prost_types::value::Kind;
    fields.fields.iter().find_map(|(key, value)| match &value.kind {
        None | Some(Kind::NullValue(_) | Kind::ListValue(_)) => Some(key.as_str()),
        Some(Kind::StructValue(inner)) => meaningless(inner),
        Some(Kind::NumberValue(_) | Kind::StringValue(_) | Kind::BoolValue(_)) => None,
    })
}

impl AdminConfig {
    /// Compiles the message; without an address there is no admin port.
    fn compile(message: pb::Admin, cx: &CompileContext<'_>) -> Option<Option<Self>> {
        let pb::Admin { address, mut access_log, access_log_path, allow_paths, ignore_global_conn_limit } =
            message;
        let allowed = |(i, m)| StringMatcher::compile(m, &cx.item("allow_paths", i));
        let allow_paths = allow_paths.iter().enumerate().map(allowed).collect::<Option<Box<[_]>>>()?;
        if !access_log_path.is_empty() {
            access_log.push(file_log(&access_log_path));
        }
        let Some(address) = address else { return Some(None) };
        let ipv4_compat = config::ipv4_compat(&address);
        let address = config::address(&address, &cx.field("address"))?;
        let ignores_global_limit = ignore_global_conn_limit;
        Some(Some(Self { address, ipv4_compat, allow_paths, access_log, ignores_global_limit }))
    }
}

/// A file log in the default format.
fn file_log(path: &str) -> AccessLog {
    let typed = prost_types::Any {
        type_url: "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog".to_owned(),
        value: Wire::default().with(1, path.as_bytes()).bytes().to_vec(),
    };
    AccessLog { config_type: Some(access_log::ConfigType::TypedConfig(typed)), ..AccessLog::default() }
}

impl NodeConfig {
    fn compile(message: core_pb::Node, options: &Options) -> Self {
        let core_pb::Node { id, cluster, metadata, locality } = message;
        let has_locality = locality.is_some() || !options.service_zone.is_empty();
        let core_pb::Locality { region, zone, sub_zone } = locality.unwrap_or_default();
        let or = |flag: &String, field| if flag.is_empty() { field } else { flag.clone() };
        Self {
            id: or(&options.service_node, id),
            cluster: or(&options.service_cluster, cluster),
            zone: or(&options.service_zone, zone),
            extensions: NodeExtensions::default(),
            metadata: metadata.map(struct_json),
            region,
            sub_zone,
            has_locality,
        }
    }

    /// The node as management servers and `/server_info` see it; defaults are left out unless `defaults`.
    pub fn json(&self, defaults: bool) -> Value {
        let text = |t: &str| (defaults || !t.is_empty()).then(|| Value::from(t));
        let locality = || {
            object([
                ("region", text(&self.region)),
                ("zone", text(&self.zone)),
                ("sub_zone", text(&self.sub_zone)),
            ])
        };
        let empty = || defaults.then(|| Value::Array(Vec::new()));
        object([
            ("id", text(&self.id)),
            ("cluster", text(&self.cluster)),
            ("metadata", self.metadata.clone()),
            ("locality", self.has_locality.then(locality)),
            ("user_agent_name", Some("envoy".into())),
            ("user_agent_build_version", Some(build_version(defaults))),
            ("extensions", Some(self.extensions.json())),
            ("client_features", empty()),
            ("listening_addresses", empty()),
            ("dynamic_parameters", defaults.then(|| json!({}))),
        ])
    }
}

impl NodeConfig {
    /// What completes the file's node: fields of the command line and of the program, as wire bytes.
    pub fn completion(&self) -> Vec<u8> {
        let (revision, status, kind, library) = version_parts();
        let mut numbers = cli::ENVOY_VERSION.split('.').map(|n| n.parse().unwrap_or(0));
        let mut number = || numbers.next().unwrap_or(0);
        let version = Wire::default().number(1, number()).number(2, number()).number(3, number());
        let entry = |name: &str, text: &str| {
            let value = Wire::default().with(3, text.as_bytes());
            Wire::default().with(1, name.as_bytes()).with(2, value.bytes())
        };
        let metadata = [
            ("revision.status", &status),
            ("revision.sha", &revision),
            ("build.type", &kind),
            ("ssl.version", &library),
        ]
        .into_iter()
        .fold(Wire::default(), |all, (name, text)| all.with(1, entry(name, text).bytes()));
        let build = Wire::default().with(1, version.bytes()).with(2, metadata.bytes());
        let mut out = Wire::default();
        for (number, text) in [(1, &self.id), (2, &self.cluster)] {
            if !text.is_empty() {
                out.add(number, text.as_bytes());
            }
        }
        if !self.zone.is_empty() {
            out.add(4, Wire::default().with(2, self.zone.as_bytes()).bytes());
        }
        let extensions = self.extensions.wire();
        out.with(6, b"envoy").with(8, build.bytes()).merged(extensions.bytes()).bytes().to_vec()
    }
}

/// Revision, status, kind and library of our version.
fn version_parts() -> (String, String, String, String) {
    let version = cli::version();
    let mut parts = version.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let revision = next();
    let _ = next();
    (revision, next(), next(), next())
}

/// `envoy.config.core.v3.BuildVersion` of the Envoy whose behaviour this is, and of ourselves.
fn build_version(defaults: bool) -> Value {
    let number = |n: u64| (defaults || n != 0).then(|| Value::from(n));
    let mut parts = cli::ENVOY_VERSION.split('.').map(|n| n.parse().unwrap_or(0));
    let mut part = || number(parts.next().unwrap_or(0));
    let version = object([("major_number", part()), ("minor_number", part()), ("patch", part())]);
    let (revision, status, kind, library) = version_parts();
    json!({
        "version": version,
        "metadata": {
            "ssl.version": library,
            "revision.status": status,
            "revision.sha": revision,
            "build.type": kind,
        },
    })
}

/// A `google.protobuf.Struct` in JSON.
fn struct_json(value: prost_types::Struct) -> Value {
    Value::Object(value.fields.into_iter().map(|(k, v)| (k, value_json(v))).collect())
}

fn value_json(value: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => b.into(),
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9e15 => (n as i64).into(),
        Some(Kind::NumberValue(n)) => n.into(),
        Some(Kind::StringValue(s)) => s.into(),
        Some(Kind::ListValue(l)) => l.values.into_iter().map(value_json).collect(),
        Some(Kind::StructValue(s)) => struct_json(s),
    }
}
