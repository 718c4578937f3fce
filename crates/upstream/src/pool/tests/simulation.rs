//! Random walks of requests over the pools of two workers, in virtual time, and what holds at each step.

use super::*;
use crate::cluster::{ClusterShared, Preconnect};
use crate::manager::ClusterManager;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_net::worker::Worker;
use std::sync::Arc;
use std::task::Poll;

/// Two workers on one cluster, and the requests that are under way.
struct Walk {
    world: World,
    workers: Vec<Rc<Cluster>>,
    _second: Rc<ClusterManager>,
    waiting: Vec<PendingStream>,
    live: Vec<Exchange>,
    rng: Rng,
}

impl Walk {
    fn new(seed: u64, config: ClusterConfig) -> Self {
        let world = World::new(vec![config]);
        let other = Worker::new(1, Clock::following(now), Rng::seeded(seed));
        let connector: Rc<dyn Connector> = world.peers.clone();
        let second = ClusterManager::with_connector(&other, world.set.borrow_mut().seat(), connector);
        let workers = vec![world.cluster(), second.get("c").unwrap()];
        let (waiting, live) = (Vec::new(), Vec::new());
        Self { world, workers, _second: second, waiting, live, rng: Rng::seeded(seed) }
    }

    fn shared(&self) -> &Arc<ClusterShared> {
        self.workers[0].shared()
    }

    fn held(&self, resource: Resource) -> usize {
        self.shared().breaker(RequestPriority::Default).held(resource) as usize
    }

    fn pick<T>(&self, from: &[T]) -> usize {
        self.rng.below(from.len() as u64) as usize
    }

    /// A request on either worker. Refused it may be at a limit alone.
    fn begin(&mut self) {
        let limits = self.workers[0].config().limits.default.clone();
        match begin(&self.workers[self.pick(&self.workers)]) {
            Ok(Checkout::Ready(exchange)) => self.live.push(exchange),
            Ok(Checkout::Wait(pending)) => self.waiting.push(pending),
            Err(PoolError::Overflow) => assert_eq!(self.live.len(), limits.max_requests as usize),
            Err(PoolError::PendingOverflow) => assert_eq!(self.waiting.len(), limits.max_pending as usize),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Those who waited and have what they waited for, go on.
    async fn serve(&mut self) {
        settle().await;
        let mut cx = Context::from_waker(Waker::noop());
        for mut pending in std::mem::take(&mut self.waiting) {
            match pending.poll(&mut cx) {
                Poll::Pending => self.waiting.push(pending),
                Poll::Ready(Ok(exchange)) => self.live.push(exchange),
                Poll::Ready(Err(error)) => assert_eq!(error, PoolError::Overflow),
            }
        }
    }

    /// One request is answered, and its connection may serve another one.
    async fn complete(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let mut exchange = self.live.swap_remove(self.pick(&self.live));
        send(&mut exchange).await;
        self.answer();
        assert_eq!(response(&mut exchange).await.unwrap().0, 200);
    }

    /// Whoever was asked answers.
    fn answer(&self) {
        let accepted = self.world.peers.accepted.borrow();
        accepted.iter().filter(|peer| peer.read().contains("GET")).for_each(|peer| peer.write(OK));
    }

    /// What the breaker holds is what there is, within its limits.
    fn check(&self) {
        let limits = &self.workers[0].config().limits.default;
        let (requests, pending) = (self.held(Resource::Requests), self.held(Resource::Pending));
        assert_eq!((requests, pending), (self.live.len(), self.waiting.len()));
        assert!(requests <= limits.max_requests as usize && pending <= limits.max_pending as usize);
        let active: u64 = self.workers.iter().map(|c| c.stats().upstream_cx_active.value()).sum();
        let accepted = self.world.peers.accepted.borrow();
        let open = accepted.iter().filter(|peer| peer.read().is_empty() && !peer.closed()).count();
        assert_eq!((self.held(Resource::Connections), active as usize), (open, open));
        // Each pool may have one connection that no limit keeps from it.
        assert!(open <= limits.max_connections as usize + self.held(Resource::Pools));
    }

    /// Everybody goes, and time with them: nothing is left.
    async fn end(mut self) {
        self.waiting.clear();
        self.live.clear();
        settle().await;
        self.check();
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        settle().await;
        self.check();
        assert_eq!(self.held(Resource::Connections), 0);
        for stats in self.workers.iter().map(|c| c.stats()) {
            assert_eq!(stats.upstream_cx_total.value(), stats.upstream_cx_destroy.value());
            assert_eq!(stats.upstream_rq_active.value() + stats.upstream_rq_pending_active.value(), 0);
        }
    }
}

#[test]
fn limits_hold_exactly_over_all_workers_whatever_happens() {
    for seed in 0..40 {
        run(async {
            let mut config = cluster(&[1, 2]);
            let limits = &mut config.limits.default;
            (limits.max_connections, limits.max_pending, limits.max_requests) = (5, 4, 6);
            let mut walk = Walk::new(seed, config);
            for _ in 0..120 {
                match walk.rng.below(10) {
                    0..5 => walk.begin(),
                    5 | 6 => walk.complete().await,
                    7 if !walk.live.is_empty() => drop(walk.live.swap_remove(walk.pick(&walk.live))),
                    8 if !walk.waiting.is_empty() => {
                        drop(walk.waiting.swap_remove(walk.pick(&walk.waiting)));
                    }
                    _ => tokio::time::sleep(Duration::from_secs(walk.rng.below(3000))).await,
                }
                walk.serve().await;
                walk.check();
            }
            walk.end().await;
        });
    }
}

#[test]
fn connections_are_opened_ahead_in_proportion_to_the_streams() {
    for (seed, ratio) in [(1, 1.0), (2, 1.5), (3, 2.0), (4, 3.0)] {
        run(async {
            let mut config = cluster(&[1]);
            let preconnect = Preconnect { per_upstream: ratio, ..config.preconnect().clone() };
            config.preconnect = Some(Box::new(preconnect));
            let mut walk = Walk::new(seed, config);
            walk.workers.truncate(1);
            for _ in 0..60 {
                match walk.rng.below(3) {
                    0 | 1 => walk.begin(),
                    _ => walk.complete().await,
                }
                walk.serve().await;
                walk.check();
                let (open, busy) = (walk.held(Resource::Connections), walk.live.len());
                assert!(
                    open as f64 >= busy as f64 * ratio,
                    "{open} connections for {busy} streams at {ratio}"
                );
            }
            walk.end().await;
        });
    }
}

#[test]
fn a_host_that_is_removed_lets_its_requests_end_and_nothing_else() {
    run(async {
        let mut walk = Walk::new(5, cluster(&[1]));
        for _ in 0..3 {
            walk.begin();
            walk.serve().await;
        }
        walk.complete().await;
        settle().await;
        assert_eq!((walk.held(Resource::Connections), walk.live.len()), (3, 2));
        let shared = Arc::clone(walk.shared());
        walk.world.set.borrow_mut().set_hosts(&shared, Default::default(), 1, true);
        settle().await;
        // The idle one is closed; the others go when their requests are over.
        assert_eq!(walk.held(Resource::Connections), 2);
        walk.check();
        walk.complete().await;
        walk.complete().await;
        settle().await;
        assert_eq!(walk.held(Resource::Connections), 0);
        walk.end().await;
    });
}
