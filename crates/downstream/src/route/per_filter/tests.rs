use super::*;

fn level(filter: &str, disabled: Option<bool>, config: Option<&'static str>) -> PerFilterLevel {
    let config = config.map(|c| -> Arc<dyn Any + Send + Sync> { Arc::new(c) });
    PerFilterLevel { level: LevelName::Route, filter: filter.into(), disabled, config, place: None }
}

fn texts(o: &FilterOverride) -> Vec<&'static str> {
    o.configs()
        .into_iter()
        .flat_map(|all| all.iter())
        .filter_map(|c| c.downcast_ref::<&'static str>().copied())
        .collect()
}

#[test]
fn configuration_and_switch_each_come_from_the_most_specific_level_that_has_them() {
    let route = [level("a", Some(true), None), level("b", Some(false), Some("route"))];
    let host = [level("a", Some(false), Some("host"))];
    let table = [level("a", Some(false), Some("table")), level("c", Some(true), None)];
    let merged = PerFilter::merge(&[&route, &host, &table]);
    let a = merged.get("a").unwrap();
    assert_eq!((a.disabled(), texts(a)), (Some(true), vec!["host", "table"]));
    let b = merged.get("b").unwrap();
    assert_eq!((b.disabled(), texts(b)), (Some(false), vec!["route"]));
    let c = merged.get("c").unwrap();
    assert_eq!((c.disabled(), c.config().is_none()), (Some(true), true));
    assert!(merged.get("d").is_none());
}
