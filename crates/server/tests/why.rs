//! The lines that say why: each failure that the configuration explains, with its identifier, the field and its place.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that called it")]

mod common;

use common::{Server, request};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

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
    let mut client = TcpStream::connect(server.listener("in")).unwrap();
    client.write_all(bytes).unwrap();
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

/// Certificates in a folder, made by the openssl program: an authority, and what it signs.
struct Authority(common::Folder);

impl Authority {
    fn new() -> Self {
        let authority = Self(common::Folder::new());
        authority.run(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ca", "-keyout", "ca.key", "-out",
            "ca.crt",
        ]);
        authority
    }

    fn run(&self, arguments: &[&str]) {
        let made = Command::new("openssl").args(arguments).current_dir(self.0.path("")).output().unwrap();
        assert!(made.status.success(), "{}", common::text(&made.stderr));
    }

    /// A certificate with these extensions; its days may be over.
    fn signs(&self, name: &str, extensions: &str, days: &str) {
        let file = |end: &str| format!("{name}.{end}");
        self.0.file(&file("ext"), extensions);
        let subject = format!("/CN={name}");
        let (key, request, signed) = (file("key"), file("csr"), file("crt"));
        self.run(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &request,
        ]);
        let of = ["x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", days];
        self.run(&[&of[..], &["-in", &request, "-out", &signed, "-extfile", &file("ext")]].concat());
    }

    fn place(&self, name: &str) -> String {
        self.0.path(name).to_str().unwrap().to_owned()
    }

    /// `tls_certificates` and a validation context, which has more `fields`.
    fn common(&self, name: &str, fields: &str) -> String {
        let [key, chain, ca] =
            [format!("{name}.key"), format!("{name}.crt"), "ca.crt".into()].map(|f| self.place(&f));
        format!(
            "common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: {chain}}}, private_key: {{filename: \
             {key}}}}}], validation_context: {{trusted_ca: {{filename: {ca}}}{fields}}}}}"
        )
    }

    /// What a handshake as `side` (`s_client`, `s_server`) is told to show.
    fn shown(&self, name: &str) -> [String; 4] {
        [
            "-cert".into(),
            self.place(&format!("{name}.crt")),
            "-key".into(),
            self.place(&format!("{name}.key")),
        ]
    }
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// A transport socket with this context.
fn secured(kind: &str, context: &str) -> String {
    format!("transport_socket: {{name: tls, typed_config: {{\"@type\": {TLS}.{kind}, {context}}}}}")
}

/// A listener whose filter chain has this field more, and which has others itself.
fn of_chain(field: &str, fields: &str) -> String {
    let file = config("codec_type: AUTO", TO_C, &cluster("c", NOWHERE, ""));
    file.replace("    filter_chains:\n", &format!("    {fields}\n    filter_chains:\n"))
        .replace("  clusters: [", &format!("      {field}\n  clusters: ["))
}

/// The `custom_validator_config` of the trust domain `here`.
fn spiffe(authority: &Authority) -> String {
    format!(
        ", custom_validator_config: {{name: envoy.tls.cert_validator.spiffe, typed_config: {{\"@type\": \
         {TLS}.SPIFFECertValidatorConfig, trust_domains: [{{name: here, trust_bundle: {{filename: {}}}}}]}}}}",
        authority.place("ca.crt")
    )
}

const SVID: &str =
    "keyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\nsubjectAltName=URI:spiffe://";

