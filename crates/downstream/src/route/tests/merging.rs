use super::*;

fn route(found: Found<'_>) -> &Arc<Route> {
    match found {
        Found::Route(route) => route,
        other => panic!("{other:?}"),
    }
}

#[test]
fn weighted_clusters_divide_the_random_numbers_in_order() {
    let table = routes(
        "
- match: {prefix: /}
  route:
    weighted_clusters:
      header_name: X-N
      clusters:
      - {name: c1, weight: 3}
      - {name: c2, weight: 0}
      - {name: c3, weight: 7}
",
    );
    let cluster = |head: &RequestHead, random| {
        let Action::Cluster(action) = &route(find(&table, head, random)).action else { panic!() };
        action.cluster.name(&head.headers).to_owned()
    };
    for (random, want) in [(0, "c1"), (2, "c1"), (3, "c3"), (9, "c3"), (10, "c1"), (u64::MAX, "c3")] {
        assert_eq!(cluster(&get("/", &[]), random), want, "{random}");
        assert_eq!(cluster(&get("/", &[("x-n", &random.to_string())]), 0), want, "{random}");
    }
    for junk in ["-1", "x", "1, 2", "18446744073709551616", ""] {
        assert_eq!(cluster(&get("/", &[("x-n", junk)]), 3), "c3", "{junk}");
        assert_eq!(cluster(&get("/", &[("x-n", junk)]), 0), "c1", "{junk}");
    }
    assert_eq!(cluster(&get("/", &[("x-n", "2"), ("x-n", "2")]), 3), "c3");
}

#[test]
fn runtime_replaces_weights() {
    let table = routes(
        "
- match: {prefix: /}
  route:
    weighted_clusters:
      runtime_key_prefix: w
      clusters: [{name: c1, weight: 1}, {name: c2, weight: 1}]
",
    );
    let pick = |keys: &[(&str, &str)], random| {
        let values = keys.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let layer = nuncio_core::runtime::Layer { name: "a".into(), values, admin: false };
        let runtime = Runtime::new(vec![layer]);
        let info = stream(random);
        let cx = MatchContext {
            info: &info,
            runtime: &runtime,
            peer_certificate: PeerCertificate::default(),
            counts: true,
        };
        match table.find(&get("/", &[]), &cx) {
            Found::Route(r) => match &r.action {
                Action::Cluster(a) => a.cluster.name(&HeaderMap::new()).to_owned(),
                _ => panic!(),
            },
            _ => "-".into(),
        }
    };
    assert_eq!([pick(&[], 0), pick(&[], 1)], ["c1", "c2"]);
    let keys = [("w.c1", "3"), ("w.c2", "1")];
    assert_eq!([0, 2, 3, 4].map(|r| pick(&keys, r)), ["c1", "c1", "c2", "c1"]);
    assert_eq!(pick(&[("w.c1", "0"), ("w.c2", "0")], 0), "-");
}

#[test]
fn a_cluster_named_by_a_header_is_that_headers_first_value() {
    let table = routes(
        "- {match: {prefix: /}, route: {cluster_header: X-C, cluster_not_found_response_code: NOT_FOUND}}",
    );
    let head = get("/", &[("x-c", "c"), ("x-c", "d")]);
    let Action::Cluster(action) = &route(find(&table, &head, 0)).action else { panic!() };
    assert_eq!((action.cluster.name(&head.headers), action.cluster_not_found_status), ("c", 404));
    assert_eq!(action.cluster.name(&HeaderMap::new()), "");
}

#[test]
fn timeouts_default_to_fifteen_seconds_and_zero_is_none() {
    use std::time::Duration;
    let table = routes(
        "
- {match: {prefix: /default}, route: {cluster: c}}
- {match: {prefix: /off}, route: {cluster: c, timeout: 0s, idle_timeout: 0s, priority: HIGH}}
- {match: {prefix: /}, route: {cluster: c, timeout: 0.25s, idle_timeout: 3s}}
",
    );
    let limits = |path: &str| {
        let Action::Cluster(a) = &route(find(&table, &get(path, &[]), 0)).action else { panic!() };
        (a.timeout, a.idle_timeout, a.priority)
    };
    assert_eq!(limits("/default"), (Some(Duration::from_secs(15)), None, Priority::Default));
    assert_eq!(limits("/off"), (None, Some(Limit::Off), Priority::High));
    let after = Some(Limit::After(Duration::from_secs(3)));
    assert_eq!(limits("/x"), (Some(Duration::from_millis(250)), after, Priority::Default));
}

