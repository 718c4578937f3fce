use super::*;
use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::event_log::EventLog;
use crate::host::HealthFlags;
use crate::testing::{NoSources, World, cluster, run, settle};
use nuncio_core::config::{CompileContext, Sink};
use nuncio_core::runtime::Layer;
use nuncio_net::dns::SystemResolver;
use std::rc::Rc;
use std::time::Duration;

fn config() -> Box<OutlierConfig> {
    let sink = Sink::default();
    OutlierConfig::compile(Default::default(), &CompileContext::root(&sink, "", None), &EventLog::default())
        .unwrap()
}

fn causes(config: &OutlierConfig, outcomes: &[Outcome]) -> Vec<Cause> {
    let (record, limits, mut told) = (HostRecord::default(), Consecutive::default(), Vec::new());
    limits.set(config.consecutive);
    for outcome in outcomes {
        record.count(*outcome, config.split, &limits, &mut |cause| told.push(cause));
    }
    told
}

#[test]
fn a_run_of_failures_is_told_once_and_a_success_ends_it() {
    let mut config = config();
    config.consecutive = [3, 2, 2];
    use Outcome::{Failed, Response, TimedOut};
    for (outcomes, told) in [
        (&[Response(500), Response(500), Response(500), Response(500)][..], &[Cause::Consecutive5xx][..]),
        (&[Response(500), Response(500), Response(200), Response(500)], &[]),
        (&[Response(503), Response(500), Response(503)], &[Cause::Consecutive5xx]),
        (&[Response(502), TimedOut(504)], &[Cause::ConsecutiveGatewayFailure]),
        (&[Failed, Failed, Failed], &[Cause::ConsecutiveGatewayFailure, Cause::Consecutive5xx]),
        (&[Response(500), Response(500), Outcome::Connected, Response(500)], &[Cause::Consecutive5xx]),
        (&[Response(500), Response(500), Outcome::ConnectedForGood, Response(500)], &[]),
    ] {
        assert_eq!(causes(&config, outcomes), told, "{outcomes:?}");
    }
    config.split = true;
    let local = &[Cause::ConsecutiveLocalOriginFailure];
    assert_eq!(causes(&config, &[Failed, TimedOut(504)]), local);
    assert_eq!(causes(&config, &[Failed, Outcome::Connected, Failed]), []);
}

#[test]
fn the_threshold_lies_below_the_mean_by_its_share_of_the_deviation() {
    let rates = [100.0, 100.0, 100.0, 100.0, 0.0];
    assert_eq!(detector::threshold(rates.into_iter(), 1900), 80.0 - 40.0 * 1.9);
    assert_eq!(detector::threshold([50.0, 50.0].into_iter(), 1900), 50.0);
}

#[test]
fn runtime_keys_take_the_place_of_limits() {
    let keys = [
        ("outlier_detection.consecutive_5xx", "2"),
        ("outlier_detection.base_ejection_time_ms", "1500"),
        ("outlier_detection.enforcing_success_rate", "700"),
        ("outlier_detection.success_rate_minimum_hosts", "word"),
    ];
    let mut layer = Layer::admin("a");
    layer.values.extend(keys.map(|(key, value)| (key.into(), value.into())));
    let changed = config().at_runtime(&Runtime::new(vec![layer]));
    assert_eq!(changed.consecutive, [2, 5, 5]);
    assert_eq!(changed.base_ejection_time.as_millis(), 1500);
    assert_eq!((changed.enforcing[3], changed.success_rate.minimum_hosts), (100, 5));
    let same = config().at_runtime(&Runtime::default());
    assert_eq!((same.consecutive, same.enforcing), (config().consecutive, config().enforcing));
}

/// A world of one cluster `c` with two hosts, which detects outliers, and what follows them.
fn followed(config: OutlierConfig) -> (World, Rc<Discovery>) {
    let mut c = cluster(&[1, 2]);
    c.outlier = Some(Box::new(config));
    let world = World::new(vec![c]);
    let resolver = Rc::new(SystemResolver::new());
    let discovery = Discovery::new(&world.set, &world.worker, resolver, Rc::new(NoSources));
    drop(discovery.start());
    (world, discovery)
}

fn shared(world: &World) -> Arc<ClusterShared> {
    Arc::clone(world.set.borrow().get("c").unwrap())
}

fn flags(world: &World) -> Vec<HealthFlags> {
    shared(world).hosts().hosts().map(|h| h.health_flags()).collect()
}

/// The first host fails as often as it takes.
async fn fail(world: &World) {
    let cluster = shared(world);
    let host = Arc::clone(cluster.hosts().hosts().next().unwrap());
    let config = cluster.config().outlier.clone().unwrap();
    for _ in 0..config.consecutive[0] {
        cluster.outlier_line().unwrap().count(&host, Outcome::Response(500), &config);
    }
    settle().await;
}

async fn tell(world: &World, told: fn(Arc<HostShared>) -> Told) {
    let cluster = shared(world);
    let host = Arc::clone(cluster.hosts().hosts().next().unwrap());
    cluster.outlier_line().unwrap().tell(told(host));
    settle().await;
}

fn ejecting() -> OutlierConfig {
    OutlierConfig { max_ejection_percent: 100, ..*config() }
}

const OUT: [HealthFlags; 2] = [HealthFlags::FAILED_OUTLIER_CHECK, HealthFlags::NONE];
const IN: [HealthFlags; 2] = [HealthFlags::NONE; 2];

#[test]
fn an_ejected_host_comes_back_after_its_time_and_the_next_time_is_longer() {
    run(async {
        let (world, _kept) = followed(ejecting());
        settle().await;
        fail(&world).await;
        assert_eq!(flags(&world), OUT);
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(flags(&world), OUT);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(flags(&world), IN);
        fail(&world).await;
        tokio::time::sleep(Duration::from_secs(55)).await;
        assert_eq!(flags(&world), OUT);
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert_eq!(flags(&world), IN);
    });
}

#[test]
fn a_passing_check_ends_an_ejection_unless_it_is_not_to() {
    run(async {
        for (ends, after) in [(true, IN), (false, OUT)] {
            let (world, _kept) = followed(OutlierConfig { check_ends_ejection: ends, ..ejecting() });
            settle().await;
            fail(&world).await;
            tell(&world, Told::Passed).await;
            assert_eq!(flags(&world), after);
        }
    });
}

#[test]
fn a_host_that_says_so_is_degraded_for_a_while_whatever_the_limit() {
    run(async {
        let (world, _kept) = followed(OutlierConfig { max_ejection_percent: 0, ..*config() });
        settle().await;
        tell(&world, Told::Degraded).await;
        assert_eq!(flags(&world)[0], HealthFlags::DEGRADED_OUTLIER_DETECTION);
        tokio::time::sleep(Duration::from_secs(45)).await;
        assert_eq!(flags(&world), IN);
    });
}
