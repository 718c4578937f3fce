//! Matcher trees of virtual hosts, and clusters that plug-ins name.

use super::*;

const HEADER: &str = r#"{name: x, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-a}}"#;

/// What leads to a route of this name.
fn to(name: &str, prefix: &str) -> String {
    format!(
        r#"{{action: {{name: r, typed_config: {{"@type": type.googleapis.com/envoy.config.route.v3.Route, name: {name}, match: {{prefix: {prefix}}}, direct_response: {{status: 200}}}}}}}}"#
    )
}

/// One virtual host with this matcher.
fn matching(matcher: &str) -> Result<Arc<RouteTable>, String> {
    compile(&format!("name: t\nvirtual_hosts:\n- {{name: v, domains: ['*'], matcher: {matcher}}}"))
}

#[test]
fn a_tree_leads_to_a_route_which_has_to_match_itself() {
    let (a, ab, none) = (to("a", "/"), to("ab", "/only"), to("none", "/"));
    for (kind, map, rows) in [
        (
            "exact_match_map",
            format!("{{a: {a}, ab: {ab}}}"),
            [("a", "/", "a"), ("ab", "/only/x", "ab"), ("ab", "/", "-"), ("abc", "/", "none")],
        ),
        (
            "prefix_match_map",
            format!("{{a: {a}, ab: {ab}}}"),
            [("a", "/", "a"), ("abc", "/only", "ab"), ("abc", "/", "-"), ("b", "/", "none")],
        ),
    ] {
        let tree =
            format!("{{matcher_tree: {{input: {HEADER}, {kind}: {{map: {map}}}}}, on_no_match: {none}}}");
        let table = matching(&tree).unwrap();
        for (value, path, want) in rows {
            assert_eq!(name_for(&table, &get(path, &[("x-a", value)])), want, "{kind} of {value} at {path}");
        }
        assert_eq!(name_for(&table, &get("/", &[])), "none", "{kind} without the header");
    }
}

#[test]
fn the_first_predicate_that_holds_decides() {
    let row = |test: &str, name: &str| {
        format!(
            "{{predicate: {{single_predicate: {{input: {HEADER}, {test}}}}}, on_match: {}}}",
            to(name, "/")
        )
    };
    let within = r#"custom_match: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: p, cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}"#;
    let rows = [
        row("value_match: {prefix: ab}", "prefix"),
        row("value_match: {exact: abc}", "exact"),
        row(within, "within"),
    ];
    let table = matching(&format!("{{matcher_list: {{matchers: [{}]}}}}", rows.join(", "))).unwrap();
    for (value, want) in [
        ("abc", "prefix"),
        ("ab", "prefix"),
        ("10.1.2.3", "within"),
        ("11.1.2.3", "-"),
        ("x", "-"),
        ("", "-"),
    ] {
        assert_eq!(name_for(&table, &get("/", &[("x-a", value)])), want, "{value}");
    }
}

#[test]
fn a_virtual_host_has_routes_or_a_matcher() {
    let both = format!(
        "name: t\nvirtual_hosts:\n- {{name: v, domains: ['*'], matcher: {{on_no_match: {}}}, routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}",
        to("a", "/")
    );
    let error = compile(&both).unwrap_err();
    assert!(error.contains("cannot set both matcher and routes"), "{error}");
    let error = matching(&format!(
        r#"{{matcher_tree: {{input: {{name: x, typed_config: {{"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.SourceIPInput}}}}, exact_match_map: {{map: {{a: {}}}}}}}}}"#,
        to("a", "/")
    ));
    assert!(error.unwrap_err().contains("can only match on request headers"));
}

#[test]
fn a_plug_in_names_the_cluster_when_the_route_is_found() {
    let action = |cluster: &str| {
        format!(
            r#"{{action: {{name: x, typed_config: {{"@type": type.googleapis.com/envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction, cluster: {cluster}}}}}}}"#
        )
    };
    let specifier = format!(
        r#"{{extension: {{name: x, typed_config: {{"@type": type.googleapis.com/envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier, cluster_matcher: {{matcher_tree: {{input: {HEADER}, exact_match_map: {{map: {{a: {}, b: {}}}}}}}}}}}}}}}"#,
        action("c-a"),
        action("c-b")
    );
    let table = routes(&format!(
        "- {{match: {{prefix: /}}, route: {{inline_cluster_specifier_plugin: {specifier}}}}}"
    ));
    for (value, want) in [("a", "c-a"), ("b", "c-b"), ("c", "")] {
        let head = get("/", &[("x-a", value)]);
        let Found::Route(route) = find(&table, &head, 0) else { panic!("no route for {value}") };
        let cluster = route.action.forwards().map(|action| action.cluster.name(&head.headers).to_owned());
        assert_eq!(cluster.as_deref(), Some(want), "{value}");
    }
}
