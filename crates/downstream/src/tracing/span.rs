//! What a request's span tells once the request is over.

use crate::hcm::exchange::Downstream;
use crate::hcm::stream::Stream;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::address::Address;
use nuncio_core::format::{FormatContext, LogType, is_grpc, is_grpc_request};
use nuncio_core::stream_info::{ClusterInfo, ResponseFlags, StreamInfo};
use nuncio_core::trace::Span;

/// The stream is over, or its request gives way to that of a redirect: its span is complete and goes to the tracer.
#[cold]
pub(crate) fn finish<D: Downstream>(stream: &mut Stream<D>) {
    let Some(mut span) = stream.info.span.take() else { return };
    let now = stream.now();
    span.took = now.saturating_duration_since(span.started);
    let hcm = &stream.hcm;
    let (Some(tracer), Some(tracing)) = (&hcm.tracer, &hcm.config.tracing) else { return };
    if span.context.sampled {
        let cx = stream.format_context(LogType::NotSet, now);
        let route = stream.route.as_ref().and_then(|r| r.tracing.as_deref());
        of_request(&mut span, &stream.heads.request, &stream.info, tracing.max_path);
        of_both(&mut span, stream.info.upstream.cluster.as_deref());
        let trailers = Some(&stream.heads.response_trailers);
        let head = cx.response.map(|(head, _)| head);
        of_answer(&mut span, (stream.info.response_code, stream.info.flags), head, trailers);
        if tracing.verbose {
            tell_times(&mut span, &stream.info);
        }
        tracing.tag(&mut span, route, &cx);
        if let Some(format) = tracing.operation(route) {
            span.name = rendered(format, &cx);
        }
    }
    tracer.report(span);
}

/// A name that a format makes.
pub(super) fn rendered(format: &nuncio_core::format::Format, cx: &FormatContext<'_>) -> String {
    let mut name = Vec::new();
    format.render(cx, &mut name);
    String::from_utf8_lossy(&name).into_owned()
}

/// What the request says, and what it and its answer weigh.
fn of_request(span: &mut Span, request: &RequestHead, info: &StreamInfo, max_path: usize) {
    let headers = &request.headers;
    if let Some(id) = headers.get(Known::XRequestId) {
        span.tag_bytes("guid:x-request-id", id);
    }
    span.tag_bytes("http.url", &url(request, max_path));
    span.tag_bytes("http.method", request.method());
    let or_dash = |name| headers.get(name).unwrap_or(b"-");
    span.tag_bytes("downstream_cluster", or_dash(Known::XEnvoyDownstreamServiceCluster));
    span.tag_bytes("user_agent", or_dash(Known::UserAgent));
    span.tag("http.protocol", info.protocol.map_or("-", |protocol| protocol.as_str()));
    let mut peer = Vec::new();
    match &info.connection.direct_remote {
        address @ Address::Ip(_) => address.write_ip_to(&mut peer),
        address => address.write_to(&mut peer),
    }
    span.tag_bytes("peer.address", &peer);
    if let Some(id) = headers.get(Known::XClientTraceId) {
        span.tag_bytes("guid:x-client-trace-id", id);
    }
    if is_grpc_request(headers) {
        span.tag_bytes("grpc.path", request.path());
        span.tag_bytes("grpc.authority", request.authority());
        span.tag_bytes("grpc.content_type", headers.get(Known::ContentType).unwrap_or_default());
        if let Some(timeout) = headers.get(Known::GrpcTimeout) {
            span.tag_bytes("grpc.timeout", timeout);
        }
    }
    span.tag("request_size", info.bytes_received);
    span.tag("response_size", info.bytes_sent);
}

/// What was asked for, as the client named it.
fn url(request: &RequestHead, max_path: usize) -> Vec<u8> {
    let headers = &request.headers;
    let Some(path) = headers.get(Known::XEnvoyOriginalPath).or_else(|| headers.get(Known::Path)) else {
        return Vec::new();
    };
    let path = path.get(..max_path).unwrap_or(path);
    [request.scheme(), b"://", request.authority(), path].concat()
}

/// What spans of requests and of requests upstream have in common before their answers.
pub(super) fn of_both(span: &mut Span, cluster: Option<&ClusterInfo>) {
    span.tag("component", "proxy");
    if let Some(cluster) = cluster {
        span.tag("upstream_cluster", &cluster.name);
        span.tag("upstream_cluster.name", &cluster.observability_name);
    }
}

/// What an answer says, and what its flags do; without one it is an error.
pub(super) fn of_answer(
    span: &mut Span,
    (status, flags): (Option<u16>, ResponseFlags),
    head: Option<&HeaderMap>,
    trailers: Option<&HeaderMap>,
) {
    if head.is_some_and(is_grpc) {
        for headers in [head, trailers].into_iter().flatten() {
            of_grpc(span, headers);
        }
    }
    span.tag("http.status_code", status.unwrap_or_default());
    span.tag("response_flags", Flags(flags));
    if status.is_none_or(|status| status >= 500) {
        span.tag("error", true);
    }
}

fn of_grpc(span: &mut Span, headers: &HeaderMap) {
    if let Some(status) = headers.get(Known::GrpcStatus) {
        span.tag_bytes("grpc.status_code", status);
        // What the callee, not the caller, is to blame for.
        if matches!(status, b"2" | b"4" | b"8" | b"12" | b"13" | b"14" | b"15") {
            span.tag("error", true);
        }
    }
    if let Some(message) = headers.get(Known::GrpcMessage) {
        span.tag_bytes("grpc.message", message);
    }
}

/// Response flags as spans tell them.
struct Flags(ResponseFlags);

impl std::fmt::Display for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (i, flag) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            f.write_str(flag.short())?;
        }
        Ok(())
    }
}

/// When what happened (`verbose`).
fn tell_times(span: &mut Span, info: &StreamInfo) {
    let t = &info.timings;
    for (at, what) in [
        (t.downstream_rx_end, "last_downstream_rx_byte_received"),
        (t.upstream_tx_begin, "first_upstream_tx_byte_sent"),
        (t.upstream_tx_end, "last_upstream_tx_byte_sent"),
        (t.upstream_rx_begin, "first_upstream_rx_byte_received"),
        (t.upstream_rx_end, "last_upstream_rx_byte_received"),
        (t.downstream_tx_begin, "first_downstream_tx_byte_sent"),
        (t.downstream_tx_end, "last_downstream_tx_byte_sent"),
    ] {
        if let Some(at) = at {
            span.event(at, what);
        }
    }
}
