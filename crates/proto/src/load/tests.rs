use super::*;
use crate::pb::envoy::config::bootstrap::v3::Bootstrap;
use crate::pb::envoy::config::cluster::v3::Cluster;
use crate::pb::envoy::config::listener::v3::Listener;

fn yaml(text: &str) -> Result<Loaded, Errors> {
    load(&[Source::file("t.yaml", text.as_bytes())], LoadOptions::default())
}

const LISTENER: &str = "address: {socket_address: {address: 127.0.0.1, port_value: 80}}";

#[test]
fn static_resources_come_apart_with_their_names_and_places() {
    let text = format!(
        "static_resources:\n  listeners:\n  - name: l\n    {LISTENER}\n  clusters:\n  - name: a\n  - name: b\n"
    );
    let loaded = yaml(&text).unwrap();
    assert_eq!(loaded.listeners[0].decode::<Listener>().unwrap().name, "l");
    let names: Vec<&str> = loaded.clusters.iter().map(Resource::name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(loaded.clusters[1].place().unwrap().to_string(), "t.yaml:7:5");
    let statics = loaded.bootstrap.decode::<Bootstrap>().unwrap().static_resources.unwrap();
    assert!(statics.clusters.is_empty() && statics.listeners.is_empty());
    let sink = Sink::default();
    let cx = loaded.clusters[1].context(&sink);
    assert_eq!(cx.field("name").path(), "static_resources.clusters[1].name");
    assert_eq!(cx.field("name").place().unwrap().to_string(), "t.yaml:7:5");
}

#[test]
fn every_error_of_a_file_is_shown_with_line_column_path_and_hint() {
    let text = "\
static_resources:
  listeners:
  - name: 5
    adress: {}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: HTTP9
          stat_prefix: ''
          route_config:
            virtual_hosts:
            - name: v
              domains: []
              routes:
              - match: {prefix: /}
                direct_response: {status: 99}
              - redirect: {}
              - match: {prefix: /, path: /}
                route: {cluster: a, timeout: 5}
  clusters:
  - connect_timeout: 0s
    lb_policy: MAGLEV
";
    let errors = yaml(text).unwrap_err();
    let text = errors.to_string();
    let route = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    for line in [
        "t.yaml:3:11: static_resources.listeners[0].name: found the number 5 where a string is expected: put it in quotes",
        "t.yaml:4:5: static_resources.listeners[0]: envoy.config.listener.v3.Listener has no field 'adress' (did you mean 'address'?)",
        &format!(
            "t.yaml:10:23: {route}.codec_type: envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType has no value 'HTTP9' (did you mean 'HTTP1'?)"
        ),
        &format!("t.yaml:11:11: {route}.stat_prefix: value length must be at least 1 characters"),
        &format!(
            "t.yaml:15:15: {route}.route_config.virtual_hosts[0].domains: must contain at least 1 item(s)"
        ),
        &format!(
            "t.yaml:18:35: {route}.route_config.virtual_hosts[0].routes[0].direct_response.status: value must be at least 200"
        ),
        &format!("t.yaml:19:17: {route}.route_config.virtual_hosts[0].routes[1].match: is required"),
        &format!(
            "t.yaml:20:36: {route}.route_config.virtual_hosts[0].routes[2].match.path: 'path_specifier' is set twice: only one of its fields may be set"
        ),
        &format!(
            "t.yaml:21:46: {route}.route_config.virtual_hosts[0].routes[2].route.timeout: found the number 5 where a duration such as 0.25s is expected"
        ),
        "t.yaml:23:5: static_resources.clusters[0].name: value length must be at least 1 characters",
        "t.yaml:23:5: static_resources.clusters[0].connect_timeout: value must be greater than 0s",
    ] {
        assert!(text.lines().any(|found| found == line), "missing: {line}\n{text}");
    }
    assert!(errors.iter().zip(errors.iter().skip(1)).all(|(a, b)| a.place <= b.place));
}

#[test]
fn later_sources_are_merged_over_earlier_ones() {
    let sources = [
        Source::file(
            "t.yaml",
            b"node: {id: a, cluster: c}\nstats_flush_interval: 0s\nstatic_resources: {clusters: [{name: a}]}",
        ),
        Source::yaml(
            "--config-yaml",
            b"node: {id: b}\nstats_flush_interval: 5s\nstatic_resources: {clusters: [{name: b}]}",
        ),
    ];
    let loaded = load(&sources, LoadOptions::default()).unwrap();
    let bootstrap = loaded.bootstrap.decode::<Bootstrap>().unwrap();
    let node = bootstrap.node.unwrap();
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("b", "c"));
    assert_eq!(loaded.clusters.iter().map(Resource::name).collect::<Vec<_>>(), ["a", "b"]);
    let sink = Sink::default();
    let cx = loaded.bootstrap.context(&sink);
    assert_eq!(cx.field("node").field("id").place().unwrap().to_string(), "--config-yaml:1:8");
    let bad = [sources[0], Source::yaml("--config-yaml", b"stats_flush_interval: 900s")];
    let errors = load(&bad, LoadOptions::default()).unwrap_err().to_string();
    assert_eq!(errors, "--config-yaml:1:1: stats_flush_interval: value must be less than 300s");
}

