//! The one list of what each failure looks like: status, flag, details, body.

use super::{LocalReply, ReplyBody};
use nuncio_core::stream_info::ResponseFlag;
use nuncio_upstream::cluster::Drops;
use nuncio_upstream::error::ResetReason;

/// The name of a status as bodies of codec errors spell it; `Unknown` for one without a name, as Envoy does.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// The request, before routing.
impl LocalReply {
    /// The bytes are not HTTP, or not HTTP that is served: the status's name as the body.
    pub fn codec_error(status: u16, details: &'static str) -> Self {
        Self::new(status, details)
            .with_flag(ResponseFlag::DownstreamProtocolError)
            .with_body(ReplyBody::Static(reason_phrase(status)))
            .closing()
    }

    /// An absolute target with the scheme `https` on a connection that is not secured.
    pub fn https_on_plaintext() -> Self {
        Self::codec_error(403, "http1.https_url_on_plaintext_connection")
    }

    /// A request without a host.
    pub fn missing_host() -> Self {
        Self::new(400, "missing_host_header")
    }

    /// An empty path where one is needed.
    pub fn missing_path() -> Self {
        Self::new(404, "missing_path_rejected")
    }

    /// A path that does not begin with `/`.
    pub fn absolute_path() -> Self {
        Self::new(404, "absolute_path_rejected")
    }

    /// A path that cannot be normalised, or has an escaped slash or a fragment that is refused.
    pub fn path_normalization_failed() -> Self {
        Self::new(400, "path_normalization_failed")
    }

    /// A path whose escaped slashes were decoded: the client is sent there (gRPC cannot follow: 400).
    pub fn normalized_path_redirect(location: &[u8]) -> Self {
        Self::new(307, "path_normalization_failed").with_header("location", location)
    }

    /// QUERY without a content type.
    pub fn query_missing_content_type() -> Self {
        Self::new(400, "query_missing_content_type")
    }

    /// A host that has characters no authority has.
    pub fn invalid_authority() -> Self {
        Self::codec_error(400, "http.invalid_authority")
    }

    /// The client's address cannot be found and the configuration wants it.
    pub fn ip_detection_failed(status: u16, body: ReplyBody) -> Self {
        Self::new(status, "rejecting_because_detection_failed").with_body(body)
    }

    /// An upgrade, or CONNECT, that neither the connection manager nor the route allows.
    pub fn upgrade_failed() -> Self {
        Self::new(403, "upgrade_failed").closing()
    }
}

/// The overload manager.
impl LocalReply {
    /// It has requests refused; `says_so` in a header.
    pub fn overloaded(says_so: bool) -> Self {
        let reply = Self::new(503, "overload").with_body(ReplyBody::Static("envoy overloaded"));
        if says_so { reply.with_header("x-envoy-local-overloaded", "true") } else { reply }
    }

    /// Bytes came for a tunnel before it was there (`reject_connect_request_early_data`).
    pub fn early_connect_data() -> Self {
        Self::new(400, "early_connect_data")
    }
}

/// Routing, and what the router cannot do.
impl LocalReply {
    /// No route matches.
    pub fn no_route() -> Self {
        Self::new(404, "route_not_found").with_flag(ResponseFlag::NoRouteFound)
    }

    /// There is no route table (yet).
    pub fn no_route_configuration() -> Self {
        Self::new(404, "route_configuration_not_found").with_flag(ResponseFlag::NoRouteFound)
    }

    /// The route names a cluster that is not there. `status` is the route's `cluster_not_found_response_code`.
    pub fn cluster_not_found(status: u16) -> Self {
        Self::new(status, "cluster_not_found").with_flag(ResponseFlag::NoClusterFound)
    }

    /// The cluster has no host to pick.
    pub fn no_healthy_upstream() -> Self {
        Self::new(503, "no_healthy_upstream")
            .with_flag(ResponseFlag::NoHealthyUpstream)
            .with_body(ReplyBody::Static("no healthy upstream"))
    }

    /// The cluster is in maintenance mode.
    pub fn maintenance_mode() -> Self {
        Self::new(503, "maintenance_mode")
            .with_flag(ResponseFlag::UpstreamOverflow)
            .with_body(ReplyBody::Static("maintenance mode"))
            .with_header("x-envoy-overloaded", "true")
    }

    /// The cluster's `drop_overloads` refuse the request.
    pub fn dropped(drops: Drops) -> Self {
        match drops {
            Drops::All => Self::new(503, "unconditional_drop_overload")
                .with_flag(ResponseFlag::UnconditionalDropOverload)
                .with_body(ReplyBody::Static("unconditional drop overload"))
                .with_header("x-envoy-unconditional-drop-overload", "true"),
            Drops::Some => Self::new(503, "drop_overload")
                .with_flag(ResponseFlag::DropOverload)
                .with_body(ReplyBody::Static("drop overload"))
                .with_header("x-envoy-drop-overload", "true"),
        }
    }

    /// A filter took away a header without which there is no request.
    pub fn missing_header(name: &str) -> Self {
        Self::broken_by_filter(format!("missing required header: {name}"))
    }