#[test]
fn certificates_of_clients_that_are_refused() {
    let authority = Authority::new();
    authority.signs("own", "subjectAltName=DNS:a.example", "9");
    authority.signs("old", "subjectAltName=DNS:old.example", "-1");
    authority.signs("host", "extendedKeyUsage=serverAuth", "9");
    authority.signs("sealing", "keyUsage=critical,keyEncipherment", "9");
    authority.signs("elsewhere", &format!("{SVID}elsewhere/x"), "9");
    authority.signs("here", &format!("{SVID}here/x"), "9");
    authority.signs(
        "signing",
        "keyUsage=critical,digitalSignature,keyCertSign\nsubjectAltName=URI:spiffe://here/x",
        "9",
    );
    authority.run(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=other",
        "-keyout",
        "other.key",
        "-out",
        "other.crt",
    ]);
    let names = ", match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: spiffe://here/y}}]";
    let (plain, by_spiffe) = (String::new(), spiffe(&authority));
    let other_name = format!("{by_spiffe}{names}");
    let validation = "transport_socket.typed_config.common_tls_context.validation_context";
    let validator = format!("{validation}.custom_validator_config");
    let rows: [(&str, &str, &str, &str); 9] = [
        ("", &plain, "certificate-missing", "typed_config.require_client_certificate"),
        ("old", &plain, "certificate-expired", validation),
        ("other", &plain, "certificate-untrusted", validation),
        ("own", names, "san-mismatch", "certificate SANs are [a.example]"),
        ("host", &plain, "certificate-wrong-usage", "extendedKeyUsage is clientAuth"),
        ("sealing", &plain, "certificate-wrong-usage", "digitalSignature"),
        ("elsewhere", &by_spiffe, "spiffe-trust-domain", &validator),
        ("signing", &by_spiffe, "spiffe-not-svid", &validator),
        ("here", &other_name, "san-mismatch", "list its SPIFFE ID"),
    ];
    for (client, fields, id, word) in rows {
        let context = format!("require_client_certificate: true, {}", authority.common("own", fields));
        let mut server = Server::start(&of_chain(&secured("DownstreamTlsContext", &context), ""), &[]);
        let to = server.listener("in").to_string();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &to]).stdin(Stdio::null());
        if !client.is_empty() {
            openssl.args(authority.shown(client));
        }
        openssl.output().unwrap();
        let line = server.wait_for(&format!("why {id}: "));
        assert!(line.contains(word) && line.contains("listener=in connection="), "no '{word}' in: {line}");
    }
}

#[test]
fn certificates_of_hosts_that_are_refused_and_refuse() {
    let authority = Authority::new();
    authority.signs("own", "subjectAltName=DNS:a.example", "9");
    authority.signs("old", "subjectAltName=DNS:a.example", "-1");
    authority.signs("client", "extendedKeyUsage=clientAuth", "9");
    authority.signs("elsewhere", &format!("{SVID}elsewhere/x"), "9");
    let names = ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: b.example}}]";
    let by_spiffe = spiffe(&authority);
    let asks = "require_client_certificate: true, ";
    let without = format!(
        "common_tls_context: {{validation_context: {{trusted_ca: {{filename: {}}}}}}}",
        authority.place("ca.crt")
    );
    let with = |fields: &str| authority.common("own", fields);
    let rows: [(&str, &str, String, &str, &str); 6] = [
        ("old", "", with(""), "certificate-expired", "common_tls_context.validation_context"),
        ("own", "", with(names), "san-mismatch", "certificate SANs are [a.example]"),
        ("client", "", with(""), "certificate-wrong-usage", "extendedKeyUsage is serverAuth"),
        (
            "elsewhere",
            "",
            with(&by_spiffe),
            "spiffe-trust-domain",
            "validation_context.custom_validator_config",
        ),
        ("own", asks, without, "certificate-refused-by-peer", "common_tls_context.tls_certificates"),
        ("own", asks, authority.common("old", ""), "certificate-refused-by-peer", "has expired"),
    ];
    for (shown, fields, context, id, word) in rows {
        let socket = secured("DownstreamTlsContext", &format!("{fields}{}", authority.common(shown, "")));
        let host = Server::start(&of_chain(&socket, ""), &[]);
        let more = format!(", {}", secured("UpstreamTlsContext", &context));
        let front = config("codec_type: AUTO", TO_C, &cluster("c", host.listener("in"), &more));
        explains(
            &front,
            GET,
            id,
            &[word, "cluster=c host=127.0.0.1:", "static_resources.clusters[0].transport_socket"],
        );
    }
}

#[test]
fn handshakes_that_hosts_end() {
    let h2 = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": \
              type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
              {http2_protocol_options: {}}}}";
    let rows: [(&[u8; 7], &str, &str); 4] = [
        (b"\x15\x03\x03\0\x02\x02\x70", "sni-mismatch", "typed_config.sni"),
        (b"\x15\x03\x03\0\x02\x02\x78", "alpn-mismatch", "common_tls_context.alpn_protocols"),
        (b"\x15\x03\x03\0\x02\x02\x46", "tls-parameters-mismatch", "minimum or maximum version"),
        (b"\x15\x03\x03\0\x02\x02\x28", "tls-parameters-mismatch", "set `sni`"),
    ];
    for (alert, id, word) in rows {
        let more = format!(", {}{h2}", secured("UpstreamTlsContext", "common_tls_context: {}"));
        let front = config("codec_type: AUTO", TO_C, &cluster("c", host(alert), &more));
        explains(&front, GET, id, &[word, "cluster=c"]);
    }
    let authority = Authority::new();
    authority.signs("own", "subjectAltName=DNS:a.example", "9");
    let socket = secured("DownstreamTlsContext", &authority.common("own", ""));
    let host = Server::start(&of_chain(&socket, "").replace("codec_type: AUTO", "codec_type: HTTP1"), &[]);
    let more = format!(", {}{h2}", secured("UpstreamTlsContext", "common_tls_context: {}"));
    let front = config("codec_type: AUTO", TO_C, &cluster("c", host.listener("in"), &more));
    explains(&front, GET, "alpn-mismatch", &["did not agree on h2", "common_tls_context.alpn_protocols"]);
}

