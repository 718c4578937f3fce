//! "Please finish": a signal from one place of a worker to many waiters.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Says since when something (a worker, a listener) drains, and wakes whoever waits for it. Clones share it.
#[derive(Clone, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Default)]
struct Inner {
    since: Cell<Option<Instant>>,
    waiters: RefCell<Waiters>,
}

#[derive(Default)]
struct Waiters {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Drain {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Since when it drains.
    #[inline]
    pub fn since(&self) -> Option<Instant> {
        self.0.since.get()
    }

    /// Gives the signal; a second time changes nothing.
    pub fn start(&self, now: Instant) {
        if self.0.since.get().is_some() {
            return;
        }
        self.0.since.set(Some(now));
        let wakers: Vec<Waker> = self.0.waiters.borrow().slots.iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A waiter of its own, for one task.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { drain: self.clone(), slot: None }
    }
}

/// Waits for a [`Drain`]. Polling it again from the same task costs two comparisons.
pub struct DrainWatch {
    drain: Drain,
    slot: Option<usize>,
}

impl DrainWatch {
    /// Ready, with the instant of the signal, once it was given.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        if let Some(since) = self.drain.since() {
            return Poll::Ready(since);
        }
        let waiters = &mut *self.drain.0.waiters.borrow_mut();
        match self.slot.and_then(|slot| waiters.slots.get_mut(slot)) {
            Some(Some(waker)) if waker.will_wake(cx.waker()) => {}
            Some(waker) => *waker = Some(cx.waker().clone()),
            None => {
                let slot = waiters.free.pop().unwrap_or_else(|| {
                    waiters.slots.push(None);
                    waiters.slots.len() - 1
                });
                if let Some(place) = waiters.slots.get_mut(slot) {
                    *place = Some(cx.waker().clone());
                }
                self.slot = Some(slot);
            }
        }
        Poll::Pending
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let waiters = &mut *self.drain.0.waiters.borrow_mut();
            if let Some(place) = waiters.slots.get_mut(slot) {
                *place = None;
            }
            waiters.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
