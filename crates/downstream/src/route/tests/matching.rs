use super::*;

/// Routes `{name, match}` in order, each answering itself; requests and the names that they find.
fn check(matches: &[(&str, &str)], rows: &[(RequestHead, &str)]) {
    let list: String = matches
        .iter()
        .map(|(name, m)| format!("- {{name: {name}, match: {m}, direct_response: {{status: 200}}}}\n"))
        .collect();
    let table = routes(&list);
    for (head, want) in rows {
        assert_eq!(name_for(&table, head), *want, "{head:?} in {matches:?}");
    }
}

fn paths<'w>(rows: &[(&str, &'w str)]) -> Vec<(RequestHead, &'w str)> {
    rows.iter().map(|(path, want)| (get(path, &[]), *want)).collect()
}

/// Values of `x-a`, one request each.
fn values<'w>(name: &str, rows: &[(&str, &'w str)]) -> Vec<(RequestHead, &'w str)> {
    rows.iter().map(|(value, want)| (get("/", &[(name, value)]), *want)).collect()
}

#[test]
fn the_first_route_in_order_wins() {
    check(
        &[("a", "{prefix: /a}"), ("exact", "{path: /a/b}"), ("root", "{prefix: /}")],
        &paths(&[("/a/b", "a"), ("/a", "a"), ("/abc", "a"), ("/b", "root")]),
    );
    check(
        &[("exact", "{path: /a/b}"), ("a", "{prefix: /a}")],
        &paths(&[
            ("/a/b", "exact"),
            ("/a/b?x=1", "exact"),
            ("/a/b/", "a"),
            ("/A/B", "-"),
            ("/a", "a"),
            ("/", "-"),
        ]),
    );
}

#[test]
fn a_first_route_that_takes_every_path_leaves_none_but_what_is_no_path() {
    let rows = [("/", "all"), ("/a/b?x", "all"), ("*", "-")];
    check(&[("all", "{prefix: /}"), ("a", "{path: /a/b}")], &paths(&rows));
    check(&[("all", "{prefix: \"\"}"), ("a", "{path: /a/b}")], &paths(&rows[..2]));
    let asks = "{prefix: /, headers: [{name: x-a, present_match: true}]}";
    check(&[("asks", asks), ("a", "{path: /a/b}")], &paths(&[("/a/b", "a"), ("/", "-")]));
    let connect = [("all", "{prefix: /}"), ("tunnel", "{connect_matcher: {}}")];
    check(&connect, &[(request("CONNECT", "", &[]), "tunnel"), (get("/x", &[]), "all")]);
}

#[test]
fn letters_count_unless_told_otherwise() {
    check(
        &[
            ("exact", "{path: /Ab, case_sensitive: false}"),
            ("pre", "{prefix: /PRE, case_sensitive: false}"),
            ("cs", "{prefix: /Cs}"),
        ],
        &paths(&[
            ("/ab", "exact"),
            ("/AB", "exact"),
            ("/aB?q", "exact"),
            ("/pre/x", "pre"),
            ("/PReX", "pre"),
            ("/cs", "-"),
            ("/Cs", "cs"),
        ]),
    );
}

#[test]
fn a_separated_prefix_ends_at_a_slash_or_the_end() {
    check(
        &[("sep", "{path_separated_prefix: /a/b}"), ("root", "{prefix: /}")],
        &paths(&[
            ("/a/b", "sep"),
            ("/a/b/", "sep"),
            ("/a/bc", "root"),
            ("/a/b/c", "sep"),
            ("/a/b?x=/", "sep"),
            ("/A/b", "root"),
        ]),
    );
}

#[test]
fn a_regex_matches_the_whole_path_without_its_query() {
    check(
        &[
            ("re", "{safe_regex: {regex: '/b[io]t'}}"),
            ("num", r"{safe_regex: {regex: '/num/\d+'}}"),
            ("img", r"{safe_regex: {google_re2: {}, regex: '.*\.(png|jpe?g)'}}"),
            ("css", r"{safe_regex: {regex: '.*\.css'}}"),
        ],
        &paths(&[
            ("/bit", "re"),
            ("/bot", "re"),
            ("/bat", "-"),
            ("/bit/x", "-"),
            ("/bit?x=y", "re"),
            ("/num/123", "num"),
            ("/num/12a", "-"),
            ("/x/y.png", "img"),
            ("/x.jpeg?z", "img"),
            ("/x.jpg/", "-"),
            ("/x.css", "css"),
            ("/x.gif", "-"),
        ]),
    );
}

