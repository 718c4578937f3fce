//! Every file in `examples/` starts and does what it says; ports are chosen by the kernel.

mod common;

use common::{
    Collector, Got, Server, Upstream, binary, example, output, request, root, shown_subject, text, watches,
};

fn upstream_of(got: &Got) -> &str {
    got.head.lines().find_map(|l| l.strip_prefix("x-upstream: ")).unwrap_or("none")
}

#[test]
fn each_file_is_valid_and_has_a_test_here() {
    let mut names: Vec<String> = std::fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let here = concat!(include_str!("examples.rs"), include_str!("explain.rs"));
    // What needs clients and servers that are not here.
    let elsewhere =
        concat!(include_str!("../../../tests/chain/run"), include_str!("../../../tests/interception/run"));
    for name in &names {
        let path = root().join("examples").join(name);
        let (tested, files) = if path.is_dir() {
            let files = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path());
            let files: Vec<_> = files.filter(|p| p.extension().unwrap() == "yaml").collect();
            let named = |p: &std::path::PathBuf| {
                here.contains(&format!("\"{name}/{}\"", p.file_name().unwrap().to_str().unwrap()))
            };
            (elsewhere.contains(&format!("'{name}'")) || files.iter().all(named), files)
        } else {
            (here.contains(&format!("\"{name}\"")), vec![path])
        };
        assert!(tested && !files.is_empty(), "no test runs {name}");
        for file in files {
            // What a file names may lie beside it.
            let folder = file.parent().unwrap();
            let out = binary().current_dir(folder).arg("validate").arg(&file).output().unwrap();
            assert!(out.status.success(), "{}", text(&out.stderr));
        }
    }
}

#[test]
fn sds() {
    let (folder, from) = (common::Folder::new(), root().join("examples").join("sds"));
    for name in ["certificate.json", "certificate.sh"] {
        std::fs::copy(from.join(name), folder.path(name)).unwrap();
    }
    let make = {
        let script = folder.path("certificate.sh");
        move |name: &str| {
            // Not by itself: a file that was just written may be busy while other tests start processes.
            let done = std::process::Command::new("sh").arg(&script).arg(name).status();
            assert!(done.unwrap().success());
        }
    };
    make("first.example");
    // The server's own directory is another one here.
    let here = format!("{}/", folder.path("").to_str().unwrap().trim_end_matches('/'));
    let secret = std::fs::read_to_string(folder.path("certificate.json")).unwrap().replace("./", &here);
    folder.file("certificate.json", &secret);
    let config = std::fs::read_to_string(root().join("examples").join("sds/front.yaml")).unwrap();
    let config = config.replace("9901", "0").replace("10443", "0").replace("./", &here);
    let server = Server::start_in(folder, &config, &[]);
    let web = server.listener("web");
    assert_eq!(shown_subject(web), "CN=first.example");
    make("second.example");
    let seen = (0..500).map(|_| shown_subject(web)).find(|subject| *subject != "CN=first.example");
    assert_eq!(seen.as_deref(), Some("CN=second.example"));
}

