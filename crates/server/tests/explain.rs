//! `nuncio explain` and `/explain`: what they say holds for the requests that are really made.

mod common;

use common::{Folder, Server, Upstream, example, output, request, root, text};

fn explain(file: &str, words: &[&str]) -> (Option<i32>, String) {
    let out = output(&[&["explain", "-c", file], words].concat());
    (out.status.code(), text(&out.stdout) + &text(&out.stderr))
}

/// Numbers by chance have all the same.
fn settled(said: &str) -> String {
    let id = |word: &str| word.len() == 36 && word.bytes().filter(|b| *b == b'-').count() == 4;
    let line = |line: &str| -> String {
        let traced = line.contains("x-b3-");
        let settled = |word| match word {
            word if id(word) => "REQUEST-ID",
            word if traced && word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit()) => "TRACE-ID",
            word => word,
        };
        line.split(' ').map(settled).collect::<Vec<_>>().join(" ")
    };
    said.lines().map(|l| line(l) + "\n").collect()
}

#[test]
fn the_page_shows_what_is_said() {
    let page = include_str!("../../../docs/explain.md");
    let mut shown = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let (command, want) = block.split_once('\n').unwrap();
        let words: Vec<String> = shell(command.strip_prefix("$ nuncio ").unwrap());
        let mut run = common::binary();
        let out = run.current_dir(root()).args(&words).output().unwrap();
        assert_eq!(settled(&(text(&out.stdout) + &text(&out.stderr))), settled(want), "{command}");
        shown += 1;
    }
    assert!(shown >= 2);
}

#[test]
fn a_rich_file_is_explained_line_by_line() {
    let folder = root().join("examples/explain");
    let mut run = common::binary();
    let words =
        ["explain", "-c", "shop.yaml", "--from", "203.0.113.7", "-H", "x-user: ada", "-H", "x-debug: 1"];
    let url = "https://shop.example:10443/cart/7?step=2";
    let out = run.current_dir(&folder).args(words).arg(url).output().unwrap();
    let want = std::fs::read_to_string(folder.join("shop.txt")).unwrap();
    assert_eq!(settled(&(text(&out.stdout) + &text(&out.stderr))), want);
}

#[test]
fn each_request_of_the_rich_file_meets_what_stands_there() {
    let file = root().join("examples").join("explain/shop.yaml");
    let file = file.to_str().unwrap();
    for (words, parts) in [
        (&["https://api.example:10443/"][..], &["It cannot be said", "'other-names'"][..]),
        (&["https://else.example:10443/"], &["no filter chain takes the connection", "why no-filter-chain"]),
        (&["--sni", "a.shop.example", "https://b.example:10443/x"], &["'everything-else'", "with 404"]),
        (&["https://shop.example:10443/nothing"], &["with 404", "why no-route", "routes[3] 'cart'"]),
        (&["https://shop.example:10443/admin/x"], &["with 403", "a direct response (403)"]),
        (&["--data", "x", "https://shop.example:10443/cart/7"], &["'posts' (routes[1])", "retries  none"]),
        (
            &["https://shop.example:10443/cart/7?step=pay"],
            &["'pay' (routes[2])", "timeout               15s"],
        ),
        (&["https://shop.example:10443/cart/7x"], &["is not safe_regex"]),
        (&["-X", "GET ME", "https://shop.example:10443/cart/7"], &["cannot be sent"]),
        (&["-H", "x y: 1", "https://shop.example:10443/cart/7"], &["error: "]),
        (&["https://shop.example:10443/cart/7", "https://x/"], &["error: "]),
    ] {
        let (_, said) = explain(file, words);
        for part in parts {
            assert!(said.contains(part), "{words:?} {part}\n{said}");
        }
    }
}

const FED: &str = "
node: {id: edge, cluster: edge}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: router
            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          rds: {route_config_name: fed, config_source: {path_config_source: {path: ROUTES}}}
";

/// A discovery response with a route that answers with this status.
fn fed(status: &str) -> String {
    format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: fed\n  \
         virtual_hosts:\n  - name: v\n    domains: [\"*\"]\n    routes:\n    - match: {{prefix: /}}\n      \
         direct_response: {{status: {status}}}\n"
    )
}

