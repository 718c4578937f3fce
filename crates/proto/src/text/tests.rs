//! Verdicts of Envoy 1.40 (`--mode validate`) on small bootstraps, row by row.

use crate::{LoadOptions, Source, Unsupported, load};

fn accepted(text: &str, json: bool) -> Result<(), String> {
    let options = LoadOptions { unsupported: Unsupported::Warn, ..LoadOptions::default() };
    let name = if json { "t.json" } else { "t.yaml" };
    load(&[Source::file(name, text.as_bytes())], options).map(|_| ()).map_err(|errors| errors.to_string())
}

fn check(rows: &[(&str, bool)], frame: impl Fn(&str) -> String) {
    for (row, verdict) in rows {
        let outcome = accepted(&frame(row), false);
        assert_eq!(outcome.is_ok(), *verdict, "{row}: {outcome:?}");
    }
}

#[test]
fn a_string_field_takes_what_yaml_reads_as_a_string() {
    let rows = [
        ("5", false),
        ("1.5", true),
        ("12345678901", true),
        ("~", true),
        ("yes", false),
        ("y", false),
        ("oN", true),
        ("0x1F", false),
        ("010", false),
        ("08", true),
        ("1e3", true),
        ("+5", false),
        ("!!str 5", false),
        ("! 5", true),
        ("'null'", true),
        ("[a]", false),
        ("{a: b}", false),
        ("a#b", true),
    ];
    check(&rows, |row| format!("node: {{id: {row}}}"));
}

#[test]
fn a_wrapped_number_is_read_in_all_its_forms() {
    let rows = [
        ("5", true),
        ("'5'", true),
        ("{value: 5}", true),
        ("{value: '5'}", true),
        ("5.0", true),
        ("5.5", false),
        ("1e3", true),
        ("'0x10'", true),
        ("-1", false),
        ("4294967296", false),
        ("4294967295", true),
        ("' 5'", false),
        ("true", false),
        ("''", false),
        ("~", true),
        ("{}", true),
        ("{value: ~}", true),
        ("1_000", false),
        ("'+5'", true),
        ("[5]", false),
        ("{value: {value: 5}}", false),
    ];
    let frame = |row: &str| {
        format!("static_resources: {{clusters: [{{name: a, per_connection_buffer_limit_bytes: {row}}}]}}")
    };
    check(&rows, frame);
}

#[test]
fn a_duration_is_text_with_an_s_or_a_mapping() {
    let rows = [
        ("5s", true),
        ("5", false),
        ("'5'", false),
        ("0.25s", true),
        ("250ms", false),
        ("-1s", false),
        ("{seconds: 5}", true),
        ("{seconds: '5', nanos: 3}", true),
        ("{}", false),
        ("~", true),
        ("[5s]", false),
        ("0s", false),
    ];
    check(&rows, |row| format!("stats_flush_interval: {row}"));
}

#[test]
fn booleans_are_those_of_yaml_and_some_quoted_words() {
    let rows = [
        ("true", true),
        ("yes", true),
        ("on", true),
        ("1", false),
        ("0", false),
        ("'1'", true),
        ("'yes'", true),
        ("'T'", true),
        ("t", true),
        ("tRue", true),
        ("'on'", false),
        ("'maybe'", false),
    ];
    check(&rows, |row| format!("enable_dispatcher_stats: {row}"));
}

#[test]
fn enums_are_names_in_any_case_or_numbers() {
    let rows = [
        ("STATIC", true),
        ("static", true),
        ("Static", true),
        ("0", true),
        ("'0'", true),
        ("0x0", true),
        ("' 0'", true),
        ("~", true),
        ("77", false),
        ("'77'", false),
        ("1.0", false),
        ("foo", false),
        ("strict-dns", false),
        ("[STATIC]", false),
        ("true", false),
        ("' STATIC'", false),
        ("4294967296", false),
    ];
    check(&rows, |row| format!("static_resources: {{clusters: [{{name: a, type: {row}}}]}}"));
}

#[test]
fn lists_take_one_value_null_and_lists_within() {
    let rows = [
        ("a", true),
        ("[a, ~, b]", true),
        ("[[a], [b, [c]]]", true),
        ("~", true),
        ("[]", true),
        ("{a: b}", false),
        ("5", false),
    ];
    check(&rows, |row| format!("node: {{client_features: {row}}}"));
    let clusters =
        [("{name: a}", true), ("[[{name: a}]]", true), ("[~]", false), ("[a]", false), ("[{}]", false)];
    check(&clusters, |row| format!("static_resources: {{clusters: {row}}}"));
}

