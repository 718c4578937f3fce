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
            #[inline]
            pub const fn as_str(self) -> &'static str {
                match self {
                    Known::Other => "",
                    $(Known::$variant => $name,)*
                }
            }

            /// What a field line of this name begins with: the name and `: `.
            #[inline]
            pub(crate) const fn line_start(self) -> &'static str {
                match self {
                    Known::Other => ": ",
                    $(Known::$variant => concat!($name, ": "),)*
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
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
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
const SEED: u64 = seed();
static TABLE: [Known; SLOTS] = table();
static KEYS: [Key; Known::ALL.len() + 1] = keys();

/// What a name is recognised by: below 16 bytes, this is all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    len: usize,
}

impl Key {
    #[inline(always)]
    const fn of(name: &[u8]) -> Self {
        // Many long names begin and end alike.
        if let (Some((_, rest)), Some(last)) = (name.split_first_chunk::<8>(), name.last_chunk())
            && let Some(second) = rest.first_chunk()
        {
            return Self {
                first: u64::from_le_bytes(*second),
                last: u64::from_le_bytes(*last),
                len: name.len(),
            };
        }
        let len = name.len();
        // All of a short name, with zeros behind it.
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            let last = u64::from_le_bytes(*last).unbounded_shr(8 * (16 - len) as u32);
            return Self { first: u64::from_le_bytes(*first), last, len };
        }
        let first = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (u32::from_le_bytes(*first) as u64) | (u32::from_le_bytes(*last) as u64) << (8 * (len - 4))
        } else {
            match name {
                [a] => *a as u64,
                [a, b] => (*a as u64) | (*b as u64) << 8,
                [a, b, c] => (*a as u64) | (*b as u64) << 8 | (*c as u64) << 16,
                _ => 0,
            }
        };
        Self { first, last: 0, len }
    }

    /// The key of the first `len` bytes, less than 16.
    #[inline(always)]
    fn of_short(bytes: [u8; 16], len: usize) -> Self {
        let text = u128::from_le_bytes(bytes);
        let (low, high) = (text as u64, (text >> 64) as u64);
        let keep = |n: usize| u64::MAX.unbounded_shr(64 - 8 * n as u32);
        if len <= 8 {
            Self { first: low & keep(len), last: 0, len }
        } else {
            Self { first: low, last: high & keep(len - 8), len }
        }
    }

    #[inline(always)]
    const fn slot(self, seed: u64) -> usize {
        ((self.last ^ self.first.rotate_left(23) ^ self.len as u64).wrapping_mul(seed)
            >> (u64::BITS - SLOT_BITS)) as usize
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn try_table(seed: u64) -> Option<[Known; SLOTS]> {
    let mut table = [Known::Other; SLOTS];
    let mut i = 0;
    while i < Known::ALL.len() {
        let at = Key::of(Known::ALL[i].as_str().as_bytes()).slot(seed);
        if !matches!(table[at], Known::Other) {
            return None;
        }
        table[at] = Known::ALL[i];
        i += 1;
    }
    Some(table)
}

#[allow(long_running_const_eval, reason = "some hundreds of multipliers may be tried before one fits")]
const fn seed() -> u64 {
    // Fits the names of today, so that the search is short.
    let mut seed = 0xac01_6095_3689_b715;
    while try_table(seed).is_none() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
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

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn keys() -> [Key; Known::ALL.len() + 1] {
    let mut keys = [Key { first: 0, last: 0, len: 0 }; Known::ALL.len() + 1];
    let mut i = 0;
    while i < Known::ALL.len() {
        keys[i + 1] = Key::of(Known::ALL[i].as_str().as_bytes());
        i += 1;
    }
    keys
}

impl Known {
    /// The known name that equals `lower` (lower-case bytes), or `Other`.
    #[inline(always)]
    pub fn find(lower: &[u8]) -> Known {
        let key = Key::of(lower);
        let Some(&known) = TABLE.get(key.slot(SEED)) else { return Known::Other };
        if KEYS.get(known as usize) != Some(&key) || (key.len >= 16 && known.as_str().as_bytes() != lower) {
            return Known::Other;
        }
        known
    }

    /// As [`find`](Self::find), for the name that is the first `len` bytes, less than 16.
    #[inline(always)]
    pub(crate) fn find_short(bytes: &[u8; 16], len: usize) -> Known {
        let key = Key::of_short(*bytes, len);
        match TABLE.get(key.slot(SEED)) {
            Some(&known) if KEYS.get(known as usize) == Some(&key) => known,
            _ => Known::Other,
        }
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
    #[inline(always)]
    pub fn is_pseudo(self) -> bool {
        matches!(self, Known::Method | Known::Path | Known::Authority | Known::Scheme | Known::Protocol)
    }
}
