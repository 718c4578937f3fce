//! The bootstrap's own fields, compiled: node, admin port, stats.

use crate::admin::object;
use crate::admin::wire::Wire;
use crate::cli::{self, Options};
use crate::log::Pattern;
use crate::node_extensions::NodeExtensions;
use crate::overload::OverloadConfig;
use crate::runtime_keys;
use crate::sinks::{SinkConfig, SinkEnv};
use nuncio_core::cel;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::matcher::StringMatcher;
use nuncio_core::runtime::{Layer, Runtime};
use nuncio_core::source::FileSource;
use nuncio_core::stats::StatsConfig;
use nuncio_core::stream_info::Locality;
use nuncio_net::dns::{OldMessages, ResolverConfig};
use nuncio_net::listen::{ListenSpec, SocketOption};
use nuncio_proto::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use nuncio_proto::pb::envoy::config::bootstrap::v3 as pb;
use nuncio_proto::pb::envoy::config::bootstrap::v3::bootstrap::StatsFlush;
use nuncio_proto::pb::envoy::config::bootstrap::v3::bootstrap::application_log_config::log_format::LogFormat;
use nuncio_proto::pb::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use nuncio_proto::pb::envoy::config::core::v3 as core_pb;
use nuncio_proto::pb::envoy::config::trace::v3::{Tracing, tracing::Http as TracingProvider};
use nuncio_proto::pb::envoy::extensions::bootstrap::internal_listener::v3::InternalListener;
use nuncio_proto::pb::envoy::extensions::regex_engines::v3::GoogleRe2;
use nuncio_upstream::cluster::ClusterDefaults;
use nuncio_upstream::lb::LocalCluster;
use prost::Name as _;
use serde_json::{Value, json};
use std::sync::Arc;
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
    /// Who is told of the stats at each flush (`stats_sinks`).
    pub sinks: Vec<SinkConfig>,
    /// The shape of the process's own log lines (`application_log_config`).
    pub log_pattern: Option<Pattern>,
    /// What `server.version` shows (`stats_server_version_override`).
    pub version_override: Option<u64>,
    /// `overload_manager`
    pub overload: Option<OverloadConfig>,
    /// Where clusters come from besides (`dynamic_resources.cds_config`).
    pub cds: Option<FileSource>,
    /// The cluster that this process is a host of (`cluster_manager.local_cluster_name`).
    pub local_cluster: Option<Arc<str>>,
    /// The provider of traces of connection managers that name none (`tracing.http`), to be compiled with the listeners.
    pub tracing: Option<TracingProvider>,
    /// Who is asked for names where nobody else is named (`typed_dns_resolver_config` and what came before it).
    pub resolver: Option<ResolverConfig>,
    /// What `cluster_manager` says of all clusters.
    pub cluster_defaults: ClusterDefaults,
    /// Whether a cluster's traffic is shown from its first use on only (`deferred_stat_options`).
    pub defer_stats: bool,
    /// Bytes that a connection to an internal listener holds in each direction; none where there are no internal listeners
    /// (`envoy.bootstrap.internal_listener`).
    pub internal_room: Option<usize>,
}

impl BootstrapConfig {
    /// Where the process stands among clusters and zones.
    pub fn local(&self) -> LocalCluster {
        LocalCluster { name: self.local_cluster.clone(), locality: self.node.locality() }
    }
}

