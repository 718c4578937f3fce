//! Closes idle connections: at once when the peer closes them, and when they have been idle for too long.

use super::queue::HttpPool;
use crate::cluster::RequestPriority;
use crate::host::Host;
use nuncio_net::mailbox::{Mailbox, NumberedWaker};
use nuncio_net::timer::LazyTimer;
use nuncio_net::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Names a pool without keeping it alive.
pub(super) struct PoolKey {
    host: Weak<Host>,
    priority: RequestPriority,
}

impl PoolKey {
    pub(super) fn new(host: &Rc<Host>, priority: RequestPriority) -> Self {
        Self { host: Rc::downgrade(host), priority }
    }

    /// Calls `f` with the pool, if it is still there.
    fn with<R>(&self, f: impl FnOnce(&Host, &HttpPool) -> R) -> Option<R> {
        let host = self.host.upgrade()?;
        host.existing_pool(self.priority).map(|pool| f(&host, pool))
    }
}

/// A pool's registration with the reaper.
pub(super) struct PoolWatch {
    slot: usize,
    waker: NumberedWaker,
    reaper: Rc<Reaper>,
}

impl PoolWatch {
    /// The waker to watch idle connections with.
    #[inline]
    pub(super) fn waker(&self) -> &Waker {
        self.waker.waker()
    }

    /// Whether something happened to an idle connection since the last call.
    #[inline]
    pub(super) fn take_woken(&self) -> bool {
        self.waker.take_woken()
    }
}

impl Drop for PoolWatch {
    fn drop(&mut self) {
        self.reaper.pools.borrow_mut().release(self.slot);
    }
}

#[derive(Default)]
struct Slots {
    slots: Vec<Option<Rc<PoolKey>>>,
    free: Vec<usize>,
}

impl Slots {
    fn claim(&mut self, key: PoolKey) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Rc::new(key));
        }
        slot
    }

    fn release(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = None;
            self.free.push(slot);
        }
    }
}

/// One per worker: a task with one timer for all pools.
pub struct Reaper {
    pools: RefCell<Slots>,
    mailbox: Arc<Mailbox>,
    /// The earliest deadline that the task knows of.
    next: Cell<Option<Instant>>,
}

impl Reaper {
    /// Spawns the task on the worker's runtime; it ends when nobody holds the reaper.
    pub(crate) fn start(worker: &Rc<Worker>) -> Rc<Self> {
        let reaper =
            Rc::new(Self { pools: RefCell::default(), mailbox: Mailbox::new(), next: Cell::default() });
        let (weak, clock) = (Rc::downgrade(&reaper), worker.clock().clone());
        let mut timer = LazyTimer::new();
        worker.spawn(poll_fn(move |cx| match weak.upgrade() {
            Some(reaper) => reaper.turn(cx, &mut timer, clock.now()),
            None => Poll::Ready(()),
        }));
        reaper
    }

    pub(super) fn watch(self: &Rc<Self>, key: PoolKey) -> PoolWatch {
        let slot = self.pools.borrow_mut().claim(key);
        PoolWatch { slot, waker: self.mailbox.waker(slot), reaper: Rc::clone(self) }
    }

    /// Sees to it that pools are looked through at `deadline` or before.
    #[inline]
    pub(super) fn arm(&self, deadline: Instant) {
        if self.next.get().is_none_or(|next| deadline < next) {
            self.next.set(Some(deadline));
            self.mailbox.wake_task();
        }
    }

    fn turn(&self, cx: &Context<'_>, timer: &mut LazyTimer, now: Instant) -> Poll<()> {
        self.mailbox.register(cx.waker());
        let mut woken = Vec::new();
        self.mailbox.take(&mut woken);
        for slot in woken {
            let key = self.pools.borrow().slots.get(slot).cloned().flatten();
            if let Some(key) = key {
                key.with(|host, pool| pool.reap(host, now));
            }
        }
        let mut cx = Context::from_waker(cx.waker());
        while timer.poll(&mut cx, now, self.next.get()).is_ready() {
            let keys: Vec<_> = self.pools.borrow().slots.iter().flatten().cloned().collect();
            let deadlines = keys.iter().filter_map(|k| k.with(|host, pool| pool.reap(host, now)).flatten());
            self.next.set(deadlines.min());
        }
        Poll::Pending
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // So that the task sees that it is over.
        self.mailbox.wake_task();
    }
}
