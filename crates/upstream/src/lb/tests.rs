use super::*;
use crate::cluster::{Cluster, ClusterConfig, LocalityEndpoints};
use crate::host::{HealthFlags, Host, HostShared, HostSpec, Locality};
use crate::testing::{World, cluster, host, locality, run, settle};
use nuncio_core::clock::Clock;
use nuncio_core::runtime::{Layer, Runtime, Values};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const UP: HealthFlags = HealthFlags::FAILED_EDS_HEALTH;

/// The ports of so many picks.
fn picks(cluster: &Cluster, n: usize) -> Vec<u16> {
    let one = |_| cluster.pick(&PickContext::default()).and_then(|h| h.address().port()).unwrap_or(0);
    (0..n).map(one).collect()
}

fn counts(picks: &[u16]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    picks.iter().for_each(|p| *counts.entry(*p).or_insert(0) += 1);
    counts
}

fn with(config: ClusterConfig, test: impl FnOnce(&Rc<Cluster>)) {
    run(async { test(&World::new(vec![config]).cluster()) });
}

/// A locality of the first priority.
fn zone(name: &str, weight: Option<u32>, mut hosts: Vec<HostSpec>) -> LocalityEndpoints {
    let locality = Arc::new(Locality { zone: name.into(), ..Locality::default() });
    hosts.iter_mut().for_each(|host| host.locality = Arc::clone(&locality));
    LocalityEndpoints { priority: 0, weight, locality, hosts, names: Vec::new() }
}

#[test]
fn round_robin_takes_each_host_in_turn() {
    with(cluster(&[1, 2, 3]), |c| {
        let picks = picks(c, 12);
        assert!(picks.windows(4).all(|w| w[0] == w[3] && w[0] != w[1] && w[1] != w[2]), "{picks:?}");
    });
}

#[test]
fn weighted_round_robin_is_exact_over_a_round() {
    let mut config = ClusterConfig::new("c");
    let hosts = [1, 2, 5].map(|w| host(w as u16, w, HealthFlags::default())).to_vec();
    config.discovery.endpoints.push(locality(0, None, hosts));
    with(config, |c| {
        assert_eq!(counts(&picks(c, 80)), BTreeMap::from([(1, 10), (2, 20), (5, 50)]));
    });
}

#[test]
fn least_request_leaves_a_busy_host_alone() {
    for full_scan in [false, true] {
        let mut config = cluster(&[1, 2]);
        config.lb.policy =
            LbPolicy::LeastRequest(LeastRequest { choice_count: 50, full_scan, ..Default::default() });
        with(config, |c| {
            let busy = c.pick(&PickContext::default()).unwrap();
            busy.begin_request();
            assert!(!picks(c, 30).contains(&busy.address().port().unwrap()));
            busy.end_request();
            assert_eq!(counts(&picks(c, 100)).len(), 2);
        });
    }
}

#[test]
fn random_spreads_within_statistical_bounds() {
    let mut config = cluster(&[1, 2, 3, 4]);
    config.lb.policy = LbPolicy::Random;
    with(config, |c| {
        // Binomial, n = 4000, p = 1/4: mean 1000, standard deviation 27.4; five of them either way.
        let counts = counts(&picks(c, 4000));
        assert!(counts.len() == 4 && counts.values().all(|n| (863..=1137).contains(n)), "{counts:?}");
    });
}

#[test]
fn load_spills_to_the_next_priority_as_health_falls() {
    let mut config = ClusterConfig::new("c");
    let first = vec![host(1, 1, HealthFlags::default()), host(2, 1, UP)];
    config.discovery.endpoints.push(locality(0, None, first));
    config.discovery.endpoints.push(locality(1, None, vec![host(3, 1, HealthFlags::default())]));
    with(config, |c| {
        let counts = counts(&picks(c, 1000));
        assert!((627..=773).contains(&counts[&1]) && !counts.contains_key(&2), "{counts:?}");
        assert_eq!(c.lb_stats().lb_healthy_panic.value(), 0);
    });
}

#[test]
fn in_panic_all_hosts_are_used_unless_traffic_shall_fail() {
    let hosts = || vec![host(1, 1, UP), host(2, 1, UP)];
    let mut config = ClusterConfig::new("c");
    config.discovery.endpoints.push(locality(0, None, hosts()));
    with(config.clone(), |c| {
        assert_eq!(counts(&picks(c, 10)).len(), 2);
        assert_eq!(c.lb_stats().lb_healthy_panic.value(), 10);
    });
    let mut failing = config.clone();
    failing.lb.locality =
        LocalityLb::ZoneAware(ZoneAware { fail_traffic_on_panic: true, ..ZoneAware::default() });
    let mut unflappable = config;
    unflappable.lb.panic_threshold = 0;
    for config in [failing, unflappable] {
        with(config, |c| {
            assert!(c.pick(&PickContext::default()).is_none());
            assert_eq!(c.stats().upstream_cx_none_healthy.value(), 1);
        });
    }
}

