//! `demo --once`: the requests that the demo makes of itself, and what it expects of them.

use super::client::{Got, request};

/// One request and what must come back.
struct Check {
    method: &'static str,
    target: &'static str,
    body: &'static str,
    status: u16,
    /// What the body must have in it.
    says: &'static str,
}

const CHECKS: &[Check] = &[
    Check { method: "GET", target: "/", body: "", status: 200, says: "GET /\n" },
    Check { method: "GET", target: "/a?b=c", body: "", status: 200, says: "GET /a?b=c\n" },
    Check { method: "POST", target: "/echo", body: "some data", status: 200, says: "some data" },
    Check { method: "GET", target: "/again", body: "", status: 200, says: "GET /again\n" },
    Check { method: "GET", target: "/hello", body: "", status: 200, says: "Hello from nuncio." },
    Check { method: "GET", target: "/old/page", body: "", status: 301, says: "" },
];

/// What the admin port must say after them.
const STATS: &[(&str, u64)] = &[
    ("cluster.upstreams.upstream_rq_total", 4),
    ("cluster.upstreams.upstream_rq_2xx", 4),
    ("http.demo.downstream_rq_total", 6),
    ("http.demo.downstream_rq_2xx", 5),
    ("http.demo.downstream_rq_3xx", 1),
    // Redirects count here too, as in Envoy.
    ("http.demo.rq_direct_response", 2),
];

/// Makes the requests, prints what came back, ends the server; whether everything was as expected.
pub(super) fn visit(proxy: u16, admin: u16) -> bool {
    let mut right = true;
    let mut upstreams = Vec::new();
    for check in CHECKS {
        let url = format!("http://127.0.0.1:{proxy}{}", check.target);
        match request(proxy, check.method, check.target, check.body) {
            Ok(got) => {
                let from = got.header("x-upstream").unwrap_or("the proxy itself").to_owned();
                let good = got.status == check.status && got.body.contains(check.says);
                right &= good;
                println!("{:<4} {url:<34} {} from {from}{}", check.method, got.status, verdict(good));
                upstreams.extend(got.header("x-upstream").map(str::to_owned));
            }
            Err(error) => {
                right = false;
                println!("{:<4} {url:<34} {error}", check.method);
            }
        }
    }
    let both = upstreams.iter().any(|u| u == "one") && upstreams.iter().any(|u| u == "two");
    println!("upstreams, in order: {}{}", upstreams.join(" "), verdict(both));
    right &= both;
    right &= stats(admin);
    for (method, target) in [("GET", "/ready"), ("POST", "/quitquitquit")] {
        let good = request(admin, method, target, "").is_ok_and(|got| got.status == 200);
        println!(
            "{method:<4} {:<34} {}",
            format!("http://127.0.0.1:{admin}{target}"),
            if good { "200" } else { "failed" }
        );
        right &= good;
    }
    println!("demo: {}", if right { "everything as expected" } else { "NOT as expected" });
    right
}

fn verdict(good: bool) -> &'static str {
    if good { "" } else { "  <-- unexpected" }
}

fn stats(admin: u16) -> bool {
    let Ok(Got { body, .. }) = request(admin, "GET", "/stats", "") else {
        println!("the admin port does not answer");
        return false;
    };
    let mut right = true;
    for (name, want) in STATS {
        let value = body.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
        let good = value.is_some_and(|v| v.parse() == Ok(*want));
        right &= good;
        println!("{name}: {}{}", value.unwrap_or("absent"), verdict(good));
    }
    right
}
