//! The connection manager's compiled configuration.

mod leading;
mod times;

pub use leading::compile_table;
pub use times::{LogTimes, Timeouts};

use super::client_cert::ClientCertPolicy;
use super::local_reply::LocalReplies;
use super::normalize::{EscapedSlashes, HostPort, Normalization};
use super::policy::{PolicyFields, RequestPolicy, messages};
use super::proxy_status::ProxyStatus;
use super::request_id::RequestIds;
use super::response_headers::ServerHeader;
use super::upgrade::Upgrades;
use crate::filter::ChainConfig;
use crate::network::{CompiledFilter, ListenerFacts, NetworkFilterFactory};
use crate::route::Routes;
use crate::tracing::TracingConfig;
use crate::world::CompileEnv;
use leading::{compile_chain, compile_routes, compile_upgrades};
use nuncio_codec::h1::{DecoderLimits, HeaderCase, IgnoredUpgrades, ServerOptions, UnderscoreAction};
use nuncio_codec::h2;
use nuncio_core::access_log::AccessLog;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::header_key_format;
use nuncio_core::matcher::StringMatcher;
use nuncio_core::why::FieldPlaces;
use nuncio_proto::pb::envoy::config::core::v3 as pb_core;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use nuncio_upstream::http2;
use pb::http_connection_manager::StripPortMode;
use std::sync::Arc;
use std::time::Duration;
use times::jitter;

/// A compiled `HttpConnectionManager`.
pub struct HcmConfig {
    /// Where it and its fields stand.
    pub places: FieldPlaces,
    /// `http.PREFIX.`
    pub stat_prefix: String,
    /// `listener.ADDR.`
    pub listener_stat_prefix: String,
    /// What connections speak.
    pub codec_type: CodecType,
    /// The HTTP/1 decoder's rules.
    pub h1: ServerOptions,
    /// The HTTP/2 codec's rules.
    pub h2: h2::Options,
    /// How response header names are spelled.
    pub header_case: HeaderCase,
    /// What is done to every request's and response's head.
    pub policy: RequestPolicy,
    /// Where requests go.
    pub routes: Routes,
    /// The HTTP filters.
    pub chain: ChainConfig,
    /// What requests may be upgraded to.
    pub upgrades: Upgrades,
    /// What is written about each stream.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// When it is written besides the stream's end.
    pub log_times: LogTimes,
    /// How local replies look.
    pub local_replies: LocalReplies,
    /// What answers that this proxy makes say of their cause.
    pub proxy_status: Option<ProxyStatus>,
    /// Timers.
    pub timeouts: Timeouts,
    /// Requests per connection at most.
    pub max_requests_per_connection: Option<u64>,
    /// Bytes that may wait for the client before the upstream is no longer read.
    pub buffer_limit: usize,
    /// `Expect: 100-continue` and its answer go through instead of being answered here.
    pub proxy_100_continue: bool,
    /// `tracing`
    pub tracing: Option<TracingConfig>,
    /// `append_local_overload`: answers on behalf of the overload manager say so.
    pub append_local_overload: bool,
    /// The listener's `bypass_overload_manager`.
    pub bypasses_overload: bool,
}

/// `codec_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecType {
    /// What the first bytes are.
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2, without a TLS layer that says so (prior knowledge).
    Http2,
}

/// The fields that explanations of failures name.
const EXPLAINED: &[&str] = &[
    "codec_type",
    "route_config",
    "scoped_routes",
    "upgrade_configs",
    "http_protocol_options",
    "http_protocol_options/accept_http_10",
    "http2_protocol_options",
    "http2_protocol_options/allow_connect",
    "max_request_headers_kb",
    "common_http_protocol_options",
    "common_http_protocol_options/max_headers_count",
    "common_http_protocol_options/max_stream_duration",
    "common_http_protocol_options/headers_with_underscores_action",
    "stream_idle_timeout",
    "stream_flush_timeout",
    "request_timeout",
    "request_headers_timeout",
    "path_with_escaped_slashes_action",
    "normalize_path",
    "tracing",
    "tracing/provider",
    "tracing/spawn_upstream_span",
];

/// The network filter `envoy.filters.network.http_connection_manager`.
pub struct HcmFactory;

impl NetworkFilterFactory for HcmFactory {
    type Config = pb::HttpConnectionManager;

    fn compile(
        &self,
        config: Self::Config,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        listener: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let config = HcmConfig::compile(config, cx, env, listener)?;
        Some(CompiledFilter::Serving(Arc::new(config)))
    }
}