#[test]
fn routes_that_come_from_a_file_are_those_that_hold() {
    let folder = Folder::new();
    let routes = folder.file("routes.yaml", &fed("201"));
    let config = FED.replace("ROUTES", &routes);
    let file = folder.file("c.yaml", &config);
    let (code, said) = explain(&file, &["http://x/"]);
    assert_eq!((code, said.lines().next()), (Some(0), Some("The proxy answers it with 201.")), "{said}");
    assert!(said.contains("routes.yaml:"), "{said}");

    // What is refused is said to be, and its routes are none.
    let refused = folder.file("refused.yaml", &fed("99"));
    let file = folder.file("r.yaml", &FED.replace("ROUTES", &refused));
    let (code, said) = explain(&file, &["http://x/"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("Filesystem config update"), "{said}");

    // The admin port follows.
    let server = Server::start_in(folder, &config, &[]);
    let says = || server.ask("GET", "/explain?request=http://x/").body.lines().next().unwrap().to_owned();
    assert_eq!(says(), "The proxy answers it with 201.");
    let new = server.folder.file("new.yaml", &fed("204"));
    std::fs::rename(new, &routes).unwrap();
    assert!((0..500).any(|_| says() == "The proxy answers it with 204."), "{}", says());
}

/// Words between blanks and single quotes.
fn shell(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[test]
fn every_example_can_be_explained() {
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let words = ["explain", "-c", path.to_str().unwrap(), "--json", "http://x:10000/"];
            let out = output(&words);
            let (code, said) = (out.status.code(), text(&out.stdout));
            // Without a token nobody comes in there.
            let denied = path.ends_with("jwt.yaml");
            assert_eq!(code, Some(if denied { 2 } else { 0 }), "{said}");
            let json: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert!(json["connection"].as_array().unwrap().len() >= 3, "{said}");
        }
    }
}

const WEBSOCKET: [&str; 8] = [
    "-H",
    "connection: Upgrade",
    "-H",
    "upgrade: websocket",
    "-H",
    "sec-websocket-version: 13",
    "-H",
    "sec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==",
];

#[test]
fn each_setting_that_breaks_a_websocket_is_named() {
    let folder = Folder::new();
    let read =
        |name: &str| std::fs::read_to_string(root().join("examples/websocket-chain").join(name)).unwrap();
    let without = |name: &str, lines: &[&str]| {
        let kept: Vec<&str> = read(name).leak().lines().filter(|l| !lines.contains(&l.trim())).collect();
        folder.file(name, &kept.join("\n"))
    };
    let ask = |file: &str, more: &[&str], url: &str| explain(file, &[more, &WEBSOCKET, &[url]].concat());

    let (code, said) = ask(&folder.file("f.yaml", &read("front.yaml")), &[], "http://app:10000/socket.io/");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("extended CONNECT (RFC 8441): the host has to allow it"), "{said}");

    let broken = without("front.yaml", &["upgrade_configs:", "- upgrade_type: websocket"]);
    let (code, said) = ask(&broken, &[], "http://app:10000/socket.io/");
    assert_eq!(code, Some(2));
    assert!(said.contains("The proxy answers it with 403.\nwhy upgrade-not-allowed: "), "{said}");

    let broken = without("middle.yaml", &["allow_connect: true"]);
    let broken = folder.file(
        "m.yaml",
        &std::fs::read_to_string(broken)
            .unwrap()
            .replace("http2_protocol_options:\n", "http2_protocol_options: {}\n"),
    );
    let (code, said) = ask(&broken, &["--http2-prior-knowledge"], "http://app:10010/socket.io/");
    assert_eq!(code, Some(2));
    assert!(said.contains("why allow-connect-missing: "), "{said}");
    assert!(said.contains("http2_protocol_options.allow_connect"), "{said}");

    let (code, said) = ask(&folder.file("m2.yaml", &read("middle.yaml")), &[], "http://app:10010/socket.io/");
    assert_eq!(code, Some(2));
    assert!(said.contains("why http1-to-http2-listener: "), "{said}");
}

