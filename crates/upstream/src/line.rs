//! How workers tell the main thread what happened to a cluster.

use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;

/// A line from all workers to the one task of the main thread that listens.
pub(crate) struct Line<T> {
    tell: mpsc::UnboundedSender<T>,
    told: Mutex<Option<mpsc::UnboundedReceiver<T>>>,
}

impl<T> Line<T> {
    /// A line to which nobody listens yet.
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self { tell, told: Mutex::new(Some(told)) }
    }

    /// Tells; what nobody listens to any more is lost.
    pub(crate) fn tell(&self, told: T) {
        // Without a listener nobody needs to know.
        let _ = self.tell.send(told);
    }

    /// The main thread's end; `None` from the second call on.
    pub(crate) fn listen(&self) -> Option<mpsc::UnboundedReceiver<T>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
