use super::*;

const S: Duration = Duration::from_secs(1);

#[test]
fn a_level_strikes_as_often_as_it_says() {
    let rng = Rng::seeded(1);
    for (value, least, most) in [(0.0, 0, 0), (1.0, 1000, 1000), (0.25, 200, 300)] {
        let level = Level::default();
        level.set(value);
        let struck = (0..1000).filter(|_| level.strikes(&rng)).count();
        assert!((least..=most).contains(&struck), "{value}: {struck}");
        assert_eq!(level.is_saturated(), value >= 1.0);
    }
}

#[test]
fn a_point_counts_what_it_sheds() {
    let (rng, points) = (Rng::seeded(1), ShedPoints::default());
    let point = points.named("envoy.load_shed_points.tcp_listener_accept").unwrap();
    assert!(!point.sheds(&rng));
    point.level.set(1.0);
    assert!(point.sheds(&rng) && point.sheds(&rng));
    assert_eq!(points.tcp_listener_accept.shed(), 2);
    assert!(points.named("tcp_listener_accept").is_none());
}

#[test]
fn a_timer_shrinks_from_its_full_time_to_its_least() {
    let mut overload = Overload::default();
    assert!(overload.timers.add(Timer::StreamIdle, Minimum::Time(2 * S)));
    assert!(overload.timers.add(Timer::ConnectionIdle, Minimum::Part(0.1)));
    assert!(!overload.timers.add(Timer::StreamIdle, Minimum::Part(0.5)), "one rule for each");
    for (timer, level, full, want) in [
        (Timer::StreamIdle, 0.0, 10, 10_000),
        (Timer::StreamIdle, 0.5, 10, 6000),
        (Timer::StreamIdle, 1.0, 10, 2000),
        (Timer::StreamIdle, 1.0, 1, 1000),
        (Timer::ConnectionIdle, 1.0, 10, 1000),
        (Timer::ConnectionIdle, 0.5, 10, 5500),
        (Timer::ConnectionMax, 1.0, 10, 10_000),
    ] {
        if let Some(scaled) = overload.timers.get(timer) {
            scaled.level.set(level);
        }
        let time = overload.timeout(timer, Some(full * S));
        assert_eq!(time.map(|t| t.as_millis()), Some(want), "{timer:?} {level} {full}");
    }
    assert_eq!(overload.timeout(Timer::StreamIdle, None), None);
}
