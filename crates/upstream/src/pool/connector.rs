//! How pools get connections.

use super::internal::{InternalListeners, Passed};
use nuncio_core::address::{Address, InternalAddress};
use nuncio_net::stream::{ByteStream, ConnectError, ConnectOptions, connect};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// A connection to come.
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, ConnectError>> + 'a>>;

/// Opens connections; tests put their own in its place.
pub trait Connector {
    /// Connects to a host. The pool keeps the time.
    fn connect<'a>(&'a self, peer: &'a Address, options: &'a ConnectOptions) -> ConnectFuture<'a>;

    /// Connects to a listener of this process.
    ///
    /// # Errors
    /// There is none of that name.
    fn connect_internal(
        &self,
        _to: &Arc<InternalAddress>,
        _passed: Passed,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        Err(ConnectError::no_listener())
    }
}

/// Opens sockets, and connects to internal listeners.
#[derive(Default)]
pub struct SocketConnector(Rc<InternalListeners>);

impl SocketConnector {
    /// For the worker that has these listeners.
    pub fn with(internal: &Rc<InternalListeners>) -> Rc<Self> {
        Rc::new(Self(Rc::clone(internal)))
    }
}

impl Connector for SocketConnector {
    fn connect<'a>(&'a self, peer: &'a Address, options: &'a ConnectOptions) -> ConnectFuture<'a> {
        Box::pin(connect(peer, options))
    }

    fn connect_internal(
        &self,
        to: &Arc<InternalAddress>,
        passed: Passed,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        self.0.connect(to, passed)
    }
}