#[test]
fn clients_that_agree_on_no_protocol_where_http2_alone_is_spoken() {
    let authority = Authority::new();
    authority.signs("own", "subjectAltName=DNS:a.example", "9");
    let socket = secured("DownstreamTlsContext", &authority.common("own", ""));
    let file = of_chain(&socket, "").replace("codec_type: AUTO", "codec_type: HTTP2");
    let mut server = Server::start(&file, &[]);
    let to = server.listener("in").to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-quiet", "-connect", &to]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut client = openssl.spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(GET).unwrap();
    let line = server.wait_for("why alpn-mismatch: ");
    assert!(line.contains("agreed on no protocol") && line.contains("alpn_protocols"), "{line}");
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn connections_that_no_filter_chain_takes() {
    let of_name = "filter_chain_match: {server_names: [a.example]}";
    let mut server = Server::start(&of_chain(of_name, ""), &[]);
    let _client = TcpStream::connect(server.listener("in")).unwrap();
    let line = server.wait_for("why no-filter-chain: ");
    assert!(line.contains("tls_inspector is one of `listener_filters`"), "{line}");
    let inspector = "listener_filters: [{name: i, typed_config: {\"@type\": \
                     type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]";
    let mut server = Server::start(&of_chain(of_name, inspector), &[]);
    let to = server.listener("in").to_string();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["s_client", "-servername", "b.example", "-connect", &to])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let line = server.wait_for("why no-filter-chain: ");
    assert!(line.contains("server name b.example") && !line.contains("tls_inspector is"), "{line}");
}

/// An HTTP/2 client's connection: its preface, a request that goes on, and a METADATA frame of it.
fn with_metadata() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // Indexed POST, http and `/`; `:authority: a.example`.
    let block = b"\x83\x86\x84\x01\x09a.example";
    bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1]);
    bytes.extend_from_slice(block);
    bytes.extend_from_slice(&[0, 0, 5, 0x4d, 4, 0, 0, 0, 1]);
    bytes.extend_from_slice(b"\0\x01a\x01b");
    bytes
}

#[test]
fn metadata_that_is_not_allowed() {
    let two = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": \
               type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
               {http2_protocol_options: {}}}}";
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let c = cluster("c", silent.local_addr().unwrap(), two);
    let field = format!("{HCM}.http2_protocol_options.allow_metadata");
    let closed = config("codec_type: AUTO", TO_C, &c);
    explains(&closed, &with_metadata(), "allow-metadata-missing", &["the client sent METADATA", &field]);
    let open = config("http2_protocol_options: {allow_metadata: true}", TO_C, &c);
    let field = "explicit_http_config.http2_protocol_options.allow_metadata";
    explains(
        &open,
        &with_metadata(),
        "allow-metadata-missing",
        &["not passed on to the host", field, "cluster=c"],
    );
    let mut answer = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    // Indexed 200, and METADATA behind it.
    answer.extend_from_slice(b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x05\x4d\x04\0\0\0\x01\0\x01a\x01b");
    let talks = config("codec_type: AUTO", TO_C, &cluster("c", host(answer.leak()), two));
    explains(&talks, GET, "allow-metadata-missing", &["the host sent METADATA", field, "request_id="]);
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
fn requests_that_an_assignment_drops() {
    let policy = "policy: {drop_overloads: [{category: all, drop_percentage: {numerator: 100}}]}";
    let dropping = cluster("c", NOWHERE, "").replace(", endpoints:", &format!(", {policy}, endpoints:"));
    let words =
        ["the assignment of cluster 'c' drops every request", "policy.drop_overloads", "load_assignment"];
    explains(&config("codec_type: AUTO", TO_C, &dropping), GET, "drop-overload", &words);
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
