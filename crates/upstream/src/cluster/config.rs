//! A cluster's configuration, compiled.

use super::destination::OriginalDstConfig;
use super::sub_clusters::{MadeFor, SubClustersConfig};
use crate::circuit::{Limits, PerPriority};
use crate::discovery::{DnsConfig, EdsConfig};
use crate::dns_cache::DnsCache;
use crate::health::HealthCheckConfig;
use crate::host::{Health, HostShared, HostSpec};
use crate::lb::LbConfig;
use crate::outlier::{ErrorMatcher, OutlierConfig};
use crate::requests::RequestOptions;
use crate::transport::{AutoServerName, Told, TransportMatch, TransportMatcher, UpstreamTransport};
use nuncio_codec::h1::{ClientOptions, HeaderCase};
use nuncio_codec::h2;
use nuncio_codec::head::ResponseHead;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::MetadataMatcher;
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::Metadata;
use nuncio_core::why::FieldPlaces;
use nuncio_net::stream::ConnectOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cluster as configuration wants it (`envoy.config.cluster.v3.Cluster`).
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// `name`
    pub name: Arc<str>,
    /// `alt_stat_name`, else the name.
    pub observability_name: Arc<str>,
    /// Where it and its fields stand.
    pub places: FieldPlaces,
    /// Where its hosts come from.
    pub discovery: Discovery,
    /// `connect_timeout`
    pub connect_timeout: Duration,
    /// `per_connection_buffer_limit_bytes`
    pub per_connection_buffer_limit: u32,
    /// `per_connection_buffer_high_watermark_timeout`
    pub(crate) patience: Option<Duration>,
    /// How hosts are chosen.
    pub lb: LbConfig,
    /// Circuit breakers.
    pub limits: PerPriority<Limits>,
    /// How HTTP is spoken.
    pub http: HttpUpstream,
    /// How connections leave the machine.
    pub connect: ConnectOptions,
    /// `preconnect_policy`, where there is one.
    pub preconnect: Option<Box<Preconnect>>,
    /// `connection_pool_per_downstream_connection`
    pub(crate) pool_per_client: bool,
    /// What carries its connections' bytes.
    pub transport: UpstreamTransport,
    /// `transport_socket_matches`
    pub(crate) matches: Box<[TransportMatch]>,
    /// `transport_socket_matcher`: what chooses one of these by name, in place of their own criteria.
    pub(crate) matcher: Option<Arc<TransportMatcher>>,
    /// What its connections may be told of requests.
    pub(crate) told: Told,
    /// `metadata`
    pub metadata: Option<Arc<Metadata>>,
    /// What is counted beyond the usual.
    pub track: Tracked,
    /// `outlier_detection`
    pub outlier: Option<Box<OutlierConfig>>,
    /// `health_checks`
    pub health_checks: Box<[HealthCheckConfig]>,
    /// How hosts come and go.
    pub turnover: Turnover,
    /// What it was made for, where no configuration names it.
    pub made: Option<Arc<MadeFor>>,
    /// `close_connections_on_host_health_failure`
    pub closes_on_failure: bool,
}

/// How hosts come and go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turnover {
    /// `ignore_health_on_host_removal`: a host that is no longer named goes at once, though its checks find it well.
    pub goes_at_once: bool,
    /// `common_lb_config.ignore_new_hosts_until_first_hc`: a new host does not count before its first check.
    pub counts_once_checked: bool,
    /// `common_lb_config.close_connections_on_host_set_change`: whatever is said of hosts, all of their connections end.
    pub closes_connections: bool,
}

/// `PreconnectPolicy`: connections that are opened before a request wants them.
#[derive(Clone, Debug)]
pub struct Preconnect {
    /// `per_upstream_preconnect_ratio`, 1 to 3: streams that a host's connections shall have room for, to each that it has.
    pub per_upstream: f64,
    /// `predictive_preconnect_ratio`, 1 to 3: the same of all hosts together.
    pub predictive: f64,
    /// `preconnect_enabled_metadata`: what the metadata of hosts say that may have such connections.
    pub only: Option<Box<MetadataMatcher>>,
}

impl Preconnect {
    /// Whether a host may have connections before requests want them.
    pub(crate) fn concerns(&self, host: &HostShared) -> bool {
        let allowed = || self.only.as_ref().is_none_or(|only| only.matches(host.metadata().as_deref()));
        host.health_flags().health() == Health::Healthy && allowed()
    }
}

/// `track_cluster_stats`, and the older `track_timeout_budgets`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracked {
    /// The share of their time that requests took.
    pub timeout_budgets: bool,
    /// How large heads and bodies are.
    pub request_response_sizes: bool,
    /// Each host's own stats.
    pub per_endpoint: bool,
}