#[test]
fn the_host_of_a_hash_is_the_host_that_serves_it() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let config = example("round-robin.yaml", &[&one, &two]);
    let hashed = config.replacen("lb_policy: ROUND_ROBIN", "lb_policy: RING_HASH", 1).replacen(
        "route: {cluster: app}",
        "route: {cluster: app, hash_policy: [{header: {header_name: x-user}}]}",
        1,
    );
    let server = Server::start(&hashed, &[]);
    let web = server.listener("web");
    let file = server.folder.file("same.yaml", &hashed);
    let mut hosts = std::collections::BTreeSet::new();
    for user in 0..16 {
        let target = format!("/explain?listener=web&request=-H%20x-user:{user}%20http://x/");
        let live = server.ask("GET", &target).body;
        let (_, said) = explain(&file, &["--listener", "web", "-H", &format!("x-user: {user}"), "http://x/"]);
        let goes = live.lines().next().unwrap().to_owned();
        assert_eq!(said.lines().next(), Some(&*goes));
        let got = request(web, "GET", "/", &[&format!("x-user: {user}")], "");
        let by = got.head.lines().find_map(|l| l.strip_prefix("x-upstream: ")).unwrap_or("none").to_owned();
        let host = if by == "one" { one.address } else { two.address };
        assert!(goes.contains(&format!("to {host} ")), "{goes} {got:?}");
        assert!(live.contains("the hash: the same hash goes to the same host"), "{live}");
        hosts.insert(by);
    }
    assert_eq!(hosts.len(), 2);
}

#[test]
fn the_admin_port_explains_and_leaves_no_trace() {
    let app = Upstream::start("app");
    let server = Server::start(&example("filters/everyday.yaml", &[&app]), &[]);
    let stats = || {
        let all =
            server.ask("GET", "/stats?filter=(http%5C.web|cluster|listener%5C.127|rbac|ratelimit)").body;
        all.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = stats();
    for _ in 0..50 {
        let got = server.ask("GET", "/explain?request=http://x/report&listener=web&format=json");
        assert_eq!(got.status, 200, "{got:?}");
        let json: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(json["routing"][2]["name"], "route", "{json}");
    }
    assert_eq!(stats(), before);
    let state = |path: &str, filter: &str| {
        let got = server.ask("GET", &format!("/explain?request=http://x{path}&listener=web&format=json"));
        let json: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        let filters = json["filters"].as_array().unwrap();
        let found = filters.iter().find(|f| f["name"] == filter).unwrap_or_else(|| panic!("{json}"));
        (found["state"].as_str().unwrap().to_owned(), found["per_route"].as_array().unwrap().len())
    };
    assert_eq!(state("/report", "limit"), ("left out: it takes from what requests share".into(), 1));
    assert_eq!(state("/report", "authz"), ("has no part in this route".into(), 1));
    assert_eq!(state("/", "authz"), ("left out: it waits for something".into(), 0));
    assert_eq!(state("/", "rules"), ("in force".into(), 0));
    for (target, status, part) in [
        ("/explain", 400, "usage"),
        ("/explain?request=-Zzz", 400, "not known"),
        ("/explain?request=http://x/&listener=none", 400, "there are: 'web'"),
    ] {
        let got = server.ask("GET", target);
        assert_eq!(got.status, status, "{got:?}");
        assert!(got.body.contains(part), "{got:?}");
    }
}

#[test]
fn mistakes_end_with_1_and_say_what_is_wrong() {
    let file = root().join("examples/routing.yaml");
    let file = file.to_str().unwrap();
    for (words, part) in [
        (&["--listener", "nope", "http://x/"][..], "there is no listener 'nope'; there are: 'web'"),
        (&["--zork", "http://x/"], "--zork"),
        (&["ftp://x/"], "ftp"),
    ] {
        let (code, said) = explain(file, words);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("error: ") && said.contains(part), "{said}");
    }
    let (code, said) = explain("/nowhere.yaml", &["http://x/"]);
    assert_eq!(code, Some(1), "{said}");
}
