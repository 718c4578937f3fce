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
    connection_limit: Option<ConnectionLimit>,
}

/// A number of connections that may be open at once, exact on all threads (the overload manager's
/// `global_downstream_max_connections`).
#[derive(Debug)]
pub struct ConnectionLimit {
    most: u64,
    open: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionLimit {
    /// Counts a connection; false, and counted as refused, where there are as many as may be.
    pub fn try_take(&self) -> bool {
        let below = |open: u64| (open < self.most).then_some(open + 1);
        let taken = self.open.fetch_update(Relaxed, Relaxed, below).is_ok();
        if !taken {
            self.refused.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Counts a connection that is let in whatever the limit.
    pub fn take(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// A connection that was counted has ended.
    pub fn give_back(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// How many were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Lifecycle {
    /// A server that is healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), with so many downstream connections at most.
    pub fn with_connection_limit(most: Option<u64>) -> Self {
        let limit = |most| ConnectionLimit { most, open: AtomicU64::new(0), refused: AtomicU64::new(0) };
        Self(Arc::new(State { connection_limit: most.map(limit), ..State::default() }))
    }

    /// The limit of downstream connections, where there is one.
    #[inline]
    pub fn connection_limit(&self) -> Option<&ConnectionLimit> {
        self.0.connection_limit.as_ref()
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