#[test]
fn the_watches_over_a_secret_go_with_the_last_cluster_that_uses_it() {
    let folder = common::Folder::new();
    let place = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let key = place("ca.key");
    let arguments = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ca", "-keyout", &key];
    let mut openssl = std::process::Command::new("openssl");
    let made = openssl.args(arguments).args(["-out", &place("ca.crt")]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let kind = "type.googleapis.com/envoy";
    folder.file("secret.yaml", &format!("resources: [{{\"@type\": {kind}.extensions.transport_sockets.tls.v3.Secret, name: ca, validation_context: {{trusted_ca: {{filename: {}}}}}}}]", place("ca.crt")));
    let of_cluster = |tls: &str| {
        format!(
            "resources: [{{\"@type\": {kind}.config.cluster.v3.Cluster, name: c, type: STATIC, load_assignment: {{cluster_name: c}}{tls}}}]"
        )
    };
    let secured = of_cluster(&format!(
        ", transport_socket: {{name: tls, typed_config: {{\"@type\": {kind}.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {{validation_context_sds_secret_config: {{name: ca, sds_config: {{path_config_source: {{path: {}}}}}}}}}}}}}",
        place("secret.yaml")
    ));
    folder.file("cds.yaml", &of_cluster(""));
    let config = format!(
        "node: {{id: node-1, cluster: group}}\nadmin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\ndynamic_resources: {{cds_config: {{path_config_source: {{path: {}}}}}}}\n",
        place("cds.yaml")
    );
    let moved_in = place("cds.new");
    let target = place("cds.yaml");
    let server = Server::start_in(folder, &config, &[]);
    // Each question is answered by the thread that watches.
    let becomes = |wanted: usize| {
        let mut counts = (0..5000).map(|_| {
            server.ask("GET", "/ready");
            watches(server.pid())
        });
        assert!(counts.any(|n| n == wanted), "{wanted} watches are not seen, but {}", watches(server.pid()));
    };
    let before = watches(server.pid());
    for (content, more) in [(secured, 2), (of_cluster(""), 0)] {
        std::fs::write(&moved_in, content).unwrap();
        std::fs::rename(&moved_in, &target).unwrap();
        becomes(before + more);
    }
    assert!(!server.ask("GET", "/config_dump").body.contains("dynamic_active_secrets"));
}

#[test]
fn alpn() {
    let (folder, from) = (common::Folder::new(), root().join("examples").join("alpn"));
    for name in ["certificate.json", "authority.json", "certificate.sh"] {
        std::fs::copy(from.join(name), folder.path(name)).unwrap();
    }
    let done = std::process::Command::new("sh").arg(folder.path("certificate.sh")).status();
    assert!(done.unwrap().success());
    let here = format!("{}/", folder.path("").to_str().unwrap().trim_end_matches('/'));
    for name in ["certificate.json", "authority.json"] {
        folder.file(name, &std::fs::read_to_string(folder.path(name)).unwrap().replace("./", &here));
    }
    let read = |name: &str| {
        let file = std::fs::read_to_string(root().join("examples").join(name)).unwrap();
        file.replace("9901", "0").replace("9902", "0").replace("10000", "0").replace("./", &here)
    };
    let hosts = Server::start(&read("alpn/hosts.yaml").replace("10001", "0").replace("10002", "0"), &[]);
    let front = ["modern", "old"]
        .iter()
        .zip(["10001", "10002"])
        .fold(read("alpn/front.yaml"), |file, (name, port)| {
            file.replace(port, &hosts.listener(name).port().to_string())
        });
    let server = Server::start(&front, &[]);
    let web = server.listener("web");
    let mut seen: Vec<_> = (0..4)
        .map(|_| {
            let got = request(web, "GET", "/", &[], "");
            let spoken =
                got.head.lines().find_map(|l| l.strip_prefix("x-upstream-protocol: ")).unwrap().to_owned();
            (got.body.trim().to_owned(), spoken)
        })
        .collect();
    seen.sort();
    let told = |(host, spoken): &(&str, &str)| ((*host).to_owned(), (*spoken).to_owned());
    let wanted = [("modern", "HTTP/2"), ("modern", "HTTP/2"), ("old", "HTTP/1.1"), ("old", "HTTP/1.1")];
    assert_eq!(seen, wanted.iter().map(told).collect::<Vec<_>>());
}

#[test]
fn static_response() {
    let server = Server::start(&example("static-response.yaml", &[]), &[]);
    let got = request(server.listener("web"), "GET", "/any", &[], "");
    assert_eq!((got.status, got.body.as_str()), (200, "It works.\n"));
    assert!(got.head.contains("x-answered-by: HTTP/1.1 listener"), "{}", got.head);
}

#[test]
fn round_robin() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let server = Server::start(&example("round-robin.yaml", &[&one, &two]), &[]);
    let web = server.listener("web");
    let answers: Vec<Got> = (0..6).map(|_| request(web, "GET", "/x", &[], "")).collect();
    let of = |name: &str| answers.iter().filter(|g| upstream_of(g) == name).count();
    assert_eq!((of("one"), of("two")), (2, 4), "{answers:?}");
    assert!(answers.iter().all(|g| g.status == 200 && g.body.contains("GET /x HTTP/1.1")));
}

