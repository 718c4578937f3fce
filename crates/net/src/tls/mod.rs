//! TLS 1.2 and 1.3: handshakes by rustls with aws-lc-rs, records by [`TlsStream`], which holds no buffer while nothing
//! moves.

mod certificate;
mod choice;
mod client;
mod common;
mod context;
mod der;
mod error;
mod feed;
mod fingerprint;
mod handshake;
pub mod hello;
mod key_log;
mod material;
mod ocsp;
mod p521;
mod params;
mod pbe;
mod pkcs12;
mod private_key;
pub mod record;
mod secrets;
mod server;
mod session;
mod signing;
mod spiffe;
mod stats;
mod stranger;
mod stream;
mod suites;
mod tickets;
mod verify;

pub use client::{Asked, ClientContext, Offer};
pub use common::{Shown, ShownCertificate, TlsOwner};
pub use context::Context;
pub use error::{HandshakeError, RefusedPeer, TlsError};
pub use feed::{FeedEnd, SecretFeed, SecretKind, WatchedFiles};
pub use fingerprint::{ja3, ja4};
pub use handshake::{Secured, Unsecured, accept, connect};
pub use material::Source;
pub use ocsp::OcspTimes;
pub use secrets::TlsManager;
pub use server::ServerContext;
pub use stats::{Side, SslStats};
pub use stream::TlsStream;
pub use verify::PeerName;

#[cfg(test)]
mod tests;
