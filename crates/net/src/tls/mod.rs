//! TLS 1.2 and 1.3: handshakes by rustls with aws-lc-rs, records by [`TlsStream`], which holds no buffer while nothing
//! moves.

mod certificate;
mod context;
mod der;
mod error;
mod handshake;
pub mod hello;
mod material;
mod params;
mod record;
mod session;
mod stats;
mod stream;
mod verify;

pub use context::{ClientContext, ServerContext};
pub use error::{HandshakeError, RefusedPeer, TlsError};
pub use handshake::{Secured, accept, connect};
pub use material::Source;
pub use stats::SslStats;
pub use stream::TlsStream;

#[cfg(test)]
mod tests;