#[test]
fn documents_are_mappings_and_the_first_one_counts() {
    let rows = [
        ("{}", true),
        ("admin: {}", true),
        ("", false),
        ("# x", false),
        ("---\n", false),
        ("null", false),
        ("foo", false),
        ("[]", false),
        ("node: {id: a}\n---\nnode: {id: 5}\n", true),
        ("node: {id: 5}\n---\nnode: {id: a}\n", false),
        ("{}\n---\nfoo: [\n", true),
        ("node:\n\tid: a\n", false),
        ("node:\t{id: a}\n", true),
        ("node:\r\n  id: a\r\n", true),
        ("node: {id:a}", false),
        ("node: {id: @a}", false),
        ("node: {id: *n}", false),
        ("? [a]\n: b\n", false),
        ("node: {\nid: a\n}\n", true),
        ("node: {\n\tid: a\n}\n", true),
        ("node:\n  id: \"a\nb\"\n", true),
        ("node:\n  id: \"a\n  b\"\n", true),
        ("node: {id: a\n", false),
        ("node: {id: a,}", true),
    ];
    check(&rows, str::to_owned);
}

#[test]
fn the_last_of_repeated_keys_counts_and_merge_keys_are_fields() {
    let rows = [
        ("stats_flush_interval: 5\nstats_flush_interval: 5s\n", true),
        ("stats_flush_interval: 5s\nstats_flush_interval: 5\n", false),
        ("node: {id: 5}\nnode: {cluster: a}\n", true),
        ("node: {cluster: a}\nnode: {id: 5}\n", false),
        ("static_resources: {clusters: [{}]}\nstatic_resources: {clusters: [{name: a}]}\n", true),
        ("node:\n  <<: {id: b}\n", false),
        ("node: {metadata: {<<: {id: b}}}\n", true),
        ("x-anchors: {}\n", false),
        ("!ignore x: &a {id: b}\nnode: *a\n", true),
    ];
    check(&rows, str::to_owned);
}

#[test]
fn an_any_names_its_type_anywhere() {
    const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let rows = [
        ("{'@type': type.googleapis.com/HCM, stat_prefix: a, route_config: {}}", true),
        ("{stat_prefix: a, route_config: {}, '@type': type.googleapis.com/HCM}", true),
        ("{'@type': foo.com/HCM, stat_prefix: a, route_config: {}}", true),
        ("{'@type': HCM, stat_prefix: a, route_config: {}}", false),
        ("{'@type': type.googleapis.com/foo.Bar}", false),
        ("{'@type': 5}", false),
        ("{stat_prefix: a}", false),
        ("foo", false),
        ("[]", false),
        ("{'@type': a/HCM, stat_prefix: a, route_config: {}, rds: {route_config_name: x}}", false),
        ("{'@type': a/HCM, stat_prefix: a, route_config: {}, rds: ~}", true),
        ("{'@type': a/HCM, stat_prefix: a, routeConfig: {}, route_config: {}}", false),
        ("{'@type': a/HCM, stat_prefix: a, route_config: {}, route_config: {}}", true),
        (
            "{'@type': a/xds.type.v3.TypedStruct, type_url: a/HCM, value: {stat_prefix: a, route_config: {}}}",
            true,
        ),
        (
            "{'@type': a/udpa.type.v1.TypedStruct, typeUrl: HCM, value: {stat_prefix: a, route_config: {}}}",
            true,
        ),
        (
            "{value: {stat_prefix: a, route_config: {}}, type_url: a/HCM, '@type': a/xds.type.v3.TypedStruct}",
            true,
        ),
        ("{'@type': a/xds.type.v3.TypedStruct, type_url: a/HCM, value: {stat_prefix: a, foo: 1}}", false),
        (
            "{'@type': a/xds.type.v3.TypedStruct, type_url: a/HCM, value: {stat_prefix: 5, route_config: {}}}",
            false,
        ),
        ("{'@type': a/xds.type.v3.TypedStruct, type_url: a/HCM}", false),
        ("{'@type': a/xds.type.v3.TypedStruct, type_url: a/foo.Bar, value: {}}", false),
        ("{'@type': a/xds.type.v3.TypedStruct, value: {}}", false),
    ];
    check(&rows, |row| {
        let config = row.replace("HCM", HCM);
        format!(
            "static_resources: {{listeners: [{{address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, \
             filter_chains: {{filters: {{name: h, typed_config: {config}}}}}}}]}}"
        )
    });
}

#[test]
fn json_files_have_the_rules_of_json() {
    for (row, verdict) in [
        ("{}", true),
        (r#"{"node":{"id":1.5}}"#, false),
        (r#"{"enable_dispatcher_stats":"yes"}"#, true),
        (r#"{"enable_dispatcher_stats":1}"#, false),
        (r#"{"stats_flush_interval":"0s","stats_flush_interval":"5s"}"#, true),
        (r#"{"stats_flush_interval":"5s","stats_flush_interval":"0s"}"#, false),
        (r#"{"stats_flush_interval":5,"stats_flush_interval":"5s"}"#, false),
        (r#"{"node":{"metadata":{"a":1,"a":2}}}"#, false),
        ("null", false),
        ("[]", false),
        ("node: {id: a}", false),
        (r#"{"static_resources":{"clusters":[{"name":"a","type":"STATIC","type":"EDS"}]}}"#, false),
    ] {
        let outcome = accepted(row, true);
        assert_eq!(outcome.is_ok(), verdict, "{row}: {outcome:?}");
    }
}
