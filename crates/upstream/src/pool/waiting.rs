//! What pools of every protocol have in common: requests that wait, and connections on their way for them.

use super::PoolError;
use super::pending::{Pending, PendingStream};
use crate::circuit::Resource;
use crate::cluster::{Permit, RequestPriority};
use crate::host::Host;
use nuncio_codec::head::Version;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Connections that are opened at most because of one stream.
const OPENED_AT_ONCE: usize = 3;

/// Requests of one priority that wait for a connection to one host.
pub(super) struct Waiting {
    pub(super) priority: RequestPriority,
    queue: RefCell<VecDeque<Rc<Pending>>>,
    connecting: Cell<usize>,
    /// Leave for the pool to be there (`max_connection_pools`), from its first stream to its last connection.
    permit: RefCell<Option<Permit>>,
}

/// Streams of a pool, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Streams that wait.
    pub(crate) pending: usize,
    /// Streams on connections.
    pub(crate) active: usize,
    /// Streams that connections have room for: those that are there and those on their way.
    pub(crate) room: usize,
}

impl Load {
    /// Whether there is less room than `ratio` streams for each that waits, is active, or is about to come.
    pub(crate) fn lacks_room(self, ratio: f64, coming: usize) -> bool {
        (self.pending + self.active + coming) as f64 * ratio > (self.room + self.active) as f64
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.pending += other.pending;
        self.active += other.active;
        self.room = self.room.saturating_add(other.room);
    }
}

impl Waiting {
    pub(super) fn new(priority: RequestPriority) -> Self {
        let (queue, connecting, permit) = (RefCell::default(), Cell::default(), RefCell::default());
        Self { priority, queue, connecting, permit }
    }