#[test]
fn what_a_later_source_appends_has_its_place_there_and_its_index_in_the_whole() {
    let sources = [
        Source::file(
            "t.yaml",
            b"stats_config:\n  stats_tags:\n  - tag_name: a\nstatic_resources:\n  clusters: [{name: a}]",
        ),
        Source::yaml(
            "--config-yaml",
            b"{stats_config: {stats_tags: [{tag_name: b}]}, static_resources: {clusters: [{name: 5}]}}",
        ),
    ];
    let sink = Sink::default();
    let loaded = read(&sources, false, &sink).unwrap();
    let cx = loaded.bootstrap.context(&sink);
    let cx = cx.field("stats_config");
    let tag = |index| cx.item("stats_tags", index).place().unwrap().to_string();
    assert_eq!((tag(0), tag(1)), ("t.yaml:3:5".into(), "--config-yaml:1:30".into()));
    let (errors, _) = sink.finish();
    let start = "--config-yaml:1:84: static_resources.clusters[1].name: found the number 5";
    assert!(errors.to_string().starts_with(start), "{errors}");
}

#[test]
fn a_slip_of_a_name_is_not_a_missing_field_too() {
    let text = "static_resources: {clusters: [{nmae: a, load_assignment: {clutser_name: a}}]}";
    let errors = yaml(text).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors}");
    assert!(errors.iter().all(|error| error.kind == ErrorKind::UnknownField));
}

#[test]
fn unknown_fields_and_enum_names_are_warnings_where_permitted() {
    let source = [Source::file("t.yaml", b"foo: 1\nstatic_resources: {clusters: [{name: a, type: bar}]}")];
    assert_eq!(load(&source, LoadOptions::default()).unwrap_err().len(), 2);
    let sink = Sink::default();
    let loaded = read(&source, true, &sink).unwrap();
    let (errors, warnings) = sink.finish();
    assert_eq!((errors.len(), warnings.len()), (0, 2));
    assert_eq!(loaded.clusters[0].decode::<Cluster>().unwrap().name, "a");
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let errors =
        load(&[Source::file("t.yaml", b"node:\n  id: \"a\xff\"")], LoadOptions::default()).unwrap_err();
    assert_eq!(errors.to_string(), "t.yaml:2:9: the text is not UTF-8");
}

#[test]
fn files_are_yaml_by_their_ending_and_json_otherwise() {
    assert_eq!(Format::of_file("a/b.YML"), Format::Yaml);
    assert_eq!(Format::of_file("a.yaml/b"), Format::Json);
    assert_eq!(Format::of_file("b.json"), Format::Json);
}