#[test]
fn locality_weights_share_traffic_and_one_without_weight_gets_none() {
    let mut config = ClusterConfig::new("c");
    config.lb.locality = LocalityLb::Weighted;
    let healthy = |port| host(port, 1, HealthFlags::default());
    config.discovery.endpoints.push(zone("a", Some(1), vec![healthy(1)]));
    config.discovery.endpoints.push(zone("b", Some(3), vec![healthy(2), healthy(3)]));
    config.discovery.endpoints.push(zone("c", None, vec![healthy(4)]));
    with(config, |c| {
        assert_eq!(counts(&picks(c, 80)), BTreeMap::from([(1, 20), (2, 30), (3, 30)]));
    });
}

#[test]
fn a_retry_looks_further_for_another_host_and_takes_the_last_in_the_end() {
    with(cluster(&[1, 2]), |c| {
        let not_one = |h: &Host| h.address().port() == Some(1);
        let cx =
            PickContext { avoid: Some(Avoid { rejects: &not_one, attempts: 1 }), ..PickContext::default() };
        assert!((0..9).all(|_| c.pick(&cx).unwrap().address().port() == Some(2)));
        let cx =
            PickContext { avoid: Some(Avoid { rejects: &|_| true, attempts: 3 }), ..PickContext::default() };
        assert!(c.pick(&cx).is_some());
    });
}

/// Slow start over 60 seconds for the hosts at these ports, to which one more comes after two minutes.
async fn joined(policy: LbPolicy, slow: SlowStart, ports: &[u16], new: u16) -> Rc<Cluster> {
    let mut config = cluster(ports);
    config.lb.policy = policy;
    config.lb.slow_start = Some(Box::new(slow));
    let world = World::new(vec![config]);
    let cluster = world.cluster();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let mut hosts = (*cluster.shared().hosts()).clone();
    hosts.priorities[0][0].hosts.push(HostShared::new(host(new, 1, HealthFlags::default())));
    let shared = Arc::clone(cluster.shared());
    world.set.borrow_mut().set_hosts(&shared, hosts, 1, true);
    settle().await;
    // The clusters outlive the world: their updates are through.
    cluster
}

fn slow(aggression: f64, least: f64) -> SlowStart {
    SlowStart { window: Duration::from_secs(60), aggression, aggression_key: "".into(), least }
}

/// The share of so many picks that a host gets, in percent, at so many seconds of its window.
async fn share_at(cluster: &Cluster, port: u16, seconds: u64) -> f64 {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let n = 4000;
    100.0 * counts(&picks(cluster, n)).get(&port).copied().unwrap_or(0) as f64 / n as f64
}

#[test]
fn a_new_host_gets_its_share_little_by_little() {
    for policy in [LbPolicy::RoundRobin, LbPolicy::LeastRequest(LeastRequest::default())] {
        run(async {
            let cluster = joined(policy, slow(1.0, 0.1), &[1, 2, 3], 4).await;
            // Of weights 1, 1, 1 and w the new host has w / (3 + w).
            for (seconds, expected) in [(0, 3.2), (15, 7.7), (15, 14.3), (15, 20.0), (20, 25.0)] {
                let share = share_at(&cluster, 4, seconds).await;
                assert!((share - expected).abs() < 0.5, "{share} for {expected}");
            }
        });
    }
}

#[test]
fn aggression_bends_the_way_to_the_whole_share() {
    run(async {
        let cluster = joined(LbPolicy::RoundRobin, slow(2.0, 0.0), &[1], 2).await;
        // A quarter of the window: its square root is a half, of 1.5.
        let share = share_at(&cluster, 2, 15).await;
        assert!((share - 33.3).abs() < 0.5, "{share}");
    });
}

#[test]
fn a_host_whose_checks_pass_again_starts_anew_and_others_do_not() {
    run(async {
        let cluster = joined(LbPolicy::RoundRobin, slow(1.0, 0.1), &[1], 2).await;
        tokio::time::sleep(Duration::from_secs(90)).await;
        let shared = Arc::clone(cluster.shared());
        for (flag, expected) in [(HealthFlags::FAILED_EDS_HEALTH, 50.0), (HealthFlags::FAILED_ACTIVE_HC, 9.1)]
        {
            for down in [true, false] {
                shared.hosts().hosts().last().unwrap().set_health(flag, down);
                shared.health_changed();
                cluster.update_hosts(&[]);
            }
            let share = share_at(&cluster, 2, 0).await;
            assert!((share - expected).abs() < 0.5, "{share} for {expected}");
        }
    });
}