    /// Whether nobody waits, and nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_awaited() && self.connecting.get() == 0
    }

    /// Whether a request waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Connections on their way.
    pub(super) fn connecting(&self) -> usize {
        self.connecting.get()
    }

    /// Takes the first request that waits.
    pub(super) fn next(&self) -> Option<Rc<Pending>> {
        self.queue.borrow_mut().pop_front()
    }

    /// Has the pool count among the cluster's, if it does not yet. Where there may be no further one, another pool of
    /// the host goes that nobody uses.
    ///
    /// # Errors
    /// `max_connection_pools` refuses, which is counted.
    pub(super) fn claim(&self, host: &Host) -> Result<(), PoolError> {
        if self.counts() {
            return Ok(());
        }
        let core = host.core();
        let take = || core.try_take(self.priority, Resource::Pools);
        let Some(permit) = take().or_else(|| host.free_a_pool(self.priority).then(take).flatten()) else {
            core.stats.upstream_cx_pool_overflow.inc();
            return Err(PoolError::PoolOverflow);
        };
        core.shared.has_pool();
        *self.permit.borrow_mut() = Some(permit);
        Ok(())
    }

    /// Whether the pool counts among the cluster's.
    pub(super) fn counts(&self) -> bool {
        self.permit.borrow().is_some()
    }

    /// The pool holds nothing any more, and counts no longer.
    pub(super) fn release(&self) {
        self.permit.take();
    }

    /// A place in the queue.
    ///
    /// # Errors
    /// `max_connection_pools` or `max_pending_requests` refuses, which is counted.
    pub(super) fn enqueue(&self, host: &Rc<Host>, speaks: Version) -> Result<PendingStream, PoolError> {
        self.claim(host)?;
        let core = host.core();
        let Some(permit) = core.try_take(self.priority, Resource::Pending) else {
            core.stats.upstream_rq_pending_overflow.inc();
            return Err(PoolError::PendingOverflow);
        };
        let pending = Pending::new(host, permit);
        self.queue.borrow_mut().push_back(Rc::clone(&pending));
        Ok(PendingStream::new(pending, Rc::clone(host), self.priority, speaks))
    }

    /// A request no longer waits.
    pub(super) fn forget(&self, host: &Host, pending: &Rc<Pending>) {
        self.queue.borrow_mut().retain(|p| !Rc::ptr_eq(p, pending));
        host.core().stats.upstream_rq_cancelled.inc();
    }

    /// A connection failed: all who wait are told, as Envoy does, so that they may try another host.
    pub(super) fn fail_all(&self, host: &Host, error: &PoolError) {
        let waiting = std::mem::take(&mut *self.queue.borrow_mut());
        for pending in waiting {
            host.core().stats.upstream_rq_pending_failure_eject.inc();
            pending.resolve(Err(error.clone()));
        }
    }

    /// Opens connections by `open` while the pool's `load` lacks room. Where `max_connections` refuses, one is opened all
    /// the same if the pool has `none` at all, so that nobody waits for ever.
    pub(super) fn open_as_needed(
        &self,
        host: &Rc<Host>,
        load: impl Fn() -> Load,
        none: impl Fn() -> bool,
        open: impl Fn(Permit),
    ) {
        let eager = host.config().preconnect().per_upstream;
        for _ in 0..OPENED_AT_ONCE {
            let load = load();
            let needed = load.pending > load.room;
            let ahead = || {
                eager > 1.0 && host.config().preconnect().concerns(host.shared()) && load.lacks_room(eager, 0)
            };
            if !needed && !ahead() {
                return;
            }
            match self.leave(host, &none) {
                Leave::Within(permit) => open(permit),
                Leave::Beyond(permit) => return open(permit),
                Leave::Refused => return,
            }
        }
    }

    /// Asks whether a connection may be opened; that the limit is reached is counted.
    fn leave(&self, host: &Rc<Host>, none: impl Fn() -> bool) -> Leave {
        let core = host.core();
        let free = host.has_room(self.priority);
        if let Some(permit) = free.then(|| core.try_take(self.priority, Resource::Connections)).flatten() {
            return Leave::Within(permit);
        }
        core.stats.upstream_cx_overflow.inc();
        if self.connecting.get() == 0 && none() {
            return Leave::Beyond(core.take_anyway(self.priority, Resource::Connections));
        }
        Leave::Refused
    }

    /// Opens a connection by `open` for a stream that is likely to come next, if the pool has no room for it.
    pub(super) fn preconnect(
        &self,
        host: &Rc<Host>,
        load: Load,
        none: impl Fn() -> bool,
        open: impl Fn(Permit),
    ) -> bool {
        let preconnect = host.config().preconnect();
        let wanted = preconnect.concerns(host.shared()) && load.lacks_room(preconnect.predictive, 1);
        if !wanted || self.claim(host).is_err() {
            return false;
        }
        match self.leave(host, none) {
            Leave::Within(permit) | Leave::Beyond(permit) => {
                open(permit);
                true
            }
            Leave::Refused => false,
        }
    }
}

/// What `max_connections` says to another connection.
enum Leave {
    Within(Permit),
    /// It is one too many, but the pool has none.
    Beyond(Permit),
    Refused,
}

/// A connection on its way, until it is dropped.
pub(super) struct Connecting {
    host: Rc<Host>,
    priority: RequestPriority,
    http2: bool,
}

impl Connecting {
    pub(super) fn begin(host: &Rc<Host>, priority: RequestPriority, http2: bool) -> Self {
        let connecting = Self { host: Rc::clone(host), priority, http2 };
        connecting.count(|n| n + 1);
        connecting
    }

    fn count(&self, change: impl Fn(usize) -> usize) {
        let waiting = match self.http2 {
            true => self.host.existing_http2_pool(self.priority).map(|pool| &pool.waiting),
            false => self.host.existing_pool(self.priority).map(|pool| &pool.waiting),
        };
        if let Some(waiting) = waiting {
            waiting.connecting.set(change(waiting.connecting.get()));
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.count(|n| n.saturating_sub(1));
    }
}
