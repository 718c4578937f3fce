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
        line.split(' ').map(|word| if id(word) { "REQUEST-ID" } else { word }).collect::<Vec<_>>().join(" ")
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
            let (code, said) = explain(path.to_str().unwrap(), &["--json", "http://x:10000/"]);
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
