//! The lines that say why: each failure that the configuration explains, with its identifier, the field and its place.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that called it")]

mod common;

use common::{Server, request};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A bootstrap of one connection manager: its further fields, its routes, and clusters; line 12 begins the routes.
fn config(fields: &str, routes: &str, clusters: &str) -> String {
    format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          {fields}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            validate_clusters: false
            virtual_hosts:
            - name: v
              domains: ["a.example"]
              routes: {routes}
  clusters: [{clusters}]
"#
    )
}

fn cluster(name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "{{name: {name}, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
         {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}{more}}}",
        address.port()
    )
}

const TO_C: &str = "[{match: {prefix: /}, route: {cluster: c}}]";
const HCM: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// Sends raw bytes and reads until the peer closes or has said something.
fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(bytes).unwrap();
    let mut got = vec![0; 4096];
    let n = stream.read(&mut got).unwrap_or(0);
    got.truncate(n);
    got
}

/// A host that answers every connection with these bytes, once it has read something, and closes.
fn host(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

/// What the line of `id` says after `bytes` were sent; it has all of `words`.
fn explains(config: &str, bytes: &[u8], id: &str, words: &[&str]) {
    let mut server = Server::start(config, &[]);
    raw(server.listener("in"), bytes);
    let line = server.wait_for(&format!("why {id}: "));
    for word in words {
        assert!(line.contains(word), "no '{word}' in: {line}");
    }
    assert!(line.contains("[warning][config]") && line.contains("bootstrap.yaml:"), "{line}");
    assert!(line.contains("listener=in connection="), "{line}");
}

const WEBSOCKET: &[u8] =
    b"GET /chat HTTP/1.1\r\nhost: a.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const GET: &[u8] = b"GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n";

#[test]
fn an_upgrade_that_nobody_allows() {
    let base = config("codec_type: AUTO", TO_C, &cluster("c", NOWHERE, ""));
    explains(
        &base,
        WEBSOCKET,
        "upgrade-not-allowed",
        &[
            "GET /chat of a.example asks for the upgrade websocket",
            &format!("{HCM}.upgrade_configs"),
            "request_id=",
        ],
    );
    let off = config(
        "upgrade_configs: [{upgrade_type: websocket, enabled: false}]",
        TO_C,
        &cluster("c", NOWHERE, ""),
    );
    explains(&off, WEBSOCKET, "upgrade-not-allowed", &["switched off", "bootstrap.yaml:12:11"]);
    let route = "[{match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}]";
    let of_route = config("codec_type: AUTO", route, &cluster("c", NOWHERE, ""));
    explains(
        &of_route,
        WEBSOCKET,
        "upgrade-not-allowed",
        &[
            "its route forbids",
            "route_config.virtual_hosts[0].routes[0].route.upgrade_configs",
            "bootstrap.yaml:21:24",
        ],
    );
}

#[test]
fn an_upgrade_that_the_host_refuses() {
    let address = host(b"HTTP/1.1 403 Forbidden\r\nserver: envoy\r\ncontent-length: 0\r\n\r\n");
    let config = config("upgrade_configs: [{upgrade_type: websocket}]", TO_C, &cluster("c", address, ""));
    explains(
        &config,
        WEBSOCKET,
        "upgrade-refused-upstream",
        &["with 403 (server: envoy)", "static_resources.clusters[0]"],
    );
}

#[test]
fn protocols_that_are_not_served() {
    let of = |codec: &str| config(&format!("codec_type: {codec}"), TO_C, &cluster("c", NOWHERE, ""));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    explains(
        &of("HTTP1"),
        preface,
        "http2-to-http1-listener",
        &[&format!("{HCM}.codec_type"), "bootstrap.yaml:12:11"],
    );
    explains(
        &of("HTTP2"),
        GET,
        "http1-to-http2-listener",
        &["GET /x HTTP/1.1", &format!("{HCM}.codec_type")],
    );
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    let chain = "static_resources.listeners[0].filter_chains[0].transport_socket";
    for codec in ["AUTO", "HTTP2"] {
        explains(&of(codec), hello, "tls-to-clear-listener", &[chain]);
    }
    explains(&of("AUTO"), b"GET / HTTP/1.0\r\n\r\n", "http10-not-accepted", &["accept_http_10"]);
}

#[test]
fn extended_connect_that_is_not_allowed() {
    // Literal fields without indexing: `:method: CONNECT`, `:protocol: websocket`.
    let block = b"\x02\x07CONNECT\x00\x09:protocol\x09websocket";
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1]);
    bytes.extend_from_slice(block);
    let config = config("codec_type: AUTO", TO_C, &cluster("c", NOWHERE, ""));
    let field = format!("{HCM}.http2_protocol_options.allow_connect");
    explains(&config, &bytes, "allow-connect-missing", &[&field, "set it to true"]);
}