#[test]
fn access_log_json() {
    let app = Upstream::start("app");
    let folder = common::Folder::new();
    let log = folder.path("access.log");
    let config = example("access-log-json.yaml", &[&app]).replace("/dev/stdout", log.to_str().unwrap());
    let server = Server::start_in(folder, &config, &[]);
    let web = server.listener("web");
    assert_eq!(request(web, "GET", "/a?b", &[], "").status, 200);
    assert_eq!(request(web, "GET", "/local", &[], "").status, 204);
    let content = {
        server.signal("TERM");
        // Written out at the end, and not later.
        let (status, _log, folder) = server.ended_keeping();
        assert!(status.success());
        std::fs::read_to_string(folder.path("access.log")).unwrap()
    };
    let lines: Vec<serde_json::Value> = content.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{content}");
    assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/a?b".into(), &200.into()));
    assert_eq!(lines[0]["upstream"], app.address.to_string());
    assert_eq!((&lines[1]["status"], &lines[1]["details"]), (&204.into(), &"direct_response".into()));
}

#[test]
fn routing() {
    let (app, canary) = (Upstream::start("app"), Upstream::start("canary"));
    let server = Server::start(&example("routing.yaml", &[&app, &canary]), &[]);
    let web = server.listener("web");
    let ask = |target: &str, headers: &[&str]| request(web, "GET", target, headers, "");
    let api = "host: api.example.com";
    let got = ask("/v1/users", &[api]);
    assert_eq!((upstream_of(&got), got.body.as_str()), ("app", "app: GET /users HTTP/1.1"));
    assert_eq!(upstream_of(&ask("/v1/users", &[api, "x-canary: yes"])), "canary");
    assert_eq!(upstream_of(&ask("/items/12", &[api])), "app");
    assert_eq!(ask("/items/x", &[api]).status, 404);
    let got = ask("/docs", &[]);
    assert_eq!(got.status, 302);
    assert!(got.head.contains("location: http://docs.example.com/docs"), "{}", got.head);
    assert_eq!(ask("/a?debug=1", &[]).status, 403);
    assert_eq!(ask("/a", &[]).status, 200);
}

#[test]
fn internal_redirect() {
    let (app, files) = (Upstream::start("app"), Upstream::start("files"));
    let server = Server::start(&example("internal-redirect.yaml", &[&app, &files]), &[]);
    let web = server.listener("web");
    let got = request(web, "GET", "/redirect?http://files.internal/a.txt", &[], "");
    assert_eq!(
        (got.status, upstream_of(&got), got.body.as_str()),
        (200, "files", "files: GET /a.txt HTTP/1.1")
    );
    let got = request(web, "PUT", "/redirect?http://files.internal/a.txt", &[], "text");
    assert_eq!(got.body, "files: PUT /a.txt HTTP/1.1text");
    // The application itself is not on the list: the client is told.
    let got = request(web, "GET", "/redirect?http://app.example/", &[], "");
    assert_eq!((got.status, upstream_of(&got)), (302, "app"));
    assert!(server.ask("GET", "/stats").body.contains("passthrough_internal_redirect_predicate: 1"));
}

#[test]
fn timeouts() {
    let app = Upstream::start("app");
    let server = Server::start(&example("timeouts.yaml", &[&app]), &[]);
    let web = server.listener("web");
    assert_eq!(request(web, "GET", "/", &[], "").status, 200);
    assert_eq!(request(web, "GET", "/", &["bad_name: x"], "").status, 400);
    let slow = request(web, "GET", "/slow", &[], "");
    assert_eq!((slow.status, slow.body.as_str()), (504, "upstream request timeout"));
}