impl HcmConfig {
    /// Compiles the message. `None`: refused, with every reason recorded in `cx`.
    pub fn compile(
        message: pb::HttpConnectionManager,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        listener: ListenerFacts<'_>,
    ) -> Option<Self> {
        let pb::HttpConnectionManager {
            codec_type,
            stat_prefix,
            route_specifier,
            http_filters,
            add_user_agent,
            http_protocol_options,
            http2_protocol_options,
            common_http_protocol_options,
            server_name,
            access_log,
            flush_access_log_on_new_request,
            access_log_flush_interval,
            access_log_options,
            use_remote_address,
            generate_request_id,
            xff_num_trusted_hops,
            skip_xff_append,
            via,
            stream_idle_timeout,
            drain_timeout,
            delayed_close_timeout,
            request_timeout,
            request_headers_timeout,
            max_request_headers_kb,
            normalize_path,
            preserve_external_request_id,
            merge_slashes,
            server_header_transformation,
            always_set_request_id_in_response,
            strip_matching_host_port,
            strip_port_mode,
            strip_trailing_host_dot,
            path_with_escaped_slashes_action,
            append_x_forwarded_port,
            stream_error_on_invalid_http_message,
            proxy_100_continue,
            local_reply_config,
            forward_client_cert_details,
            set_current_client_cert_details,
            forward_client_cert_matcher,
            internal_address_config,
            request_id_extension,
            original_ip_detection_extensions,
            scheme_header_transformation,
            forward_proto_config,
            upgrade_configs,
            proxy_status_config,
            http1_safe_max_connection_duration,
            drain_timeout_jitter,
            early_header_mutation_extensions,
            tracing,
            stream_flush_timeout,
            append_local_overload,
        } = message;
        let common = common_http_protocol_options.unwrap_or_default();
        let common_cx = cx.field("common_http_protocol_options");
        let pb_core::HttpProtocolOptions {
            idle_timeout,
            max_headers_count,
            max_connection_duration,
            max_stream_duration,
            headers_with_underscores_action,
            max_requests_per_connection,
            max_connection_duration_jitter,
            // Of responses: what a cluster sends.
            max_response_headers_kb: _,
        } = common;
        let timeout = |name: &str, value: &Option<prost_types::Duration>, default| {
            config::timeout(value.as_ref(), default, &cx.field(name))
        };
        let common_timeout = |name: &str, value: &Option<prost_types::Duration>, default| {
            config::timeout(value.as_ref(), default, &common_cx.field(name))
        };
        let timeouts = Timeouts {
            idle: common_timeout("idle_timeout", &idle_timeout, Some(Duration::from_secs(3600))),
            max_connection_duration: common_timeout(
                "max_connection_duration",
                &max_connection_duration,
                None,
            ),
            max_stream_duration: common_timeout("max_stream_duration", &max_stream_duration, None),
            stream_idle: timeout("stream_idle_timeout", &stream_idle_timeout, Some(Duration::from_secs(300))),
            stream_flush: None,
            request: timeout("request_timeout", &request_timeout, None),
            request_headers: timeout("request_headers_timeout", &request_headers_timeout, None),
            drain: timeout("drain_timeout", &drain_timeout, Some(Duration::from_secs(5))).unwrap_or_default(),
            delayed_close: timeout(
                "delayed_close_timeout",
                &delayed_close_timeout,
                Some(Duration::from_secs(1)),
            ),
            max_connection_jitter: jitter(max_connection_duration_jitter),
            drain_jitter: jitter(drain_timeout_jitter),
            http1_safe_max_duration: http1_safe_max_connection_duration,
        };
        let stream_flush = timeout("stream_flush_timeout", &stream_flush_timeout, timeouts.stream_idle);
        let timeouts = Timeouts { stream_flush, ..timeouts };
        let request_ids = RequestIds {
            generate: generate_request_id.unwrap_or(true),
            preserve_external: preserve_external_request_id,
            always_in_response: always_set_request_id_in_response,
            ..RequestIds::default()
        };
        let request_ids = messages::request_id_extension(
            request_ids,
            request_id_extension.as_ref(),
            &cx.field("request_id_extension"),
        );
        let detection = messages::original_ip_detection(&original_ip_detection_extensions, cx);
        let internal = messages::internal_addresses(
            internal_address_config.as_ref(),
            &cx.field("internal_address_config"),
        );
        let proxy_status =
            proxy_status_config.map(|message| ProxyStatus::compile(message, &server_name, env.node_id));
        let host_port = host_port(strip_matching_host_port, strip_port_mode, cx);
        let early = messages::early_mutations(&early_header_mutation_extensions, cx);
        let client_cert = ClientCertPolicy::compile(
            forward_client_cert_details,
            set_current_client_cert_details,
            forward_client_cert_matcher,
            cx,
        );
        let compiled = request_ids.zip(detection).zip(internal).zip(host_port).zip(early.zip(client_cert));
        let policy = compiled.map(
            |(
                (((request_ids, original_ip_detection), internal_addresses), host_port),
                (early_mutations, client_cert),
            )| {
                RequestPolicy::compile(PolicyFields {
                    normalization: Normalization {
                        path: normalize_path.unwrap_or_default(),
                        merge_slashes,
                        escaped_slashes: escaped_slashes(path_with_escaped_slashes_action),
                        strip_trailing_host_dot,
                        host_port,
                    },
                    use_remote_address: use_remote_address.unwrap_or_default(),
                    xff_num_trusted_hops,
                    skip_xff_append,
                    append_x_forwarded_port,
                    original_ip_detection,
                    internal_addresses,
                    early_mutations,
                    scheme: messages::scheme_transformation(scheme_header_transformation),
                    proto_by_port: messages::proto_by_port(forward_proto_config),
                    request_ids,
                    client_cert,
                    add_user_agent: add_user_agent.unwrap_or_default(),
                    via,
                    server_name,
                    server_header: server_header(server_header_transformation),
                    node_id: env.node_id.to_owned(),
                    node_cluster: env.node_cluster.to_owned(),
                    own_address: env.own_address,
                })
            },
        );
        let policy = policy.and_then(|policy| policy.map_err(|error| cx.error(error.to_string())).ok());
        let routes = compile_routes(route_specifier, &stat_prefix, cx, env);
        let chain = compile_chain(http_filters, "http_filters", cx, env);
        let upgrades = compile_upgrades(upgrade_configs, cx, env);
        let access_logs = env.access_logs.compile(&access_log, cx, "access_log");
        let log_times = LogTimes::compile(
            flush_access_log_on_new_request,
            access_log_flush_interval,
            access_log_options,
            cx,
        );
        let limits = DecoderLimits {
            max_head_bytes: max_request_headers_kb.unwrap_or(60).saturating_mul(1024),
            max_headers: max_headers_count.unwrap_or(100),
        };
        let h2_message = http2_protocol_options.unwrap_or_default();
        let h2_cx = cx.field("http2_protocol_options");
        if h2_message
            .max_header_field_size_kb
            .is_some_and(|kb| kb.saturating_mul(1024) > limits.max_head_bytes)
        {
            let why = "max_header_field_size_kb must not exceed max_request_headers_kb";
            h2_cx.field("max_header_field_size_kb").error(why);
        }
        let h2 = http2::compile(h2_message, &h2_cx);
        let h1 = compile_h1(
            http_protocol_options.unwrap_or_default(),
            limits,
            headers_with_underscores_action,
            &cx.field("http_protocol_options"),
        );
        let stream_error_on_invalid_message = h1
            .as_ref()
            .and_then(|(_, _, own)| *own)
            .or(stream_error_on_invalid_http_message)
            .unwrap_or_default();
        let local_replies = LocalReplies::compile(
            local_reply_config.as_ref(),
            stream_error_on_invalid_message,
            env.runtime,
            &cx.field("local_reply_config"),
        );
        let tracing = match tracing {
            Some(message) => {
                TracingConfig::compile(message, listener.outbound, &cx.field("tracing"), env).map(Some)
            }
            None => Some(None),
        };
        let (h1, header_case, _) = h1?;
        Some(Self {
            places: FieldPlaces::new(cx, EXPLAINED),
            stat_prefix: format!("http.{stat_prefix}."),
            listener_stat_prefix: listener.stat_prefix.to_owned(),
            codec_type: match pb::http_connection_manager::CodecType::try_from(codec_type) {
                Ok(pb::http_connection_manager::CodecType::Http1) => CodecType::Http1,
                Ok(pb::http_connection_manager::CodecType::Http2) => CodecType::Http2,
                _ => CodecType::Auto,
            },
            h2: h2.map(|h2| h2::Options { limits, underscores: h1.underscores, ..h2 })?,
            h1,
            header_case,
            policy: policy?,
            routes: routes?,
            chain: chain?,
            upgrades: upgrades?,
            access_logs: access_logs?,
            log_times: log_times?,
            local_replies: local_replies?,
            proxy_status,
            timeouts,
            max_requests_per_connection: max_requests_per_connection.filter(|n| *n > 0).map(u64::from),
            buffer_limit: listener.buffer_limit as usize,
            proxy_100_continue,
            tracing: tracing?,
            append_local_overload,
            bypasses_overload: listener.bypasses_overload,
        })
    }
}

