//! Connections to listeners of the same process (`envoy.bootstrap.internal_listener`): two ends in one worker's memory.

use nuncio_core::address::{Address, InternalAddress};
use nuncio_core::stream_info::{Metadata, SharedObjects};
use nuncio_net::stream::{ByteStream, ConnectError, MemoryStream, pair};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What goes with a connection beside its bytes (`envoy.transport_sockets.internal_upstream`).
#[derive(Default)]
pub struct Passed {
    /// Metadata of the host and its cluster.
    pub metadata: Metadata,
    /// Filter state of the stream that the connection was opened for.
    pub objects: SharedObjects,
}

/// A listener without a socket.
pub trait InternalListener {
    /// Takes a connection.
    fn accept(&self, stream: MemoryStream, passed: Passed);
}

/// The internal listeners of one worker, by name. The main thread has none: nothing of its own, health checks for
/// example, reaches them, as in Envoy.
#[derive(Default)]
pub struct InternalListeners {
    by_name: RefCell<HashMap<Box<str>, Rc<dyn InternalListener>>>,
    /// Bytes on their way in one direction at most.
    room: usize,
}

impl InternalListeners {
    /// None yet; each direction of a connection holds so many bytes (`buffer_size_kb`), then its writer waits.
    pub fn new(room: usize) -> Rc<Self> {
        Rc::new(Self { by_name: RefCell::default(), room })
    }

    /// A listener takes connections from now on.
    pub fn enter(&self, name: &str, listener: Rc<dyn InternalListener>) {
        self.by_name.borrow_mut().insert(name.into(), listener);
    }

    /// It takes none any more.
    pub fn leave(&self, name: &str) {
        let gone = self.by_name.borrow_mut().remove(name);
        drop(gone);
    }

    /// A connection to the listener that an address names.
    ///
    /// # Errors
    /// The worker has no such listener.
    pub(super) fn connect(
        &self,
        to: &Arc<InternalAddress>,
        passed: Passed,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        let listener =
            self.by_name.borrow().get(&to.listener).cloned().ok_or_else(ConnectError::no_listener)?;
        let client = InternalAddress { listener: InternalAddress::CLIENT.into(), endpoint: "".into() };
        let here = Address::Internal(Arc::new(client));
        let (ours, theirs) = pair(self.room, here, Address::Internal(Arc::clone(to)));
        listener.accept(theirs, passed);
        Ok(Box::new(ours))
    }
}

#[cfg(test)]
mod tests;
