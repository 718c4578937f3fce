use super::*;
use crate::cluster::{PickContext, RequestPriority};
use crate::host::{HostShared, LocalityHosts};
use crate::pool::Checkout;
use crate::testing::{World, cluster, host, run, settle};
use nuncio_codec::head::Version;
use nuncio_core::stats::Value;

/// A counter or gauge, summed over its blocks.
fn stat(registry: &Registry, wanted: &str) -> Option<u64> {
    let mut sum = None;
    registry.visit(&mut |prefix, name, value| {
        if format!("{prefix}{name}") == wanted {
            let n = match value {
                Value::Counter(c) => c.value(),
                Value::Gauge(g) => g.value(),
                Value::WholeGauge(g) => g.value(),
                Value::Text(_) | Value::Histogram(_) | Value::Codes(_) => 0,
            };
            sum = Some(sum.unwrap_or(0_u64).wrapping_add(n));
        }
    });
    sum
}

#[test]
fn workers_follow_the_main_threads_clusters() {
    run(async {
        let world = World::new(vec![cluster(&[1])]);
        assert!(world.manager.get("other").is_none());
        let mut other = cluster(&[2]);
        other.name = "other".into();
        let warming = world.set.borrow_mut().warm(Arc::new(other));
        world.set.borrow_mut().activate(&warming);
        settle().await;
        assert!(world.manager.get("other").is_some());
        assert!(world.set.borrow_mut().remove("other"));
        settle().await;
        assert!(world.manager.get("other").is_none() && !world.set.borrow_mut().remove("other"));
    });
}

#[test]
fn a_worker_makes_a_cluster_with_its_first_use_and_stats_are_there_before() {
    run(async {
        let world = World::new(vec![cluster(&[1])]);
        let unused = || matches!(world.manager.clusters.borrow().get("c"), Some(Entry::Unused(_)));
        let total = || stat(&world.registry, "cluster.c.upstream_cx_none_healthy");
        assert_eq!((unused(), total()), (true, Some(0)));
        let live = world.cluster();
        assert!(!unused() && Rc::ptr_eq(&live, &world.cluster()));
        live.stats().upstream_cx_none_healthy.inc();
        assert_eq!(total(), Some(1));
    });
}

#[test]
fn hosts_that_stay_keep_their_pools_and_others_close_theirs() {
    run(async {
        let world = World::new(vec![cluster(&[1, 2])]);
        let live = world.cluster();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let host = live.pick(&PickContext::default()).unwrap();
            let Ok(Checkout::Wait(pending)) = live.checkout(&host, RequestPriority::Default, Version::Http11)
            else {
                panic!()
            };
            // Given up: the connection becomes idle.
            drop(pending);
            ids.push(Arc::as_ptr(host.shared()));
        }
        settle().await;
        assert_eq!(live.stats().upstream_cx_active.value(), 2);
        let shared = Arc::clone(world.set.borrow().get("c").unwrap());
        let mut hosts = (*shared.hosts()).clone();
        let stays = hosts.priorities[0][0].hosts.remove(0);
        let new = HostShared::new(host(3, 1, Default::default()));
        hosts.priorities = vec![vec![LocalityHosts {
            locality: Arc::clone(&stays.spec().locality),
            weight: None,
            hosts: vec![Arc::clone(&stays), new],
        }]];
        world.set.borrow_mut().set_hosts(&shared, hosts, 1, true);
        settle().await;
        assert_eq!(live.stats().upstream_cx_active.value(), 1);
        live.with_hosts(|set| {
            assert_eq!(set.hosts().count(), 2);
            assert!(set.hosts().next().is_some_and(|host| Arc::ptr_eq(host, &stays)));
        });
        assert_eq!(stat(&world.registry, "cluster.c.membership_change"), Some(2));
        let host = live.host_at(&stays.address().to_string()).unwrap();
        assert!(matches!(
            live.checkout(&host, RequestPriority::Default, Version::Http11),
            Ok(Checkout::Ready(_))
        ));
    });
}

#[test]
fn breaker_gauges_and_members_are_right_when_they_are_read() {
    run(async {
        let mut config = cluster(&[1, 2]);
        config.limits.default.max_connections = 1;
        config.limits.default.track_remaining = true;
        let world = World::new(vec![config]);
        let read = |name: &str| stat(&world.registry, &format!("cluster.c.{name}"));
        assert_eq!((read("membership_total"), read("membership_healthy")), (Some(2), Some(2)));
        assert_eq!(read("circuit_breakers.default.cx_open"), Some(0));
        assert_eq!(read("circuit_breakers.default.remaining_cx"), Some(1));
        assert_eq!(read("circuit_breakers.high.remaining_cx"), None);
        let live = world.cluster();
        let host = live.pick(&PickContext::default()).unwrap();
        let pending = live.checkout(&host, RequestPriority::Default, Version::Http11);
        assert_eq!(read("circuit_breakers.default.cx_open"), Some(1));
        assert_eq!(read("circuit_breakers.default.remaining_cx"), Some(0));
        assert_eq!(read("circuit_breakers.high.cx_open"), Some(0));
        drop(pending);
    });
}

#[test]
fn a_static_cluster_with_one_host_stays_within_four_kilobytes() {
    // What one worker and the main thread allocate per cluster, by the sizes of its parts; the end-to-end
    // figure is the bench's.
    let parts = size_of::<crate::stats::ClusterStats>()
        + size_of::<ClusterShared>()
        + size_of::<ClusterConfig>()
        + size_of::<crate::cluster::Cluster>()
        + size_of::<crate::cluster::ClusterCore>()
        + size_of::<HostShared>()
        + size_of::<crate::host::HostSpec>()
        + size_of::<crate::host::Host>()
        + size_of::<crate::stats::HostCounters>();
    assert!(parts < 3400, "{parts}");
}