/// The HTTP/1 decoder's rules, how names are spelled, and whether a bad message spares its connection.
fn compile_h1(
    message: pb_core::Http1ProtocolOptions,
    limits: DecoderLimits,
    underscores: i32,
    cx: &CompileContext<'_>,
) -> Option<(ServerOptions, HeaderCase, Option<bool>)> {
    use pb_core::http_protocol_options::HeadersWithUnderscoresAction as Action;
    let pb_core::Http1ProtocolOptions {
        allow_absolute_url,
        accept_http_10,
        default_host_for_http_10,
        enable_trailers,
        allow_chunked_length,
        override_stream_error_on_invalid_http_message,
        header_key_format,
        allow_custom_methods,
        ignore_http_11_upgrade,
        // What a client sends; a downstream connection is a server.
        send_fully_qualified_url: _,
    } = message;
    let ignored = ignore_http_11_upgrade.iter().enumerate();
    let ignored = ignored
        .map(|(i, m)| StringMatcher::compile(m, &cx.item("ignore_http_11_upgrade", i)))
        .collect::<Option<Vec<_>>>()?;
    let (header_case, preserve_case) =
        header_key_format::compile(header_key_format, &cx.field("header_key_format"))?;
    let options = ServerOptions {
        limits,
        accept_http_10,
        default_host_for_http_10: Some(default_host_for_http_10).filter(|h| !h.is_empty()).map(Into::into),
        allow_absolute_url: allow_absolute_url.unwrap_or(true),
        allow_chunked_length,
        enable_trailers,
        underscores: match Action::try_from(underscores) {
            Ok(Action::RejectRequest) => UnderscoreAction::RejectRequest,
            Ok(Action::DropHeader) => UnderscoreAction::DropHeader,
            Ok(Action::Allow) | Err(_) => UnderscoreAction::Allow,
        },
        preserve_case,
        allow_custom_methods,
        ignored_upgrades: (!ignored.is_empty()).then(|| {
            let is_ignored = move |name: &[u8]| ignored.iter().any(|matcher| matcher.matches(name));
            IgnoredUpgrades(Arc::new(is_ignored))
        }),
    };
    Some((options, header_case, override_stream_error_on_invalid_http_message))
}

