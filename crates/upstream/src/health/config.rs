//! `envoy.config.core.v3.HealthCheck`, compiled.

use nuncio_core::address::Address;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::matcher::StringMatcher;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::health_check as kinds;
use nuncio_proto::pb::envoy::r#type::v3::Int64Range;
use std::ops::Range;
use std::time::Duration;

/// How a cluster's hosts are checked.
#[derive(Clone, Debug)]
pub struct HealthCheckConfig {
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
    /// What is asked, and what is a good answer.
    pub check: Check,
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
}

/// `HttpHealthCheck`
#[derive(Clone, Debug)]
pub struct HttpCheck {
    /// `host`; empty: the cluster's name.
    pub host: Box<str>,
    /// `path`
    pub path: Box<str>,
    /// `method`
    pub method: &'static str,
    /// `send`
    pub body: Option<Box<[u8]>>,
    /// `receive`, which the answer's body has in this order.
    pub receive: Vec<Box<[u8]>>,
    /// `response_buffer_size`: how much of the body is looked at.
    pub response_buffer: usize,
    /// `request_headers_to_add`
    pub add: Vec<(Box<str>, Box<str>)>,
    /// `request_headers_to_remove`
    pub remove: Vec<Box<str>>,
    /// `expected_statuses`
    pub expected: Vec<Range<i64>>,
    /// `retriable_statuses`
    pub retriable: Vec<Range<i64>>,
    /// `service_name_matcher`
    pub service: Option<StringMatcher>,
}

/// `TcpHealthCheck`
#[derive(Clone, Debug, Default)]
pub struct TcpCheck {
    /// `send`
    pub send: Option<Box<[u8]>>,
    /// `receive`
    pub receive: Vec<Box<[u8]>>,
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

impl HealthCheckConfig {
    pub(crate) fn compile(
        messages: Vec<pb::HealthCheck>,
        cx: &CompileContext<'_>,
    ) -> Option<Option<Box<Self>>> {
        let many = messages.len() > 1;
        let Some(message) = messages.into_iter().next() else { return Some(None) };
        if many {
            cx.field("health_checks").error("Multiple health checks not supported");
            return None;
        }
        one(message, &cx.item("health_checks", 0)).map(|config| Some(Box::new(config)))
    }
}

fn one(message: pb::HealthCheck, cx: &CompileContext<'_>) -> Option<HealthCheckConfig> {
    let pb::HealthCheck {
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
    } = message;
    let time = |value: Option<prost_types::Duration>, field: &str, default: Duration| match value {
        None => Some(default),
        Some(value) => duration(&value, &cx.field(field)),
    };
    let interval = time(interval, "interval", Duration::ZERO)?;
    let unhealthy = time(unhealthy_interval, "unhealthy_interval", interval)?;
    let no_traffic = time(no_traffic_interval, "no_traffic_interval", Duration::from_secs(60))?;
    let check = match health_checker {
        Some(kinds::HealthChecker::HttpHealthCheck(message)) => {
            http(message, &cx.field("http_health_check"))?
        }
        Some(kinds::HealthChecker::TcpHealthCheck(message)) => {
            let kinds::TcpHealthCheck { send, receive } = message;
            let cx = cx.field("tcp_health_check");
            let send = send.map(|payload| bytes(payload, &cx.field("send")));
            let send = match send {
                Some(send) => Some(send?).filter(|s| !s.is_empty()),
                None => None,
            };
            Check::Tcp(TcpCheck { send, receive: all_bytes(receive, &cx)? })
        }
        None => {
            cx.error("field: \"health_checker\", reason: is required");
            return None;
        }
    };
    Some(HealthCheckConfig {
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
        check,
    })
}

fn http(message: kinds::HttpHealthCheck, cx: &CompileContext<'_>) -> Option<Check> {
    let kinds::HttpHealthCheck {
        host,
        path,
        send,
        receive,
        response_buffer_size,
        request_headers_to_add,
        request_headers_to_remove,
        expected_statuses,
        retriable_statuses,
        service_name_matcher,
        method,
    } = message;
    let service = match service_name_matcher {
        None => None,
        Some(matcher) => Some(StringMatcher::compile(&matcher, &cx.field("service_name_matcher"))?),
    };
    let body = match send {
        None => None,
        Some(payload) => Some(bytes(payload, &cx.field("send"))?),
    };
    let ranges = |list: Vec<Int64Range>| -> Vec<Range<i64>> {
        list.into_iter().map(|Int64Range { start, end }| start..end).collect()
    };
    let mut expected = ranges(expected_statuses);
    if expected.is_empty() {
        expected.push(200..201);
    }
    let mut add = Vec::new();
    for (i, option) in request_headers_to_add.into_iter().enumerate() {
        let pb::HeaderValueOption { header, append: _, append_action: _, keep_empty_value: _ } = option;
        let pb::HeaderValue { key, value, raw_value: _ } = header.unwrap_or_default();
        if value.contains('%') {
            cx.item("request_headers_to_add", i)
                .unsupported("formats in health checks' headers are not built");
        }
        add.push((key.to_ascii_lowercase().into(), value.into()));
    }
    Some(Check::Http(Box::new(HttpCheck {
        host: host.into(),
        path: path.into(),
        method: match pb::RequestMethod::try_from(method) {
            Ok(pb::RequestMethod::Head) => "HEAD",
            Ok(pb::RequestMethod::Post) => "POST",
            Ok(pb::RequestMethod::Put) => "PUT",
            Ok(pb::RequestMethod::Delete) => "DELETE",
            Ok(pb::RequestMethod::Options) => "OPTIONS",
            Ok(pb::RequestMethod::Trace) => "TRACE",
            Ok(pb::RequestMethod::Patch) => "PATCH",
            // The constraints refuse CONNECT, the support check other numbers.
            Ok(
                pb::RequestMethod::MethodUnspecified | pb::RequestMethod::Get | pb::RequestMethod::Connect,
            )
            | Err(_) => "GET",
        },
        body,
        receive: all_bytes(receive, cx)?,
        response_buffer: match response_buffer_size {
            None => 1024,
            Some(0) => usize::MAX,
            Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
        },
        add,
        remove: request_headers_to_remove.into_iter().map(|n| n.to_ascii_lowercase().into()).collect(),
        expected,
        retriable: ranges(retriable_statuses),
        service,
    })))
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
