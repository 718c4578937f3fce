//! Threads that run workers.

use super::Worker;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

/// A running worker thread.
pub struct WorkerHandle {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

/// Resolves in the worker when its handle asks it to stop (or is dropped).
pub struct WorkerStop(oneshot::Receiver<()>);

impl WorkerStop {
    /// Waits for the request to stop.
    pub async fn wait(self) {
        // A dropped handle asks for the same.
        let _ = self.0.await;
    }
}

impl WorkerHandle {
    /// Asks the worker to stop.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A worker that has ended already has nothing to stop.
            let _ = stop.send(());
        }
    }

    /// Waits for the thread's end, after asking it to stop; false when it ended by a panic.
    pub fn join(mut self) -> bool {
        self.stop();
        self.thread.join().is_ok()
    }
}

/// Starts a thread named `name` (Envoy: `wrk:worker_N`, cut at 15 bytes by the kernel) and runs `f`'s future
/// on its runtime. Tasks that the future spawned end with it.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn_worker_thread<F, Fut>(name: &str, id: u32, f: F) -> io::Result<WorkerHandle>
where
    F: FnOnce(Rc<Worker>, WorkerStop) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let (stop, stopped) = oneshot::channel();
    let (made, runtime_made) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                // The starter waits for this answer; if it is gone there is nobody to tell.
                let _ = made.send(Err(error));
                return;
            }
        };
        let _ = made.send(Ok(()));
        let worker = Worker::new(id, Clock::system(), Rng::from_os());
        runtime.block_on(async move { f(worker, WorkerStop(stopped)).await });
    })?;
    match runtime_made.recv() {
        Ok(Ok(())) => Ok(WorkerHandle { stop: Some(stop), thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the worker thread ended before it began")),
    }
}

/// Runs a future on a fresh `LocalRuntime` of the calling thread, as the main thread and tests do.
///
/// # Errors
/// When the runtime cannot be made.
pub fn block_on_local<F: Future>(future: F) -> io::Result<F::Output> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    Ok(runtime.block_on(future))
}
