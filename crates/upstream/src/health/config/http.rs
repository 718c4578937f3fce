//! `HttpHealthCheck`

use super::{all_bytes, bytes};
use nuncio_core::config::CompileContext;
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::matcher::StringMatcher;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::health_check as kinds;
use nuncio_proto::pb::envoy::r#type::v3::{CodecClientType, Int64Range};
use std::ops::Range;
use std::sync::Arc;

/// `HttpHealthCheck`
#[derive(Clone, Debug)]
pub struct HttpCheck {
    /// `host`; empty: the cluster's name.
    pub host: Box<str>,
    /// `path`
    pub path: Box<str>,
    /// `method`
    pub method: &'static str,
    /// `send`; empty: the request is a head alone.
    pub body: Box<[u8]>,
    /// `receive`, which the answer's body has in this order.
    pub receive: Vec<Box<[u8]>>,
    /// `response_buffer_size`: how much of the body is looked at.
    pub response_buffer: usize,
    /// `request_headers_to_add` and `request_headers_to_remove`
    pub headers: Arc<HeaderMutations>,
    /// `expected_statuses`
    pub expected: Vec<Range<i64>>,
    /// `retriable_statuses`
    pub retriable: Vec<Range<i64>>,
    /// `service_name_matcher`
    pub service: Option<StringMatcher>,
    /// `codec_client_type`: HTTP/2.
    pub http2: bool,
    /// `use_alpn_protocol`: what the handshake agrees on, where it agrees on HTTP/1.1 or HTTP/2.
    pub by_alpn: bool,
}

pub(super) fn compile(message: kinds::HttpHealthCheck, cx: &CompileContext<'_>) -> Option<HttpCheck> {
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
        codec_client_type,
        use_alpn_protocol,
    } = message;
    let service = match service_name_matcher {
        None => None,
        Some(matcher) => Some(StringMatcher::compile(&matcher, &cx.field("service_name_matcher"))?),
    };
    let method = method_name(method);
    let body = match send {
        None => Box::default(),
        Some(_) if matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE") => {
            cx.field("send").error(format!(
                "HTTP health check cannot specify a request payload with method '{method}'. Only methods that \
                 support a request body (POST, PUT, PATCH, OPTIONS) can be used with payload."
            ));
            return None;
        }
        Some(payload) => bytes(payload, &cx.field("send"))?,
    };
    let mut expected = ranges(expected_statuses, cx, "expected")?;
    if expected.is_empty() {
        expected.push(200..201);
    }
    let retriable = ranges(retriable_statuses, cx, "retriable")?;
    let headers = HeaderMutations::compile(
        &request_headers_to_add,
        &request_headers_to_remove,
        cx,
        MutationFields::REQUEST,
    );
    let receive = all_bytes(receive, cx)?;
    let response_buffer = match response_buffer_size {
        None => 1024,
        Some(0) => usize::MAX,
        Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
    };
    let expects: usize = receive.iter().map(|piece| piece.len()).sum();
    if expects > response_buffer {
        cx.field("receive").error(format!(
            "The expected response length '{expects}' is over than http health response buffer size \
             '{response_buffer}'"
        ));
        return None;
    }
    Some(HttpCheck {
        host: host.into(),
        path: path.into(),
        method,
        body,
        receive,
        response_buffer,
        headers: Arc::new(headers?),
        expected,
        retriable,
        service,
        http2: CodecClientType::try_from(codec_client_type) == Ok(CodecClientType::Http2),
        by_alpn: use_alpn_protocol,
    })
}

fn method_name(method: i32) -> &'static str {
    use pb::RequestMethod as Method;
    match Method::try_from(method) {
        Ok(Method::Head) => "HEAD",
        Ok(Method::Post) => "POST",
        Ok(Method::Put) => "PUT",
        Ok(Method::Delete) => "DELETE",
        Ok(Method::Options) => "OPTIONS",
        Ok(Method::Trace) => "TRACE",
        Ok(Method::Patch) => "PATCH",
        // The constraints refuse CONNECT, the support check other numbers.
        Ok(Method::MethodUnspecified | Method::Get | Method::Connect) | Err(_) => "GET",
    }
}

/// Ranges of statuses, as Envoy takes them.
fn ranges(list: Vec<Int64Range>, cx: &CompileContext<'_>, kind: &str) -> Option<Vec<Range<i64>>> {
    let mut right = true;
    let mut all = Vec::with_capacity(list.len());
    for (at, Int64Range { start, end }) in list.into_iter().enumerate() {
        let what = format!("Invalid http {kind} status range: expecting");
        let wrong = if start >= end {
            Some(format!("{what} start < end, but found start={start} and end={end}"))
        } else if start < 100 {
            Some(format!("{what} start >= 100, but found start={start}"))
        } else if end > 600 {
            Some(format!("{what} end <= 600, but found end={end}"))
        } else {
            None
        };
        match wrong {
            None => all.push(start..end),
            Some(text) => {
                cx.item(&format!("{kind}_statuses"), at).error(text);
                right = false;
            }
        }
    }
    right.then_some(all)
}
