//! A worker's tasks: whoever was woken gets a turn, in the order of the wakes.

use super::WorkerShared;
use super::turn::Turn;
use crate::mailbox::{Mailbox, NumberedWaker};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use tokio::task::coop::has_budget_remaining;

/// Turns that are given before the runtime may look for events and at other tasks of its own.
const TURNS: usize = 64;

/// The tasks of one thread, all in one task of its runtime: a wake is a number in a list, and a turn a call, which
/// costs a third of what the runtime asks for tasks that other threads could join, abort and poll.
///
/// They end with the runtime that they were begun on.
pub(super) struct Tasks {
    slots: RefCell<Slots>,
    mailbox: Arc<Mailbox>,
    /// The runtime has the task that gives the others their turns.
    driven: Cell<bool>,
    turn: Rc<Turn>,
    shared: Arc<WorkerShared>,
}

/// By a task's number.
#[derive(Default)]
struct Slots {
    /// Empty where there is none, and while it has its turn.
    slots: Vec<Option<Task>>,
    free: Vec<usize>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: NumberedWaker,
}

impl Tasks {
    pub(super) fn new(turn: Rc<Turn>, shared: Arc<WorkerShared>) -> Rc<Self> {
        let (slots, mailbox, driven) = (RefCell::default(), Mailbox::new(), Cell::new(false));
        Rc::new(Self { slots, mailbox, driven, turn, shared })
    }

    /// Begins a task, which gets its first turn soon. Must be called on a `LocalRuntime`.
    pub(super) fn spawn(self: &Rc<Self>, future: impl Future<Output = ()> + 'static) {
        let mut slots = self.slots.borrow_mut();
        let number = slots.free.pop().unwrap_or(slots.slots.len());
        let waker = self.mailbox.waker(number);
        waker.listen().wake_by_ref();
        let task = Some(Task { future: Box::pin(future), waker });
        match slots.slots.get_mut(number) {
            Some(slot) => *slot = task,
            None => slots.slots.push(task),
        }
        drop(slots);
        if !self.driven.replace(true) {
            let driver = Driver { tasks: Rc::clone(self), woken: Vec::new(), at: 0 };
            drop(tokio::task::spawn_local(driver));
        }
    }

    /// Wakes every task.
    pub(super) fn wake_all(&self) {
        for task in self.slots.borrow().slots.iter().flatten() {
            task.waker.waker().wake_by_ref();
        }
    }

    /// Gives a task its turn; nothing where it has ended meanwhile.
    fn take_turn(&self, number: usize) {
        let Some(mut task) = self.slots.borrow_mut().slots.get_mut(number).and_then(Option::take) else {
            return;
        };
        let mut cx = Context::from_waker(task.waker.listen());
        let polled = self.turn.take(|| catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(&mut cx))));
        match polled {
            Ok(Poll::Pending) => {
                if let Some(slot) = self.slots.borrow_mut().slots.get_mut(number) {
                    *slot = Some(task);
                }
            }
            Ok(Poll::Ready(())) => self.end(number, task),
            Err(what) => {
                self.panicked(&*what);
                self.end(number, task);
            }
        }
    }

    fn end(&self, number: usize, task: Task) {
        if let Err(what) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
            self.panicked(&*what);
        }
        self.slots.borrow_mut().free.push(number);
    }

    /// Counts and logs a panic.
    #[cold]
    fn panicked(&self, what: &(dyn Any + Send)) {
        let panics = &self.shared.panics;
        panics.store(panics.load(Relaxed) + 1, Relaxed);
        let text = what
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| what.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown");
        tracing::error!(target: "main", "a task panicked and was ended: {text}");
    }
}

/// The runtime's task that gives the others their turns.
struct Driver {
    tasks: Rc<Tasks>,
    /// Numbers of tasks that were woken, those before `at` having had their turn.
    woken: Vec<usize>,
    at: usize,
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { tasks, woken, at } = self.get_mut();
        tasks.mailbox.register(cx.waker());
        woken.drain(..std::mem::take(at));
        tasks.mailbox.take(woken);
        // A task that has used up what the runtime allows in one go leaves nothing to the others.
        while *at < TURNS && has_budget_remaining() {
            let Some(number) = woken.get(*at) else { return Poll::Pending };
            *at += 1;
            tasks.take_turn(*number);
        }
        if *at < woken.len() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // What ends may begin other tasks, which end as well.
        loop {
            let slots = std::mem::take(&mut *self.tasks.slots.borrow_mut());
            if slots.slots.is_empty() {
                break;
            }
        }
        self.tasks.driven.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::block_on_local;
    use std::task::Waker;
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    /// Another turn, behind those who wait for theirs.
    async fn another_turn() {
        let mut had = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut had, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn tasks() -> Rc<Tasks> {
        Tasks::new(Rc::default(), Arc::default())
    }

    #[test]
    fn tasks_get_their_turns_in_the_order_of_their_wakes_and_their_numbers_serve_again() {
        block_on_local(async {
            let (tasks, order) = (tasks(), Rc::<RefCell<Vec<u32>>>::default());
            let note = |n: u32, turns: u32| {
                let order = Rc::clone(&order);
                async move {
                    for _ in 0..turns {
                        order.borrow_mut().push(n);
                        another_turn().await;
                    }
                }
            };
            tasks.spawn(note(1, 2));
            tasks.spawn(note(2, 1));
            tasks.spawn(note(3, 2));
            while order.borrow().len() < 5 || tasks.slots.borrow().free.len() < 3 {
                yield_now().await;
            }
            assert_eq!(*order.borrow(), [1, 2, 3, 1, 3]);
            tasks.spawn(note(4, 1));
            assert_eq!(tasks.slots.borrow().slots.len(), 3);
        })
        .unwrap();
    }

    #[test]
    fn more_tasks_than_get_a_turn_in_one_go_all_get_theirs() {
        block_on_local(async {
            let (tasks, count) = (tasks(), Rc::new(Cell::new(0)));
            for _ in 0..3 * TURNS {
                let count = Rc::clone(&count);
                tasks.spawn(async move { count.set(count.get() + 1) });
            }
            while count.get() < 3 * TURNS {
                yield_now().await;
            }
            assert_eq!(count.get(), 3 * TURNS);
        })
        .unwrap();
    }

    #[test]
    fn a_wake_from_another_thread_gives_a_turn() {
        block_on_local(async {
            let (waker, woken) = (Rc::<Cell<Option<Waker>>>::default(), Rc::new(Cell::new(false)));
            let (tell, told) = oneshot::channel();
            let (tasks, left, tell) = (tasks(), Rc::clone(&waker), Cell::new(Some(tell)));
            tasks.spawn(std::future::poll_fn(move |cx| {
                if !woken.replace(true) {
                    left.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                tell.take().unwrap().send(()).unwrap();
                Poll::Ready(())
            }));
            yield_now().await;
            let waker = waker.take().unwrap();
            let other = std::thread::spawn(move || waker.wake());
            assert_eq!(told.await, Ok(()));
            other.join().unwrap();
        })
        .unwrap();
    }

    #[test]
    fn tasks_end_with_their_runtime_and_others_may_begin_on_the_next() {
        let tasks = tasks();
        let held = Rc::new(());
        for _ in 0..2 {
            let kept = Rc::clone(&held);
            block_on_local(async {
                tasks.spawn(async move {
                    std::future::pending::<()>().await;
                    drop(kept);
                });
                yield_now().await;
                assert_eq!(Rc::strong_count(&held), 2);
            })
            .unwrap();
            assert_eq!((Rc::strong_count(&held), tasks.driven.get()), (1, false));
        }
    }
}
