//! The header names that the proxy itself reads or writes, as an enum.

/// Declares [`Known`] from one list, so that the enum, its names and the look-up cannot disagree.
macro_rules! known_headers {
    ($($variant:ident = $name:literal,)*) => {
        /// A header name that the proxy knows; everything else is [`Known::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Known {
            /// Any name that is not in this list.
            Other,
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Known {
            /// Every known name, without `Other`.
            pub const ALL: &'static [Known] = &[$(Known::$variant,)*];

            /// The lower-case name; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Known::Other => "",
                    $(Known::$variant => $name,)*
                }
            }
        }
    };
}

known_headers! {
    Method = ":method",
    Path = ":path",
    Authority = ":authority",
    Scheme = ":scheme",
    Protocol = ":protocol",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AccessControlRequestMethod = "access-control-request-method",
    Age = "age",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Etag = "etag",
    Expect = "expect",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    Origin = "origin",
    ProxyConnection = "proxy-connection",
    Referer = "referer",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    EarlyData = "early-data",
    XB3Traceid = "x-b3-traceid",
    XClientTraceId = "x-client-trace-id",
    XForwardedClientCert = "x-forwarded-client-cert",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyDecoratorOperation = "x-envoy-decorator-operation",
    XEnvoyDegraded = "x-envoy-degraded",
    XEnvoyDownstreamServiceCluster = "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode = "x-envoy-downstream-service-node",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyExternalAddress = "x-envoy-external-address",
    XEnvoyForceTrace = "x-envoy-force-trace",
    XEnvoyHedgeOnPerTryTimeout = "x-envoy-hedge-on-per-try-timeout",
    XEnvoyImmediateHealthCheckFail = "x-envoy-immediate-health-check-fail",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyIpTags = "x-envoy-ip-tags",
    XEnvoyIsTimeoutRetry = "x-envoy-is-timeout-retry",
    XEnvoyLocalOverloaded = "x-envoy-local-overloaded",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyOriginalDstHost = "x-envoy-original-dst-host",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyOriginalMethod = "x-envoy-original-method",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalUrl = "x-envoy-original-url",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyRatelimited = "x-envoy-ratelimited",
    XEnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyUpstreamAltStatName = "x-envoy-upstream-alt-stat-name",
    XEnvoyUpstreamCanary = "x-envoy-upstream-canary",
    XEnvoyUpstreamHealthcheckedCluster = "x-envoy-upstream-healthchecked-cluster",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XEnvoyUpstreamStreamDurationMs = "x-envoy-upstream-stream-duration-ms",
    XRequestId = "x-request-id",
}

/// A name is looked for only among the names of its own length: `STARTS[len]..STARTS[len + 1]` in `BY_LENGTH`.
const MAX_LEN: usize = longest();
const BY_LENGTH: [Known; Known::ALL.len()] = by_length();
const STARTS: [u8; MAX_LEN + 2] = starts();

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn longest() -> usize {
    let mut max = 0;
    let mut i = 0;
    while i < Known::ALL.len() {
        let len = Known::ALL[i].as_str().len();
        if len > max {
            max = len;
        }
        i += 1;
    }
    max
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn by_length() -> [Known; Known::ALL.len()] {
    let mut out = [Known::Other; Known::ALL.len()];
    let mut at = 0;
    let mut len = 0;
    while len <= MAX_LEN {
        let mut i = 0;
        while i < Known::ALL.len() {
            if Known::ALL[i].as_str().len() == len {
                out[at] = Known::ALL[i];
                at += 1;
            }
            i += 1;
        }
        len += 1;
    }
    out
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn starts() -> [u8; MAX_LEN + 2] {
    let mut out = [0; MAX_LEN + 2];
    let mut len = 0;
    let mut at = 0;
    while len <= MAX_LEN {
        out[len] = at as u8;
        while (at as usize) < BY_LENGTH.len() && BY_LENGTH[at as usize].as_str().len() == len {
            at += 1;
        }
        len += 1;
    }
    out[MAX_LEN + 1] = at as u8;
    out
}

impl Known {
    /// The known name that equals `lower` (lower-case bytes), or `Other`.
    #[inline]
    pub fn find(lower: &[u8]) -> Known {
        let (Some(&from), Some(&to)) = (STARTS.get(lower.len()), STARTS.get(lower.len() + 1)) else {
            return Known::Other;
        };
        let same_length = BY_LENGTH.get(usize::from(from)..usize::from(to)).unwrap_or_default();
        for &known in same_length {
            if known.as_str().as_bytes() == lower {
                return known;
            }
        }
        Known::Other
    }

    /// Whether the name is a pseudo header.
    #[inline]
    pub fn is_pseudo(self) -> bool {
        matches!(self, Known::Method | Known::Path | Known::Authority | Known::Scheme | Known::Protocol)
    }
}