#[test]
fn overload() {
    let app = Upstream::start("app");
    let calm = example("overload.yaml", &[&app]);
    let explained = |server: &Server| server.ask("GET", "/explain?request=http://x/&listener=web").body;
    let server = Server::start(&calm, &[]);
    assert_eq!(request(server.listener("web"), "GET", "/", &[], "").status, 200);
    let said = explained(&server);
    assert!(said.starts_with("It goes to "), "{said}");
    assert!(said.contains("stop_accepting_requests: at 0% (from 0.95 of fixed_heap on)"), "{said}");

    let server =
        Server::start(&calm.replace("max_heap_size_bytes: 1073741824", "max_heap_size_bytes: 1"), &[]);
    let web = server.listener("web");
    let refused = (0..5000).map(|_| request(web, "GET", "/", &[], "")).find(|got| got.status == 503);
    let refused = refused.expect("the first measurement shows it");
    assert!(refused.head.contains("x-envoy-local-overloaded: true"), "{}", refused.head);
    let said = explained(&server);
    assert!(said.contains("503") && said.contains("stop_accepting_requests: at 100%"), "{said}");
}

#[test]
fn everyday_filters() {
    let (app, authz) = (Upstream::start("app"), Upstream::start("authz"));
    let server = Server::start(&example("filters/everyday.yaml", &[&app, &authz]), &[]);
    let web = server.listener("web");
    let got = request(web, "POST", "/a", &[], "hello");
    assert_eq!((got.status, got.body.as_str()), (200, "app: POST /a HTTP/1.1hello"));
    assert!(got.head.contains("x-path: /a"), "{}", got.head);
    let got = request(web, "GET", "/admin", &[], "");
    assert_eq!((got.status, got.body.as_str()), (403, "RBAC: access denied"));
    assert!(got.head.contains("x-path: /admin"), "replies pass the filters: {}", got.head);
    assert_eq!(request(web, "POST", "/a", &[], &"x".repeat(65)).status, 413);
    assert_eq!(request(web, "GET", "/slow", &[], "").status, 403, "the service does not answer");
    let reports: Vec<u16> = (0..3).map(|_| request(web, "GET", "/report", &[], "").status).collect();
    assert_eq!(reports, [200, 200, 429]);
}

#[test]
fn filters_that_mark_requests() {
    let (app, inside) = (Upstream::start("app"), Upstream::start("inside"));
    let server = Server::start(&example("filters/marks.yaml", &[&app, &inside]), &[]);
    let web = server.listener("web");
    let got = request(web, "GET", "/a", &["x-tenant: acme", "x-plan: gold"], "");
    assert_eq!(upstream_of(&got), "app");
    for line in ["x-tenant: acme", "x-plan: free", "x-path-was: /a"] {
        assert!(got.head.contains(line), "{line} in {}", got.head);
    }
    let got = request(web, "GET", "/trial", &["x-plan: gold"], "");
    assert!(got.head.contains("x-plan: gold") && !got.head.contains("x-tenant: acme"), "{}", got.head);
    assert_eq!(upstream_of(&request(web, "GET", "/inside", &[], "")), "inside", "by the client's network");
    let got = request(web, "GET", "/a", &["cdn-loop: shop.example"], "");
    assert_eq!((got.status, upstream_of(&got)), (502, "none"), "it was here before");
    assert!(server.ask("GET", "/stats").body.contains("http.web.ip_tagging.office.hit: 3"));
}

