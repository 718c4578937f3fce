//! Names, tags and their order were seen from Envoy 1.40 with the same `stats_config`.

use super::*;
use crate::testing::compiled;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as matcher;

fn tag(name: &str, regex: &str) -> pb::TagSpecifier {
    let tag_value = (!regex.is_empty()).then(|| TagValue::Regex(regex.to_owned()));
    pb::TagSpecifier { tag_name: name.to_owned(), tag_value }
}

fn config(
    stats_tags: Vec<pb::TagSpecifier>,
    use_all_default_tags: Option<bool>,
) -> Result<StatsConfig, String> {
    let message = pb::StatsConfig { stats_tags, use_all_default_tags, ..Default::default() };
    compiled(|cx| StatsConfig::compile(&message, cx))
}

/// The rest, and the tags as `name=value`.
fn extracted(config: &StatsConfig, name: &str) -> (String, String) {
    let Tagged { rest, tags } = config.extract(name);
    (rest, tags.iter().map(|t| format!("{}={}", t.name, t.value)).collect::<Vec<_>>().join(" "))
}

#[test]
fn default_tags_leave_names_as_in_envoy() {
    let config = StatsConfig::default();
    assert!(config.has_default_tags_only());
    for (name, rest, tags) in [
        ("cluster.a.b.c.update", "cluster.b.c.update", "envoy.cluster_name=a"),
        (
            "cluster.c1.upstream_rq_200",
            "cluster.upstream_rq",
            "envoy.response_code=200 envoy.cluster_name=c1",
        ),
        (
            "cluster.c1.upstream_rq_2xx",
            "cluster.upstream_rq_xx",
            "envoy.response_code_class=2 envoy.cluster_name=c1",
        ),
        ("cluster.c1.upstream_rq_completed", "cluster.upstream_rq_completed", "envoy.cluster_name=c1"),
        ("cluster.c1.ssl.ciphers.A-B", "cluster.ssl.ciphers", "cipher_suite=A-B envoy.cluster_name=c1"),
        (
            "listener.a.ssl.versions.TLSv1.3",
            "listener.ssl.versions",
            "envoy.ssl_version=TLSv1.3 envoy.listener_address=a",
        ),
        (
            "listener.127.0.0.1_80.worker_0.downstream_cx_total",
            "listener.worker_downstream_cx_total",
            "envoy.worker_id=0 envoy.listener_address=127.0.0.1_80",
        ),
        (
            "listener.[__1]_80.http.in.downstream_rq_2xx",
            "listener.http.downstream_rq_xx",
            "envoy.response_code_class=2 envoy.http_conn_manager_prefix=in envoy.listener_address=[__1]_80",
        ),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", ""),
        ("server.live", "server.live", ""),
    ] {
        assert_eq!(extracted(&config, name), (rest.to_owned(), tags.to_owned()), "{name}");
    }
}

#[test]
fn own_patterns_stand_behind_the_default_ones_of_their_kind() {
    let with = |name, regex| config(vec![tag(name, regex)], None).unwrap();
    for (name, regex, rest, tags) in [
        ("my-x", "_((rq)_)", "cluster.upstream_", "envoy.response_code=200 my-x=rq envoy.cluster_name=c1"),
        (
            "cl",
            r"^cluster\.((.+?)\.)",
            "cluster.upstream_rq",
            "envoy.response_code=200 envoy.cluster_name=c1 cl=c1",
        ),
        ("opt", "(x(y))?_200$", "cluster.upstream_rq", "envoy.response_code=200 opt= envoy.cluster_name=c1"),
        ("none", "upstream", "cluster.upstream_rq", "envoy.response_code=200 envoy.cluster_name=c1"),
        (
            "ahead",
            r"^cluster(?=\.).*?\.((u\w+)_rq)",
            "cluster.",
            "envoy.response_code=200 ahead=upstream envoy.cluster_name=c1",
        ),
    ] {
        let got = extracted(&with(name, regex), "cluster.c1.upstream_rq_200");
        assert_eq!(got, (rest.to_owned(), tags.to_owned()), "{name}");
    }
}

#[test]
fn without_all_default_tags_only_the_named_ones_remain() {
    let fixed =
        pb::TagSpecifier { tag_name: "fix".into(), tag_value: Some(TagValue::FixedValue("v".into())) };
    let tags = vec![tag("envoy.cluster_name", ""), tag("my", r"^http\.((.*?)\.)"), fixed];
    let config = config(tags, Some(false)).unwrap();
    for (name, rest, tags) in [
        ("cluster.c1.upstream_rq_200", "cluster.upstream_rq_200", "fix=v envoy.cluster_name=c1"),
        ("http.in.downstream_rq_total", "http.downstream_rq_total", "fix=v my=in"),
    ] {
        assert_eq!(extracted(&config, name), (rest.to_owned(), tags.to_owned()), "{name}");
    }
}

#[test]
fn tags_that_envoy_refuses_are_refused() {
    let error = |name, regex| config(vec![tag(name, regex)], None).err().unwrap_or_default();
    assert_eq!(
        error("x", ""),
        "stats_tags[0]: No regex specified for tag specifier and no default regex for name: 'x'"
    );
    assert_eq!(error("", "(x)"), "stats_tags[0].tag_name: tag_name cannot be empty");
    assert!(error("a", "x(").starts_with("stats_tags[0].regex: Invalid regex 'x(': "));
}

#[test]
fn the_matcher_hides_names() {
    let of = |choice| {
        let stats_matcher = Some(pb::StatsMatcher { stats_matcher: Some(choice) });
        let message = pb::StatsConfig { stats_matcher, ..Default::default() };
        compiled(|cx| StatsConfig::compile(&message, cx)).unwrap()
    };
    let pattern = matcher::string_matcher::MatchPattern::Prefix("cluster.".into());
    let list = matcher::ListStringMatcher {
        patterns: vec![matcher::StringMatcher { match_pattern: Some(pattern), ignore_case: false }],
    };
    let shown = |choice| {
        let config = of(choice);
        ["cluster.a", "server.live"].map(|name| config.shows(name))
    };
    assert_eq!(shown(Choice::InclusionList(list.clone())), [true, false]);
    assert_eq!(shown(Choice::ExclusionList(list)), [false, true]);
    assert_eq!(shown(Choice::RejectAll(true)), [false, false]);
    assert_eq!(shown(Choice::RejectAll(false)), [true, true]);
}
