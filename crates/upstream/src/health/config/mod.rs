//! `envoy.config.core.v3.HealthCheck`, compiled.

mod grpc;
mod http;

pub use grpc::GrpcCheck;
pub use http::HttpCheck;

use crate::cluster::ClusterSurroundings;
use crate::event_log::EventLog;
use crate::transport::{ProxyHeadConfig, criteria};
use nuncio_core::address::Address;
use nuncio_core::config::{CompileContext, duration, type_name};
use nuncio_core::stream_info::Metadata;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::health_check as kinds;
use nuncio_proto::pb::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use prost::Name;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// One of the ways in which a cluster's hosts are checked.
#[derive(Clone, Debug)]
pub struct HealthCheckConfig {
    /// `name`; empty where it is the only one and has none.
    pub name: Box<str>,
    /// `timeout`
    pub timeout: Duration,
    /// `interval`
    pub intervals: Intervals,
    /// `initial_jitter`
    pub initial_jitter: Duration,
    /// `interval_jitter`
    pub interval_jitter: Duration,
    /// `interval_jitter_percent`
    pub interval_jitter_percent: u32,
    /// `unhealthy_threshold`
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`
    pub healthy_threshold: u32,
    /// `reuse_connection`
    pub reuse_connection: bool,
    /// `tls_options.alpn_protocols`, in place of the transport socket's own.
    pub alpn: Option<Box<[Box<str>]>>,
    /// `transport_socket_match_criteria`, in place of the host's metadata.
    pub(crate) criteria: Option<Metadata>,
    /// What is asked, and what is a good answer.
    pub check: Check,
    /// What is told of it.
    pub events: Events,
}

/// What is written of checks, and where.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// `event_logger` and `event_log_path`
    pub log: EventLog,
    /// `always_log_health_check_failures`
    pub all_failures: bool,
    /// `always_log_health_check_success`
    pub all_successes: bool,
}

/// How long to wait between checks.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// `interval`
    pub healthy: Duration,
    /// `healthy_edge_interval`
    pub healthy_edge: Duration,
    /// `unhealthy_interval`
    pub unhealthy: Duration,
    /// `unhealthy_edge_interval`
    pub unhealthy_edge: Duration,
    /// `no_traffic_interval`
    pub no_traffic: Duration,
    /// `no_traffic_healthy_interval`
    pub no_traffic_healthy: Duration,
}

/// The kinds of checks.
#[derive(Clone, Debug)]
pub enum Check {
    /// `http_health_check`
    Http(Box<HttpCheck>),
    /// `tcp_health_check`
    Tcp(TcpCheck),
    /// `grpc_health_check`
    Grpc(Box<GrpcCheck>),
}

/// `TcpHealthCheck`
#[derive(Clone, Debug, Default)]
pub struct TcpCheck {
    /// `send`
    pub send: Box<[u8]>,
    /// `receive`; empty: that there is a connection is all that is asked.
    pub receive: Vec<Box<[u8]>>,
    /// `proxy_protocol_config`: what is said before each `send`.
    pub proxy_head: Option<Arc<ProxyHeadConfig>>,
}

/// `Endpoint.HealthCheckConfig`: how one host is checked otherwise than the rest.
#[derive(Clone, Debug, Default)]
pub struct CheckTarget {
    /// `port_value`; 0: the endpoint's own.
    pub port: u16,
    /// `address`
    pub address: Option<Address>,
    /// `hostname`
    pub hostname: Box<str>,
    /// `disable_active_health_check`
    pub disabled: bool,
}

/// A cluster's `health_checks`. Where there are several, each has a name of its own.
pub(crate) fn compile(
    messages: Vec<pb::HealthCheck>,
    cx: &CompileContext<'_>,
    around: &ClusterSurroundings,
) -> Option<Box<[HealthCheckConfig]>> {
    let (several, mut names, mut right) = (messages.len() > 1, HashSet::new(), true);
    let mut all = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        let cx = cx.item("health_checks", at);
        if several && message.name.is_empty() {
            cx.error(format!(
                "health check at index {at} is missing a name; all health checks must have a name when multiple \
                 health checks are configured"
            ));
            right = false;
        } else if several && !names.insert(message.name.clone()) {
            cx.field("name").error(format!(
                "duplicate health check name '{}' at index {at}; all health check names must be unique within a \
                 cluster",
                message.name
            ));
            right = false;
        }
        match one(message, &cx, around) {
            Some(config) => all.push(config),
            None => right = false,
        }
    }
    right.then(|| all.into())
}

fn one(
    message: pb::HealthCheck,
    cx: &CompileContext<'_>,
    around: &ClusterSurroundings,
) -> Option<HealthCheckConfig> {
    let pb::HealthCheck {
        name,
        timeout,
        interval,
        initial_jitter,
        interval_jitter,
        interval_jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        reuse_connection,
        no_traffic_interval,
        no_traffic_healthy_interval,
        unhealthy_interval,
        unhealthy_edge_interval,
        healthy_edge_interval,
        health_checker,
        event_log_path,
        event_logger,
        always_log_health_check_failures,
        always_log_health_check_success,
        tls_options,
        transport_socket_match_criteria,
    } = message;
    let time = |value: Option<prost_types::Duration>, field: &str, default: Duration| match value {
        None => Some(default),
        Some(value) => duration(&value, &cx.field(field)),
    };
    let interval = time(interval, "interval", Duration::ZERO)?;
    let unhealthy = time(unhealthy_interval, "unhealthy_interval", interval)?;
    let no_traffic = time(no_traffic_interval, "no_traffic_interval", Duration::from_secs(60))?;
    let mut log = EventLog::default();
    if !event_log_path.is_empty() {
        log.add(around.open_log(&event_log_path, &cx.field("event_log_path"))?);
    }
    for (at, sink) in event_logger.into_iter().enumerate() {
        log.add(event_sink(sink, &cx.item("event_logger", at), around)?);
    }
    Some(HealthCheckConfig {
        name: name.into(),
        timeout: time(timeout, "timeout", Duration::ZERO)?,
        intervals: Intervals {
            healthy: interval,
            healthy_edge: time(healthy_edge_interval, "healthy_edge_interval", interval)?,
            unhealthy,
            unhealthy_edge: time(unhealthy_edge_interval, "unhealthy_edge_interval", unhealthy)?,
            no_traffic,
            no_traffic_healthy: time(no_traffic_healthy_interval, "no_traffic_healthy_interval", no_traffic)?,
        },
        initial_jitter: time(initial_jitter, "initial_jitter", Duration::ZERO)?,
        interval_jitter: time(interval_jitter, "interval_jitter", Duration::ZERO)?,
        interval_jitter_percent,
        unhealthy_threshold: unhealthy_threshold.unwrap_or(1),
        healthy_threshold: healthy_threshold.unwrap_or(1),
        reuse_connection: reuse_connection.unwrap_or(true),
        alpn: tls_options.map(|kinds::TlsOptions { alpn_protocols }| {
            alpn_protocols.into_iter().map(String::into_boxed_str).collect()
        }),
        criteria: transport_socket_match_criteria.map(criteria),
        check: checker(health_checker, cx)?,
        events: Events {
            log,
            all_failures: always_log_health_check_failures,
            all_successes: always_log_health_check_success,
        },
    })
}

/// A sink of events: a file, of which there is one kind.
fn event_sink(
    message: pb::TypedExtensionConfig,
    cx: &CompileContext<'_>,
    around: &ClusterSurroundings,
) -> Option<Arc<nuncio_net::log_files::LogFile>> {
    let pb::TypedExtensionConfig { name, typed_config } = message;
    let cx = cx.field("typed_config");
    let any = typed_config.unwrap_or_default();
    if type_name(&any.type_url) != HealthCheckEventFileSink::full_name() {
        cx.unsupported(format!(
            "Didn't find a registered implementation for '{name}' with type URL: '{}'",
            type_name(&any.type_url)
        ));
        return None;
    }
    let HealthCheckEventFileSink { event_log_path } = cx.unpack(&any)?;
    around.open_log(&event_log_path, &cx.field("event_log_path"))
}

fn checker(message: Option<kinds::HealthChecker>, cx: &CompileContext<'_>) -> Option<Check> {
    match message {
        Some(kinds::HealthChecker::HttpHealthCheck(message)) => {
            http::compile(message, &cx.field("http_health_check")).map(|check| Check::Http(Box::new(check)))
        }
        Some(kinds::HealthChecker::TcpHealthCheck(message)) => {
            tcp(message, &cx.field("tcp_health_check")).map(Check::Tcp)
        }
        Some(kinds::HealthChecker::GrpcHealthCheck(message)) => {
            grpc::compile(message, &cx.field("grpc_health_check")).map(|check| Check::Grpc(Box::new(check)))
        }
        Some(kinds::HealthChecker::CustomHealthCheck(message)) => {
            let kinds::CustomHealthCheck { name, config_type } = message;
            let kind = match &config_type {
                Some(kinds::custom_health_check::ConfigType::TypedConfig(any)) => type_name(&any.type_url),
                None => "",
            };
            cx.field("custom_health_check").unsupported(format!(
                "Didn't find a registered implementation for '{name}' with type URL: '{kind}'"
            ));
            None
        }
        None => {
            cx.error("field: \"health_checker\", reason: is required");
            None
        }
    }
}

fn tcp(message: kinds::TcpHealthCheck, cx: &CompileContext<'_>) -> Option<TcpCheck> {
    let kinds::TcpHealthCheck { send, receive, proxy_protocol_config } = message;
    // As in Envoy, only a payload of hexadecimal text is ever sent.
    let send = send.filter(|s| !matches!(&s.payload, Some(kinds::payload::Payload::Binary(_))));
    let proxy_head = match proxy_protocol_config {
        None => None,
        Some(message) => {
            Some(Arc::new(ProxyHeadConfig::compile(message, &cx.field("proxy_protocol_config"))?))
        }
    };
    Some(TcpCheck {
        send: send.map_or_else(|| Some(Box::default()), |payload| bytes(payload, &cx.field("send")))?,
        receive: all_bytes(receive, cx)?,
        proxy_head,
    })
}

fn all_bytes(list: Vec<kinds::Payload>, cx: &CompileContext<'_>) -> Option<Vec<Box<[u8]>>> {
    list.into_iter().enumerate().map(|(i, payload)| bytes(payload, &cx.item("receive", i))).collect()
}

/// A payload: hexadecimal text, or the bytes themselves.
fn bytes(message: kinds::Payload, cx: &CompileContext<'_>) -> Option<Box<[u8]>> {
    let kinds::Payload { payload } = message;
    let text = match payload {
        Some(kinds::payload::Payload::Binary(bytes)) => return Some(bytes.into()),
        Some(kinds::payload::Payload::Text(text)) => text,
        None => return Some(Box::default()),
    };
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes: Option<Box<[u8]>> = digits.collect();
    if bytes.is_none() {
        cx.error(format!("invalid hex string '{text}'"));
    }
    bytes
}