#[test]
fn uri_templates_stand_in_the_list_like_any_route() {
    let template = |text: &str| {
        format!(
            "{{path_match_policy: {{name: u, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, \
             path_template: '{text}'}}}}}}"
        )
    };
    check(
        &[
            ("t1", &template("/api/{country}/v*/users/{id=*}")),
            ("t2", &template("/files/{p=**}")),
            ("t3", &template("/one/*")),
        ],
        &paths(&[
            ("/api/de/v/users/7", "t1"),
            ("/api/de/v1/users/7", "-"),
            ("/api//v1/users/1", "-"),
            ("/files/a/b/c", "t2"),
            ("/files/", "t2"),
            ("/files", "-"),
            ("/one/x", "t3"),
            ("/one/x/y", "-"),
            ("/one/x?q=1", "t3"),
        ]),
    );
}

#[test]
fn a_query_is_no_part_of_the_path() {
    check(
        &[("q", "{prefix: '/a?b'}"), ("a", "{prefix: /a}")],
        &paths(&[("/a?b", "a"), ("/a?bc", "a"), ("/a", "a")]),
    );
    check(
        &[("enc", "{prefix: '/a%20b'}"), ("dec", "{prefix: '/a b'}"), ("r", "{prefix: /}")],
        &paths(&[("/a%20b", "enc"), ("/a%2520b", "r"), ("/a", "r")]),
    );
    check(&[("star", "{path: '*'}"), ("root", "{prefix: /}")], &paths(&[("/", "root"), ("*", "star")]));
}

#[test]
fn connect_matcher_takes_connect_alone_and_even_without_a_path() {
    let matches = [("connect", "{connect_matcher: {}}"), ("root", "{prefix: /}"), ("any", "{prefix: ''}")];
    let mut pathless = request("CONNECT", "/", &[]);
    pathless.headers.remove(Known::Path);
    check(
        &matches,
        &[
            (get("/", &[]), "root"),
            (request("CONNECT", "h:80", &[]), "connect"),
            (pathless.clone(), "connect"),
            (get("/", &[("upgrade", "Connect-UDP")]), "connect"),
            (get("/", &[("upgrade", "websocket")]), "root"),
        ],
    );
    check(&matches[1..], &[(pathless, "-")]);
}

#[test]
fn headers_are_matched_value_by_value() {
    let two = |a, b| get("/", &[("x-a", a), ("x-a", b)]);
    check(
        &[("hit", "{prefix: /, headers: [{name: x-a, string_match: {exact: one}}]}")],
        &[
            (get("/", &[("x-a", "one")]), "hit"),
            (get("/", &[("x-a", "One")]), "-"),
            (get("/", &[]), "-"),
            (two("one", "two"), "hit"),
            (get("/", &[("x-a", "one,two")]), "-"),
        ],
    );
    check(
        &[
            ("joined", "{prefix: /, headers: [{name: x-a, string_match: {exact: 'one,two'}}]}"),
            ("contains", "{prefix: /, headers: [{name: x-a, string_match: {contains: two}}]}"),
        ],
        &[
            (two("one", "two"), "contains"),
            (two("two", "one"), "contains"),
            (get("/", &[("x-a", "one,two")]), "joined"),
            (get("/", &[("x-a", "z")]), "-"),
        ],
    );
}

