use super::bins::{Bins, QUANTILES};
use super::sample::{History, Kind};
use super::*;
use nuncio_core::stats::{Registry, Scope};

nuncio_core::stats_block! {
    struct Things {
        counter total,
        gauge active,
        histogram length_ms,
        summed_codes upstream_rq,
    }
}

fn filter(config: &StatsConfig) -> Filter<'_> {
    Filter { config, used_only: false, search: None, invert: false, kind: None }
}

fn things(registry: &Registry, prefix: &str) -> Scope<Things> {
    let s: Scope<Things> = registry.scope(prefix);
    s.total.add(3);
    s.active.set(1);
    s
}

#[test]
fn quantiles_and_sums_are_those_of_envoys_library() {
    // Recorded: 5 samples of 0, one of 1, twelve between 500 and 510.
    let mut bins = Bins::default();
    bins.add(0, 5);
    bins.add(1, 1);
    bins.add(1 + 90 * 2 + 40, 12);
    let got = QUANTILES.map(|(q, _)| bins.quantile(q).unwrap().to_string());
    let p = ["502.3076923076923", "506.15384615384613", "508.46153846153845", "509.2307692307692"];
    assert_eq!(got, ["0", "0", p[0], p[1], p[2], p[3], p[3], p[3], p[3], p[3]]);
    assert_eq!([0.5, 1.0, 250.0, 500.0].map(|b| bins.at_most(b)), [5, 6, 6, 18]);
    assert_eq!(Bins::default().quantile(0.5), None);
    let mut two = Bins::default();
    two.add(1, 2);
    assert_eq!(two.sum(), 2.095_238_095_238_095_3);
}

#[test]
fn lines_are_sorted_histograms_last_and_writers_summed() {
    let registry = Registry::new();
    let (a, b) = (things(&registry, "z."), things(&registry, "z."));
    let _other = things(&registry, "a.127.0.0.1:80.");
    a.upstream_rq.inc(200);
    b.upstream_rq.inc(204);
    b.length_ms.record(8);
    let mut history = History::default();
    history.flush(&registry);
    history.flush(&registry);
    let samples = sample::collect(&registry, &history, &filter(&StatsConfig::default()));
    let want = "a.127.0.0.1_80.active: 1\na.127.0.0.1_80.total: 3\na.127.0.0.1_80.upstream_rq_completed: 0\nz.active: 2\nz.total: 6\n\
                z.upstream_rq_200: 1\nz.upstream_rq_204: 1\nz.upstream_rq_2xx: 2\nz.upstream_rq_completed: 2\n\
                a.127.0.0.1_80.length_ms: No recorded values\n\
                z.length_ms: P0(nan,8.05) P25(nan,8.05) P50(nan,8.05) P75(nan,8.05) P90(nan,8.05) \
                P95(nan,8.05) P99(nan,8.05) P99.5(nan,8.05) P99.9(nan,8.05) P100(nan,8.05)\n";
    assert_eq!(text::print(&samples, Buckets::Summary), want);
    let json: serde_json::Value = serde_json::from_str(&text::json(&samples, Buckets::Cumulative)).unwrap();
    assert_eq!(json["stats"][0], serde_json::json!({"name": "a.127.0.0.1_80.active", "value": 1}));
    let buckets = &json["stats"][9]["histograms"][1]["buckets"];
    assert_eq!(buckets[2], serde_json::json!({"upper_bound": 5, "interval": 0, "cumulative": 0}));
    assert_eq!(buckets[3], serde_json::json!({"upper_bound": 10, "interval": 0, "cumulative": 1}));
}

#[test]
fn a_reset_hides_what_was_counted_and_nothing_else() {
    let registry = Registry::new();
    let a = things(&registry, "z.");
    let mut history = History::default();
    history.reset(&registry);
    a.total.add(4);
    let config = StatsConfig::default();
    let counters = Filter { kind: Some(Kind::Counter), ..filter(&config) };
    let samples = sample::collect(&registry, &history, &counters);
    assert_eq!(text::print(&samples, Buckets::Summary), "z.total: 4\nz.upstream_rq_completed: 0\n");
    let gauges = Filter { kind: Some(Kind::Gauge), ..filter(&config) };
    let samples = sample::collect(&registry, &history, &gauges);
    assert_eq!(text::print(&samples, Buckets::Summary), "z.active: 1\n");
}

#[test]
fn tags_leave_the_names_as_in_envoy() {
    let rows = [
        ("cluster.c1.", "cluster.", "envoy_cluster_name=\"c1\""),
        ("cluster.a.b.", "cluster.b.", "envoy_cluster_name=\"a\""),
        ("cluster_manager.", "cluster_manager.", ""),
        ("http.in.", "http.", "envoy_http_conn_manager_prefix=\"in\""),
        ("listener.127.0.0.1_80.", "listener.", "envoy_listener_address=\"127.0.0.1_80\""),
        ("listener.[__1]_80.", "listener.", "envoy_listener_address=\"[__1]_80\""),
        (
            "listener.127.0.0.1_80.worker_0.",
            "listener.worker_",
            "envoy_worker_id=\"0\",envoy_listener_address=\"127.0.0.1_80\"",
        ),
        (
            "listener.127.0.0.1_80.http.in.",
            "listener.http.",
            "envoy_http_conn_manager_prefix=\"in\",envoy_listener_address=\"127.0.0.1_80\"",
        ),
        ("listener.lst.x.", "listener.x.", "envoy_listener_address=\"lst\""),
        ("listener.admin.", "listener.admin.", ""),
        ("listener.admin.http.admin.", "listener.admin.http.", "envoy_http_conn_manager_prefix=\"admin\""),
        ("vhost.vh.a.vcluster.vc.b.", "vhost.a.vcluster.vc.b.", "envoy_virtual_host=\"vh\""),
        (
            "vhost.vh.vcluster.vc.",
            "vhost.vcluster.",
            "envoy_virtual_cluster=\"vc\",envoy_virtual_host=\"vh\"",
        ),
        ("server.", "server.", ""),
        ("server.main_thread.", "server.main_thread.", ""),
        ("server.worker_11.", "server.worker_", "envoy_worker_id=\"11\""),
        (
            "thread_local_cluster_manager.worker_0.",
            "thread_local_cluster_manager.worker_",
            "envoy_worker_id=\"0\"",
        ),
    ];
    for (prefix, rest, labels) in rows {
        let got = tags::extract(prefix);
        assert_eq!((got.rest.as_str(), got.labels.as_str()), (rest, labels), "{prefix}");
    }
}