/// The admin port.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where it listens, and what it asks of the kernel.
    pub listen: ListenSpec,
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
    pub fn compile(
        message: pb::Bootstrap,
        cx: &CompileContext<'_>,
        options: &Options,
        cluster_exists: &dyn Fn(&str) -> bool,
    ) -> Option<Self> {
        // The items of static_resources are compiled one at a time, apart from the message.
        let pb::Bootstrap {
            node,
            static_resources: _,
            dynamic_resources,
            stats_flush_interval,
            admin,
            stats_config,
            layered_runtime,
            stats_flush,
            deferred_stat_options,
            stats_sinks,
            application_log_config,
            default_regex_engine,
            stats_server_version_override,
            overload_manager,
            cluster_manager,
            tracing,
            typed_dns_resolver_config,
            dns_resolution_config,
            use_tcp_for_dns_lookups,
            bootstrap_extensions,
        } = message;
        let pb::ClusterManager { local_cluster_name, outlier_detection, upstream_bind_config } =
            cluster_manager.unwrap_or_default();
        let outlier_event_log =
            outlier_detection.map(|pb::cluster_manager::OutlierDetection { event_log_path }| event_log_path);
        let cluster_defaults = ClusterDefaults {
            outlier_event_log: outlier_event_log.unwrap_or_default(),
            bind: upstream_bind_config,
        };
        let local_cluster: Option<Arc<str>> =
            (!local_cluster_name.is_empty()).then(|| local_cluster_name.into());
        if let Some(name) = &local_cluster
            && !cluster_exists(name)
        {
            let cx = cx.field("cluster_manager");
            cx.field("local_cluster_name").error(format!("local cluster '{name}' must be defined"));
        }
        if stats_flush.is_some() && stats_flush_interval.is_some() {
            cx.error("Only one of stats_flush_interval or stats_flush_on_admin should be set!");
        }
        if let Some(engine) = default_regex_engine {
            check_regex_engine(engine, &cx.field("default_regex_engine"));
        }
        let old = OldMessages {
            resolution: dns_resolution_config,
            tcp: use_tcp_for_dns_lookups,
            ..OldMessages::default()
        };
        let internal_room = internal_room(bootstrap_extensions, cx);
        let resolver = ResolverConfig::compile(typed_dns_resolver_config, old, cx);
        let node = NodeConfig::compile(node.unwrap_or_default(), options);
        let env = SinkEnv { node_is_named: !node.id.is_empty() && !node.cluster.is_empty(), cluster_exists };
        let sinks = SinkConfig::compile_all(stats_sinks, cx, &env);
        let log_pattern = match application_log_config {
            None => Some(None),
            Some(message) => log_pattern(message, &cx.field("application_log_config"), options).map(Some),
        };
        let pb::bootstrap::DeferredStatOptions { enable_deferred_creation_stats } =
            deferred_stat_options.unwrap_or_default();
        let pb::bootstrap::DynamicResources { cds_config } = dynamic_resources.unwrap_or_default();
        let cds = match cds_config {
            None => Some(None),
            Some(message) => {
                let cx = cx.field("dynamic_resources");
                FileSource::compile(message, &cx.field("cds_config")).map(Some)
            }
        };
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
        let overload = match (overload_manager, &runtime) {
            (Some(message), Some(runtime)) => {
                OverloadConfig::compile(message, &cx.field("overload_manager"), runtime).map(Some)
            }
            (None, _) | (_, None) => Some(None),
        };
        Some(Self {
            node,
            admin: admin?,
            stats_flush_interval: match stats_flush {
                Some(StatsFlush::StatsFlushOnAdmin(true)) => None,
                Some(StatsFlush::StatsFlushOnAdmin(false)) | None => Some(stats_flush_interval?),
            },
            runtime: runtime?,
            stats: stats?,
            sinks: sinks?,
            log_pattern: log_pattern?,
            version_override: stats_server_version_override,
            overload: overload?,
            cds: cds?,
            local_cluster,
            tracing: tracing.and_then(|Tracing { http }| http),
            resolver: resolver?,
            cluster_defaults,
            defer_stats: enable_deferred_creation_stats,
            internal_room: internal_room?,
        })
    }
}

/// Kibibytes that an internal connection holds where `buffer_size_kb` says nothing.
const INTERNAL_KIB: u32 = 1024;

/// What `bootstrap_extensions` say, of which there is one kind. `None`: refused, and the reason is recorded.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn internal_room(list: Vec<core_pb::TypedExtensionConfig>, cx: &CompileContext<'_>) -> Option<Option<usize>> {
    let mut room = None;
    for (i, core_pb::TypedExtensionConfig { name, typed_config }) in list.into_iter().enumerate() {
        let cx = cx.item("bootstrap_extensions", i);
        if cx.told_of("typed_config") {
            continue;
        }
        let any = typed_config.unwrap_or_default();
        let kind = config::type_name(&any.type_url);
        if kind != InternalListener::full_name() {
            cx.unsupported(format!(
                "Didn't find a registered implementation for '{name}' with type URL: '{kind}'"
            ));
            return None;
        }
        let InternalListener { buffer_size_kb } = cx.field("typed_config").unpack(&any)?;
        room = Some(1024 * buffer_size_kb.unwrap_or(INTERNAL_KIB) as usize);
    }
    Some(room)
}