#[test]
fn header_matchers_of_every_kind_are_anded() {
    check(
        &[
            ("neg", "{prefix: /, headers: [{name: x-n, range_match: {start: -10, end: 0}}]}"),
            (
                "inv",
                "{prefix: /, headers: [{name: x-n, range_match: {start: 0, end: 10}, invert_match: true}]}",
            ),
        ],
        &values(
            "x-n",
            &[
                ("-10", "neg"),
                ("-1", "neg"),
                ("0", "-"),
                ("9", "-"),
                ("10", "inv"),
                ("-11", "inv"),
                ("3x", "inv"),
                ("", "inv"),
            ],
        ),
    );
    check(
        &[("not-one", "{prefix: /, headers: [{name: x-a, string_match: {exact: one}, invert_match: true}]}")],
        &[(get("/", &[("x-a", "one")]), "-"), (get("/", &[("x-a", "two")]), "not-one"), (get("/", &[]), "-")],
    );
    check(
        &[(
            "empty",
            "{prefix: /, headers: [{name: x-a, string_match: {exact: ''}, treat_missing_header_as_empty: true}]}",
        )],
        &[(get("/", &[]), "empty"), (get("/", &[("x-a", "")]), "empty"), (get("/", &[("x-a", "x")]), "-")],
    );
    check(
        &[("both", "{prefix: /, headers: [{name: x-a, exact_match: '1'}, {name: x-b, prefix_match: '2'}]}")],
        &[(get("/", &[("x-a", "1"), ("x-b", "23")]), "both"), (get("/", &[("x-a", "1")]), "-")],
    );
    check(
        &[
            ("post", "{prefix: /, headers: [{name: ':method', string_match: {exact: POST}}]}"),
            ("host", "{prefix: /, headers: [{name: host, string_match: {exact: ex.com}}]}"),
        ],
        &[(request("POST", "/", &[]), "post"), (get("/", &[]), "host")],
    );
}

#[test]
fn many_routes_told_apart_by_one_header_still_match_in_order() {
    let list: Vec<(String, String)> = (0..40)
        .map(|i| {
            let m = format!("{{prefix: /, headers: [{{name: X-T, string_match: {{exact: t{}}}}}]}}", i % 20);
            (format!("r{i}"), m)
        })
        .collect();
    let mut list: Vec<(&str, &str)> = list.iter().map(|(n, m)| (n.as_str(), m.as_str())).collect();
    list.insert(10, ("late", "{prefix: /x}"));
    list.push(("rest", "{prefix: /}"));
    check(
        &list,
        &[
            (get("/", &[("x-t", "t3")]), "r3"),
            (get("/", &[("x-t", "t19"), ("x-t", "t7")]), "r7"),
            (get("/", &[("x-t", "t19")]), "r19"),
            (get("/x", &[("x-t", "t19")]), "late"),
            (get("/x", &[("x-t", "t9")]), "r9"),
            (get("/", &[("x-t", "t99")]), "rest"),
            (get("/", &[]), "rest"),
        ],
    );
}

#[test]
fn query_parameters_and_cookies_count_once() {
    check(
        &[
            ("exact", "{prefix: /, query_parameters: [{name: k, string_match: {exact: v}}]}"),
            ("present", "{prefix: /, query_parameters: [{name: p, present_match: true}]}"),
            (
                "absent",
                "{prefix: /, query_parameters: [{name: q, present_match: false}, {name: z, present_match: true}]}",
            ),
        ],
        &paths(&[
            ("/?k=v", "exact"),
            ("/?k=V", "-"),
            ("/?a=1&k=v", "exact"),
            ("/?p", "present"),
            ("/?p=", "present"),
            ("/?px=1", "-"),
            ("/?k=%76", "-"),
            ("/?k=x&k=v", "-"),
            ("/?k=v&k=x", "exact"),
            ("/?k=v;p", "-"),
            ("/?z&q", "-"),
            ("/?z", "absent"),
            ("/", "-"),
        ]),
    );
    check(
        &[
            ("sid", "{prefix: /, cookies: [{name: sid, string_match: {exact: abc}}]}"),
            ("not", "{prefix: /n, cookies: [{name: sid, string_match: {exact: abc}, invert_match: true}]}"),
        ],
        &[
            (get("/", &[("cookie", "a=b; sid=abc")]), "sid"),
            (get("/", &[("cookie", "x=1;sid=\"abc\"")]), "sid"),
            (get("/", &[("cookie", "x=1"), ("cookie", "sid=abc")]), "sid"),
            (get("/", &[("cookie", "sid=abcd")]), "-"),
            (get("/", &[("cookie", "sid=x; sid=abc")]), "-"),
            (get("/", &[("cookie", "sid = abc")]), "-"),
            (get("/", &[("cookie", "sid=abc ; b")]), "-"),
            (get("/n", &[]), "not"),
            (get("/n", &[("cookie", "sid=x")]), "not"),
        ],
    );
}