/// The key under which `HttpProtocolOptions` stand among a cluster's `typed_extension_protocol_options`.
pub const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The fields that explanations of failures name.
const EXPLAINED: &[&str] = &[
    "connect_timeout",
    "load_assignment",
    "circuit_breakers",
    "health_checks",
    "outlier_detection",
    "common_lb_config",
    "lb_subset_config",
    "transport_socket",
    "transport_socket/typed_config/sni",
    "transport_socket/typed_config/common_tls_context",
    "transport_socket/typed_config/common_tls_context/alpn_protocols",
    "transport_socket/typed_config/common_tls_context/tls_params",
    "transport_socket/typed_config/common_tls_context/tls_certificates",
    "transport_socket/typed_config/common_tls_context/validation_context",
    "transport_socket/typed_config/common_tls_context/validation_context/custom_validator_config",
    "transport_socket/typed_config/common_tls_context/validation_context_sds_secret_config",
    "transport_socket/typed_config/common_tls_context/combined_validation_context/default_validation_context",
    "typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "http2_protocol_options",
];

impl ClusterConfig {
    /// Without active checks, so that all hosts count as healthy: for explanations.
    pub fn check_nobody(&mut self) {
        self.health_checks = Box::default();
    }

    /// Keeps where its fields stand.
    pub(crate) fn keep_places(&mut self, cx: &CompileContext<'_>) {
        self.places = FieldPlaces::new(cx, EXPLAINED);
    }

    /// A static cluster with Envoy's defaults and no hosts.
    pub fn new(name: &str) -> Self {
        let name: Arc<str> = name.into();
        Self {
            observability_name: Arc::clone(&name),
            name,
            places: FieldPlaces::default(),
            discovery: Discovery::default(),
            connect_timeout: Duration::from_secs(5),
            per_connection_buffer_limit: 1 << 20,
            patience: None,
            lb: LbConfig::default(),
            limits: PerPriority::default(),
            http: HttpUpstream::default(),
            connect: ConnectOptions::default(),
            preconnect: None,
            pool_per_client: false,
            transport: UpstreamTransport::default(),
            matches: Box::default(),
            matcher: None,
            told: Told::default(),
            metadata: None,
            track: Tracked::default(),
            outlier: None,
            health_checks: Box::default(),
            turnover: Turnover::default(),
            made: None,
            closes_on_failure: false,
        }
    }

    /// How connections are opened before requests want them.
    #[inline]
    pub fn preconnect(&self) -> &Preconnect {
        static NONE: Preconnect = Preconnect { per_upstream: 1.0, predictive: 1.0, only: None };
        self.preconnect.as_deref().unwrap_or(&NONE)
    }

    /// Bytes that may wait on a connection in each direction before its sender is no longer read.
    #[inline]
    pub fn buffer_limit(&self) -> usize {
        self.per_connection_buffer_limit as usize
    }
}

/// Where a cluster's hosts come from, and what is known of them from the start.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Where they come from.
    pub source: HostSource,
    /// `overprovisioning_factor`, in percent.
    pub overprovisioning_factor: u32,
    /// `weighted_priority_health`
    pub weighted_priority_health: bool,
    /// `drop_overloads`: how many of a million requests are refused.
    pub dropped: u32,
    /// `endpoint_stale_after`: how long the hosts hold that EDS named, where nothing follows.
    pub stale_after: Option<Duration>,
    /// The hosts, by priority and locality.
    pub endpoints: Vec<LocalityEndpoints>,
}

impl Discovery {
    /// No hosts to begin with.
    pub(crate) fn of(source: HostSource) -> Self {
        Self { source, ..Self::default() }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            source: HostSource::Static,
            overprovisioning_factor: 140,
            weighted_priority_health: false,
            dropped: 0,
            stale_after: None,
            endpoints: Vec::new(),
        }
    }
}

/// `LocalityLbEndpoints`
#[derive(Clone, Debug)]
pub struct LocalityEndpoints {
    /// From 0.
    pub priority: u32,
    /// `load_balancing_weight`
    pub weight: Option<u32>,
    /// Where they stand.
    pub locality: Arc<crate::host::Locality>,
    /// The hosts of a static cluster.
    pub hosts: Vec<HostSpec>,
    /// The names of a cluster that looks them up.
    pub names: Vec<NamedEndpoint>,
}

/// Where a cluster's hosts come from (`type`).
#[derive(Clone, Debug)]
pub enum HostSource {
    /// `STATIC`
    Static,
    /// `STRICT_DNS`: every address of every name.
    StrictDns(DnsConfig),
    /// `LOGICAL_DNS`: one name, whose first address is used for new connections.
    LogicalDns(DnsConfig),
    /// `EDS`
    Eds(EdsConfig),
    /// `ORIGINAL_DST`: where requests and connections want to go.
    OriginalDst(Box<OriginalDstConfig>),
    /// `envoy.clusters.dynamic_forward_proxy`: the names that requests want to go to.
    ForwardProxy(Forwarding),
    /// `envoy.clusters.dynamic_forward_proxy` with `sub_clusters_config`: a cluster for each name that requests want to go
    /// to.
    SubClusters(Box<SubClustersConfig>),
    /// `envoy.clusters.aggregate`: none of its own; these clusters' hosts, by priority.
    Aggregate(Box<[Arc<str>]>),
}

