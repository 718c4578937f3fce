//! From the command line's file and text to everything that a server runs on, or to every error at once.

use crate::bootstrap::{AdminConfig, BootstrapConfig, NodeConfig};
use crate::cli::{Options, Unsupported};
use crate::critical;
use crate::http::Site;
use crate::node_extensions::NodeExtensions;
use crate::own_address::own_address;
use crate::runtime_keys;
use nuncio_core::access_log::{AccessLogFactories, AnyAccessLogFactory};
use nuncio_core::address::Address;
use nuncio_core::config::{Errors, RegexLimits, Sink};
use nuncio_core::registry::{DuplicateFactory, Table};
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_downstream::filter::AnyHttpFilterFactory;
use nuncio_downstream::listener::AnyListenerFilterFactory;
use nuncio_downstream::listener::ListenerConfig;
use nuncio_downstream::network::AnyNetworkFilterFactory;
use nuncio_downstream::route::RouteFeeds;
use nuncio_downstream::router::ClusterOptionsCompiler;
use nuncio_downstream::tracing::{AnyTracerFactory, TracerConfig, Tracers};
use nuncio_downstream::world::CompileEnv;
use nuncio_extensions::http::local_ratelimit::LocalClusterKnown;
use nuncio_net::log_files::{FlushOptions, LogFiles};
use nuncio_net::tls::{SecretKind, TlsManager};
use nuncio_proto::load::{self, Loaded, Resource};
use nuncio_proto::near::nearest;
use nuncio_proto::pb::envoy::config::bootstrap::v3::Bootstrap;
use nuncio_upstream::call::Caller;
use nuncio_upstream::cluster::{ClusterConfig, ClusterSurroundings, HostSource};
use nuncio_upstream::dns_cache::DnsCaches;
use nuncio_upstream::manager::ClusterSetConfig;
use nuncio_upstream::requests::CompileRequests;
use nuncio_upstream::retry_plugin::RetryPlugins;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// A text to load, already read.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    bytes: Vec<u8>,
    yaml: bool,
}

impl Source {
    /// A YAML text; errors call it `name`.
    pub fn text(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), bytes: text.into_bytes(), yaml: true }
    }

    /// A file; its name decides between YAML and JSON.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn file(path: &str) -> Result<Self, Refused> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { name: path.to_owned(), bytes, yaml: false }),
            Err(error) => Err(Refused::whole(path, format!("Invalid path: {path}: {error}"))),
        }
    }

    /// What `--config-path` and `--config-yaml` name, in the order of merging.
    ///
    /// # Errors
    /// Where the file cannot be read, or neither is given.
    pub fn of(options: &Options) -> Result<Vec<Self>, Refused> {
        let mut sources = Vec::new();
        if !options.config_path.is_empty() {
            sources.push(Self::file(&options.config_path)?);
        }
        if !options.config_yaml.is_empty() {
            sources.push(Self::text("--config-yaml", options.config_yaml.clone()));
        }
        if sources.is_empty() {
            let why = "At least one of --config-path or --config-yaml should be non-empty";
            return Err(Refused::whole("", why.to_owned()));
        }
        Ok(sources)
    }

    fn borrowed(&self) -> load::Source<'_> {
        if self.yaml {
            load::Source::yaml(&self.name, &self.bytes)
        } else {
            load::Source::file(&self.name, &self.bytes)
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug)]
pub struct Refused {
    /// The file, as the operator wrote it; empty without one.
    pub name: String,
    /// What is wrong, one fault a line.
    pub faults: Vec<String>,
}

impl Refused {
    /// One fault without a place.
    pub fn whole(name: &str, fault: String) -> Self {
        Self { name: name.to_owned(), faults: vec![fault] }
    }

    fn new(name: &str, errors: &Errors) -> Self {
        Self { name: name.to_owned(), faults: errors.iter().map(ToString::to_string).collect() }
    }