#[test]
fn requests_without_a_route_tell_what_came_near() {
    let routes = "[{match: {prefix: /api/, headers: [{name: x-a, present_match: true}]}, route: {cluster: c}}, {match: {path: /exact}, route: {cluster: c}}]";
    let file = config("codec_type: AUTO", routes, &cluster("c", NOWHERE, ""));
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
    let list = "route_config.virtual_hosts[0].routes";
    let rows = [
        ("/api/x", "a.example", "no-route", "routes[0]"),
        ("/api/x", "a.example", "no-route", "match.headers[0] does not hold"),
        ("/EXACT", "a.example", "no-route", "in lower case a route"),
        ("/exact/", "a.example", "no-route", "without its last slash a route"),
        ("/exact/", "a.example", "no-route", list),
        ("/", "a.example:8080", "no-virtual-host", "without the port it would be 'v'"),
        ("/", "a.example:8080", "no-virtual-host", "route_config.ignore_port_in_host_matching"),
        ("/", "b.example", "no-virtual-host", "no virtual host has the host of GET / of b.example"),
    ];
    for (path, host, id, word) in rows {
        explains(&file, &get(path, host), id, &[word]);
    }
    let gone =
        config("codec_type: AUTO", "[{match: {prefix: /}, route: {cluster: d}}]", &cluster("c", NOWHERE, ""));
    explains(&gone, GET, "cluster-not-found", &["'d'", "routes[0].route.cluster", "bootstrap.yaml:21:24"]);
}

#[test]
fn hosts_that_are_not_what_they_were_taken_for() {
    let http2 = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": \
                 type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
                 {http2_protocol_options: {}}}}";
    let rows: [(&str, &'static [u8], &str, &str); 4] = [
        (
            http2,
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            "http2-to-http1-upstream",
            "HttpProtocolOptions\"].explicit_http_config.http2_protocol_options",
        ),
        (http2, b"", "http2-to-http1-upstream", "closed without a word"),
        ("", b"\0\0\0\x04\0\0\0\0\0", "http1-to-http2-upstream", "answered in HTTP/2"),
        (
            "",
            b"\x15\x03\x01\0\x02\x02\x46",
            "clear-to-tls-upstream",
            "static_resources.clusters[0].transport_socket",
        ),
    ];
    for (more, answer, id, word) in rows {
        let file = config("codec_type: AUTO", TO_C, &cluster("c", host(answer), more));
        explains(&file, GET, id, &[word, "cluster=c", "host=127.0.0.1:"]);
    }
    let tls = ", transport_socket: {name: tls, typed_config: {\"@type\": \
               type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}";
    let clear =
        config("codec_type: AUTO", TO_C, &cluster("c", host(b"HTTP/1.1 400 Bad Request\r\n\r\n"), tls));
    explains(&clear, GET, "tls-to-clear-upstream", &["WRONG_VERSION_NUMBER", "clusters[0].transport_socket"]);
}

