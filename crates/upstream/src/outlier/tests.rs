use super::*;
use crate::event_log::EventLog;
use nuncio_core::config::{CompileContext, Sink};
use nuncio_core::runtime::Layer;

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
