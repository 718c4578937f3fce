//! Wakers by number: whoever is woken is noted, and one task is woken for all of them.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::task::{Wake, Waker};

/// Notes who was woken. Its task is woken with the first, and takes all on each of its turns. Wakers must be `Send`,
/// though all of this stays on one thread, where its locks are free.
#[derive(Default)]
pub struct Mailbox {
    woken: Mutex<Vec<usize>>,
    task: Mutex<Option<Waker>>,
}

impl Mailbox {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Names the task that is to be woken.
    #[inline]
    pub fn register(&self, waker: &Waker) {
        let mut task = self.task.lock();
        if !task.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    /// Moves the numbers of those who were woken behind what stands in `into`.
    #[inline]
    pub fn take(&self, into: &mut Vec<usize>) {
        into.append(&mut self.woken.lock());
    }

    /// The waker of a number.
    pub fn waker(self: &Arc<Self>, number: usize) -> NumberedWaker {
        let wake = Arc::new(Numbered { woken: AtomicBool::new(false), number, mailbox: Arc::clone(self) });
        NumberedWaker { waker: Waker::from(Arc::clone(&wake)), wake }
    }

    fn note(&self, number: usize) {
        let mut woken = self.woken.lock();
        woken.push(number);
        if woken.len() > 1 {
            // The task is woken already, and has not looked since.
            return;
        }
        drop(woken);
        self.wake_task();
    }

    /// Wakes the task, though no number is to be told of.
    pub fn wake_task(&self) {
        let waker = self.task.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Numbered {
    woken: AtomicBool,
    number: usize,
    mailbox: Arc<Mailbox>,
}

impl Wake for Numbered {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, AcqRel) {
            self.mailbox.note(self.number);
        }
    }
}

/// A waker whose number is noted once until [`listen`](Self::listen) is called again.
pub struct NumberedWaker {
    waker: Waker,
    wake: Arc<Numbered>,
}

impl NumberedWaker {
    /// What was noted is about to be looked at: the next wake is news again.
    #[inline]
    pub fn listen(&self) -> &Waker {
        self.wake.woken.store(false, Release);
        &self.waker
    }

    /// As [`listen`](Self::listen), but what was noted stays to be looked at.
    #[inline]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether its number was noted since the last call; the next wake is news again.
    #[inline]
    pub fn take_woken(&self) -> bool {
        self.wake.woken.load(Acquire) && self.wake.woken.swap(false, AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, AcqRel);
        }
    }

    #[test]
    fn each_number_is_noted_once_until_it_listens_again() {
        let (mailbox, count) = (Mailbox::new(), Arc::<Count>::default());
        mailbox.register(&Waker::from(Arc::clone(&count)));
        let (a, b) = (mailbox.waker(3), mailbox.waker(7));
        a.listen().wake_by_ref();
        a.waker.wake_by_ref();
        b.listen().wake_by_ref();
        let mut woken = Vec::new();
        mailbox.take(&mut woken);
        assert_eq!((woken.as_slice(), count.0.load(std::sync::atomic::Ordering::Acquire)), (&[3, 7][..], 1));
        a.waker.wake_by_ref();
        a.listen().wake_by_ref();
        mailbox.take(&mut woken);
        assert_eq!(woken, [3, 7, 3]);
    }
}