#[test]
fn filters_that_keep_sessions() {
    let (one, two, pages) = (Upstream::start("one"), Upstream::start("two"), Upstream::start("pages"));
    let server = Server::start(&example("filters/sessions.yaml", &[&one, &two, &pages]), &[]);
    let web = server.listener("web");
    let got = request(web, "GET", "/", &[], "");
    let first = upstream_of(&got).to_owned();
    let cookie = got.head.lines().find_map(|l| l.strip_prefix("set-cookie: host=")).unwrap();
    let cookie = format!("cookie: host={}", cookie.split(';').next().unwrap());
    for _ in 0..5 {
        assert_eq!(upstream_of(&request(web, "GET", "/", &[&cookie], "")), first);
    }
    let got = request(web, "POST", "/api", &[], "x");
    let first = upstream_of(&got).to_owned();
    let session = got.head.lines().find(|l| l.starts_with("x-session: ")).unwrap();
    for _ in 0..5 {
        assert_eq!(upstream_of(&request(web, "POST", "/api", &[session], "x")), first);
    }
    let form = |origin: &str| request(web, "POST", "/form", &["host: a.shop.example", origin], "x").status;
    assert_eq!(form("origin: https://b.shop.example"), 200);
    assert_eq!(form("origin: https://evil.example"), 403);
    let got = request(web, "GET", "/redirect?/elsewhere", &[], "");
    assert_eq!((got.status, got.body.as_str()), (503, "pages: GET /sorry HTTP/1.1"));
    assert!(got.head.contains("retry-after: 60"), "{}", got.head);
    // "hello", stored.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x05\0\xfa\xffhello\x86\xa6\x10\x36\x05\0\0\0";
    assert_eq!(request(web, "POST", "/api", &["content-encoding: gzip"], gzip).status, 200);
    let stats = server.ask("GET", "/stats?filter=decompressor").body;
    assert!(stats.contains("gzip.request.total_uncompressed_bytes: 5"), "{stats}");
}

#[test]
fn balancing_by_reported_load() {
    let file =
        std::fs::read_to_string(root().join("examples").join("balancing/reporting-hosts.yaml")).unwrap();
    let file = ["9902", "10001", "10002"].iter().fold(file, |file, port| file.replace(port, "0"));
    let hosts = Server::start(&file, &[]);
    let at = |port: &str, name: &str| {
        let to = hosts.listener(name).port().to_string();
        (format!("port_value: {port}}}"), format!("port_value: {to}}}"))
    };
    let config = [at("10001", "busy"), at("10002", "idle")]
        .iter()
        .fold(example("balancing/by-load.yaml", &[]), |text, (was, is)| text.replace(was, is));
    let server = Server::start(&config, &[]);
    let web = server.listener("web");
    // 100 requests per second over how busy a host is.
    let weighs = |weight: &str| server.ask("GET", "/clusters").body.contains(weight);
    let settled = (0..2000).any(|_| {
        request(web, "GET", "/", &[], "");
        weighs("::weight::125") && weighs("::weight::500")
    });
    assert!(settled, "{}", server.ask("GET", "/clusters").body);
    let served: Vec<Got> = (0..50).map(|_| request(web, "GET", "/", &[], "")).collect();
    let idle = served.iter().filter(|got| upstream_of(got) == "idle").count();
    assert!((38..=42).contains(&idle), "{idle} of 50");
}

#[test]
fn balancing_by_version_and_by_name() {
    let (old, new) = (Upstream::start("old"), Upstream::start("new"));
    let server = Server::start(&example("balancing/canary-subsets.yaml", &[&old, &new]), &[]);
    let web = server.listener("web");
    let of = |path: &str, headers: &[&str]| upstream_of(&request(web, "GET", path, headers, "")).to_owned();
    for _ in 0..4 {
        assert_eq!((of("/", &[]), of("/", &["x-canary: yes"])), ("old".into(), "new".into()));
        for host in [&old, &new] {
            let named = of("/named", &[&format!("x-host: {}", host.address)]);
            assert_eq!(named == "new", host.port() == new.port());
        }
    }
}

#[test]
fn balancing_that_sticks_and_stays_near() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let server = Server::start(&example("balancing/sticky.yaml", &[&one, &two]), &[]);
    let web = server.listener("web");
    let of = |path: &str, user: &str| {
        upstream_of(&request(web, "GET", path, &[&format!("x-user: {user}")], "")).to_owned()
    };
    let users: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
    let first: Vec<String> = users.iter().map(|user| of("/user", user)).collect();
    assert!(first.contains(&"one".to_owned()) && first.contains(&"two".to_owned()), "{first:?}");
    assert_eq!(users.iter().map(|user| of("/user", user)).collect::<Vec<_>>(), first);
    assert!((0..10).all(|_| of("/", "any") == "one"));
}

