//! What the tests of this crate share: a worker on virtual time, scripted peers, clusters by a few words.

use crate::cluster::{Cluster, ClusterConfig, LocalityEndpoints};
use crate::health::{Check, Events, HealthCheckConfig, Intervals, TcpCheck};
use crate::host::{HealthFlags, HostSpec, Locality};
use crate::lb::LocalCluster;
use crate::manager::{ClusterManager, ClusterSet, ClusterSetConfig};
use crate::pool::{ConnectFuture, Connector};
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::source::{Feed, FileSource, Sources, Subscription};
use nuncio_core::stats::Registry;
use nuncio_net::stream::{ByteStream, ConnectError, ConnectOptions, MemoryStream, pair, poll_read_vec};
use nuncio_net::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Runs a test on a `LocalRuntime` whose time stands still while anything can be done.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(Default::default())
        .unwrap()
        .block_on(test)
}

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Lets every other task do what it can.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// What a peer does with connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Accept,
    Refuse,
    Silent,
}

/// Peers that accept connections in memory.
pub(crate) struct Peers {
    pub(crate) manner: Cell<Manner>,
    pub(crate) accepted: RefCell<Vec<Peer>>,
    pub(crate) window: Cell<usize>,
}

/// The peer's end of a connection.
pub(crate) struct Peer {
    pub(crate) io: MemoryStream,
}

impl Connector for Peers {
    fn connect<'a>(&'a self, peer: &'a Address, _: &'a ConnectOptions) -> ConnectFuture<'a> {
        Box::pin(async move {
            match self.manner.get() {
                Manner::Silent => std::future::pending().await,
                Manner::Refuse => Err(ConnectError::Delayed(io::Error::from_raw_os_error(111))),
                Manner::Accept => {
                    let here = Address::Pipe("@us".into());
                    let (ours, theirs) = pair(self.window.get(), here, peer.clone());
                    self.accepted.borrow_mut().push(Peer { io: theirs });
                    Ok(Box::new(ours) as Box<dyn ByteStream>)
                }
            }
        })
    }
}

impl Peer {
    /// What has come, now.
    pub(crate) fn read(&self) -> String {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        loop {
            all.reserve(4096);
            match poll_read_vec(&self.io, &mut cx, &mut all) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                _ => return String::from_utf8(all).unwrap(),
            }
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(self.io.poll_write(&mut cx, bytes), Poll::Ready(Ok(n)) if n == bytes.len()));
    }

    /// Whether our side has closed the connection, all of whose bytes were read.
    pub(crate) fn closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        poll_read_vec(&self.io, &mut cx, &mut Vec::with_capacity(1)).is_ready()
    }
}

/// A worker with clusters and scripted peers.
pub(crate) struct World {
    pub(crate) set: Rc<RefCell<ClusterSet>>,
    pub(crate) manager: Rc<ClusterManager>,
    pub(crate) peers: Rc<Peers>,
    pub(crate) registry: Registry,
    pub(crate) worker: Rc<Worker>,
}

impl World {
    pub(crate) fn new(clusters: Vec<ClusterConfig>) -> Self {
        Self::at(LocalCluster::default(), clusters)
    }

    /// As `new`, of a process that stands there.
    pub(crate) fn at(local: LocalCluster, clusters: Vec<ClusterConfig>) -> Self {
        let registry = Registry::new();
        let config = ClusterSetConfig { clusters: clusters.into_iter().map(Arc::new).collect(), local };
        let mut set = ClusterSet::new(&config, &registry, &Runtime::default());
        let worker = Worker::new(0, Clock::following(now), Rng::seeded(7));
        let peers = Rc::new(Peers {
            manner: Cell::new(Manner::Accept),
            accepted: RefCell::default(),
            window: Cell::new(1 << 20),
        });
        let connector: Rc<dyn Connector> = peers.clone();
        let manager = ClusterManager::with_connector(&worker, set.seat(), connector);
        Self { set: Rc::new(RefCell::new(set)), manager, peers, registry, worker }
    }

    pub(crate) fn cluster(&self) -> Rc<Cluster> {
        self.manager.get("c").unwrap()
    }

    /// The latest connection's other end.
    pub(crate) fn peer<R>(&self, look: impl FnOnce(&Peer) -> R) -> R {
        look(self.peers.accepted.borrow().last().unwrap())
    }

    pub(crate) fn connections(&self) -> usize {
        self.peers.accepted.borrow().len()
    }
}

/// A host at a port of 10.0.0.1.
pub(crate) fn host(port: u16, weight: u32, health: HealthFlags) -> HostSpec {
    HostSpec {
        address: Address::Ip(([10, 0, 0, 1], port).into()),
        further: None,
        hostname: "".into(),
        locality: Arc::new(Locality::default()),
        locality_metadata: None,
        weight,
        priority: 0,
        health,
        metadata: None,
        check: None,
        stat_name: None,
    }
}

/// Healthy hosts of weight 1 at these ports, as one locality.
pub(crate) fn locality(priority: u32, weight: Option<u32>, hosts: Vec<HostSpec>) -> LocalityEndpoints {
    let locality = Arc::new(Locality { zone: format!("z{priority}").into(), ..Locality::default() });
    LocalityEndpoints { priority, weight, locality, hosts, names: Vec::new() }
}

/// A cluster `c` with healthy hosts at these ports.
pub(crate) fn cluster(ports: &[u16]) -> ClusterConfig {
    let mut config = ClusterConfig::new("c");
    let hosts = ports.iter().map(|p| host(*p, 1, HealthFlags::default())).collect();
    config.discovery.endpoints.push(locality(0, None, hosts));
    config
}

/// Feeds nothing.
pub(crate) struct NoSources;

impl Sources for NoSources {
    fn subscribe(&self, _: &FileSource, _: Feed) -> io::Result<Subscription> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// TCP checks that need so many good or bad answers in a row.
pub(crate) fn checks(healthy: u32, unhealthy: u32) -> HealthCheckConfig {
    let s = Duration::from_secs;
    HealthCheckConfig {
        name: "".into(),
        alpn: None,
        criteria: None,
        events: Events::default(),
        timeout: s(1),
        intervals: Intervals {
            healthy: s(1),
            healthy_edge: s(2),
            unhealthy: s(3),
            unhealthy_edge: s(4),
            no_traffic: s(5),
            no_traffic_healthy: s(6),
        },
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        interval_jitter_percent: 0,
        unhealthy_threshold: unhealthy,
        healthy_threshold: healthy,
        reuse_connection: true,
        check: Check::Tcp(TcpCheck::default()),
    }
}
