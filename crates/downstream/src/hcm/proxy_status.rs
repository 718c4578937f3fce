//! `Proxy-Status` (RFC 9209): what an answer that this proxy makes says of its cause.

use nuncio_codec::head::ResponseHead;
use nuncio_core::stream_info::{ResponseFlag as Flag, StreamInfo};
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as pb;
use pb::proxy_status_config::ProxyName;

/// A compiled `proxy_status_config`.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    name: Box<str>,
    details: bool,
    flags: bool,
    recommended_code: bool,
}

/// What went wrong, by the names of RFC 9209 section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    DestinationUnavailable,
    DestinationNotFound,
    DnsError,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionLimitReached,
    HttpRequestError,
    HttpResponseTimeout,
    HttpProtocolError,
    ProxyConfigurationError,
}

/// Which flag tells of which cause; the first that is set counts. The order is Envoy's, which sets the flag of
/// what is no HTTP only after its answer.
const CAUSES: [(Flag, Cause); 19] = [
    (Flag::FailedLocalHealthCheck, Cause::DestinationUnavailable),
    (Flag::NoHealthyUpstream, Cause::DestinationUnavailable),
    (Flag::UpstreamRequestTimeout, Cause::HttpResponseTimeout),
    (Flag::LocalReset, Cause::ConnectionTerminated),
    (Flag::UpstreamRemoteReset, Cause::ConnectionTerminated),
    (Flag::UpstreamConnectionFailure, Cause::ConnectionRefused),
    (Flag::UpstreamConnectionTermination, Cause::ConnectionTerminated),
    (Flag::UpstreamOverflow, Cause::ConnectionLimitReached),
    (Flag::NoRouteFound, Cause::DestinationNotFound),
    (Flag::RateLimited, Cause::ConnectionLimitReached),
    (Flag::RateLimitServiceError, Cause::ConnectionLimitReached),
    (Flag::UpstreamRetryLimitExceeded, Cause::DestinationUnavailable),
    (Flag::StreamIdleTimeout, Cause::HttpResponseTimeout),
    (Flag::InvalidEnvoyRequestHeaders, Cause::HttpRequestError),
    (Flag::UpstreamMaxStreamDurationReached, Cause::HttpResponseTimeout),
    (Flag::NoFilterConfigFound, Cause::ProxyConfigurationError),
    (Flag::UpstreamProtocolError, Cause::HttpProtocolError),
    (Flag::NoClusterFound, Cause::DestinationUnavailable),
    (Flag::DnsResolutionFailed, Cause::DnsError),
];

impl Cause {
    fn of(info: &StreamInfo) -> Option<Self> {
        CAUSES.iter().find(|(flag, _)| info.flags.contains(*flag)).map(|(_, cause)| *cause)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationNotFound => "destination_not_found",
            Self::DnsError => "dns_error",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::HttpRequestError => "http_request_error",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
        }
    }

    /// The status that RFC 9209 recommends.
    fn status(self) -> Option<u16> {
        match self {
            Self::DestinationNotFound | Self::ProxyConfigurationError => Some(500),
            Self::DnsError
            | Self::ConnectionRefused
            | Self::ConnectionTerminated
            | Self::HttpProtocolError => Some(502),
            Self::DestinationUnavailable | Self::ConnectionLimitReached => Some(503),
            Self::HttpResponseTimeout => Some(504),
            Self::HttpRequestError => None,
        }
    }
}

impl ProxyStatus {
    /// Compiles the message. `server_name` is the connection manager's, which may be empty.
    pub fn compile(message: pb::ProxyStatusConfig, server_name: &str, node_id: &str) -> Self {
        let pb::ProxyStatusConfig {
            remove_details,
            // Envoy writes them nowhere on the way of a request.
            remove_connection_termination_details: _,
            remove_response_flags,
            set_recommended_response_code,
            proxy_name,
        } = message;
        let name = match proxy_name {
            Some(ProxyName::LiteralProxyName(name)) => name,
            Some(ProxyName::UseNodeId(true)) => node_id.to_owned(),
            Some(ProxyName::UseNodeId(false)) | None if server_name.is_empty() => "envoy".to_owned(),
            Some(ProxyName::UseNodeId(false)) | None => server_name.to_owned(),
        };
        Self {
            name: name.into(),
            details: !remove_details,
            flags: !remove_response_flags,
            recommended_code: set_recommended_response_code,
        }
    }

    /// Adds the header where something went wrong, and sets the recommended status where that is asked for.
    #[cold]
    pub fn tell(&self, response: &mut ResponseHead, info: &StreamInfo) {
        let Some(cause) = Cause::of(info) else { return };
        let mut text = format!("{}; error={}", self.name, cause.as_str());
        if let Some(details) = info.details.as_deref().filter(|_| self.details) {
            text.push_str("; details=\"");
            text.push_str(details);
            if self.flags {
                let flags: Vec<&str> = info.flags.iter().map(Flag::short).collect();
                text.push_str("; ");
                text.push_str(&flags.join(","));
            }
            text.push('"');
        }
        response.headers.append_joined("proxy-status", b", ", text.as_bytes());
        if let Some(status) = cause.status().filter(|_| self.recommended_code) {
            response.status = status;
        }
    }
}
