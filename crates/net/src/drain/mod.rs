//! "Please finish": a signal from one place of a worker to many waiters, and how fast they are to follow it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How fast connections are asked to close once something drains (`--drain-strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All at once.
    Immediate,
    /// More and more of them, over this time (`--drain-time-s`).
    Gradual(Duration),
}

/// Says since when something (a listener) drains, and wakes whoever waits for it. Clones share it.
#[derive(Clone, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Default)]
struct Inner {
    since: Cell<Option<(Instant, Pace)>>,
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
        self.0.since.get().map(|(since, _)| since)
    }

    /// Whether a connection that is looked at `now` is to close. `random` decides while the pace is gradual:
    /// Envoy counts whole seconds, and has asked everybody after half of the time.
    #[inline]
    pub fn closes(&self, now: impl FnOnce() -> Instant, random: impl FnOnce() -> u64) -> bool {
        match self.0.since.get() {
            None => false,
            Some((_, Pace::Immediate)) => true,
            Some((since, Pace::Gradual(time))) => {
                let passed = now().saturating_duration_since(since).as_secs();
                random().checked_rem(time.as_secs()).is_none_or(|at| passed.saturating_mul(2) > at)
            }
        }
    }

    /// Gives the signal; a second time changes nothing.
    pub fn start(&self, now: Instant, pace: Pace) {
        if self.0.since.get().is_some() {
            return;
        }
        self.0.since.set(Some((now, pace)));
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
