//! The whole way of a request, from socket to socket through a running server, allocates nothing in steady state.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here fails the test that called it"
)]

use nuncio_core::address::Address;
use nuncio_server::admin::Action;
use nuncio_server::config::Source;
use nuncio_server::{cli, run};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

/// Allocations of all threads that are not the test's own.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if !OWN.get() {
        COUNT.fetch_add(1, Relaxed);
    }
}

// SAFETY: everything is the system allocator's; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads one message into `buf`, framed by its `content-length`, or by a chunk of size 0; how long it is.
fn message(stream: &mut TcpStream, buf: &mut [u8]) -> Option<usize> {
    let mut have = 0;
    loop {
        let n = stream.read(&mut buf[have..]).ok().filter(|n| *n > 0)?;
        have += n;
        let Some(head) = buf[..have].windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let lines = std::str::from_utf8(&buf[..head]).unwrap().lines();
        let field = |name: &str| lines.clone().find_map(|l| l.strip_prefix(name)).map(str::trim);
        let whole = match field("content-length:") {
            Some(length) => have >= head + 4 + length.parse::<usize>().unwrap(),
            None if field("transfer-encoding:").is_some() => buf[..have].ends_with(b"0\r\n\r\n"),
            None => true,
        };
        if whole {
            return Some(have);
        }
    }
}

/// Answers every request alike.
fn upstream() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        OWN.set(true);
        for stream in listener.incoming() {
            thread::spawn(move || {
                OWN.set(true);
                let (mut stream, mut buf) = (stream.unwrap(), vec![0; 1 << 16]);
                while message(&mut stream, &mut buf).is_some() {
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn config(upstream: u16, Policies { hcm, filters, route }: &Policies) -> String {
    format!(
        r#"
stats_flush_interval: 299s
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          {hcm}
          route_config: {{virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, {route}}}]}}]}}
          http_filters:
{filters}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: c
    connect_timeout: 5s
    load_assignment:
      cluster_name: c
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"#
    )
}

/// What a connection manager says beyond what it must, its filters before the router, and what its route does.
struct Policies {
    hcm: &'static str,
    filters: &'static str,
    route: &'static str,
}

impl Policies {
    const NONE: Self = Self { hcm: "", filters: "", route: "route: {cluster: c}" };
}

/// Allocations of the server while it serves `rounds` times what `requests` are, after as many rounds to warm up.
fn allocations(policies: &Policies, requests: &[Vec<u8>], rounds: u32) -> u64 {
    OWN.set(true);
    let source = Source::text("test.yaml", config(upstream(), policies));
    let options = cli::parse(["nuncio", "--concurrency", "1"]).unwrap();
    let requests = requests.to_vec();
    let mut client = None;
    let code = run::serve(&options, vec![source], |admin| {
        let Some(Address::Ip(to)) = admin.listeners[0].addresses.first().cloned() else {
            panic!("no address")
        };
        let actions = admin.actions.clone();
        client = Some(thread::spawn(move || {
            OWN.set(true);
            let counted = visit(to, &requests, rounds);
            let _ = actions.send(Action::Quit);
            counted
        }));
    });
    assert_eq!(code, ExitCode::SUCCESS);
    client.unwrap().join().unwrap()
}

fn visit(to: SocketAddr, requests: &[Vec<u8>], rounds: u32) -> u64 {
    let (mut stream, mut buf) = (TcpStream::connect(to).unwrap(), vec![0; 1 << 16]);
    let mut before = 0;
    for round in 0..2 * rounds {
        if round == rounds {
            before = COUNT.load(Relaxed);
        }
        for request in requests {
            stream.write_all(request).unwrap();
            let len = message(&mut stream, &mut buf).unwrap();
            assert!(buf[..len].starts_with(b"HTTP/1.1 200 OK\r\n") && buf[..len].ends_with(b"hello"));
        }
    }
    COUNT.load(Relaxed) - before
}

fn requests() -> Vec<Vec<u8>> {
    let get = b"GET /some/path?x=1 HTTP/1.1\r\nhost: a.example\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
    let mut post = b"POST /form HTTP/1.1\r\nhost: a.example\r\ncontent-length: 9000\r\n\r\n".to_vec();
    post.extend_from_slice(&[b'x'; 9000]);
    let chunked =
        b"PUT /up HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    vec![get.to_vec(), post, chunked.to_vec()]
}

const FORWARDING: &str = "use_remote_address: true
          request_timeout: 5s
          common_http_protocol_options: {max_stream_duration: 60s}";

const JSON_LOG: &str = r#"access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /dev/null
              log_format:
                json_format: {at: "%START_TIME%", path: "%REQ(:PATH)%", code: "%RESPONSE_CODE%", ms: "%DURATION%",
                  flags: "%RESPONSE_FLAGS%", agent: "%REQ(USER-AGENT)%", host: "%UPSTREAM_HOST%"}"#;

/// A route with every policy, of which a request without faults triggers none.
const ROUTE: &str = r#"route: {cluster: c, timeout: 15s, idle_timeout: 60s,
            retry_policy: {retry_on: "5xx,reset,connect-failure", num_retries: 2, per_try_timeout: 5s,
              retry_host_predicate: [{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]},
            request_mirror_policies: [{cluster: c, runtime_fraction: {default_value: {numerator: 0}, runtime_key: never}}],
            hash_policy: [{header: {header_name: x-absent}}, {cookie: {name: absent}}, {query_parameter: {name: absent}}],
            internal_redirect_policy: {max_internal_redirects: 1},
            upgrade_configs: [{upgrade_type: websocket}]},
            typed_per_filter_config: {envoy.filters.http.cors: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy,
              allow_origin_string_match: [{exact: "http://a.example"}], allow_methods: GET}}"#;

/// Filters that such a request does not trigger either.
const FILTERS: &str = include_str!("fixtures/everyday_filters.yaml");

/// One test, since the threads that run several would be counted too.
#[test]
fn requests_allocate_nothing_in_steady_state() {
    let before = COUNT.load(Relaxed);
    thread::spawn(|| drop(std::hint::black_box(vec![1_u8; 100]))).join().unwrap();
    assert!(COUNT.load(Relaxed) > before, "the count sees other threads");
    // Each of three histograms gets its bins of a power of ten with the first value there: a slow machine may meet
    // 10, 100 and 1,000 ms within the rounds that are counted. That is nothing beside their 600 requests.
    let bins = 9;
    // The two buffers of a log double until they have the size at which they are written out.
    for (what, policies, most) in [
        ("plain", Policies::NONE, bins),
        ("forwarding headers and timeouts", Policies { hcm: FORWARDING, ..Policies::NONE }, bins),
        ("JSON log", Policies { hcm: JSON_LOG, ..Policies::NONE }, bins + 32),
        ("policies of a route", Policies { route: ROUTE, ..Policies::NONE }, bins),
        ("everyday filters", Policies { filters: FILTERS, route: ROUTE, hcm: "" }, bins),
    ] {
        let counted = allocations(&policies, &requests(), 200);
        assert!(counted <= most, "{what}: {counted}");
    }
}