/// A cluster whose hosts are names that requests want to go to.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// `dns_cache_config`
    pub cache: Arc<DnsCache>,
    /// `allow_insecure_cluster_options`
    pub(crate) insecure: bool,
}

impl HostSource {
    /// Whether the cluster picks hosts itself (`CLUSTER_PROVIDED`).
    pub(crate) fn provides_hosts(&self) -> bool {
        match self {
            Self::OriginalDst(_) | Self::ForwardProxy(_) | Self::SubClusters(_) | Self::Aggregate(_) => true,
            Self::Static | Self::StrictDns(_) | Self::LogicalDns(_) | Self::Eds(_) => false,
        }
    }
}

/// An endpoint that is known by name.
#[derive(Clone, Debug)]
pub struct NamedEndpoint {
    /// What is looked up; may be an IP address.
    pub name: Arc<str>,
    /// The port of each address found.
    pub port: u16,
    /// What its hosts are like, but for the address.
    pub spec: HostSpec,
}

/// How HTTP is spoken to a cluster's hosts.
#[derive(Clone, Debug)]
pub struct HttpUpstream {
    /// `idle_timeout`: of a connection without requests; none where it is 0.
    pub idle_timeout: Option<Duration>,
    /// `max_connection_duration`
    pub max_connection_duration: Option<Duration>,
    /// `max_connection_duration_jitter`: by which part of it at most a connection may last longer.
    pub max_connection_jitter: f64,
    /// `max_requests_per_connection`; no limit where it is 0.
    pub max_requests: Option<u32>,
    /// `max_stream_duration`, which the router keeps.
    pub max_stream_duration: Option<Duration>,
    /// How names are spelled.
    pub header_case: HeaderCase,
    /// What is spoken.
    pub protocol: UpstreamProtocol,
    /// The HTTP/2 codec's rules.
    pub h2: h2::Options,
    /// How HTTP/1 responses are read.
    pub h1: ClientOptions,
    /// `send_fully_qualified_url`
    pub send_fully_qualified_url: bool,
    /// `upstream_http_protocol_options`
    pub auto_server_name: Option<Box<AutoServerName>>,
    /// What it says of requests.
    pub requests: Option<RequestOptions>,
    /// `outlier_detection.error_matcher`: which answers are failures, in place of those of 500 and above.
    pub error_matcher: Option<Box<ErrorMatcher>>,
    /// `upstream_config`
    pub carrier: Carrier,
}

/// What carries requests (`upstream_config`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// What the route wants: HTTP, and for CONNECT that ends here bytes alone.
    #[default]
    ByRoute,
    /// HTTP, whatever the route wants.
    Http,
    /// Bytes alone: no head goes out, and the answer is what comes.
    Bytes,
}

/// What is spoken to a cluster's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by prior knowledge.
    Http2,
    /// What the client speaks.
    Downstream,
    /// What each connection's handshake agrees on: HTTP/2, else HTTP/1.1.
    Auto,
}

impl HttpUpstream {
    /// The status for which outlier detection takes an answer where an `error_matcher` decides: 500 for a failure, 200
    /// for what is none.
    #[inline]
    pub fn judge(&self, head: &ResponseHead) -> Option<u16> {
        let matcher = self.error_matcher.as_ref()?;
        Some(if matcher.holds(head) { 500 } else { 200 })
    }

    /// When a connection that is there now is too old for further requests.
    pub(crate) fn too_old_at(&self, now: Instant, rng: &Rng) -> Option<Instant> {
        const PARTS: u64 = 1 << 32;
        let most = self.max_connection_duration?;
        let more = match self.max_connection_jitter {
            jitter if jitter > 0.0 => most.mul_f64(jitter * rng.below(PARTS) as f64 / PARTS as f64),
            _ => Duration::ZERO,
        };
        now.checked_add(most.saturating_add(more))
    }

    /// Streams that an HTTP/2 connection is expected to carry, before its peer says how many.
    pub(crate) fn streams_of_a_connection(&self) -> usize {
        self.h2.max_concurrent_streams.min(self.max_requests.unwrap_or(u32::MAX)).max(1) as usize
    }
}

impl Default for HttpUpstream {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_connection_jitter: 0.0,
            max_requests: None,
            max_stream_duration: None,
            header_case: HeaderCase::default(),
            protocol: UpstreamProtocol::Http1,
            h2: h2::Options::default(),
            h1: ClientOptions::default(),
            send_fully_qualified_url: false,
            auto_server_name: None,
            requests: None,
            error_matcher: None,
            carrier: Carrier::default(),
        }
    }
}
