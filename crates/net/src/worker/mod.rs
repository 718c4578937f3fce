//! A worker: one thread, one tokio `LocalRuntime`, and what everything on it shares.

mod buffers;
mod date;
mod tasks;
mod thread;
mod turn;

pub use buffers::BufferPool;
pub use date::HttpDate;
pub use thread::{WorkerHandle, WorkerStop, block_on_local, spawn_worker_thread};

use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tasks::Tasks;
use turn::Turn;

/// What a worker shows to other threads.
#[derive(Debug, Default)]
pub struct WorkerShared {
    panics: AtomicU64,
    connections: AtomicU64,
}

impl WorkerShared {
    /// Tasks that ended by a panic.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Downstream connections open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }
}

/// The context of one thread. The main thread has one too, for the clusters that it uses itself.
pub struct Worker {
    id: u32,
    clock: Clock,
    turn: Rc<Turn>,
    tasks: Rc<Tasks>,
    rng: Rng,
    buffers: BufferPool,
    date: RefCell<date::DateCache>,
    connection_ids: Cell<u64>,
    shared: Arc<WorkerShared>,
}

/// How many connection ids a worker may hand out before it meets the next worker's.
const IDS_PER_WORKER: u64 = 1 << 40;

impl Worker {
    /// A worker's context; tasks are spawned on the `LocalRuntime` that it is used on.
    pub fn new(id: u32, clock: Clock, rng: Rng) -> Rc<Self> {
        let (turn, shared) = (Rc::<Turn>::default(), Arc::<WorkerShared>::default());
        Rc::new(Self {
            id,
            clock,
            tasks: Tasks::new(Rc::clone(&turn), Arc::clone(&shared)),
            turn,
            rng,
            buffers: BufferPool::default(),
            date: RefCell::default(),
            connection_ids: Cell::new(u64::from(id) * IDS_PER_WORKER),
            shared,
        })
    }

    /// Its number; workers count from 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Monotonic time; within one turn of a task of [`spawn`](Self::spawn) it stands still.
    #[inline]
    pub fn now(&self) -> Instant {
        self.turn.now(&self.clock)
    }

    /// The time since `at`, zero where that is still to come; with the same reserve.
    #[inline]
    pub fn since(&self, at: Instant) -> Duration {
        self.turn.since(&self.clock, at)
    }

    /// Wall time, with the same reserve.
    #[inline]
    pub fn wall(&self) -> SystemTime {
        self.turn.wall(&self.clock)
    }

    /// Its random numbers.
    pub fn rng(&self) -> &Rng {
        &self.rng
    }

    /// Its spare I/O buffers.
    pub fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// What other threads see of it.
    pub fn shared(&self) -> &Arc<WorkerShared> {
        &self.shared
    }

    /// The text of a `date` header for the present moment; formatted once per second.
    #[inline]
    pub fn date_now(&self) -> HttpDate {
        self.date.borrow_mut().now(self.now(), || self.wall())
    }

    /// The text of a `date` header for `wall`; formatted once per second.
    #[inline]
    pub fn date(&self, wall: SystemTime) -> HttpDate {
        self.date.borrow_mut().at(wall)
    }

    /// A connection number that no other connection of the process has.
    pub fn next_connection_id(&self) -> u64 {
        let id = self.connection_ids.get();
        self.connection_ids.set(id + 1);
        id
    }

    /// Counts a downstream connection for as long as the guard lives.
    pub fn count_connection(&self) -> ConnectionCount {
        let shared = Arc::clone(&self.shared);
        shared.connections.store(shared.connections.load(Relaxed) + 1, Relaxed);
        ConnectionCount(shared)
    }

    /// Gives every task of [`spawn`](Self::spawn) a turn: what all of them go by has changed.
    pub fn wake_all(&self) {
        self.tasks.wake_all();
    }

    /// Runs a task on this thread. A panic ends that task only: it is counted and logged.
    ///
    /// Must be called on the worker's own runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(task);
    }
}

/// One open downstream connection in [`WorkerShared::connections`].
pub struct ConnectionCount(Arc<WorkerShared>);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let n = &self.0.connections;
        n.store(n.load(Relaxed).wrapping_sub(1), Relaxed);
    }
}

#[cfg(test)]
mod tests;