#[test]
fn grpc_tls_and_fractions_are_conditions_too() {
    let types = |rows: &[(&str, &'static str)]| values("content-type", rows);
    check(
        &[("grpc", "{prefix: /, grpc: {}}"), ("plain", "{prefix: /}")],
        &types(&[
            ("application/grpc", "grpc"),
            ("application/grpc+proto", "grpc"),
            ("application/grpcx", "plain"),
            ("application/grpc-web", "plain"),
            ("application/grpc; charset=x", "plain"),
        ]),
    );
    check(
        &[
            ("tls", "{prefix: /, tls_context: {presented: true}}"),
            ("plain", "{prefix: /, tls_context: {presented: false, validated: false}}"),
        ],
        &paths(&[("/", "plain")]),
    );
    check(
        &[
            ("zero", "{prefix: /, runtime_fraction: {default_value: {numerator: 0}}}"),
            (
                "all",
                "{prefix: /h, runtime_fraction: {default_value: {numerator: 100, denominator: HUNDRED}}}",
            ),
        ],
        &paths(&[("/h", "all"), ("/x", "-")]),
    );
}

#[test]
fn path_parameters_can_be_ignored() {
    let table = compile(
        "
ignore_path_parameters_in_path_matching: true
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - {name: exact, match: {path: /exact}, direct_response: {status: 200}}
  - {name: regex, match: {safe_regex: {regex: '/rx.'}}, direct_response: {status: 200}}
  - name: template
    match:
      path_match_policy:
        name: u
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig
          path_template: '/t;a/*'
    direct_response: {status: 200}
",
    )
    .unwrap();
    for (path, want) in [
        ("/exact;v=1?q", "exact"),
        ("/exact/;v", "-"),
        ("/rxa;b", "regex"),
        ("/rxa;b/c", "-"),
        ("/rxab", "-"),
        ("/t;a/b", "template"),
        ("/t/b", "-"),
    ] {
        assert_eq!(name_for(&table, &get(path, &[])), want, "{path}");
    }
}

#[test]
fn a_walk_says_why_each_route_was_passed_over() {
    let table = routes(
        "
- {name: a, match: {prefix: /a}, direct_response: {status: 200}}
- {name: b, match: {prefix: /, headers: [{name: x, present_match: false}, {name: z}]}, direct_response: {status: 200}}
- {name: c, match: {prefix: /}, direct_response: {status: 200}}
",
    );
    let runtime = Runtime::default();
    let info = stream(0);
    let cx = MatchContext {
        info: &info,
        runtime: &runtime,
        peer_certificate: PeerCertificate::default(),
        counts: true,
    };
    let head = get("/b", &[]);
    let got: Vec<_> = table.walk(&head, &cx).map(|m| (m.route.name.to_string(), m.mismatch)).collect();
    let want = [("a", Some(Mismatch::Path)), ("b", Some(Mismatch::Header(1))), ("c", None)];
    assert_eq!(got, want.map(|(n, m)| (n.to_string(), m)));
}

#[test]
fn dynamic_metadata_must_be_there() {
    let table = routes(
        "
- name: md
  match: {prefix: /, dynamic_metadata: [{filter: f, path: [{key: k}], value: {string_match: {exact: v}}}]}
  direct_response: {status: 200}
- {name: rest, match: {prefix: /}, direct_response: {status: 200}}
",
    );
    let runtime = Runtime::default();
    let mut info = stream(0);
    let name = |info: &StreamInfo| {
        let cx = MatchContext {
            info,
            runtime: &runtime,
            peer_certificate: PeerCertificate::default(),
            counts: true,
        };
        match table.find(&get("/", &[]), &cx) {
            Found::Route(route) => route.name.to_string(),
            _ => "-".into(),
        }
    };
    assert_eq!(name(&info), "rest");
    let value = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("v".into())) };
    info.set_dynamic_metadata("f", prost_types::Struct { fields: [("k".to_owned(), value)].into() });
    assert_eq!(name(&info), "md");
}

#[test]
fn metadata_of_routes_and_virtual_hosts_is_kept_for_access_logs() {
    let table = compile(
        "
virtual_hosts:
- name: v
  domains: ['*']
  metadata: {filter_metadata: {n: {a: host}}}
  routes:
  - {match: {prefix: /}, metadata: {filter_metadata: {n: {a: route}}}, direct_response: {status: 200}}
",
    )
    .unwrap();
    let Found::Route(route) = find(&table, &get("/", &[]), 0) else { panic!() };
    let value = |m: &Option<Arc<Metadata>>| format!("{:?}", m.as_ref().unwrap()["n"].fields["a"]);
    assert!(value(&route.metadata).contains("route") && value(&route.virtual_host.metadata).contains("host"));
}