/// A cluster whose hosts are in zones a and b, so many in each, seen by a proxy in zone a of a cluster with so many.
fn zoned(proxies: [u16; 2], hosts: [u16; 2]) -> World {
    let of = |name: &str, first: u16, counts: [u16; 2]| {
        let mut config = ClusterConfig::new(name);
        for (at, (zone_name, n)) in ["a", "b"].into_iter().zip(counts).enumerate() {
            let from = first + 100 * at as u16;
            let all = (from..from + n).map(|port| host(port, 1, HealthFlags::default())).collect();
            config.discovery.endpoints.push(zone(zone_name, None, all));
        }
        config
    };
    let here = Locality { zone: "a".into(), ..Locality::default() };
    World::at(
        LocalCluster { name: Some("me".into()), locality: Some(here) },
        vec![of("me", 1000, proxies), of("c", 1, hosts)],
    )
}

#[test]
fn requests_stay_in_their_zone_as_far_as_its_hosts_can_take_their_share() {
    // Proxies in a and b, hosts in a and b, and the share that stays in percent.
    for (proxies, hosts, stays) in [([1, 1], [3, 3], 100.0), ([3, 1], [3, 3], 66.66), ([4, 1], [2, 8], 25.0)]
    {
        run(async {
            let cluster = zoned(proxies, hosts).cluster();
            let picks = picks(&cluster, 6000);
            let own = 100.0 * picks.iter().filter(|port| **port < 100).count() as f64 / 6000.0;
            // Binomial: five standard deviations either way are at most 3.3 points.
            assert!((own - stays).abs() < 3.3, "{own} for {stays}");
        });
    }
}

#[test]
fn an_update_of_ten_thousand_hosts_costs_a_worker_less_than_a_millisecond() {
    run(async {
        let mut config = ClusterConfig::new("c");
        let hosts = |n: u16, w: u32| (0..n).map(|port| host(port, w, HealthFlags::default())).collect();
        config.discovery.endpoints.push(zone("a", Some(1), hosts(9_999, 1)));
        config.discovery.endpoints.push(zone("b", Some(2), hosts(1, 3)));
        let world = World::new(vec![config]);
        let cluster = world.cluster();
        let shared = Arc::clone(cluster.shared());
        picks(&cluster, 20_000);
        let clock = Clock::system();
        let one = |n: u16| {
            let mut hosts = (*shared.hosts()).clone();
            let gone = hosts.priorities[0][0].hosts.remove(17);
            let spec = HostSpec {
                locality: Arc::clone(&gone.spec().locality),
                ..host(20_000 + n, 1, HealthFlags::default())
            };
            hosts.priorities[0][0].hosts.push(HostShared::new(spec));
            let gone = shared.set_hosts(hosts, 1);
            assert_eq!(gone.len(), 1);
            // What the worker does from here on is all that it does; unoptimised, it has the millisecond all the same.
            let start = clock.now();
            cluster.update_hosts(&gone);
            clock.now().duration_since(start)
        };
        // Others share the machine: the best of some is what it costs.
        let best = (0..20).map(one).min().unwrap();
        assert!(best < Duration::from_millis(1), "{best:?}");
        assert!(picks(&cluster, 30_000).contains(&20_019));
    });
}

#[test]
fn zones_follow_the_proxies_as_they_come_and_go() {
    run(async {
        let world = zoned([1, 1], [3, 3]);
        let cluster = world.cluster();
        assert!(picks(&cluster, 50).iter().all(|port| *port < 100));
        let me = Arc::clone(world.set.borrow().get("me").unwrap());
        let mut hosts = (*me.hosts()).clone();
        let spec = || HostSpec {
            locality: Arc::clone(&hosts.priorities[0][0].locality),
            ..host(1050, 1, HealthFlags::default())
        };
        let more = (0..8).map(|_| HostShared::new(spec())).collect::<Vec<_>>();
        hosts.priorities[0][0].hosts.extend(more);
        world.set.borrow_mut().set_hosts(&me, hosts, 1, true);
        settle().await;
        assert!(picks(&cluster, 100).iter().any(|port| *port > 100));
    });
}