#[test]
fn filters_for_grpc() {
    let app = Upstream::start("app");
    let server = Server::start(&example("filters/grpc.yaml", &[&app]), &[]);
    let web = server.listener("web");
    let message = "\0\0\0\0\x01m";
    let got = request(web, "POST", "/shop.Carts/Add", &["content-type: application/grpc-web"], message);
    assert!(got.head.contains("x-sent-as: application/grpc\r\n"), "{}", got.head);
    let got = request(web, "POST", "/shop.Carts/Add", &["content-type: application/grpc"], message);
    assert_eq!(upstream_of(&got), "app");
    assert!(got.head.contains("content-length: "), "{}", got.head);
    let stats = server.ask("GET", "/stats?filter=grpc").body;
    assert!(stats.contains("cluster.app.grpc.shop.Carts.Add.request_message_count: 2"), "{stats}");
}

#[test]
fn jwt() {
    // {"iss":"https://login.example","sub":"ann","aud":"shop"}, and the same for "bank".
    const HEAD: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImV4YW1wbGUifQ";
    const SHOP: &str = "eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJzdWIiOiJhbm4iLCJhdWQiOiJzaG9wIn0.\
                        n-ecofCd0NWFncza-JRZFn84M3PZfglibZl0fMrPuxk";
    const BANK: &str = "eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJzdWIiOiJhbm4iLCJhdWQiOiJiYW5rIn0.\
                        jnFDw143_p8VtGlWS__c9oC9-_p_RkkYRk1PbChXtPA";
    let app = Upstream::start("app");
    let server = Server::start(&example("jwt.yaml", &[&app]), &[]);
    let web = server.listener("web");
    let with =
        |token: &str| request(web, "GET", "/", &[&format!("authorization: Bearer {HEAD}.{token}")], "");
    let got = with(SHOP);
    assert_eq!((got.status, upstream_of(&got)), (200, "app"));
    assert!(got.head.contains("x-user: ann"), "{}", got.head);
    assert_eq!(with(BANK).body, "Audiences in Jwt are not allowed");
    assert_eq!(request(web, "GET", "/", &[], "").status, 401);
    assert_eq!(request(web, "GET", "/health", &[], "").status, 200);
}

#[test]
fn limits_and_rules() {
    let app = Upstream::start("app");
    let server = Server::start(&example("limits-and-rules.yaml", &[&app]), &[]);
    let web = server.listener("web");
    let ask = |method: &str, customer: &str| request(web, method, "/", &[customer], "");
    let statuses = |customer: &str| -> Vec<u16> { (0..4).map(|_| ask("GET", customer).status).collect() };
    assert_eq!(statuses("x-customer: one"), [200, 429, 429, 429]);
    assert_eq!(statuses("x-customer: pays"), [200, 200, 200, 429]);
    let got = ask("GET", "x-customer: one");
    assert_eq!((got.status, got.body.as_str()), (429, "Come back in a minute.\n"));
    assert_eq!(ask("POST", "x-other: x").body, "RBAC: access denied");
    let call = ["content-type: application/grpc", "x-customer: two"];
    assert_eq!(request(web, "GET", "/a.Service/Method", &call, "").status, 200);
    let stats = server.ask("GET", "/stats").body;
    assert!(stats.contains("http.web.rbac.policy.readers.allowed: 5"), "{stats}");
    assert!(stats.contains("all.http_local_rate_limit.rate_limited: 5"), "{stats}");
}

