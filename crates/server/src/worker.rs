//! The threads that proxy: each with its own sockets, clusters and connections.

use nuncio_core::address::Address;
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_downstream::listener::{Entered, Listener, ListenerConfig, Reachable};
use nuncio_downstream::tracing::LiveTracers;
use nuncio_downstream::world::World;
use nuncio_net::drain::Pace;
use nuncio_net::listen::BoundSocket;
use nuncio_net::worker::{Worker, WorkerHandle, WorkerShared, WorkerStop, spawn_worker_thread};
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use nuncio_upstream::manager::{ClusterManager, ClusterSeat};
use nuncio_upstream::pool::{InternalListeners, SocketConnector};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};

/// What a worker takes with it to its thread.
pub struct Job {
    /// Its listeners, each with its own socket for each of its addresses; with none where it has none.
    pub listeners: Vec<(Arc<ListenerConfig>, Vec<BoundSocket>)>,
    /// Its place among the clusters.
    pub clusters: ClusterSeat,
    /// Where stats are registered.
    pub stats: Registry,
    /// The server's state.
    pub lifecycle: Lifecycle,
    /// Runtime keys.
    pub runtime: Runtime,
    /// `node.cluster`.
    pub node_cluster: Arc<str>,
    /// Bytes that a connection to an internal listener holds in each direction.
    pub internal_room: Option<usize>,
}

/// Which listeners an order is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those with `traffic_direction: INBOUND`.
    Inbound,
}

impl Which {
    /// Whether a listener is meant.
    pub fn takes(self, listener: &ListenerConfig) -> bool {
        self == Self::All || listener.direction == TrafficDirection::Inbound
    }
}

/// What the main thread tells a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Close the listening sockets.
    StopListening(Which),
    /// Tell connections to finish.
    Drain(Which, Pace),
    /// The overload manager asks for something else.
    Pressed,
}

/// The workers of the process, as the main thread holds them.
pub struct Workers(Vec<Seat>);

struct Seat {
    thread: WorkerHandle,
    orders: UnboundedSender<Order>,
    shared: Arc<WorkerShared>,
}

impl Workers {
    /// Starts a thread for each job and waits until all of them listen.
    ///
    /// # Errors
    /// Where a thread cannot be made, or a socket cannot be handed to it.
    pub async fn start(jobs: Vec<Job>) -> io::Result<Self> {
        let mut workers = Vec::with_capacity(jobs.len());
        for (id, job) in (0..).zip(jobs) {
            let (orders, received) = unbounded_channel();
            let (up, is_up) = oneshot::channel();
            let thread = spawn_worker_thread(&format!("wrk:worker_{id}"), id, move |worker, stop| {
                work(worker, stop, job, received, up)
            })?;
            let shared = is_up.await.map_err(|_| io::Error::other("a worker ended before it began"))??;
            workers.push(Seat { thread, orders, shared });
        }
        Ok(Self(workers))
    }

    /// Downstream connections open now.
    pub fn connections(&self) -> u64 {
        self.0.iter().map(|w| w.shared.connections()).sum()
    }

    /// Closes listening sockets.
    pub fn stop_listening(&self, which: Which) {
        self.tell(Order::StopListening(which));
    }

    /// Tells connections to finish.
    pub fn drain(&self, which: Which, pace: Pace) {
        self.tell(Order::Drain(which, pace));
    }

    /// The overload manager asks for something else than before.
    pub fn pressed(&self) {
        self.tell(Order::Pressed);
    }

    fn tell(&self, order: Order) {
        for worker in &self.0 {
            // A worker that has ended has nothing to do.
            let _ = worker.orders.send(order);
        }
    }

    /// Ends all workers and waits for them; false when one of them had panicked.
    pub fn stop(mut self) -> bool {
        self.0.iter_mut().for_each(|w| w.thread.stop());
        let ended: Vec<bool> = self.0.into_iter().map(|w| w.thread.join()).collect();
        ended.into_iter().all(|well| well)
    }
}

/// A listener, and the tasks whose lives its sockets share.
struct Accepting {
    config: Arc<ListenerConfig>,
    listener: Rc<Listener>,
    tasks: Vec<AbortHandle>,
    /// While it takes new connections.
    reachable: Option<Entered>,
}

impl Accepting {
    /// Starts to accept on the sockets, in the order of the listener's addresses.
    fn start(config: Arc<ListenerConfig>, sockets: Vec<BoundSocket>, world: &Rc<World>) -> Self {
        let listener = Listener::new(Arc::clone(&config), world);
        let bound: Vec<Address> = sockets.iter().map(|s| s.address().clone()).collect();
        let accept = |socket| {
            let accepts = Rc::clone(&listener);
            let task = spawn_local(async move {
                if let Err(error) = accepts.run(socket).await {
                    tracing::error!(target: "main", "a listener cannot accept: {error}");
                }
            });
            task.abort_handle()
        };
        let tasks = sockets.into_iter().map(accept).collect();
        let reachable = Some(listener.reachable(&bound));
        Self { config, listener, tasks, reachable }
    }

    /// Closes the sockets; nothing is handed to it any more.
    fn stop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
        self.reachable = None;
    }
}

/// A worker's life.
async fn work(
    worker: Rc<Worker>,
    stop: WorkerStop,
    job: Job,
    mut orders: UnboundedReceiver<Order>,
    up: oneshot::Sender<io::Result<Arc<WorkerShared>>>,
) {
    let Job { listeners, clusters, stats, lifecycle, runtime, node_cluster, internal_room } = job;
    let internal = InternalListeners::new(internal_room.unwrap_or(0));
    let clusters = ClusterManager::with_connector(&worker, clusters, SocketConnector::with(&internal));
    let world = Rc::new(World {
        worker: Rc::clone(&worker),
        clusters,
        lifecycle,
        stats,
        runtime,
        node_cluster,
        listeners: Reachable::default(),
        internal,
        tracers: LiveTracers::default(),
    });
    let start = |(config, sockets)| Accepting::start(config, sockets, &world);
    let mut accepting: Vec<Accepting> = listeners.into_iter().map(start).collect();
    // Nobody waits any more when the server gave up starting.
    let _ = up.send(Ok(Arc::clone(worker.shared())));
    let stopped = stop.wait();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(order) = orders.recv() => {
                let which = match order {
                    Order::StopListening(which) | Order::Drain(which, _) => which,
                    Order::Pressed => {
                        worker.wake_all();
                        Which::All
                    }
                };
                for meant in accepting.iter_mut().filter(|a| which.takes(&a.config)) {
                    match order {
                        Order::StopListening(_) => meant.stop(),
                        Order::Drain(_, pace) => meant.listener.drain(pace),
                        Order::Pressed => meant.listener.follow_pressure(),
                    }
                }
            }
        }
    }
}
