//! The server's state, as the admin port sets it and filters and workers read it.

use crate::overload::{ConnectionLimit, Overload};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Shared by the whole process; clones are the same state.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    health_check_failed: AtomicBool,
    open_connections: Arc<AtomicU64>,
    overload: Option<Arc<Overload>>,
}

impl Lifecycle {
    /// A server that is healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), under an overload manager where there is one.
    pub fn under(overload: Option<Arc<Overload>>) -> Self {
        Self(Arc::new(State { overload, ..State::default() }))
    }

    /// What the overload manager asks for, where there is one.
    #[inline]
    pub fn overload(&self) -> Option<&Arc<Overload>> {
        self.0.overload.as_ref()
    }

    /// The limit of downstream connections, where there is one.
    #[inline]
    pub fn connection_limit(&self) -> Option<&ConnectionLimit> {
        self.0.overload.as_ref()?.connection_limit.as_ref()
    }

    /// A state of its own, under no overload manager, that counts its connections with this one's.
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