#[test]
fn hosts_and_paths_are_rewritten_by_the_route() {
    let table = routes(
        r"
- {match: {prefix: /pre}, route: {cluster: c, prefix_rewrite: /P, host_rewrite_literal: h.new, append_x_forwarded_host: true}}
- {match: {path: /exact}, route: {cluster: c, prefix_rewrite: /E}}
- {match: {safe_regex: {regex: '/rx.*'}}, route: {cluster: c, prefix_rewrite: /R}}
- {match: {prefix: /re}, route: {cluster: c, regex_rewrite: {pattern: {regex: 'r(.)'}, substitution: '\1'}, host_rewrite_header: X-H}}
- {match: {prefix: /}, route: {cluster: c, auto_host_rewrite: true}}
",
    );
    for (path, host, to_path, to_host) in [
        ("/pre/a?q", "ex.com", "/P/a?q", "h.new"),
        ("/exact?q", "ex.com", "/E?q", "ex.com"),
        ("/rxab?q", "ex.com", "/R?q", "ex.com"),
        ("/re/rx?rx", "from.header", "/e/x?rx", "from.header"),
        ("/x", "ex.com", "/x", "ex.com"),
    ] {
        let mut head = get(path, &[("x-h", host)]);
        route(find(&table, &head, 0)).rewrite_request(&mut head, true, unread, |_, _, _| {});
        assert_eq!((head.path(), head.authority()), (to_path.as_bytes(), to_host.as_bytes()), "{path}");
    }
}

#[test]
fn redirects_and_some_direct_responses_have_a_location() {
    let table = routes(
        "
- {match: {prefix: /r}, redirect: {https_redirect: true, prefix_rewrite: /p, port_redirect: 8443, response_code: SEE_OTHER}}
- {match: {prefix: /301}, direct_response: {status: 301}}
- {match: {prefix: /201}, direct_response: {status: 201}}
- {match: {prefix: /}, direct_response: {status: 200}}
",
    );
    for (path, want) in [
        ("/r/a?q", Some("https://ex.com:8443/p/a?q")),
        ("/301?x", Some("http://ex.com/301?x")),
        ("/201", Some("http://ex.com/201")),
        ("/200", None),
    ] {
        let mut head = get(path, &[]);
        let mut out = Vec::new();
        let has = route(find(&table, &head, 0)).location(&mut head, true, unread, &mut out);
        assert_eq!(has.then(|| String::from_utf8(out).unwrap()).as_deref(), want, "{path}");
    }
    let Action::Redirect(redirect) = &route(find(&table, &get("/r", &[]), 0)).action else { panic!() };
    assert_eq!(redirect.status(), 303);
}

#[test]
fn require_tls_redirects_what_came_in_plain() {
    let table = compile(
        "
virtual_hosts:
- {name: all, domains: [all.com], require_tls: ALL, routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
- {name: ext, domains: [ext.com], require_tls: EXTERNAL_ONLY, routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
",
    )
    .unwrap();
    let outcome = |host: &str, proto: &str, internal: bool| {
        let mut head = get("/", if internal { &[("x-envoy-internal", "true")] } else { &[] });
        head.headers.set(Known::Authority, host.as_bytes());
        head.headers.set(Known::XForwardedProto, proto.as_bytes());
        match find(&table, &head, 0) {
            Found::Route(route) if matches!(route.action, Action::ToTls) => "tls",
            Found::Route(_) => "route",
            Found::NoRoute(_) => "no route",
            Found::NoVirtualHost => "no host",
        }
    };
    assert_eq!(outcome("all.com", "http", true), "tls");
    assert_eq!(outcome("all.com", "https", false), "route");
    assert_eq!(outcome("ext.com", "http", false), "tls");
    assert_eq!(outcome("ext.com", "http", true), "route");
    assert_eq!(outcome("ext.com", "", false), "no route");
    assert_eq!(outcome("other.com", "https", false), "no host");
}

#[test]
fn the_virtual_host_is_found_by_port_or_without_or_by_another_header() {
    let hosts = "
virtual_hosts:
- {name: v, domains: [port.com], routes: [{name: bare, match: {prefix: /}, direct_response: {status: 200}}]}
- {name: w, domains: ['port.com:8080'], routes: [{name: port, match: {prefix: /}, direct_response: {status: 200}}]}
";
    let name = |table: &RouteTable, host: &str, other: &str| {
        let mut head = get("/", &[("x-host", other)]);
        head.headers.set(Known::Authority, host.as_bytes());
        name_for(table, &head)
    };
    let table = compile(hosts).unwrap();
    assert_eq!(
        ["port.com", "PORT.com:8080", "port.com:81"].map(|h| name(&table, h, "")),
        ["bare", "port", "-"]
    );
    let table = compile(&format!("ignore_port_in_host_matching: true{hosts}")).unwrap();
    assert_eq!(
        ["port.com", "port.com:8080", "port.com:81"].map(|h| name(&table, h, "")),
        ["bare", "bare", "bare"]
    );
    let table = compile(&format!("vhost_header: X-Host{hosts}")).unwrap();
    assert_eq!([name(&table, "no", "port.com"), name(&table, "port.com", "no")], ["bare", "-"]);
}

#[test]
fn per_filter_configuration_is_merged_over_all_levels() {
    const ROUTER: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    const WRAPPED: &str = "'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let table = compile(&format!(
        "
typed_per_filter_config:
  a: {{{ROUTER}}}
  t: {{{ROUTER}}}
virtual_hosts:
- name: v
  domains: ['*']
  typed_per_filter_config:
    a: {{{ROUTER}, dynamic_stats: false}}
  routes:
  - match: {{prefix: /off}}
    direct_response: {{status: 200}}
    typed_per_filter_config:
      a: {{{WRAPPED}, disabled: true}}
      b: {{{WRAPPED}, config: {{{ROUTER}}}}}
      on: {{{WRAPPED}, config: {{}}}}
  - match: {{prefix: /w}}
    route:
      weighted_clusters:
        clusters:
        - {{name: c, weight: 1, typed_per_filter_config: {{w: {{{ROUTER}}}}}}}
  - match: {{prefix: /}}
    direct_response: {{status: 200}}
"
    ))
    .unwrap();
    let filters = |path: &str| {
        let filters = &route(find(&table, &get(path, &[]), 0)).filters;
        filters
            .iter()
            .map(|f| (f.filter().to_string(), f.disabled(), f.configs().map_or(0, |all| all.len())))
            .collect::<Vec<_>>()
    };
    let row = |name: &str, disabled, configs| (name.to_string(), disabled, configs);
    assert_eq!(filters("/"), [row("a", None, 2), row("t", None, 1)]);
    assert_eq!(
        filters("/off"),
        [row("a", Some(true), 2), row("b", Some(false), 1), row("on", Some(false), 0), row("t", None, 1)]
    );
    assert_eq!(filters("/w"), [row("a", None, 2), row("t", None, 1), row("w", None, 1)]);
}

