//! How HTTP is spoken to a cluster: the old fields, or `HttpProtocolOptions`, which replaces them all.

use crate::cluster::{Carrier, HTTP_OPTIONS, HttpUpstream, UpstreamProtocol};
use crate::http2;
use crate::outlier::ErrorMatcher;
use crate::requests::{CompileRequests, RequestMessages};
use crate::transport::AutoServerName;
use nuncio_core::config::{CompileContext, timeout, type_name};
use nuncio_core::header_key_format;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{ClusterProtocolSelection, QueuingPolicies};
use nuncio_proto::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as Common, TypedExtensionConfig,
    UpstreamHttpProtocolOptions,
};
use nuncio_proto::pb::envoy::extensions::upstreams::http::generic::v3::GenericConnectionPoolProto;
use nuncio_proto::pb::envoy::extensions::upstreams::http::http::v3::HttpConnectionPoolProto;
use nuncio_proto::pb::envoy::extensions::upstreams::http::tcp::v3::TcpConnectionPoolProto;
use nuncio_proto::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use nuncio_proto::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use nuncio_proto::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, OutlierDetection, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use prost::Name as _;
use prost_types::Any;
use std::collections::BTreeMap;

/// The fields of a cluster that say how HTTP is spoken.
pub(super) struct Messages {
    pub(super) common: Option<Common>,
    pub(super) http1: Option<Http1ProtocolOptions>,
    pub(super) http2: Option<Http2ProtocolOptions>,
    pub(super) protocol_selection: i32,
    pub(super) max_requests: Option<u32>,
    pub(super) typed: BTreeMap<String, Any>,
    pub(super) server_name: Option<UpstreamHttpProtocolOptions>,
}

/// `upstream_config`: what carries requests. `None`: refused, with the reason in `cx`.
pub(super) fn carrier(message: Option<TypedExtensionConfig>, cx: &CompileContext<'_>) -> Option<Carrier> {
    let Some(TypedExtensionConfig { name, typed_config }) = message else { return Some(Carrier::default()) };
    let cx = cx.field("upstream_config");
    if cx.told_of("typed_config") {
        return None;
    }
    let any = typed_config.unwrap_or_default();
    let kind = type_name(&any.type_url);
    let all = [
        (GenericConnectionPoolProto::full_name(), Carrier::ByRoute),
        (HttpConnectionPoolProto::full_name(), Carrier::Http),
        (TcpConnectionPoolProto::full_name(), Carrier::Bytes),
    ];
    let found = all.into_iter().find(|(known, _)| known == kind).map(|(_, carrier)| carrier);
    if found.is_none() {
        // Envoy looks for it with the first request, and ends.
        cx.field("typed_config").unsupported(format!(
            "Didn't find a registered implementation for '{name}' with type URL: '{kind}'"
        ));
    }
    found
}

/// `queuing_policies`: there is one policy, and it is what happens anyway.
pub(super) fn check_queues(message: Option<QueuingPolicies>, cx: &CompileContext<'_>) -> Option<()> {
    let QueuingPolicies { pending_rq_policy } = message.unwrap_or_default();
    let Some(TypedExtensionConfig { name, typed_config: _ }) = pending_rq_policy else { return Some(()) };
    if name == FIFO {
        return Some(());
    }
    let cx = cx.field("queuing_policies");
    cx.field("pending_rq_policy")
        .error(format!("Didn't find a registered implementation for name: '{name}'"));
    None
}

/// The one queue policy that Envoy has.
const FIFO: &str = "envoy.queue_policy.fifo";

