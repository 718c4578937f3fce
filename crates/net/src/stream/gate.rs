//! Who waits to read from a socket, so that asking again costs nothing.

use parking_lot::Mutex;
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};

/// Stands between a task that polls a socket for reading and the runtime's registration of it.
///
/// A task that pumps several sockets polls all of them whenever one wakes it. The runtime would look its
/// registration up each time; the gate knows that the socket has been asked, that the answer was "not yet" and
/// that no wake has come since, and says so at once. The task that waits may change: the registration stays.
pub(super) struct ReadGate {
    signal: Arc<Signal>,
    waker: Waker,
    /// The runtime holds our waker and will use it.
    armed: Cell<bool>,
    /// Which waker the signal passes on to, for comparison only; the signal keeps it alive.
    task: Cell<(*const (), *const RawWakerVTable)>,
}

/// What the runtime wakes.
#[derive(Default)]
struct Signal {
    fired: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.fired.store(true, Relaxed);
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl ReadGate {
    /// A gate that nobody waits at.
    pub(super) fn new() -> Self {
        let signal = Arc::<Signal>::default();
        let waker = Waker::from(Arc::clone(&signal));
        Self { signal, waker, armed: Cell::new(false), task: Cell::new((ptr::null(), ptr::null())) }
    }

    /// Whether the wake that was waited for has come, and no poll since.
    #[inline]
    pub(super) fn fired(&self) -> bool {
        self.armed.get() && self.signal.fired.load(Relaxed)
    }

    /// Whether this task waits already, and no wake has come: asking would bring nothing.
    #[inline]
    pub(super) fn sleeps(&self, cx: &Context<'_>) -> bool {
        self.armed.get() && !self.signal.fired.load(Relaxed) && self.is_for(cx.waker())
    }

    #[inline]
    fn is_for(&self, task: &Waker) -> bool {
        self.task.get() == (task.data(), ptr::from_ref(task.vtable()))
    }

    /// Asks the socket by `poll`, unless it would say again that there is nothing.
    #[inline]
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let task = cx.waker();
        if !self.is_for(task) {
            self.hand_to(task);
        }
        if self.armed.get() && !self.signal.fired.load(Relaxed) {
            return Poll::Pending;
        }
        self.signal.fired.store(false, Relaxed);
        let answer = poll(&mut Context::from_waker(&self.waker));
        self.armed.set(answer.is_pending());
        answer
    }

    /// From now on it is this task that is woken.
    fn hand_to(&self, task: &Waker) {
        self.task.set((task.data(), ptr::from_ref(task.vtable())));
        *self.signal.task.lock() = Some(task.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A socket that answers as told and keeps the waker.
    #[derive(Default)]
    struct Socket {
        asked: Cell<u32>,
        ready: Cell<bool>,
        waker: Cell<Option<Waker>>,
    }

    impl Socket {
        fn poll(&self, gate: &ReadGate, waker: &Waker) -> bool {
            let answer = gate.poll(&Context::from_waker(waker), |cx| {
                self.asked.set(self.asked.get() + 1);
                if self.ready.get() {
                    return Poll::Ready(());
                }
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            });
            answer.is_ready()
        }

        fn become_ready(&self) {
            self.ready.set(true);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    #[test]
    fn a_socket_that_said_not_yet_is_asked_again_only_after_its_wake() {
        let (gate, socket, count) = (ReadGate::new(), Socket::default(), Arc::<Count>::default());
        let waker = Waker::from(Arc::clone(&count));
        assert!(!socket.poll(&gate, &waker) && !socket.poll(&gate, &waker));
        assert_eq!((socket.asked.get(), gate.fired()), (1, false));
        socket.become_ready();
        assert_eq!((count.0.load(Relaxed), gate.fired()), (1, true));
        assert!(socket.poll(&gate, &waker) && socket.poll(&gate, &waker));
        assert_eq!((socket.asked.get(), gate.fired()), (3, false));
    }

    #[test]
    fn the_task_that_asked_last_is_woken_though_the_socket_was_not_asked_for_it() {
        let (gate, socket) = (ReadGate::new(), Socket::default());
        let (first, last) = (Arc::<Count>::default(), Arc::<Count>::default());
        socket.poll(&gate, &Waker::from(Arc::clone(&first)));
        socket.poll(&gate, &Waker::from(Arc::clone(&last)));
        assert_eq!(socket.asked.get(), 1);
        socket.become_ready();
        assert_eq!((first.0.load(Relaxed), last.0.load(Relaxed)), (0, 1));
    }
}