    /// Logs every fault on a line of its own.
    pub fn log(&self) {
        match self.faults.as_slice() {
            [fault] => critical!("error initializing configuration '{}': {fault}", self.name),
            faults => {
                critical!("error initializing configuration '{}': {} errors", self.name, faults.len());
                for fault in faults {
                    critical!("{fault}");
                }
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error initializing configuration '{}': {}", self.name, self.faults.join("\n"))
    }
}

impl std::error::Error for Refused {}

/// A resource as `/config_dump` prints it.
#[derive(Clone, Debug)]
pub struct Dumped {
    /// Its message type's full name.
    pub type_name: &'static str,
    /// Its `name`.
    pub name: String,
    /// Its wire bytes, as they were loaded.
    pub bytes: Vec<u8>,
}

impl Dumped {
    /// Keeps the bytes of a resource and lets go of its positions.
    fn new(resource: Resource) -> Self {
        let (type_name, name) = (resource.type_name(), resource.name().to_owned());
        Self { type_name, name, bytes: resource.into_bytes() }
    }
}

/// What `/config_dump` prints.
#[derive(Clone, Debug)]
pub struct Dump {
    /// The bootstrap without the items of its static resources.
    pub bootstrap: Dumped,
    /// Static listeners in order.
    pub listeners: Vec<Dumped>,
    /// Static clusters in order.
    pub clusters: Vec<Dumped>,
    /// Static secrets in order.
    pub secrets: Vec<Dumped>,
    /// When they were loaded.
    pub loaded: SystemTime,
}

/// A configuration that a server can run on.
pub struct Compiled {
    /// The bootstrap's own fields.
    pub bootstrap: BootstrapConfig,
    /// Static clusters in order.
    pub clusters: ClusterSetConfig,
    /// Static listeners in order.
    pub listeners: Vec<Arc<ListenerConfig>>,
    /// The admin port, if there is one.
    pub admin: Option<Site>,
    /// What compiling goes on to need.
    pub surroundings: Surroundings,
    /// Where access logs go.
    pub log_files: Arc<LogFiles>,
    /// Everything as it was written.
    pub dump: Dump,
}

/// Loads and compiles. Everything that is wrong is told at once; what is merely worth knowing is logged.
///
/// # Errors
/// Every fault, with its place.
pub fn load(
    options: &Options,
    sources: Vec<Source>,
    registry: &Registry,
    now: SystemTime,
) -> Result<Compiled, Refused> {
    let name = options.config_path.as_str();
    let unsupported = match options.unsupported {
        Unsupported::Refuse => nuncio_core::config::Unsupported::Refuse,
        Unsupported::Warn => nuncio_core::config::Unsupported::Warn,
    };
    let extensions = Extensions::new(registry, options, options.concurrency() as usize)
        .map_err(|e| Refused::whole(name, e.to_string()))?;
    let sink = Sink::new(unsupported);
    let borrowed: Vec<_> = sources.iter().map(Source::borrowed).collect();
    let loaded = load::read(&borrowed, options.allow_unknown_static_fields, &sink);
    // From here on the wire bytes say it all.
    drop(sources);
    let compiled = loaded.and_then(|loaded| compile((options, registry), loaded, extensions, &sink, now));
    let (errors, warnings) = sink.finish();
    warnings.iter().for_each(|w| tracing::warn!(target: "config", "{w}"));
    match compiled {
        Some(compiled) if errors.is_empty() => Ok(compiled),
        _ => Err(Refused::new(name, &errors)),
    }
}

fn compile(
    (options, registry): (&Options, &Registry),
    loaded: Loaded,
    extensions: Extensions,
    sink: &Sink,
    now: SystemTime,
) -> Option<Compiled> {
    let Loaded { bootstrap, listeners, clusters, secrets } = loaded;
    let cx = bootstrap.context(sink);
    let message: Option<Bootstrap> = cx.decode(bootstrap.bytes());
    let admin_logs =
        message.iter().flat_map(|m| &m.admin).flat_map(|a| a.access_log.clone()).collect::<Vec<_>>();
    // A name that could not be read may be any.
    let names_lost = sink.told_of("static_resources.clusters")
        || clusters.iter().any(|c| c.context(sink).told_of("name") && c.name().is_empty());
    let is_cluster = |name: &str| names_lost || clusters.iter().any(|c| c.name() == name);
    let mut config = message.and_then(|m| BootstrapConfig::compile(m, &cx, options, &is_cluster));
    if let Some(config) = &config {
        sink.set_regex_limits(runtime_keys::regex_limits(&config.runtime));
    }
    let tls = TlsManager::new(registry);
    let keep = |resource: Resource| {
        let cx = resource.context(sink);
        if let Some(secret) = cx.decode(resource.bytes()) {
            tls.add_static(secret, &cx);
        }
        Dumped::new(resource)
    };
    let secrets: Vec<Dumped> = secrets.into_iter().map(keep).collect();
    if config.as_ref().is_some_and(|c| c.local_cluster.is_some()) {
        extensions.local_cluster.tell();
    }
    if let Some(resolver) = config.as_ref().and_then(|c| c.resolver.clone()) {
        extensions.dns_caches.use_resolver(resolver);
    }
    let (caches, files) = (extensions.dns_caches.clone(), Arc::clone(&extensions.log_files));
    let mut around = ClusterSurroundings::new(tls.clone(), caches, files);
    around.requests = Some(requests(&extensions.http_filters, &extensions.retry_plugins));
    if let Some(config) = &config {
        around.take_defaults(&config.cluster_defaults, &cx.field("cluster_manager"));
    }
    let (mut compiled_clusters, clusters) = clusters_of(clusters, sink, &around);
    compiled_clusters.local = config.as_ref().map(BootstrapConfig::local).unwrap_or_default();
    // What is wrong with listeners is told even where the bootstrap's own fields are wrong.
    let (runtime, node) = config.as_ref().map(|c| (c.runtime.clone(), c.node.clone())).unwrap_or_default();
    let names: HashSet<&str> = clusters.iter().map(|c| c.name.as_str()).collect();
    let built = NodeExtensions::new(extensions.names());
    if let Some(config) = &mut config {
        config.node.extensions = built;
    }
    let (mut surroundings, log_files) =
        Surroundings::new(options, extensions, around, (runtime, registry, &node), sink);
    surroundings.internal_room = config.as_ref().and_then(|c| c.internal_room);
    let exists = |name: &str| names_lost || names.contains(name);
    let near = |name: &str| nearest(name, names.iter().copied());
    if let Some(provider) = config.as_ref().and_then(|c| c.tracing.as_ref()) {
        let cx = cx.field("tracing");
        let env = surroundings.env(&exists, &near);
        surroundings.default_tracer = env.tracers.compile(provider, &cx.field("http"), &env);
    }
    let env = surroundings.env(&exists, &near);
    let (compiled_listeners, listeners) = listeners_of(listeners, sink, &env);
    if let Some(who) = surroundings.wants_node(&compiled_clusters, config.as_ref()) {
        cx.field("node").error(format!("{who}: {NODE_REQUIRED}"));
    }
    let admin = match config.as_ref().and_then(|c| c.admin.as_ref()) {
        None => {
            // There will be no admin port; what is wrong with its logs is told all the same.
            env.access_logs.compile(&admin_logs, &cx.field("admin"), "access_log");
            None
        }
        Some(AdminConfig { listen, allow_paths: _, access_log, ignores_global_limit }) => {
            let (cx, logs) = (cx.field("admin"), access_log.clone());
            Some(Site::compile("admin", listen.clone(), *ignores_global_limit, logs, &cx, &env)?)
        }
    };
    Some(Compiled {
        admin,
        bootstrap: config?,
        clusters: compiled_clusters,
        listeners: compiled_listeners,
        surroundings,
        log_files,
        dump: Dump { bootstrap: Dumped::new(bootstrap), listeners, clusters, secrets, loaded: now },
    })
}

/// What compiling a resource needs besides the clusters of the moment, at the start and for as long as resources come.
pub struct Surroundings {
    /// TLS secrets and contexts.
    pub tls: TlsManager,
    /// Names that requests want to go to.
    pub dns_caches: DnsCaches,
    /// Route configurations that are subscribed to.
    pub route_feeds: RouteFeeds,
    of_clusters: ClusterSurroundings,
    http_filters: Arc<Table<dyn AnyHttpFilterFactory>>,
    network_filters: Table<dyn AnyNetworkFilterFactory>,
    listener_filters: Table<dyn AnyListenerFilterFactory>,
    access_logs: AccessLogFactories,
    retry_plugins: Arc<RetryPlugins>,
    tracers: Tracers,
    default_tracer: Option<Arc<dyn TracerConfig>>,
    runtime: Runtime,
    stats: Registry,
    node_cluster: String,
    node_id: String,
    zone: String,
    internal_room: Option<usize>,
    own_address: IpAddr,
    unsupported: nuncio_core::config::Unsupported,
}

impl Surroundings {
    fn new(
        options: &Options,
        extensions: Extensions,
        of_clusters: ClusterSurroundings,
        (runtime, stats, node): (Runtime, &Registry, &NodeConfig),
        sink: &Sink,
    ) -> (Self, Arc<LogFiles>) {
        let Extensions {
            http_filters,
            network_filters,
            listener_filters,
            access_logs,
            retry_plugins,
            tracers,
            log_files,
            dns_caches,
            // Nothing that is compiled later changes it.
            local_cluster: _,
        } = extensions;
        let own = Self {
            tls: of_clusters.tls.clone(),
            dns_caches,
            route_feeds: RouteFeeds::default(),
            of_clusters,
            http_filters,
            network_filters,
            listener_filters,
            access_logs: AccessLogFactories::new(access_logs, runtime.clone()),
            retry_plugins,
            tracers: Tracers::new(tracers),
            default_tracer: None,
            runtime,
            stats: stats.clone(),
            node_cluster: node.cluster.clone(),
            node_id: node.id.clone(),
            zone: node.zone.clone(),
            internal_room: None,
            own_address: own_address(options.local_address_ip_version),
            unsupported: sink.unsupported(),
        };
        (own, log_files)
    }

    /// All of it, with the clusters of the moment.
    pub fn env<'a>(
        &'a self,
        cluster_exists: &'a dyn Fn(&str) -> bool,
        nearest_cluster: &'a dyn Fn(&str) -> Option<String>,
    ) -> CompileEnv<'a> {
        CompileEnv {
            http_filters: &self.http_filters,
            network_filters: &self.network_filters,
            listener_filters: &self.listener_filters,
            tls: &self.tls,
            access_logs: &self.access_logs,
            runtime: &self.runtime,
            stats: &self.stats,
            cluster_exists,
            nearest_cluster,
            route_feeds: &self.route_feeds,
            retry_plugins: &self.retry_plugins,
            tracers: &self.tracers,
            default_tracer: self.default_tracer.as_ref(),
            node_cluster: &self.node_cluster,
            node_id: &self.node_id,
            zone: &self.zone,
            internal_room: self.internal_room,
            own_address: self.own_address,
        }
    }

