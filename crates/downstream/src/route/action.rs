//! What becomes of a request that matched.

use super::internal_redirect::InternalRedirects;
use super::rate_limit::RateLimits;
use super::redirect::RedirectAction;
use super::rewrite::{HostRewrite, PathRewrite};
use super::specifier::ClusterMatcher;
use crate::hcm::local_reply::BodyFormat;
use crate::hcm::upgrade::RouteUpgrade;
use crate::router::retry::RetryPolicy;
use bytes::Bytes;
use nuncio_codec::head::{HeaderMap, RequestHead};
use nuncio_core::hash_policy::HashPolicies;
use nuncio_core::header::{HeaderName, OrderedMutations};
use nuncio_core::runtime::RuntimeFraction;
use nuncio_upstream::lb::Criteria;
use nuncio_upstream::transport::ProxyHeadConfig;
use std::sync::Arc;
use std::time::Duration;

/// A route's action.
#[derive(Debug)]
pub enum Action {
    /// `route`: to a cluster.
    Cluster(Box<ClusterAction>),
    /// `redirect`.
    Redirect(Box<RedirectAction>),
    /// `require_tls` of the virtual host: to the same place by https.
    ToTls,
    /// `direct_response`.
    DirectResponse(Box<DirectResponseAction>),
    /// `non_forwarding_action`: a filter has to answer.
    NonForwarding,
}

impl Action {
    /// How requests are forwarded, where they are.
    #[inline]
    pub fn forwards(&self) -> Option<&ClusterAction> {
        match self {
            Self::Cluster(action) => Some(action),
            _ => None,
        }
    }
}

/// `RouteAction.timeout` where it is not set.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// A compiled `RouteAction`.
#[derive(Clone, Debug)]
pub struct ClusterAction {
    /// The cluster.
    pub cluster: ClusterSpecifier,
    /// Who named it, where a plug-in did.
    pub specifier: Option<Arc<ClusterMatcher>>,
    /// From the end of the request to the end of the response; `None`: no limit.
    pub timeout: Option<Duration>,
    /// The line of `x-envoy-expected-rq-timeout-ms` that `timeout` and the time of a try come to; empty where there is none.
    pub timeout_line: Box<[u8]>,
    /// `idle_timeout`: unset leaves the connection manager's `stream_idle_timeout` in force.
    pub idle_timeout: Option<Limit>,
    /// `flush_timeout`: unset leaves the connection manager's `stream_flush_timeout` in force.
    pub flush_timeout: Option<Limit>,
    /// `max_grpc_timeout`: what a gRPC request says of its time holds instead of `timeout`.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// `max_stream_duration`, which replaces the connection manager's.
    pub stream_limits: Option<Box<StreamLimits>>,
    /// `upgrade_configs`.
    pub upgrades: Box<[RouteUpgrade]>,
    /// `connect_config` of the upgrade to CONNECT: such requests end here, and their bytes go on alone.
    pub connect: Option<ConnectConfig>,
    /// The circuit breakers' and pools' priority.
    pub priority: Priority,
    /// The status when the cluster does not exist: 503, 404 or 500.
    pub cluster_not_found_status: u16,
    /// What becomes of the host.
    pub host: HostChoice,
    /// A host rewrite joins the old host onto `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// The route's retry policy, or its virtual host's.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `hedge_policy.hedge_on_per_try_timeout`
    pub hedge_on_per_try_timeout: bool,
    /// `metadata_match`, what concerns balancing of it.
    pub metadata_match: Option<Arc<Criteria>>,
    /// `request_mirror_policies`, of the most specific level that has any.
    pub mirrors: Arc<[MirrorPolicy]>,
    /// `hash_policy`
    pub hash: Arc<HashPolicies>,
    /// `request_body_buffer_limit`, in bytes: how much of a body is kept for another attempt.
    pub body_limit: Option<usize>,
    /// `internal_redirect_policy`
    pub redirects: Option<Arc<InternalRedirects>>,
    /// `rate_limits`
    pub rate_limits: RateLimits,
    /// `include_vh_rate_limits`: the virtual host's are added to them.
    pub include_host_rate_limits: bool,
    pub(super) path: Option<Arc<PathRewrite>>,
}

/// `UpgradeConfig.ConnectConfig`: which requests are terminated, so that their bodies go to a host as bytes.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// `allow_post`: POST as well as CONNECT.
    pub allow_post: bool,
    /// `proxy_protocol_config`: what the host is told of the client, before everything else.
    pub proxy_head: Option<Arc<ProxyHeadConfig>>,
}

impl ConnectConfig {
    /// Whether a request is terminated.
    pub fn terminates(&self, request: &RequestHead) -> bool {
        match request.method() {
            b"CONNECT" => true,
            b"POST" => self.allow_post,
            _ => false,
        }
    }
}

/// `RequestMirrorPolicy`: another cluster gets a copy of requests.
#[derive(Debug)]
pub struct MirrorPolicy {
    /// Which one.
    pub cluster: ClusterSpecifier,
    /// How often.
    pub fraction: RuntimeFraction,
    /// `request_headers_mutations`, before the host is changed.
    pub headers: OrderedMutations,
    /// The host of copies gets `-shadow` (not with `disable_shadow_host_suffix_append`).
    pub suffix: bool,
    /// `host_rewrite_literal`
    pub host: Option<Box<str>>,
    /// `trace_sampled`: whether copies' spans are exported, where that is not as with the request.
    pub sampled: Option<bool>,
}

/// A limit that may be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// 0: none.
    Off,
    /// So long.
    After(Duration),
}

impl Limit {
    /// The limit, where there is one.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(time) => Some(time),
        }
    }
}

/// How the older fields limit what `grpc-timeout` says; they hold without a `max_stream_duration` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// `max_grpc_timeout`: at most this, also where the request says nothing; `None`: without a cap.
    pub max: Option<Duration>,
    /// `grpc_timeout_offset`, by which that time is shortened where it is longer.
    pub offset: Duration,
}

/// `RouteAction.MaxStreamDuration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// `max_stream_duration`; unset leaves the connection manager's in force.
    pub max: Option<Limit>,
    /// `grpc_timeout_header_max`: a request with `grpc-timeout` has that time, at most this; off: without a cap.
    pub grpc_max: Option<Limit>,
    /// `grpc_timeout_header_offset`, by which that time is shortened where it is longer.
    pub grpc_offset: Duration,
}

/// Which cluster.
#[derive(Clone, Debug)]
pub enum ClusterSpecifier {
    /// This one.
    Name(Arc<str>),
    /// The one that the first value of this header names.
    Header(HeaderName),
}

impl ClusterSpecifier {
    /// The cluster's name; empty where the header is absent or no text.
    pub fn name<'a>(&'a self, headers: &'a HeaderMap) -> &'a str {
        match self {
            Self::Name(name) => name,
            Self::Header(header) => {
                header.value(headers).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
            }
        }
    }
}

/// What becomes of `:authority`.
#[derive(Clone, Debug)]
pub enum HostChoice {
    /// It stays.
    Keep,
    /// It is replaced before a host is picked.
    Rewrite(Arc<HostRewrite>),
    /// `auto_host_rewrite`: it becomes the name of the host that was picked.
    Automatic,
}

/// `RoutingPriority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// `DEFAULT`.
    #[default]
    Default,
    /// `HIGH`.
    High,
}

/// A compiled `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponseAction {
    /// 200 to 599.
    pub status: u16,
    /// The body, read when the table was compiled.
    pub body: Bytes,
    /// `body_format`: what is made of the body.
    pub format: Option<Box<BodyFormat>>,
}