/// RE2 is the engine of all regular expressions, whatever it is called here.
fn check_regex_engine(engine: core_pb::TypedExtensionConfig, cx: &CompileContext<'_>) {
    let core_pb::TypedExtensionConfig { name, typed_config } = engine;
    let kind = typed_config.map(|any| config::type_name(&any.type_url).to_owned()).unwrap_or_default();
    if kind != GoogleRe2::full_name() && !cx.told_of("typed_config") {
        cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: '{kind}'"));
    }
}

/// The shape of log lines that the bootstrap asks for. `None`: refused, and the reason is recorded.
fn log_pattern(
    message: pb::bootstrap::ApplicationLogConfig,
    cx: &CompileContext<'_>,
    options: &Options,
) -> Option<Pattern> {
    let pb::bootstrap::ApplicationLogConfig { log_format } = message;
    let Some(pb::bootstrap::application_log_config::LogFormat { log_format }) = log_format else {
        return Some(Pattern::compile(options.log_format()));
    };
    if options.log_format.is_some() {
        cx.error("Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.");
        return None;
    }
    let text = match log_format? {
        LogFormat::TextFormat(text) => text,
        LogFormat::JsonFormat(fields) => {
            let text = struct_json(fields, Fractions::AsText).to_string();
            for flag in ["%v", "%_"] {
                if text.contains(flag) {
                    cx.field("log_format").field("json_format").error(format!(
                        "setJsonLogFormat error: INVALID_ARGUMENT: Usage of {flag} is unavailable for JSON log formats"
                    ));
                    return None;
                }
            }
            text
        }
    };
    Some(Pattern::compile(&text))
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
        let pb::Admin {
            address,
            mut access_log,
            access_log_path,
            allow_paths,
            ignore_global_conn_limit,
            socket_options,
        } = message;
        let allowed = |(i, m)| StringMatcher::compile(m, &cx.item("allow_paths", i));
        let allow_paths = allow_paths.iter().enumerate().map(allowed).collect::<Option<Box<[_]>>>()?;
        if !access_log_path.is_empty() {
            access_log.push(file_log(&access_log_path));
        }
        let Some(address) = address else { return Some(None) };
        let listen = ListenSpec::compile(&address, &cx.field("address"))?;
        let listen = ListenSpec { options: SocketOption::compile_all(socket_options, cx)?, ..listen };
        Some(Some(Self { listen, allow_paths, access_log, ignores_global_limit: ignore_global_conn_limit }))
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
        let node = Self {
            id: or(&options.service_node, id),
            cluster: or(&options.service_cluster, cluster),
            zone: or(&options.service_zone, zone),
            extensions: NodeExtensions::default(),
            metadata: metadata.clone().map(|m| struct_json(m, Fractions::AsNumbers)),
            region,
            sub_zone,
            has_locality,
        };
        let (id, cluster) = (node.id.clone(), node.cluster.clone());
        let locality = node.locality().unwrap_or_default();
        cel::Node { id, cluster, locality, metadata: metadata.unwrap_or_default() }.introduce();
        node
    }

    /// `locality`, where the file or the command line has one.
    fn locality(&self) -> Option<Locality> {
        let Self { region, zone, sub_zone, .. } = self;
        self.has_locality.then(|| Locality {
            region: region.as_str().into(),
            zone: zone.as_str().into(),
            sub_zone: sub_zone.as_str().into(),
        })
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

/// What becomes of numbers that are no 32-bit integers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fractions {
    AsNumbers,
    /// As in log formats.
    AsText,
}

/// A `google.protobuf.Struct` in JSON.
fn struct_json(value: prost_types::Struct, fractions: Fractions) -> Value {
    Value::Object(value.fields.into_iter().map(|(k, v)| (k, value_json(v, fractions))).collect())
}

fn value_json(value: prost_types::Value, fractions: Fractions) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => b.into(),
        Some(Kind::NumberValue(n))
            if fractions == Fractions::AsText && (n.fract() != 0.0 || n.abs() >= 2147483648.0) =>
        {
            n.to_string().into()
        }
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9e15 => (n as i64).into(),
        Some(Kind::NumberValue(n)) => n.into(),
        Some(Kind::StringValue(s)) => s.into(),
        Some(Kind::ListValue(l)) => l.values.into_iter().map(|v| value_json(v, fractions)).collect(),
        Some(Kind::StructValue(s)) => struct_json(s, fractions),
    }
}
