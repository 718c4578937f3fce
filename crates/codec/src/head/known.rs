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
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlAllowPrivateNetwork = "access-control-allow-private-network",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestPrivateNetwork = "access-control-request-private-network",
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
    Expires = "expires",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    Origin = "origin",
    Pragma = "pragma",
    ProxyConnection = "proxy-connection",
    ProxyStatus = "proxy-status",
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

/// Slots of the look-up table: a power of two, several times the number of names.
const SLOTS: usize = 1024;
/// `SLOTS` as bits of a hash.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// The multiplier that gives each name a slot of its own; found by the compiler.
const SEED: u32 = seed();
const TABLE: [Known; SLOTS] = table();

/// The slot of a name by its length and three of its bytes; `None` for an empty name.
#[inline]
const fn slot(name: &[u8], seed: u32) -> Option<usize> {
    let (_, second_half) = name.split_at(name.len() / 2);
    let (_, last_quarter) = name.split_at(name.len() * 3 / 4);
    let (Some(&a), Some(&b), Some(&c)) = (second_half.first(), last_quarter.first(), name.last()) else {
        return None;
    };
    let key = u32::from_le_bytes([b, c, a, name.len() as u8]);
    Some((key.wrapping_mul(seed) >> (u32::BITS - SLOT_BITS)) as usize)
}

#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "evaluated by the compiler: a failure is a build error"
)]
const fn try_table(seed: u32) -> Option<[Known; SLOTS]> {
    let mut table = [Known::Other; SLOTS];
    let mut i = 0;
    while i < Known::ALL.len() {
        let Some(at) = slot(Known::ALL[i].as_str().as_bytes(), seed) else { panic!("an empty name") };
        if !matches!(table[at], Known::Other) {
            return None;
        }
        table[at] = Known::ALL[i];
        i += 1;
    }
    Some(table)
}

#[allow(long_running_const_eval, reason = "some thousands of multipliers are tried before one fits")]
const fn seed() -> u32 {
    // Fits the names of today, so that the search is short.
    let mut seed = 0xb454_7c79_u32;
    while try_table(seed).is_none() {
        seed = seed.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35e);
    }
    seed
}

#[allow(clippy::panic, reason = "evaluated by the compiler: a failure is a build error")]
const fn table() -> [Known; SLOTS] {
    match try_table(SEED) {
        Some(table) => table,
        None => panic!("two names share a slot"),
    }
}

impl Known {
    /// The known name that equals `lower` (lower-case bytes), or `Other`.
    #[inline]
    pub fn find(lower: &[u8]) -> Known {
        let Some(&known) = slot(lower, SEED).and_then(|at| TABLE.get(at)) else { return Known::Other };
        if known.as_str().as_bytes() == lower { known } else { Known::Other }
    }

    /// As [`find`](Self::find), for a name in any case.
    pub fn find_any_case(name: &[u8]) -> Known {
        let mut lower = [0; 64];
        let Some(lower) = lower.get_mut(..name.len()) else { return Known::Other };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Known::find(lower)
    }

    /// Whether the name is a pseudo header.
    #[inline]
    pub fn is_pseudo(self) -> bool {
        matches!(self, Known::Method | Known::Path | Known::Authority | Known::Scheme | Known::Protocol)
    }
}
