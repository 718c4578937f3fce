//! The process as an operator meets it: starting, refusing, signals, ending, its footprint.

mod common;

use common::{Folder, Server, output, text};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n";

#[test]
fn it_starts_says_that_it_is_ready_and_ends_in_order_when_told() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(ADMIN, &[]);
        let ready = server.ask("GET", "/ready");
        assert_eq!((ready.status, ready.body.as_str()), (200, "LIVE\n"));
        server.signal(signal);
        let (status, log) = server.ended();
        assert!(status.success(), "{log:?}");
        assert!(log.last().unwrap().ends_with("exiting"), "{log:?}");
    }
}

#[test]
fn the_admin_port_ends_it() {
    let server = Server::start(ADMIN, &[]);
    assert_eq!(server.ask("GET", "/quitquitquit").status, 405);
    assert_eq!(server.ask("POST", "/quitquitquit").body, "OK\n");
    assert!(server.ended().0.success());
}

#[test]
fn a_hangup_does_nothing() {
    let mut server = Server::start(ADMIN, &[]);
    server.signal("HUP");
    server.wait_for("SIGHUP");
    assert_eq!(server.ask("GET", "/ready").status, 200);
}

#[test]
fn the_log_file_is_opened_anew_on_request() {
    let folder = Folder::new();
    let path = folder.path("nuncio.log");
    let config = folder.file("a.yaml", ADMIN);
    let log = path.to_str().unwrap();
    let child = common::binary()
        .args(["-c", &config, "--concurrency", "1", "--log-path", log, "--admin-address-path"])
        .arg(folder.path("admin"))
        .spawn();
    let mut child = child.unwrap();
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let mut tries = 0;
        while !is() {
            tries += 1;
            assert!(tries < 2_000, "{what}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    let says = |words: &str| std::fs::read_to_string(&path).is_ok_and(|t| t.contains(words));
    until("up", &|| says("starting main dispatch loop"));
    let moved = folder.path("nuncio.log.1");
    std::fs::rename(&path, &moved).unwrap();
    let signal = |name: &str| {
        std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    };
    signal("-USR1");
    until("a new file", &|| path.exists());
    signal("-TERM");
    assert!(child.wait().unwrap().success());
    assert!(says("exiting"));
    assert!(std::fs::read_to_string(moved).unwrap().contains("caught SIGUSR1"));
}

#[test]
fn what_is_missing_or_taken_is_said() {
    let rows: [(&[&str], &str); 3] = [
        (&[], "At least one of --config-path or --config-yaml should be non-empty"),
        (&["-c", "/nonexistent/a.yaml"], "Invalid path: /nonexistent/a.yaml"),
        (&["--mode", "validate", "-c", "/nonexistent/a.yaml"], "Invalid path: /nonexistent/a.yaml"),
    ];
    for (args, words) in rows {
        let out = output(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        assert!(text(&out.stderr).contains(words), "{}", text(&out.stderr));
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = ADMIN.replace("port_value: 0", &format!("port_value: {}", address.port()));
    let out = output(&["--config-yaml", &config]);
    assert_eq!(out.status.code(), Some(1));
    let words = format!("cannot bind '{address}': Address already in use");
    assert!(text(&out.stderr).contains(&words), "{}", text(&out.stderr));
}

#[test]
fn validating_says_so_and_opens_nothing() {
    let folder = Folder::new();
    let good = folder.file("good.yaml", ADMIN);
    let bad = folder.file("bad.yaml", "admin: {adress: {}}\n");
    let out = output(&["--mode", "validate", "-c", &good]);
    assert_eq!(text(&out.stdout), format!("configuration '{good}' OK\n"));
    assert!(out.status.success());
    let out = output(&["validate", &bad, &good]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stdout), format!("configuration '{good}' OK\n"));
    let log = text(&out.stderr);
    assert!(log.contains(&format!("{bad}:1:9: ")) && log.contains("did you mean 'address'?"), "{log}");
}

#[test]
fn a_file_with_errors_of_every_kind_shows_each_once_in_order_and_nothing_that_only_follows() {
    // Marks stand where an error is expected: behind the line, with the column and some words of it.
    let config = include_str!("common/many_errors.yaml");
    let mut expected = Vec::new();
    for (number, line) in (1..).zip(config.lines()) {
        for mark in line.split("#!").skip(1) {
            let (column, words) = mark.trim().split_once(' ').unwrap();
            expected.push((format!(":{number}:{column}: "), words));
        }
    }
    assert!(expected.len() > 20);
    let folder = Folder::new();
    let file = folder.file("many.yaml", config);
    let out = output(&["--mode", "validate", "-c", &file]);
    assert_eq!(out.status.code(), Some(1));
    let log = text(&out.stderr);
    let shown: Vec<&str> = log.lines().filter_map(|l| Some(l.split_once("] /")?.1)).collect();
    for ((place, words), line) in expected.iter().zip(&shown) {
        let fits = line.contains(&format!("many.yaml{place}")) && line.contains(words);
        assert!(fits, "expected {place}{words}, found {line}\n{log}");
    }
    assert_eq!(shown.len(), expected.len(), "{log}");
}

#[test]
fn a_small_file_starts_fast_and_small() {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let server = Server::start(ADMIN, &[]);
        let stats = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let own = stats.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
        let kib: u64 = own.trim().trim_end_matches(" kB").trim().parse().unwrap();
        // The pages of the program itself are not counted: a debug build has several times those of a release,
        // with which all is 7 MB.
        assert!(kib < 5 * 1024, "{kib} KiB of its own");
        best = best.min(server.started_in);
    }
    assert!(best < Duration::from_millis(50), "{best:?}");
}

#[test]
fn a_large_file_takes_a_few_times_its_size_to_load() {
    let peak = |config: &str| {
        let server = Server::start(config, &[]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        peak.parse::<u64>().unwrap() * 1024
    };
    let route = |i| {
        format!(
            "              - name: route_{i}\n                match:\n                  prefix: /service/{i}/api\n\
             \x20                 headers: [{{name: x-tenant, string_match: {{exact: tenant-{i}}}}}]\n\
             \x20               direct_response:\n                  status: 200\n\
             \x20               response_headers_to_add:\n                - header:\n\
             \x20                   key: x-route\n                    value: route-{i}\n"
        )
    };
    let file = |routes: u32| {
        let routes: String = (0..routes).map(route).collect();
        format!(
            "{ADMIN}static_resources:\n  listeners:\n  - name: l\n    address: {{socket_address: {{address: 127.0.0.1, \
             port_value: 0}}}}\n    filter_chains:\n    - filters:\n      - name: h\n        typed_config:\n          \
             '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
             stat_prefix: a\n          http_filters: [{{name: r, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]\n          route_config:\n            \
             virtual_hosts:\n            - name: v\n              domains: ['*']\n              routes:\n{routes}"
        )
    };
    let (small, large) = (file(1), file(5_000));
    let grown = peak(&large).saturating_sub(peak(&small));
    let size = large.len() as u64;
    assert!(size > 1_500_000 && grown < 6 * size, "{grown} bytes for a file of {size}");
}

#[test]
fn an_ipv6_socket_takes_ipv4_clients_only_where_ipv4_compat_says_so() {
    for (compat, taken) in [(true, true), (false, false)] {
        let address = format!("{{address: '::', port_value: 0, ipv4_compat: {compat}}}");
        let chain = "filter_chains: [{filters: [{name: h, typed_config: {'@type': \
            type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
            stat_prefix: a, route_config: {virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {prefix: /}, \
            direct_response: {status: 200}}]}]}, http_filters: [{name: r, typed_config: {'@type': \
            type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]";
        let listener = format!("{{name: a, address: {{socket_address: {address}}}, {chain}}}");
        let server = Server::start(&format!("{ADMIN}static_resources: {{listeners: [{listener}]}}\n"), &[]);
        let port = server.listener("a").port();
        assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), taken, "ipv4_compat: {compat}");
    }
}