pub(super) fn compile(
    messages: Messages,
    cx: &CompileContext<'_>,
    requests: Option<&dyn CompileRequests>,
) -> Option<HttpUpstream> {
    let Messages { common, http1, http2, protocol_selection, max_requests, typed, server_name } = messages;
    let mut http = HttpUpstream { max_requests, ..HttpUpstream::default() };
    http.auto_server_name = server_name.and_then(auto_server_name).map(Box::new);
    let mut replaced = false;
    for (key, any) in typed {
        let cx = cx.field("typed_extension_protocol_options");
        let cx = cx.key(&key);
        if key != HTTP_OPTIONS {
            cx.unsupported(format!(
                "Didn't find a registered network or http filter or protocol options implementation for name: \
                 '{key}'"
            ));
            continue;
        }
        let HttpProtocolOptions {
            common_http_protocol_options,
            upstream_http_protocol_options,
            upstream_protocol_options,
            http_filters,
            request_mirror_policies,
            hash_policy,
            retry_policy,
            outlier_detection,
        } = cx.unpack(&any)?;
        if let Some(OutlierDetection { error_matcher: Some(matcher) }) = outlier_detection {
            let cx = cx.field("outlier_detection");
            let matcher = ErrorMatcher::compile(matcher, &cx.field("error_matcher"))?;
            http.error_matcher = Some(Box::new(matcher));
        }
        let of_requests =
            RequestMessages { retry_policy, hash_policy, request_mirror_policies, http_filters };
        if !of_requests.is_empty() {
            let Some(compiler) = requests else {
                cx.unsupported("what a cluster says of requests is not built here");
                return None;
            };
            http.requests = Some(compiler.compile(of_requests, &cx)?);
        }
        http.auto_server_name = upstream_http_protocol_options.and_then(auto_server_name).map(Box::new);
        replaced = true;
        common_options(common_http_protocol_options, &mut http, &cx.field("common_http_protocol_options"));
        match upstream_protocol_options {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config })) => {
                let cx = cx.field("explicit_http_config");
                match protocol_config {
                    Some(ProtocolConfig::HttpProtocolOptions(options)) => {
                        http1_options(Some(options), &mut http, &cx.field("http_protocol_options"))?;
                    }
                    Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                        http.protocol = UpstreamProtocol::Http2;
                        http2_options(options, &mut http, &cx.field("http2_protocol_options"));
                    }
                    None => {
                        cx.error("a protocol is required");
                    }
                }
            }
            Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(both)) => {
                let UseDownstreamHttpConfig { http_protocol_options, http2_protocol_options } = both;
                http.protocol = UpstreamProtocol::Downstream;
                let cx = cx.field("use_downstream_protocol_config");
                both_options(http_protocol_options, http2_protocol_options, &mut http, &cx)?;
            }
            Some(UpstreamProtocolOptions::AutoConfig(both)) => {
                let AutoHttpConfig { http_protocol_options, http2_protocol_options } = both;
                http.protocol = UpstreamProtocol::Auto;
                let cx = cx.field("auto_config");
                both_options(http_protocol_options, http2_protocol_options, &mut http, &cx)?;
            }
            None => {
                cx.error("a protocol is required");
            }
        }
    }
    if !replaced {
        common_options(common, &mut http, &cx.field("common_http_protocol_options"));
        http1_options(http1, &mut http, &cx.field("http_protocol_options"))?;
        let selection = ClusterProtocolSelection::try_from(protocol_selection);
        if selection == Ok(ClusterProtocolSelection::UseDownstreamProtocol) {
            http.protocol = UpstreamProtocol::Downstream;
        } else if http2.is_some() {
            http.protocol = UpstreamProtocol::Http2;
        }
        if let Some(http2) = http2 {
            http2_options(http2, &mut http, &cx.field("http2_protocol_options"));
        }
    }
    http.h2.limits.max_headers = http.h1.limits.max_headers;
    Some(http)
}

fn both_options(
    http1: Option<Http1ProtocolOptions>,
    http2: Option<Http2ProtocolOptions>,
    http: &mut HttpUpstream,
    cx: &CompileContext<'_>,
) -> Option<()> {
    http1_options(http1, http, &cx.field("http_protocol_options"))?;
    http2_options(http2.unwrap_or_default(), http, &cx.field("http2_protocol_options"));
    Some(())
}

/// What a host's name is used for; nothing where neither is asked for.
fn auto_server_name(message: UpstreamHttpProtocolOptions) -> Option<AutoServerName> {
    let UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header } = message;
    let header = override_auto_sni_header.to_ascii_lowercase().into();
    (auto_sni || auto_san_validation).then_some(AutoServerName {
        server_name: auto_sni,
        san: auto_san_validation,
        header,
    })
}

fn common_options(message: Option<Common>, http: &mut HttpUpstream, cx: &CompileContext<'_>) {
    let Some(message) = message else { return };
    let Common {
        idle_timeout,
        max_headers_count,
        max_connection_duration,
        max_stream_duration,
        // Of requests only: responses are not affected.
        headers_with_underscores_action: _,
        max_requests_per_connection,
        max_response_headers_kb,
        max_connection_duration_jitter,
    } = message;
    http.max_connection_jitter = max_connection_duration_jitter.map_or(0.0, |percent| percent.value / 100.0);
    if let Some(kb) = max_response_headers_kb {
        http.h1.limits.max_head_bytes = kb.saturating_mul(1024);
    }
    http.idle_timeout = timeout(idle_timeout.as_ref(), http.idle_timeout, &cx.field("idle_timeout"));
    if let Some(count) = max_headers_count {
        http.h1.limits.max_headers = count;
    }
    http.max_connection_duration =
        timeout(max_connection_duration.as_ref(), None, &cx.field("max_connection_duration"));
    http.max_stream_duration = timeout(max_stream_duration.as_ref(), None, &cx.field("max_stream_duration"));
    if let Some(max) = max_requests_per_connection {
        http.max_requests = Some(max);
    }
    http.max_requests = http.max_requests.filter(|max| *max > 0);
}

fn http2_options(message: Http2ProtocolOptions, http: &mut HttpUpstream, cx: &CompileContext<'_>) {
    if let Some(options) = http2::compile(message, cx) {
        http.h2 = options;
    }
}

fn http1_options(
    message: Option<Http1ProtocolOptions>,
    http: &mut HttpUpstream,
    cx: &CompileContext<'_>,
) -> Option<()> {
    let Some(message) = message else { return Some(()) };
    let Http1ProtocolOptions {
        // What a server accepts; an upstream connection is a client.
        allow_absolute_url: _,
        accept_http_10: _,
        default_host_for_http_10: _,
        override_stream_error_on_invalid_http_message: _,
        enable_trailers,
        allow_chunked_length,
        header_key_format,
        send_fully_qualified_url,
        allow_custom_methods: _,
        ignore_http_11_upgrade: _,
    } = message;
    http.h1.enable_trailers = enable_trailers;
    http.h1.allow_chunked_length = allow_chunked_length;
    http.send_fully_qualified_url = send_fully_qualified_url;
    let (case, preserve) = header_key_format::compile(header_key_format, &cx.field("header_key_format"))?;
    http.header_case = case;
    http.h1.preserve_case = preserve;
    Some(())
}
