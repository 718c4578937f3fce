use super::*;

fn errors(route_config: &str) -> String {
    compile(route_config).err().unwrap_or_default()
}

fn of_route(route: &str) -> String {
    errors(&format!("name: rc\nvirtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n  - {route}\n"))
}

#[test]
fn what_envoy_refuses_is_refused_in_its_words() {
    let action = |text: &str| format!("{{name: rn, match: {{prefix: /}}, route: {{{text}}}}}");
    let templated = |text: &str| {
        format!(
            "{{match: {{path_match_policy: {{name: u, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, \
             path_template: '/*'}}}}}}, {text}}}"
        )
    };
    let direct = |text: &str| format!("{{match: {{prefix: /}}, direct_response: {{status: 200}}, {text}}}");
    for (route, want) in [
        (action("cluster: nix"), "route: unknown cluster 'nix'"),
        (
            action("weighted_clusters: {clusters: [{name: nix, weight: 1}]}"),
            "route: unknown weighted cluster 'nix'",
        ),
        (
            action("weighted_clusters: {clusters: [{name: c, weight: 0}]}"),
            "Sum of weights in the weighted_cluster must be greater than 0.",
        ),
        (
            action("weighted_clusters: {clusters: [{name: c, weight: 4294967295}, {name: c, weight: 1}]}"),
            "The sum of weights of all weighted clusters of route rn exceeds 4294967295",
        ),
        (
            action("weighted_clusters: {clusters: [{weight: 1}]}"),
            "At least one of name or cluster_header need to be specified",
        ),
        (
            action("weighted_clusters: {clusters: [{name: c, cluster_header: x, weight: 1}]}"),
            "Only one of name or cluster_header can be specified",
        ),
        (action("weighted_clusters: {clusters: [{name: c}]}"), "Field 'weight' is missing"),
        (
            action("cluster: c, prefix_rewrite: /x, regex_rewrite: {pattern: {regex: a}, substitution: b}"),
            "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy",
        ),
        (
            templated("route: {cluster: c, prefix_rewrite: /x}"),
            "Cannot use prefix_rewrite with matcher extension",
        ),
        (
            templated("redirect: {prefix_rewrite: /x}"),
            "Cannot use redirect.prefix_rewrite with path_match_policy",
        ),
        (action("cluster: c, timeout: -1s"), "Invalid duration: Expected positive duration"),
        ("{match: {safe_regex: {regex: 'a('}}, direct_response: {status: 200}}".into(), "missing ): a("),
        (
            format!(
                "{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {}}}}}}}",
                "x".repeat(4097)
            ),
            "response body size is 4097 bytes; maximum is 4096",
        ),
        (
            "{match: {prefix: /}, direct_response: {status: 200, body: {filename: /no/such/file}}}".into(),
            "file /no/such/file does not exist",
        ),
        (
            "{match: {prefix: /}, direct_response: {status: 200, body: {environment_variable: NO_SUCH_VAR}}}"
                .into(),
            "Environment variable doesn't exist: NO_SUCH_VAR",
        ),
        (
            direct(
                "typed_per_filter_config: {nix: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig}}",
            ),
            "Empty route/virtual host per filter configuration for nix filter",
        ),
        (
            action(
                "cluster: c, path_rewrite_policy: {name: r, typed_config: {'@type': \
                 type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, \
                 path_template_rewrite: /a}}",
            ),
            "unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without \
             envoy.path.match.uri_template.uri_template_matcher extension",
        ),
    ] {
        let got = of_route(&route);
        assert!(got.contains(want), "{route}: {got}");
    }
}

#[test]
fn domains_are_unique_in_a_table() {
    let two = |a: &str, b: &str| {
        errors(&format!(
            "name: rr\nvirtual_hosts:\n- {{name: v, domains: ['{a}']}}\n- {{name: w, domains: ['{b}']}}"
        ))
    };
    assert!(two("*", "*").contains("Only a single wildcard domain is permitted in route rr"));
    let text = "Only unique values for domains are permitted. Duplicate entry of domain a.b in route rr";
    assert!(two("a.b", "A.b").contains(text));
}

#[test]
fn every_error_is_reported_with_its_place() {
    let got = errors(
        "
name: rr
virtual_hosts:
- name: v
  domains: [a, a]
  routes:
  - {match: {prefix: /}, route: {cluster: nix}}
  - {match: {safe_regex: {regex: '('}}, route: {cluster: nax}}
",
    );
    let lines: Vec<_> = got.lines().collect();
    assert_eq!(lines.len(), 4, "{got}");
    let route_config = "filter_chains[0].filters[0].typed_config.route_config.";
    assert!(lines[0].starts_with("t.yaml:15:") && lines[0].contains("domains[1]"), "{got}");
    assert!(lines[1].starts_with("t.yaml:17:") && lines[1].contains(route_config), "{got}");
    assert!(lines[2].starts_with("t.yaml:18:") && lines[3].starts_with("t.yaml:18:"), "{got}");
}

#[test]
fn clusters_are_not_looked_for_where_the_table_says_so() {
    let table = compile(
        "
validate_clusters: false
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - {match: {prefix: /}, route: {cluster: nix}}
",
    );
    assert!(table.is_ok());
}

#[test]
fn a_larger_direct_response_is_a_matter_of_the_table() {
    let body = "x".repeat(5000);
    let text = format!(
        "
max_direct_response_body_size_bytes: 5000
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {body}}}}}}}
"
    );
    let table = compile(&text).unwrap();
    let Found::Route(route) = find(&table, &get("/", &[]), 0) else { panic!() };
    let Action::DirectResponse(answer) = &route.action else { panic!() };
    assert_eq!((answer.status, answer.body.len()), (200, 5000));
}
