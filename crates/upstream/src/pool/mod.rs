//! Connection pools: per host, priority and protocol, on one worker.

mod connect;
mod connection;
mod connector;
mod cut;
mod exchange;
mod http1;
mod http2;
mod internal;
mod pending;
mod queue;
mod reaper;
pub(crate) mod tcp;
mod waiting;

pub use crate::error::{Oddity, PoolError, ResetReason, StreamError};
pub use connector::{ConnectFuture, Connector, SocketConnector};
pub(crate) use cut::Cut;
pub use exchange::{Exchange, UpstreamEvent};
pub(crate) use http2::Http2Pool;
pub use http2::extended_connect;
pub use internal::{InternalListener, InternalListeners, Passed};
pub use pending::PendingStream;
pub(crate) use queue::HttpPool;
pub use reaper::Reaper;
pub use tcp::TcpConnection;
pub(crate) use waiting::Load;

/// What a pool answers to a request for a stream.
// An exchange is moved once, into the caller's own state; boxing it would allocate per request.
#[allow(clippy::large_enum_variant, reason = "see above")]
pub enum Checkout {
    /// A connection is at hand.
    Ready(Exchange),
    /// One will be.
    Wait(PendingStream),
}

#[cfg(test)]
mod tests;
