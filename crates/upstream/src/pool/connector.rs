//! How pools get connections.

use nuncio_core::address::Address;
use nuncio_net::stream::{ByteStream, ConnectError, ConnectOptions, connect};
use std::future::Future;
use std::pin::Pin;

/// A connection to come.
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, ConnectError>> + 'a>>;

/// Opens connections; tests put their own in its place.
pub trait Connector {
    /// Connects to a host. The pool keeps the time.
    fn connect<'a>(&'a self, peer: &'a Address, options: &'a ConnectOptions) -> ConnectFuture<'a>;
}

/// Opens sockets.
pub struct SocketConnector;

impl Connector for SocketConnector {
    fn connect<'a>(&'a self, peer: &'a Address, options: &'a ConnectOptions) -> ConnectFuture<'a> {
        Box::pin(connect(peer, options))
    }
}