#[test]
fn internal_only_headers_are_named_in_lower_case() {
    let table = compile("internal_only_headers: [X-Secret]\nvirtual_hosts: []").unwrap();
    assert_eq!(table.internal_only_headers(), ["x-secret".into()]);
}

/// What a request and a response carry after the route for `/w` changed their headers.
fn changed(most_specific_wins: bool) -> (Vec<String>, Vec<String>) {
    let level = |side: &str, value: &str| {
        format!(
            "{side}_headers_to_add: [{{header: {{key: x-o, value: {value}}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}, \
             {{header: {{key: x-a, value: {value}}}}}]"
        )
    };
    let both = |value: &str, indent: &str| {
        format!("{indent}{}\n{indent}{}\n", level("request", value), level("response", value))
    };
    let table = compile(&format!(
        "most_specific_header_mutations_wins: {most_specific_wins}
{}virtual_hosts:
- name: v
  domains: ['*']
{}  routes:
  - match: {{prefix: /w}}
{}    route:
      weighted_clusters:
        clusters:
        - name: c
          weight: 1
          host_rewrite_literal: w.host
{}",
        both("table", ""),
        both("vh", "  "),
        both("route", "    "),
        both("w", "          "),
    ))
    .unwrap();
    let mut head = get("/w", &[]);
    let mut response = ResponseHead::new(200);
    with_format_context(|cx| {
        let route = route(find(&table, &get("/w", &[]), 0));
        route.mutate_request(&mut head, cx, |_, _, _| {});
        route.mutate_response(&mut response, cx);
    });
    assert_eq!(head.authority(), b"w.host");
    assert!(!head.headers.contains(Known::XEnvoyOriginalHost));
    let own = |map: &HeaderMap| {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let own = map.iter().filter(|(n, _)| matches!(n.as_bytes(), b"x-a" | b"x-o"));
        own.map(|(n, v)| format!("{}={}", text(n.as_bytes()), text(v))).collect::<Vec<_>>()
    };
    (own(&head.headers), own(&response.headers))
}

fn with_format_context(run: impl FnOnce(&FormatContext<'_>)) {
    let clock = nuncio_core::clock::Clock::system();
    run(&FormatContext {
        info: &stream(0),
        request: None,
        response: None,
        trailers: None,
        local_reply_body: b"",
        log_type: nuncio_core::format::LogType::NotSet,
        now: clock.now(),
        wall: clock.wall(),
        rng: &nuncio_core::rng::Rng::seeded(1),
    });
}

#[test]
fn header_changes_run_weight_first_and_then_in_the_configured_order() {
    let want = |order: [&str; 4]| {
        let [first, second, third, last] = order;
        let all = [("x-a", first), ("x-a", second), ("x-a", third), ("x-o", last), ("x-a", last)];
        all.map(|(n, v)| format!("{n}={v}")).to_vec()
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    for (wins, order) in [(false, ["w", "route", "vh", "table"]), (true, ["w", "table", "vh", "route"])] {
        let (request, response) = changed(wins);
        let values =
            |list: &[String]| list.iter().filter(|l| l.starts_with("x-a")).cloned().collect::<Vec<_>>();
        assert_eq!(values(&request), values(&want(order)), "{wins}");
        assert_eq!(sorted(request), sorted(want(order)), "{wins}");
        assert_eq!(sorted(response), sorted(want(order)), "{wins}");
    }
}