    /// A filter gave a header a value that none may have.
    pub fn invalid_header(name: &str) -> Self {
        Self::broken_by_filter(format!("invalid header value for: {name}"))
    }

    fn broken_by_filter(reason: String) -> Self {
        Self::new(503, format!("filter_removed_required_request_headers{{{reason}}}"))
            .with_flag(ResponseFlag::DownstreamProtocolError)
            .with_body(ReplyBody::Owned(reason.into_bytes()))
    }

    /// A steering header that `strict_check_headers` names is malformed.
    pub fn strict_check_failed(header: &str, value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        Self::new(400, format!("request_headers_failed_strict_check{{{header}}}"))
            .with_flag(ResponseFlag::InvalidEnvoyRequestHeaders)
            .with_body(ReplyBody::Owned(
                format!("invalid header '{header}' with value '{value}'").into_bytes(),
            ))
    }

    /// The upstream ended the exchange before its response began.
    ///
    /// `reason` is Envoy's text, blanks and all; `transport` what the transport said of it, which goes into the
    /// details only; `retried` whether it was not the first attempt.
    pub fn upstream_reset(reset: ResetReason, transport: Option<&str>, retried: bool) -> Self {
        let reason = reset.as_str();
        let details = match transport {
            Some(text) => format!("upstream_reset_before_response_started{{{reason}|{text}}}"),
            None => format!("upstream_reset_before_response_started{{{reason}}}"),
        };
        // `RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)` shows them with underscores too.
        let details = details.replace(' ', "_");
        let again = if retried { "retried and the latest " } else { "" };
        let body = format!(
            "upstream connect error or disconnect/reset before headers. {again}reset reason: {reason}"
        );
        let status = if reset == ResetReason::ProtocolError { 502 } else { 503 };
        let reply =
            Self::new(status, details).with_flag(reset.flag()).with_body(ReplyBody::Owned(body.into_bytes()));
        if reset == ResetReason::Overflow { reply.with_header("x-envoy-overloaded", "true") } else { reply }
    }

    /// The body outgrew what may be kept for another try while no attempt was running.
    pub fn retry_buffer_exceeded() -> Self {
        Self::new(507, "request_payload_exceeded_retry_buffer_limit")
            .with_body(ReplyBody::Static("exceeded request buffer limit while retrying upstream"))
    }

    /// The route's time-out, or the last try's, ran out.
    pub fn upstream_timeout(details: &'static str) -> Self {
        Self::new(504, details)
            .with_flag(ResponseFlag::UpstreamRequestTimeout)
            .with_body(ReplyBody::Static("upstream request timeout"))
    }

    /// As [`upstream_timeout`](Self::upstream_timeout), for a request that asked for 204 instead
    /// (`x-envoy-upstream-rq-timeout-alt-response`).
    pub fn upstream_timeout_alt(details: &'static str) -> Self {
        Self::new(204, details).with_flag(ResponseFlag::UpstreamRequestTimeout)
    }

    /// The cluster's `max_stream_duration` ran out.
    pub fn upstream_max_stream_duration(request_complete: bool) -> Self {
        Self::new(timeout_status(request_complete), "upstream_max_stream_duration_reached")
            .with_flag(ResponseFlag::UpstreamMaxStreamDurationReached)
            .with_body(ReplyBody::Static("upstream max stream duration reached"))
    }
}

/// Timers and limits of the connection manager.
impl LocalReply {
    /// `stream_idle_timeout`.
    pub fn stream_idle(request_complete: bool) -> Self {
        Self::new(timeout_status(request_complete), "stream_idle_timeout")
            .with_flag(ResponseFlag::StreamIdleTimeout)
            .with_body(ReplyBody::Static("stream timeout"))
    }

    /// `max_stream_duration`. It sets no flag.
    pub fn max_stream_duration(request_complete: bool) -> Self {
        Self::new(timeout_status(request_complete), "max_duration_timeout")
            .with_body(ReplyBody::Static("downstream duration timeout"))
            .with_grpc_status(4)
    }

    /// `request_timeout`.
    pub fn request_timeout() -> Self {
        Self::new(408, "request_overall_timeout").with_body(ReplyBody::Static("request timeout"))
    }

    /// `request_headers_timeout`.
    pub fn request_headers_timeout() -> Self {
        Self::new(408, "request_header_timeout")
            .with_body(ReplyBody::Static("request header timeout"))
            .closing()
    }

    /// A filter had to hold the whole request and it is too large.
    pub fn request_too_large() -> Self {
        Self::new(413, "request_payload_too_large").with_body(ReplyBody::Static("Payload Too Large"))
    }

    /// A filter had to hold the whole response and it is too large.
    pub fn response_too_large() -> Self {
        Self::new(500, "response_payload_too_large").with_body(ReplyBody::Static("Internal Server Error"))
    }
}

/// 504 where the upstream was waited for, 408 where the client was.
fn timeout_status(request_complete: bool) -> u16 {
    if request_complete { 504 } else { 408 }
}
