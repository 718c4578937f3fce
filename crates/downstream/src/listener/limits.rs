//! How many connections may be open: of a listener, and of the whole process.

use super::Listener;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// The runtime key of the process's limit.
const GLOBAL: &str = "overload.global_downstream_max_connections";

/// The runtime key of a listener's limit.
pub(super) fn key(name: &str) -> Box<str> {
    format!("envoy.resource_limits.listener.{name}.connection_limit").into()
}

/// One open connection, counted on all workers for as long as this lives.
pub(super) struct Permit(Rc<Listener>);

impl Permit {
    /// Counts a connection that was accepted; `None` where a limit is reached and it has to be closed.
    #[inline]
    pub(super) fn take(listener: &Rc<Listener>) -> Option<Self> {
        let world = &listener.world;
        if !world.runtime.is_empty() && is_full(listener) {
            return None;
        }
        listener.config.open.fetch_add(1, Relaxed);
        world.lifecycle.open_connections().fetch_add(1, Relaxed);
        Some(Self(Rc::clone(listener)))
    }

    /// Whose connection it is.
    pub(super) fn listener(&self) -> &Rc<Listener> {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.config.open.fetch_sub(1, Relaxed);
        self.0.world.lifecycle.open_connections().fetch_sub(1, Relaxed);
    }
}

#[cold]
fn is_full(listener: &Listener) -> bool {
    let (config, runtime) = (&listener.config, &listener.world.runtime);
    let open = listener.world.lifecycle.open_connections().load(Relaxed);
    if !config.ignores_global_limit && open >= runtime.integer(GLOBAL, u64::MAX) {
        listener.stats.downstream_global_cx_overflow.inc();
        return true;
    }
    let full = config.open.load(Relaxed) >= runtime.integer(&config.limit_key, u64::MAX);
    if full {
        listener.stats.downstream_cx_overflow.inc();
    }
    full
}