#[test]
fn prometheus_gets_families_by_kind_and_name() {
    let registry = Registry::new();
    let a = things(&registry, "cluster.a.");
    let _b = things(&registry, "cluster.b.");
    a.upstream_rq.inc(503);
    a.length_ms.record(1);
    a.length_ms.record(1);
    let mut history = History::default();
    history.flush(&registry);
    let print = |filter: &Filter<'_>, buckets| {
        let pieces = prometheus::print(&registry, &history, filter, buckets, filter.config);
        String::from_utf8(pieces.flatten().collect()).unwrap()
    };
    let config = StatsConfig::default();
    let counters = Filter { kind: Some(Kind::Counter), ..filter(&config) };
    let want = "# TYPE envoy_cluster_total counter\n\
                envoy_cluster_total{envoy_cluster_name=\"a\"} 3\n\
                envoy_cluster_total{envoy_cluster_name=\"b\"} 3\n\
                # TYPE envoy_cluster_upstream_rq counter\n\
                envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"a\"} 1\n\
                # TYPE envoy_cluster_upstream_rq_completed counter\n\
                envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"a\"} 1\n\
                envoy_cluster_upstream_rq_completed{envoy_cluster_name=\"b\"} 0\n\
                # TYPE envoy_cluster_upstream_rq_xx counter\n\
                envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"a\"} 1\n";
    assert_eq!(print(&counters, None), want);
    let used = Filter { used_only: true, kind: Some(Kind::Histogram), ..filter(&config) };
    let text = print(&used, None);
    assert!(text.starts_with("# TYPE envoy_cluster_length_ms histogram\n"), "{text}");
    let end = "envoy_cluster_length_ms_bucket{envoy_cluster_name=\"a\",le=\"+Inf\"} 2\n\
               envoy_cluster_length_ms_sum{envoy_cluster_name=\"a\"} 2.0952380952380953438307642500149\n\
               envoy_cluster_length_ms_count{envoy_cluster_name=\"a\"} 2\n";
    assert!(text.ends_with(end), "{text}");
    let text = print(&used, Some(Buckets::Summary));
    assert!(text.contains("envoy_cluster_length_ms{envoy_cluster_name=\"a\",quantile=\"0.995\"} "), "{text}");
}

#[test]
fn used_is_what_was_ever_written() {
    let registry = Registry::new();
    let a = things(&registry, "z.");
    let _unused: Scope<Things> = registry.scope("a.");
    a.active.dec();
    let config = StatsConfig::default();
    let used = Filter { used_only: true, ..filter(&config) };
    let mut history = History::default();
    history.reset(&registry);
    let samples = sample::collect(&registry, &history, &used);
    assert_eq!(text::print(&samples, Buckets::Summary), "z.active: 0\nz.total: 0\n");
}

#[test]
fn a_long_text_comes_in_pieces_and_whole() {
    let registry = Registry::new();
    let scopes: Vec<_> = (0..3000).map(|n| things(&registry, &format!("cluster.c{n:04}."))).collect();
    let config = StatsConfig::default();
    let printer = prometheus::print(&registry, &History::default(), &filter(&config), None, &config);
    let pieces: Vec<Vec<u8>> = printer.collect();
    assert!(pieces.len() > 10 && pieces.iter().all(|p| p.len() < 80_000));
    let text = String::from_utf8(pieces.concat()).unwrap();
    assert_eq!(text.matches("\nenvoy_cluster_active{").count(), scopes.len());
    assert_eq!(text.matches("# TYPE envoy_cluster_active gauge\n").count(), 1);
}

#[test]
fn an_interval_is_what_came_between_two_flushes() {
    let registry = Registry::new();
    let a = things(&registry, "z.");
    let config = StatsConfig::default();
    let only = Filter { kind: Some(Kind::Histogram), ..filter(&config) };
    let mut history = History::default();
    let shown = |history: &History| {
        let text = text::print(&sample::collect(&registry, history, &only), Buckets::Summary);
        text.split(' ').nth(1).unwrap().to_owned()
    };
    a.length_ms.record(1);
    assert_eq!(shown(&history), "No");
    history.flush(&registry);
    assert_eq!(shown(&history), "P0(1.05,1.05)");
    a.length_ms.record(8);
    history.flush(&registry);
    assert_eq!(shown(&history), "P0(8.05,1.05)");
    history.flush(&registry);
    assert_eq!(shown(&history), "P0(nan,1.05)");
}
