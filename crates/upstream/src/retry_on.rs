//! When a request is tried again: the conditions of `retry_on`, for the router and for requests of the proxy's own.

use crate::error::ResetReason;
use nuncio_codec::head::{Known, ResponseHead};

/// When another try is made: a set of Envoy's conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

impl RetryOn {
    /// `5xx`
    pub const SERVER_ERROR: Self = Self(1);
    /// `gateway-error`
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// `reset`
    pub const RESET: Self = Self(1 << 2);
    /// `reset-before-request`
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// `connect-failure`
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// `envoy-ratelimited`
    pub const ENVOY_RATELIMITED: Self = Self(1 << 5);
    /// `retriable-4xx`
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    /// `refused-stream`
    pub const REFUSED_STREAM: Self = Self(1 << 7);
    /// `retriable-status-codes`
    pub const STATUS_CODES: Self = Self(1 << 8);
    /// `retriable-headers`
    pub const HEADERS: Self = Self(1 << 9);
    /// Concerns HTTP/3 alone.
    const HTTP3_POST_CONNECT_FAILURE: Self = Self(1 << 10);
    /// The gRPC conditions begin here: the bit of a status is its number further up.
    const GRPC_SHIFT: u32 = 12;

    /// Names in `retry_on` and `x-envoy-retry-on`.
    const NAMES: [(&'static str, Self); 11] = [
        ("5xx", Self::SERVER_ERROR),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("reset", Self::RESET),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("envoy-ratelimited", Self::ENVOY_RATELIMITED),
        ("retriable-4xx", Self::RETRIABLE_4XX),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-status-codes", Self::STATUS_CODES),
        ("retriable-headers", Self::HEADERS),
        ("http3-post-connect-failure", Self::HTTP3_POST_CONNECT_FAILURE),
    ];

    /// Names in `retry_on` and `x-envoy-retry-grpc-on`, with their gRPC status.
    const GRPC_NAMES: [(&'static str, u32); 5] = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ];

    /// Its conditions by their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let own = Self::NAMES.into_iter().filter(move |(_, on)| self.any(*on)).map(|(name, _)| name);
        let grpc = Self::GRPC_NAMES.into_iter().filter(move |(_, status)| self.any(Self::of_grpc(*status)));
        own.chain(grpc.map(|(name, _)| name))
    }

    /// Whether a value of `x-envoy-retry-on` names nothing but conditions.
    pub fn names_conditions(value: &[u8]) -> bool {
        Self::only(value, |name| Self::NAMES.iter().any(|(n, _)| n.as_bytes() == name))
    }

    /// Whether a value of `x-envoy-retry-grpc-on` names nothing but conditions.
    pub fn names_grpc_conditions(value: &[u8]) -> bool {
        Self::only(value, |name| Self::GRPC_NAMES.iter().any(|(n, _)| n.as_bytes() == name))
    }

    fn only(value: &[u8], known: impl Fn(&[u8]) -> bool) -> bool {
        value.split(|b| *b == b',').map(<[u8]>::trim_ascii).all(known)
    }

    /// Whether any condition of `other` is in it.
    #[inline]
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The conditions of both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is tried again.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The condition of a gRPC status; none for one that is never a reason to try again.
    pub fn of_grpc(status: u32) -> Self {
        if Self::GRPC_NAMES.iter().any(|(_, s)| *s == status) {
            Self(1 << (Self::GRPC_SHIFT + status))
        } else {
            Self::default()
        }
    }

    /// The conditions that a list with commas names; unknown names mean nothing, as in Envoy.
    pub fn parse(list: &str) -> Self {
        let of = |name: &str| Self::NAMES.iter().find(|(n, _)| *n == name).map_or(Self(0), |(_, on)| *on);
        list.split(',').fold(Self(0), |all, name| all.with(of(name.trim())))
    }

    /// As [`parse`](Self::parse), of the names of gRPC statuses.
    pub fn parse_grpc(list: &str) -> Self {
        let of = |name: &str| {
            let found = Self::GRPC_NAMES.iter().find(|(n, _)| *n == name);
            found.map_or(Self(0), |(_, status)| Self::of_grpc(*status))
        };
        list.split(',').fold(Self(0), |all, name| all.with(of(name.trim())))
    }

    /// Both lists in one, as a policy's `retry_on` is.
    pub fn parse_all(list: &str) -> Self {
        Self::parse(list).with(Self::parse_grpc(list))
    }

    /// Whether this response's head is a reason to try again. `named`: status and headers are among those that a policy
    /// names for `retriable-status-codes` and `retriable-headers`.
    #[inline]
    pub fn wants_response(self, head: &ResponseHead, named: impl FnOnce(&ResponseHead) -> bool) -> bool {
        let headers = &head.headers;
        if headers.contains(Known::XEnvoyRatelimited) {
            // It comes from another Envoy; only this condition overrides it.
            return self.any(Self::ENVOY_RATELIMITED);
        }
        self.any(Self::SERVER_ERROR) && (500..600).contains(&head.status)
            || self.any(Self::GATEWAY_ERROR) && (502..=504).contains(&head.status)
            || self.any(Self::RETRIABLE_4XX) && head.status == 409
            || named(head)
            || headers
                .get_str(Known::GrpcStatus)
                .and_then(|status| status.trim().parse().ok())
                .is_some_and(|status: u32| status < 17 && self.any(Self::of_grpc(status)))
    }

    /// Whether an attempt that ended without a response is a reason to try again. `sent`: the request was
    /// begun on a connection.
    pub fn wants_reset(self, reason: ResetReason, sent: bool) -> bool {
        let not_connected = matches!(
            reason,
            ResetReason::LocalConnectionFailure
                | ResetReason::RemoteConnectionFailure
                | ResetReason::ConnectionTimeout
        );
        reason != ResetReason::Overflow
            && (self.any(Self::RESET.with(Self::SERVER_ERROR).with(Self::GATEWAY_ERROR))
                || self.any(Self::RESET_BEFORE_REQUEST) && !sent
                || self.any(Self::REFUSED_STREAM) && reason == ResetReason::RemoteRefusedStreamReset
                || self.any(Self::CONNECT_FAILURE) && not_connected)
    }
}
