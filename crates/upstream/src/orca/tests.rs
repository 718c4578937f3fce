use super::*;
use crate::cluster::ClusterConfig;
use crate::host::HealthFlags;
use crate::lb::PickContext;
use crate::testing::{World, cluster, host, locality, now, run, settle};
use std::collections::BTreeMap;

fn report(requests: f64, application: f64, errors: f64) -> LoadReport {
    LoadReport { requests, application, errors, ..LoadReport::default() }
}

#[test]
fn a_weight_is_requests_over_load_and_errors_count_by_the_penalty() {
    let config = |penalty| LoadWeights { penalty, ..LoadWeights::default() };
    let weigh = |penalty, requests, busy, errors| config(penalty).weigh(&report(requests, busy, errors));
    assert_eq!(weigh(0.0, 100.0, 0.5, 10.0), Some(200));
    assert_eq!(weigh(5.0, 100.0, 0.5, 10.0), Some(100));
    assert_eq!((weigh(0.0, 0.0, 0.5, 0.0), weigh(0.0, 100.0, 0.0, 0.0)), (None, None));
    assert_eq!((weigh(0.0, 1e12, 0.001, 0.0), weigh(0.0, 10.0, 3.0, 0.0)), (Some(u32::MAX), Some(3)));
}

#[test]
fn a_weight_counts_between_blackout_and_expiration_and_then_begins_anew() {
    let second = Duration::from_secs;
    let config = LoadWeights { blackout: second(10), expiration: second(30), ..LoadWeights::default() };
    let (record, start) = (LoadRecord::default(), now());
    let at = |seconds| start + second(seconds);
    assert_eq!(record.weight(&config, at(0)), None);
    record.take_weight(&report(100.0, 0.5, 0.0), &config, at(0));
    assert_eq!((record.weight(&config, at(9)), record.weight(&config, at(10))), (None, Some(200)));
    assert_eq!((record.weight(&config, at(30)), record.weight(&config, at(31))), (Some(200), None));
    record.take_weight(&report(100.0, 0.5, 0.0), &config, at(40));
    assert_eq!((record.weight(&config, at(49)), record.weight(&config, at(50))), (None, Some(200)));
}

#[test]
fn hosts_without_reports_weigh_the_median_of_their_priority() {
    let mut config = ClusterConfig::new("c");
    for (priority, ports) in [(0, [1, 2, 3]), (1, [4, 5, 6])] {
        let hosts = ports.map(|port| host(port, 9, HealthFlags::default())).to_vec();
        config.discovery.endpoints.push(locality(priority, None, hosts));
    }
    run(async {
        let world = World::new(vec![config]);
        let cluster = world.cluster();
        let shared = cluster.shared();
        let weights = LoadWeights { blackout: Duration::ZERO, ..LoadWeights::default() };
        for (host, requests) in shared.hosts().hosts().zip([10.0, 21.0]) {
            host.load().take_weight(&report(requests, 1.0, 0.0), &weights, now());
        }
        assert!(weigh_all(&weights, shared, now()));
        let weighs: Vec<u32> = shared.hosts().hosts().map(|h| h.weight()).collect();
        assert_eq!(weighs, [10, 21, 15, 1, 1, 1]);
        assert!(!weigh_all(&weights, shared, now()));
    });
}

#[test]
fn picks_follow_what_hosts_report() {
    let weights = LoadWeights { blackout: Duration::ZERO, ..LoadWeights::default() };
    let mut config = cluster(&[1, 2, 3]);
    config.lb.reports = Some(Box::new(LoadReports { weights: Some(weights.clone()), localities: None }));
    run(async {
        let world = World::new(vec![config]);
        let cluster = world.cluster();
        let counts = |n: usize| {
            let mut counts = BTreeMap::new();
            for _ in 0..n {
                let host = cluster.pick(&PickContext::default()).unwrap();
                *counts.entry(host.address().port().unwrap()).or_insert(0) += 1;
            }
            counts
        };
        assert_eq!(counts(30), BTreeMap::from([(1, 10), (2, 10), (3, 10)]));
        let shared = Arc::clone(cluster.shared());
        for (host, requests) in shared.hosts().hosts().zip([10.0, 20.0, 50.0]) {
            host.load().take_weight(&report(requests, 1.0, 0.0), &weights, now());
        }
        assert!(weigh_all(&weights, &shared, now()));
        world.set.borrow_mut().weights_changed(&shared);
        settle().await;
        assert_eq!(counts(80), BTreeMap::from([(1, 10), (2, 20), (3, 50)]));
    });
}
