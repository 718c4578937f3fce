//! How many connections may be open: of a listener, and of the whole process.

use super::Listener;
use nuncio_core::overload::ConnectionLimit;
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
        if let Some(limit) = monitored(listener)
            && !limit.try_take()
        {
            listener.stats.downstream_global_cx_overflow.inc();
            return None;
        }
        if let Some(overload) = listener.overload()
            && overload.refuses_connection(world.worker.rng())
        {
            listener.stats.downstream_cx_overload_reject.inc();
            if let Some(limit) = monitored(listener) {
                limit.give_back();
            }
            return None;
        }
        Some(Self::counted(listener))
    }

    /// Counts a connection that another listener hands on; limits are asked where it was accepted.
    pub(super) fn of_handed(listener: &Rc<Listener>) -> Self {
        if let Some(limit) = monitored(listener) {
            limit.take();
        }
        Self::counted(listener)
    }

    #[inline]
    fn counted(listener: &Rc<Listener>) -> Self {
        listener.config.open.fetch_add(1, Relaxed);
        listener.world.lifecycle.open_connections().fetch_add(1, Relaxed);
        Self(Rc::clone(listener))
    }

    /// Whose connection it is.
    pub(super) fn listener(&self) -> &Rc<Listener> {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limit) = monitored(&self.0) {
            limit.give_back();
        }
        self.0.config.open.fetch_sub(1, Relaxed);
        self.0.world.lifecycle.open_connections().fetch_sub(1, Relaxed);
    }
}

/// The limit of the overload manager, where there is one that counts this listener's connections.
#[inline]
fn monitored(listener: &Listener) -> Option<&ConnectionLimit> {
    listener.world.lifecycle.connection_limit().filter(|_| !listener.config.ignores_global_limit)
}

#[cold]
fn is_full(listener: &Listener) -> bool {
    let (config, runtime) = (&listener.config, &listener.world.runtime);
    let open = listener.world.lifecycle.open_connections().load(Relaxed);
    // The overload manager's limit stands in the place of the key.
    let by_key = !config.ignores_global_limit && listener.world.lifecycle.connection_limit().is_none();
    if by_key && open >= runtime.integer(GLOBAL, u64::MAX) {
        listener.stats.downstream_global_cx_overflow.inc();
        return true;
    }
    let full = config.open.load(Relaxed) >= runtime.integer(&config.limit_key, u64::MAX);
    if full {
        listener.stats.downstream_cx_overflow.inc();
    }
    full
}