    /// Who subscribes to something where the node has no `id` or no `cluster`, which Envoy demands even for files.
    fn wants_node(
        &self,
        clusters: &ClusterSetConfig,
        bootstrap: Option<&BootstrapConfig>,
    ) -> Option<&'static str> {
        if !self.node_id.is_empty() && !self.node_cluster.is_empty() {
            return None;
        }
        if let Some(feed) = self.tls.feeds().first() {
            return Some(match feed.kind {
                SecretKind::Certificate => "TlsCertificateSdsApi",
                SecretKind::Validation => "CertificateValidationContextSdsApi",
                SecretKind::TicketKeys => "TlsSessionTicketKeysSdsApi",
                SecretKind::Generic => "GenericSecretSdsApi",
            });
        }
        if clusters.clusters.iter().any(|c| matches!(c.discovery.source, HostSource::Eds(_))) {
            return Some("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
        }
        if bootstrap.is_some_and(|b| b.cds.is_some()) {
            return Some("type.googleapis.com/envoy.config.cluster.v3.Cluster");
        }
        let routes = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
        (!self.route_feeds.all().is_empty()).then_some(routes)
    }

    /// What clusters are compiled with.
    pub fn of_clusters(&self) -> ClusterSurroundings {
        self.of_clusters.clone()
    }