#[test]
fn hosts_that_cannot_be_used() {
    let of = |more: &str| config("codec_type: AUTO", TO_C, &cluster("c", NOWHERE, more));
    explains(
        &of(""),
        GET,
        "connect-failed",
        &["Connection refused", "static_resources.clusters[0].load_assignment"],
    );
    let none = "{name: c, load_assignment: {cluster_name: c}}";
    explains(&config("codec_type: AUTO", TO_C, none), GET, "no-healthy-host", &["cluster 'c' has no host"]);
    let closed = ", circuit_breakers: {thresholds: [{max_pending_requests: 0}]}";
    explains(
        &of(closed),
        GET,
        "circuit-breaker-open",
        &["`max_pending_requests`", "clusters[0].circuit_breakers", "bootstrap.yaml:22:"],
    );
    let dead = "{name: c, common_lb_config: {healthy_panic_threshold: {value: 0}}, load_assignment: {cluster_name: c, \
                endpoints: [{lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: \
                127.0.0.1, port_value: 1}}}}]}]}}";
    explains(
        &config("codec_type: AUTO", TO_C, dead),
        GET,
        "no-healthy-host",
        &["none of the 1 hosts", "1 are configured so"],
    );
}

#[test]
fn limits_of_size_and_time() {
    let slow = "[{match: {prefix: /}, route: {cluster: c, timeout: 0.05s}}]";
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let file = config("codec_type: AUTO", slow, &cluster("c", address, ""));
    explains(&file, GET, "route-timeout", &["GET /x", "routes[0].route.timeout", "response_timeout"]);
    let idle = config("stream_idle_timeout: 0.05s", TO_C, &cluster("c", address, ""));
    explains(&idle, GET, "stream-timeout", &[&format!("{HCM}.stream_idle_timeout"), "bootstrap.yaml:12:11"]);
    let late = config("request_headers_timeout: 0.05s", TO_C, &cluster("c", address, ""));
    explains(
        &late,
        b"GET / HTTP/1.1\r\n",
        "stream-timeout",
        &["head was not complete", &format!("{HCM}.request_headers_timeout"), "bootstrap.yaml:12:11"],
    );
    let slashes =
        config("path_with_escaped_slashes_action: REJECT_REQUEST", TO_C, &cluster("c", address, ""));
    explains(
        &slashes,
        b"GET /a%2Fb HTTP/1.1\r\nhost: a.example\r\n\r\n",
        "path-refused",
        &["GET /a", "escaped slash", &format!("{HCM}.path_with_escaped_slashes_action")],
    );
    let small = config("max_request_headers_kb: 1", TO_C, &cluster("c", address, ""));
    let large = format!("GET / HTTP/1.1\r\nhost: a.example\r\nx: {}\r\n\r\n", "y".repeat(2000));
    explains(
        &small,
        large.as_bytes(),
        "request-headers-too-large",
        &["1 KiB", &format!("{HCM}.max_request_headers_kb")],
    );
    let few = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": \
               type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
               common_http_protocol_options: {max_headers_count: 1}, explicit_http_config: {http_protocol_options: {}}}}";
    let reply = b"HTTP/1.1 200 OK\r\nx: 1\r\ny: 2\r\ncontent-length: 0\r\n\r\n";
    let big = config("codec_type: AUTO", TO_C, &cluster("c", host(reply), few));
    explains(&big, GET, "response-headers-too-large", &["common_http_protocol_options.max_headers_count"]);
}

#[test]
fn lines_are_few_and_tell_how_many_were_not_written() {
    let server = Server::start(&config("codec_type: AUTO", TO_C, &cluster("c", NOWHERE, "")), &[]);
    let web = server.listener("in");
    for _ in 0..20 {
        assert_eq!(request(web, "GET", "/", &["host: a.example"], "").status, 503);
    }
    server.signal("TERM");
    let (_, log) = server.ended();
    assert_eq!(log.iter().filter(|l| l.contains("why connect-failed")).count(), 3, "{log:?}");
    let silenced = ["--component-log-level", "config:error"];
    let mut quiet = Server::start(&config("codec_type: AUTO", TO_C, &cluster("c", NOWHERE, "")), &silenced);
    assert_eq!(request(quiet.listener("in"), "GET", "/", &["host: a.example"], "").status, 503);
    quiet.signal("HUP");
    quiet.wait_for("SIGHUP");
    assert!(!quiet.log.iter().any(|l| l.contains("why ")), "{:?}", quiet.log);
}