#[test]
fn a_runtime_key_overrides_the_bias_and_a_negative_one_counts_as_one() {
    let policy = LeastRequest { active_request_bias: 0.5, bias_key: "b".into(), ..Default::default() };
    let config = LbConfig { policy: LbPolicy::LeastRequest(policy), ..LbConfig::default() };
    let bias = |text: &str| {
        let layer = Layer { values: Values::from([("b".into(), text.into())]), ..Layer::admin("a") };
        match &config.at_runtime(&Runtime::new(vec![layer])).policy {
            LbPolicy::LeastRequest(policy) => policy.active_request_bias,
            _ => f64::NAN,
        }
    };
    assert_eq!(["2.5", "0", "-1", "x"].map(bias), [2.5, 0.0, 1.0, 0.5]);
    assert!(matches!(config.at_runtime(&Runtime::default()), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn tables_share_hashes_by_weight() {
    let common = Hashing::default;
    for policy in [
        LbPolicy::RingHash(RingHash { murmur: false, minimum: 1 << 16, maximum: 8 << 20, common: common() }),
        LbPolicy::RingHash(RingHash { murmur: true, minimum: 1 << 16, maximum: 8 << 20, common: common() }),
        LbPolicy::Maglev(Maglev { table_size: 65_537, common: common() }),
    ] {
        let mut config = ClusterConfig::new("c");
        config.lb.policy = policy.clone();
        let hosts = [1, 2, 5].map(|w| host(w as u16, w, HealthFlags::default())).to_vec();
        config.discovery.endpoints.push(locality(0, None, hosts));
        with(config, |c| {
            let pick = |n: u64| {
                let hash = Some(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                c.pick(&PickContext { hash, ..PickContext::default() }).unwrap().address().port().unwrap()
            };
            let counts = counts(&(0..8000).map(pick).collect::<Vec<_>>());
            for (port, share) in [(1, 1000), (2, 2000), (5, 5000)] {
                // The hosts' arcs of the ring differ from their shares by some percent.
                assert!(counts[&port].abs_diff(share) < share / 8, "{policy:?}: {counts:?}");
            }
        });
    }
}

#[test]
fn a_subset_shares_among_its_own_hosts_alone() {
    let version = |n: f64| {
        let value = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(n)) };
        prost_types::Struct { fields: [("v".to_owned(), value)].into() }
    };
    let mut config = ClusterConfig::new("c");
    let mut hosts: Vec<HostSpec> = (1..=6).map(|port| host(port, 1, HealthFlags::default())).collect();
    for spec in &mut hosts {
        let own = version(f64::from(spec.address.port().unwrap() % 2));
        spec.metadata = Some(Arc::new([(crate::host::LB_NAMESPACE.to_owned(), own)].into()));
    }
    config.discovery.endpoints.push(locality(0, None, hosts));
    let keys = ["v".into()].into();
    let selector = Selector { keys, fallback: None, fallback_keys: Default::default(), single_host: false };
    config.lb.subsets = Some(Box::new(SubsetConfig { selectors: vec![selector], ..Default::default() }));
    with(config, |c| {
        let even = Criteria::new(&version(0.0));
        let cx = PickContext { metadata: Some(&even), ..PickContext::default() };
        let picks: Vec<u16> = (0..30).map(|_| c.pick(&cx).unwrap().address().port().unwrap()).collect();
        assert_eq!(counts(&picks), BTreeMap::from([(2, 10), (4, 10), (6, 10)]));
        assert_eq!(c.lb_stats().lb_subsets_selected.value(), 30);
    });
}

#[test]
fn hosts_that_a_request_names_come_first_and_once_each() {
    let mut config = cluster(&[1, 2, 3]);
    let sources = ["x-to", "x-more"].map(|name| OverrideSource::Header(name.into())).into();
    config.lb.override_host = Some(Box::new(OverrideHost { sources, selected: None }));
    with(config, |c| {
        let mut head = nuncio_codec::head::RequestHead::new();
        head.headers.append("x-to", b"10.0.0.1:3, 10.9.9.9:1,nonsense,10.0.0.1:1");
        head.headers.append("x-more", b"10.0.0.1:3");
        let wanted = c.wanted(&crate::cluster::Asking { request: Some(&head), info: None }).unwrap();
        let cx = PickContext { wanted: Some(&wanted), ..PickContext::default() };
        let picks: Vec<u16> = (0..33).map(|_| c.pick(&cx).unwrap().address().port().unwrap()).collect();
        assert_eq!(picks[..3], [3, 1, 3]);
        assert_eq!(counts(&picks[3..]), BTreeMap::from([(1, 10), (2, 10), (3, 10)]));
    });
}
