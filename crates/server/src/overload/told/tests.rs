use super::super::config::ActionConfig;
use super::*;
use nuncio_core::overload::{Minimum, Timer};
use std::time::Duration;

fn triggered(name: &str) -> Triggered {
    let triggers = [Trigger { resource: 0, low: 0.5, high: 0.9 }].into();
    Triggered { name: name.into(), place: None, triggers }
}

fn config() -> OverloadConfig {
    let timers = Effect::Timers([(Timer::StreamIdle, Minimum::Part(0.1))].into());
    OverloadConfig {
        refresh: Duration::from_secs(1),
        connection_limit: None,
        monitors: Vec::new(),
        actions: vec![
            ActionConfig {
                of: triggered("envoy.overload_actions.stop_accepting_requests"),
                effect: Effect::Level,
            },
            ActionConfig { of: triggered("envoy.overload_actions.reduce_timeouts"), effect: timers },
        ],
        points: vec![triggered("envoy.load_shed_points.http_connection_manager_decode_headers")],
    }
}

#[test]
fn a_rehearsal_has_the_levels_and_counts_for_itself() {
    let config = config();
    let live = config.overload();
    live.stop_accepting_requests.set(0.5);
    live.points.http_connection_manager_decode_headers.level.set(1.0);
    live.timers.get(Timer::StreamIdle).unwrap().level.set(0.25);
    let own = config.rehearsed(&live);
    assert_eq!(own.stop_accepting_requests.value(), 0.5);
    assert_eq!(own.timers.get(Timer::StreamIdle).unwrap().level.value(), 0.25);
    assert!(own.refuses_request(&nuncio_core::rng::Rng::seeded(1)));
    assert_eq!(live.points.http_connection_manager_decode_headers.shed(), 0, "nobody sees the rehearsal");
}

#[test]
fn each_action_and_point_is_told_with_its_level() {
    let config = config();
    let values = |live| config.told(live).into_iter().map(|fact| fact.value).collect::<Vec<_>>();
    let live = config.overload();
    live.stop_accepting_requests.set(1.0);
    let told = values(Some(&live));
    assert_eq!(told[0], "stop_accepting_requests: at 100% (rises from 0.5 to 0.9 of )");
    assert!(
        told[1].starts_with("reduce_timeouts: at 0%") && told[2].contains("decode_headers: at 0%"),
        "{told:?}"
    );
    assert!(values(None).iter().all(|value| value.contains("not measured here")));
}