#[test]
fn canary_weights() {
    let (stable, canary) = (Upstream::start("stable"), Upstream::start("canary"));
    let server = Server::start(&example("canary-weights.yaml", &[&stable, &canary]), &[]);
    let web = server.listener("web");
    assert_eq!(upstream_of(&request(web, "GET", "/", &["x-canary: always"], "")), "canary");
    let share = |n: usize| {
        let got: Vec<Got> = (0..n).map(|_| request(web, "GET", "/", &[], "")).collect();
        assert!(got.iter().all(|g| (upstream_of(g) == "canary") == g.head.contains("x-version: canary")));
        got.iter().filter(|g| upstream_of(g) == "canary").count()
    };
    // One in ten: fewer than 40 of 100 but for one time in many millions.
    assert!(share(100) < 40);
    for (key, value) in [("stable", 0), ("canary", 100)] {
        let done = server.ask("POST", &format!("/runtime_modify?routing.canary.{key}={value}"));
        assert_eq!(done.body, "OK\n");
    }
    assert_eq!(share(10), 10);
}

#[test]
fn shadowing() {
    let (app, next) = (Upstream::start("app"), Upstream::start("next"));
    let server = Server::start(&example("shadowing.yaml", &[&app, &next]), &[]);
    let web = server.listener("web");
    for _ in 0..5 {
        let got = request(web, "POST", "/order", &[], "two");
        assert_eq!((got.status, upstream_of(&got)), (200, "app"));
    }
    let copied = || server.ask("GET", "/stats?filter=cluster.next.upstream_rq_200").body.contains(": 5");
    let mut tries = 0;
    while !copied() {
        tries += 1;
        assert!(tries < 2_000, "five copies");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

#[test]
fn fault_injection() {
    let app = Upstream::start("app");
    let server = Server::start(&example("fault-injection.yaml", &[&app]), &[]);
    let web = server.listener("web");
    assert_eq!(request(web, "GET", "/", &[], "").status, 200);
    let got = request(web, "GET", "/", &["x-envoy-fault-abort-request: 418"], "");
    assert_eq!((got.status, got.body.as_str()), (418, "fault filter abort"));
    assert_eq!(request(web, "GET", "/", &["x-envoy-fault-delay-request: 1"], "").status, 200);
    assert_eq!(request(web, "GET", "/broken/x", &[], "").status, 503);
    let stats = server.ask("GET", "/stats?filter=fault").body;
    assert!(
        stats.contains("fault.aborts_injected: 2") && stats.contains("fault.delays_injected: 1"),
        "{stats}"
    );
}

#[test]
fn cors() {
    let api = Upstream::start("api");
    let server = Server::start(&example("cors.yaml", &[&api]), &[]);
    let web = server.listener("web");
    let (ours, theirs) = ("origin: https://www.shop.example", "origin: https://shop.example.evil");
    let got = request(web, "OPTIONS", "/x", &[ours, "access-control-request-method: PUT"], "");
    assert_eq!((got.status, upstream_of(&got)), (200, "none"));
    assert!(got.head.contains("access-control-allow-methods: GET, PUT"), "{}", got.head);
    let got = request(web, "GET", "/x", &[ours], "");
    assert_eq!(upstream_of(&got), "api");
    assert!(got.head.contains("access-control-allow-origin: https://www.shop.example"), "{}", got.head);
    let got = request(web, "GET", "/x", &[theirs], "");
    assert_eq!(upstream_of(&got), "api");
    assert!(!got.head.contains("access-control-allow-origin"), "{}", got.head);
}

#[test]
fn health() {
    let (app, gone) = (Upstream::start("app"), Upstream::gone());
    let server = Server::start(&example("health.yaml", &[&app, &gone]), &[]);
    let web = server.listener("web");
    let flags = |of: &Upstream| {
        let body = server.ask("GET", "/clusters").body;
        let line = format!("app::127.0.0.1:{}::health_flags::", of.port());
        body.lines().find_map(|l| l.strip_prefix(&line)).unwrap().to_owned()
    };
    assert_eq!((flags(&app).as_str(), flags(&gone).as_str()), ("healthy", "/failed_active_hc"));
    assert!((0..6).all(|_| upstream_of(&request(web, "GET", "/", &[], "")) == "app"));
    for _ in 0..3 {
        assert_eq!(request(web, "GET", "/slow", &[], "").status, 504);
    }
    // The main thread ejects it a moment later.
    let ejected = (0..5000).any(|_| flags(&app) == "/failed_outlier_check");
    assert!(ejected, "{}", flags(&app));
    assert_eq!(request(web, "GET", "/", &[], "").body, "no healthy upstream");
}

#[test]
fn retry_plugins() {
    let (gone, canary, app) = (Upstream::gone(), Upstream::start("canary"), Upstream::start("app"));
    let server = Server::start(&example("retry-plugins.yaml", &[&gone, &canary, &app]), &[]);
    let web = server.listener("web");
    // By chance: one in ten million runs sends none of them to one of the hosts.
    let answers: Vec<Got> = (0..40).map(|_| request(web, "GET", "/", &[], "")).collect();
    assert!(answers.iter().all(|g| g.status == 200), "{answers:?}");
    let retried: Vec<&Got> =
        answers.iter().filter(|g| !g.head.contains("x-envoy-attempt-count: 1")).collect();
    assert!(!retried.is_empty() && retried.iter().all(|g| upstream_of(g) == "app"), "{retried:?}");
    assert!(answers.iter().any(|g| upstream_of(g) == "canary"), "{answers:?}");
}

#[test]
fn demo() {
    let out = output(&["demo", "--once"]);
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}", text(&out.stderr));
    assert!(said.contains("demo: everything as expected"), "{said}");
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let server = Server::start(&example("demo.yaml", &[&one, &two]), &[]);
    assert_eq!(request(server.listener("web"), "GET", "/hello", &[], "").body, "Hello from nuncio.\n");
}

/// An example with a collector of spans in port 10002's place.
fn traced(name: &str, app: &Upstream) -> (Server, Collector) {
    let collector = Collector::start();
    let port = format!("port_value: {}}}", collector.port());
    let config = example(name, &[app]).replace("port_value: 10002}", &port);
    (Server::start(&config, &[]), collector)
}

#[test]
fn tracing_zipkin() {
    let app = Upstream::start("app");
    let (server, collector) = traced("tracing/zipkin.yaml", &app);
    let web = server.listener("web");
    assert_eq!(request(web, "GET", "/cart", &["x-tenant: t1"], "").status, 200);
    let mut spans: Vec<serde_json::Value> = Vec::new();
    while spans.len() < 2 {
        spans.extend(serde_json::from_slice::<Vec<_>>(&collector.report()).unwrap());
    }
    let of = |kind: &str| spans.iter().find(|span| span["kind"] == kind).unwrap();
    let (server_span, client_span) = (of("SERVER"), of("CLIENT"));
    assert_eq!(client_span["parentId"], server_span["id"]);
    assert_eq!(client_span["traceId"], server_span["traceId"]);
    assert_eq!((&server_span["name"], &client_span["name"]), (&"shop".into(), &"router app egress".into()));
    for span in &spans {
        assert_eq!(
            (&span["tags"]["tenant"], &span["tags"]["http.status_code"]),
            (&"t1".into(), &"200".into())
        );
    }
}

#[test]
fn tracing_opentelemetry() {
    let app = Upstream::start("app");
    let (server, collector) = traced("tracing/opentelemetry.yaml", &app);
    let web = server.listener("web");
    // The caller decided against it; then one that wants to be traced.
    let no = "traceparent: 00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-00";
    assert_eq!(request(web, "GET", "/", &[no], "").status, 200);
    assert_eq!(request(web, "GET", "/", &["x-client-trace-id: me"], "").status, 200);
    let report = collector.report();
    let report = String::from_utf8_lossy(&report);
    for word in ["service.name", "shop", "deployment.environment", "GET everything", "guid:x-client-trace-id"]
    {
        assert!(report.contains(word), "{word}: {report}");
    }
    assert_eq!(report.matches("guid:x-request-id").count(), 1, "one span: {report}");
}
