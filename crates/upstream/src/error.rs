//! Why there was no stream, and why a stream ended early: whose fault, which flag, is another try safe.

use nuncio_core::stream_info::ResponseFlag;
use nuncio_core::why::Tongue;

/// Why a stream was reset, in Envoy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Our side could not connect.
    LocalConnectionFailure,
    /// The peer or the network refused the connection.
    RemoteConnectionFailure,
    /// The connection was not there within `connect_timeout`.
    ConnectionTimeout,
    /// The connection ended under the stream.
    ConnectionTermination,
    /// This side reset the stream.
    LocalReset,
    /// This side refused the stream.
    LocalRefusedStreamReset,
    /// A circuit breaker is open.
    Overflow,
    /// The peer reset the stream.
    RemoteReset,
    /// The peer refused the stream and has not looked at it.
    RemoteRefusedStreamReset,
    /// The peer answered CONNECT with an error.
    ConnectError,
    /// The peer's bytes are not HTTP.
    ProtocolError,
    /// The overload manager reset the stream.
    OverloadManager,
    /// The peer of an HTTP/1 upgrade closed its half first.
    Http1PrematureUpstreamHalfClose,
}

impl ResetReason {
    /// Envoy's text, as in the body after `reset reason: ` and (blanks replaced) in the details.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalConnectionFailure => "local connection failure",
            Self::RemoteConnectionFailure => "remote connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::LocalReset => "local reset",
            Self::LocalRefusedStreamReset => "local refused stream reset",
            Self::Overflow => "overflow",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStreamReset => "remote refused stream reset",
            Self::ConnectError => "remote error with CONNECT request",
            Self::ProtocolError => "protocol error",
            Self::OverloadManager => "overload manager reset",
            Self::Http1PrematureUpstreamHalfClose => "HTTP/1 premature upstream half close",
        }
    }

    /// The response flag that goes with it.
    pub fn flag(self) -> ResponseFlag {
        match self {
            Self::LocalConnectionFailure | Self::RemoteConnectionFailure | Self::ConnectionTimeout => {
                ResponseFlag::UpstreamConnectionFailure
            }
            Self::ConnectionTermination => ResponseFlag::UpstreamConnectionTermination,
            Self::LocalReset | Self::LocalRefusedStreamReset | Self::Http1PrematureUpstreamHalfClose => {
                ResponseFlag::LocalReset
            }
            Self::Overflow => ResponseFlag::UpstreamOverflow,
            Self::RemoteReset | Self::RemoteRefusedStreamReset | Self::ConnectError => {
                ResponseFlag::UpstreamRemoteReset
            }
            Self::ProtocolError => ResponseFlag::UpstreamProtocolError,
            Self::OverloadManager => ResponseFlag::OverloadManagerTerminated,
        }
    }
}

/// Why the pool gave no stream. Nothing of the request was sent: another try is safe, if the policy wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// `max_pending_requests` is reached; no host is told of in logs then, as in Envoy.
    #[error("overflow")]
    PendingOverflow,
    /// `max_requests` is reached.
    #[error("overflow")]
    Overflow,
    /// `max_connection_pools` is reached: answered as if there were no healthy host, as in Envoy.
    #[error("no connection pool")]
    PoolOverflow,
    /// This side could not connect (no descriptor, the source address cannot be bound).
    #[error("local connection failure: {0}")]
    Local(Box<str>),
    /// The host refused, in Envoy's words: `delayed connect error: Connection refused`.
    #[error("remote connection failure: {0}")]
    Remote(Box<str>),
    /// No connection within `connect_timeout`.
    #[error("connection timeout")]
    Timeout,
}

impl PoolError {
    /// The reset reason it shows as.
    pub fn reason(&self) -> ResetReason {
        match self {
            Self::PendingOverflow | Self::Overflow | Self::PoolOverflow => ResetReason::Overflow,
            Self::Local(_) => ResetReason::LocalConnectionFailure,
            Self::Remote(_) => ResetReason::RemoteConnectionFailure,
            Self::Timeout => ResetReason::ConnectionTimeout,
        }
    }

    /// The response flag it sets.
    pub fn flag(&self) -> ResponseFlag {
        match self {
            Self::PoolOverflow => ResponseFlag::NoHealthyUpstream,
            _ => self.reason().flag(),
        }
    }

    /// Whether logs name the host that was picked.
    pub fn names_host(&self) -> bool {
        !matches!(self, Self::PendingOverflow | Self::PoolOverflow)
    }

    /// The field of the circuit breakers' thresholds that refused, if one did.
    pub fn breaker(&self) -> Option<&'static str> {
        match self {
            Self::PendingOverflow => Some("max_pending_requests"),
            Self::Overflow => Some("max_requests"),
            Self::PoolOverflow => Some("max_connection_pools"),
            Self::Local(_) | Self::Remote(_) | Self::Timeout => None,
        }
    }

    /// What the transport said (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`).
    pub fn transport_failure(&self) -> Option<&str> {
        match self {
            Self::Local(text) | Self::Remote(text) => Some(&**text).filter(|text| !text.is_empty()),
            Self::PendingOverflow | Self::Overflow | Self::PoolOverflow | Self::Timeout => None,
        }
    }
}

/// What was odd about the peer of a stream that failed, for explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// It speaks something else than it was spoken to in.
    Speaks(Tongue),
    /// It closed before it said anything in the protocol that it was spoken to in.
    Silent,
    /// It had not announced extended CONNECT (RFC 8441), which it was asked for.
    WithoutConnect,
}

/// Why a stream ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason.as_str())]
pub struct StreamError {
    /// Why.
    pub reason: ResetReason,
    /// The codec's details where the peer's bytes were wrong (`http1.codec_error`).
    pub codec_details: Option<&'static str>,
    /// Whether any byte of the request went out. If not, another try is safe whatever the method.
    pub request_sent: bool,
    /// Whether any byte of the response came in.
    pub response_begun: bool,
    /// The connection had served requests before, and ended before it answered this one: most likely the
    /// upstream closed it while it was idle.
    pub stale_reuse: bool,
    /// What was odd about the peer.
    pub oddity: Option<Oddity>,
}

impl StreamError {
    /// The response flag it sets.
    pub fn flag(&self) -> ResponseFlag {
        self.reason.flag()
    }
}
