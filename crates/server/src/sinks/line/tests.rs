use super::*;
use nuncio_core::stats::StatsConfig;

fn lines(style: Style, told: Told) -> Vec<String> {
    let tagged = StatsConfig::default().extract("cluster.c.upstream_rq_time");
    let mut out = Vec::new();
    Named::new("cluster.c.upstream_rq_time", Some(&tagged))
        .lines(style, "envoy", told, &mut |line| out.push(line.to_owned()));
    out
}

#[test]
fn each_dialect_has_its_place_for_tags() {
    assert_eq!(lines(Style::Statsd, Told::Counter(3)), ["envoy.cluster.c.upstream_rq_time:3|c"]);
    assert_eq!(
        lines(Style::Dog, Told::Gauge(3)),
        ["envoy.cluster.upstream_rq_time:3|g|#envoy.cluster_name:c"]
    );
    assert_eq!(
        lines(Style::Graphite, Told::Gauge(3)),
        ["envoy.cluster.upstream_rq_time;envoy.cluster_name=c:3|g"]
    );
}

#[test]
fn samples_are_told_one_by_one_until_they_are_many() {
    let few = lines(Style::Statsd, Told::Samples { value: 7, count: 2 });
    assert_eq!(few, ["envoy.cluster.c.upstream_rq_time:7|ms"; 2]);
    let many = lines(Style::Dog, Told::Samples { value: 7, count: 100 });
    assert_eq!(many, ["envoy.cluster.upstream_rq_time:7|ms|@0.01|#envoy.cluster_name:c"]);
}