    /// What becomes of what is not built.
    pub fn unsupported(&self) -> nuncio_core::config::Unsupported {
        self.unsupported
    }

    /// How large regular expressions may be.
    pub fn regex_limits(&self) -> RegexLimits {
        runtime_keys::regex_limits(&self.runtime)
    }
}

/// Who compiles what clusters say of requests.
fn requests(
    http_filters: &Arc<Table<dyn AnyHttpFilterFactory>>,
    retry_plugins: &Arc<RetryPlugins>,
) -> Arc<dyn CompileRequests> {
    let (http_filters, retry_plugins) = (Arc::clone(http_filters), Arc::clone(retry_plugins));
    Arc::new(ClusterOptionsCompiler { http_filters, retry_plugins })
}

/// Envoy's words where something is subscribed to and nobody says who subscribes.
const NODE_REQUIRED: &str = "node 'id' and 'cluster' are required. Set it either in 'node' config or via \
                             --service-node and --service-cluster options.";

/// The tables of what is built.
pub struct Extensions {
    http_filters: Arc<Table<dyn AnyHttpFilterFactory>>,
    network_filters: Table<dyn AnyNetworkFilterFactory>,
    listener_filters: Table<dyn AnyListenerFilterFactory>,
    access_logs: Table<dyn AnyAccessLogFactory>,
    retry_plugins: Arc<RetryPlugins>,
    tracers: Table<dyn AnyTracerFactory>,
    log_files: Arc<LogFiles>,
    dns_caches: DnsCaches,
    local_cluster: LocalClusterKnown,
}

