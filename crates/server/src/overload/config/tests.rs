use super::*;

#[test]
fn a_trigger_is_off_below_and_saturated_above() {
    let threshold = Trigger { resource: 0, low: 0.9, high: 0.9 };
    let scaled = Trigger { resource: 0, low: 0.4, high: 0.8 };
    for (trigger, pressure, want) in [
        (threshold, 0.89, 0.0),
        (threshold, 0.9, 1.0),
        (scaled, 0.4, 0.0),
        (scaled, 0.6, 0.5),
        (scaled, 0.8, 1.0),
        (scaled, 2.0, 1.0),
    ] {
        assert!((trigger.level(pressure) - want).abs() < 1e-9, "{trigger:?} at {pressure}");
    }
}

#[test]
fn the_highest_of_several_triggers_counts() {
    let trigger = |resource| Trigger { resource, low: 0.5, high: 1.0 };
    let triggered = Triggered { name: "x".into(), place: None, triggers: [trigger(0), trigger(1)].into() };
    assert!((triggered.level(&[0.6, 0.75]) - 0.5).abs() < 1e-9);
    assert!(triggered.level(&[]).abs() < 1e-9, "a resource that was never measured asks for nothing");
}