fn escaped_slashes(value: i32) -> EscapedSlashes {
    use pb::http_connection_manager::PathWithEscapedSlashesAction as Action;
    match Action::try_from(value) {
        Ok(Action::RejectRequest) => EscapedSlashes::RejectRequest,
        Ok(Action::UnescapeAndRedirect) => EscapedSlashes::UnescapeAndRedirect,
        Ok(Action::UnescapeAndForward) => EscapedSlashes::UnescapeAndForward,
        Ok(Action::KeepUnchanged | Action::ImplementationSpecificDefault) | Err(_) => {
            EscapedSlashes::KeepUnchanged
        }
    }
}

fn host_port(matching: bool, mode: Option<StripPortMode>, cx: &CompileContext<'_>) -> Option<HostPort> {
    match (matching, mode) {
        (true, Some(StripPortMode::StripAnyHostPort(true))) => {
            let text = "Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.";
            cx.field("strip_any_host_port").error(text);
            None
        }
        (false, Some(StripPortMode::StripAnyHostPort(true))) => Some(HostPort::StripAny),
        (true, _) => Some(HostPort::StripMatching),
        (false, _) => Some(HostPort::Keep),
    }
}

fn server_header(value: i32) -> ServerHeader {
    use pb::http_connection_manager::ServerHeaderTransformation as Transformation;
    match Transformation::try_from(value) {
        Ok(Transformation::AppendIfAbsent) => ServerHeader::AppendIfAbsent,
        Ok(Transformation::PassThrough) => ServerHeader::PassThrough,
        Ok(Transformation::Overwrite) | Err(_) => ServerHeader::Overwrite,
    }
}