impl Extensions {
    /// All of them, for so many workers.
    ///
    /// # Errors
    /// Two factories of one message.
    pub fn new(registry: &Registry, options: &Options, workers: usize) -> Result<Self, DuplicateFactory> {
        let flush = FlushOptions {
            interval: options.file_flush_interval(),
            min_bytes: options.file_flush_min_size_kb as usize * 1024,
        };
        let log_files = Arc::new(LogFiles::new(registry, workers, flush));
        let dns_caches = DnsCaches::default();
        let local_cluster = LocalClusterKnown::default();
        let retry_plugins = Arc::new(nuncio_extensions::retry_plugins()?);
        let own = Caller {
            own_address: own_address(options.local_address_ip_version),
            retry_plugins: Arc::clone(&retry_plugins),
        };
        Ok(Self {
            local_cluster: local_cluster.clone(),
            http_filters: Arc::new(nuncio_extensions::http_filters(&dns_caches, &own, &local_cluster)?),
            network_filters: nuncio_extensions::network_filters()?,
            listener_filters: nuncio_extensions::listener_filters()?,
            access_logs: nuncio_extensions::access_logs(&log_files)?,
            retry_plugins,
            tracers: nuncio_extensions::tracers(&crate::cli::version())?,
            log_files,
            dns_caches,
        })
    }

    /// The full names of their configuration messages, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let mut names: Vec<&'static str> = self
            .http_filters
            .names()
            .chain(self.network_filters.names())
            .chain(self.listener_filters.names())
            .chain(self.access_logs.names())
            .chain(self.retry_plugins.names())
            .chain(self.tracers.names())
            .collect();
        names.sort_unstable();
        names.into_iter()
    }
}

/// The listeners that can be compiled, and all of them as they were written; the sink knows of the others.
fn listeners_of(
    resources: Vec<Resource>,
    sink: &Sink,
    env: &CompileEnv<'_>,
) -> (Vec<Arc<ListenerConfig>>, Vec<Dumped>) {
    let mut listeners: Vec<Arc<ListenerConfig>> = Vec::with_capacity(resources.len());
    let mut names = HashSet::new();
    let each = |resource: Resource| {
        let name = resource.name();
        if !name.is_empty() && !names.insert(name.to_owned()) {
            // As in Envoy, which says nothing.
            let text = format!("duplicate/locked listener '{name}': the first one of this name counts");
            resource.context(sink).field("name").warn(text);
            return None;
        }
        listener(&resource, &mut listeners, sink, env);
        Some(Dumped::new(resource))
    };
    let mut dumped: Vec<Dumped> = resources.into_iter().filter_map(each).collect();
    // It lives where the larger resources did.
    dumped.shrink_to_fit();
    (listeners, dumped)
}

/// Compiles one listener and keeps it, unless it is wrong in itself.
fn listener(
    resource: &Resource,
    listeners: &mut Vec<Arc<ListenerConfig>>,
    sink: &Sink,
    env: &CompileEnv<'_>,
) {
    let cx = resource.context(sink);
    let message = cx.decode(resource.bytes());
    if let Some(config) = message.and_then(|m| ListenerConfig::compile(m, &cx, env)) {
        // Port 0 is a port of its own each time.
        let taken = |address: &Address| {
            let has = |l: &Arc<ListenerConfig>| l.listen_specs().iter().any(|s| s.address == *address);
            address.port() != Some(0) && listeners.iter().any(has)
        };
        let addresses = || config.listen_specs().iter().map(|s| &s.address);
        if addresses().any(taken) {
            let all = addresses().map(ToString::to_string).collect::<Vec<_>>().join(",");
            cx.field("address").error(format!(
                "error adding listener: '{}' has duplicate address '{all}' as existing listener",
                config.label()
            ));
        }
        listeners.push(config);
    }
}

/// The clusters that can be compiled, and all of them as they were written; the sink knows of the others.
fn clusters_of(
    resources: Vec<Resource>,
    sink: &Sink,
    around: &ClusterSurroundings,
) -> (ClusterSetConfig, Vec<Dumped>) {
    let mut names = HashSet::new();
    let mut clusters = Vec::with_capacity(resources.len());
    let each = |resource: Resource| {
        let cx = resource.context(sink);
        if !names.insert(resource.name().to_owned()) {
            cx.field("name").error(format!("cluster manager: duplicate cluster '{}'", resource.name()));
        }
        let message = cx.decode(resource.bytes());
        clusters.extend(message.and_then(|m| ClusterConfig::compile(m, &cx, around)).map(Arc::new));
        Dumped::new(resource)
    };
    let mut dumped: Vec<Dumped> = resources.into_iter().map(each).collect();
    dumped.shrink_to_fit();
    (ClusterSetConfig { clusters, ..ClusterSetConfig::default() }, dumped)
}
