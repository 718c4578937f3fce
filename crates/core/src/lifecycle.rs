//! The server's state, as the admin port sets it and filters and workers read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Shared by the whole process; clones are the same state.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    health_check_failed: AtomicBool,
    open_connections: Arc<AtomicU64>,
}

impl Lifecycle {
    /// A server that is healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// A state of its own that counts its connections with this one's.
    pub fn beside(&self) -> Self {
        let open_connections = Arc::clone(&self.0.open_connections);
        Self(Arc::new(State { open_connections, ..State::default() }))
    }

    /// Marks the server failed or healthy for health checks (`/healthcheck/fail`, `/healthcheck/ok`).
    pub fn set_health_check_failed(&self, failed: bool) {
        self.0.health_check_failed.store(failed, Relaxed);
    }

    /// How many downstream connections are open, on all threads; listeners keep it.
    #[inline]
    pub fn open_connections(&self) -> &AtomicU64 {
        &self.0.open_connections
    }

    /// Whether the server is marked failed: health checks answer 503, and connections of listeners with
    /// `drain_type: DEFAULT` are closed after their response.
    #[inline]
    pub fn health_check_failed(&self) -> bool {
        self.0.health_check_failed.load(Relaxed)
    }
}
