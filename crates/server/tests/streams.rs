//! Long and broken exchanges over real sockets: bodies both ways at once, readers and writers that stop, pipelines,
//! clients that go away at every byte. Memory stays bounded, nothing is stuck, and the counters add up.
//!
//! `NUNCIO_STRESS=1` runs the long form: bodies of 1 GiB, 64 of 100 MiB at once over HTTP/2, and 100,000 pipelined requests; `NUNCIO_BIN` names
//! another binary than the one that was built with it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here fails the test that called it"
)]

mod common;
#[path = "streams/http2.rs"]
mod http2;

use common::Server;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a peer may be silent before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A write that is blocked for so long is held back.
const HELD: Duration = Duration::from_millis(300);

/// What memory may grow by while bodies flow, in KiB: buffers of both sides, many times over.
const GROWTH: u64 = 24 * 1024;

fn long() -> bool {
    std::env::var_os("NUNCIO_STRESS").is_some()
}

fn body_len() -> u64 {
    if long() { 1 << 30 } else { 48 << 20 }
}

/// The byte at a place of a body: no two neighbouring blocks are alike.
fn fill(at: u64, block: &mut [u8]) {
    for (i, byte) in (at..).zip(block) {
        *byte = (i ^ (i >> 8) ^ (i >> 16)) as u8;
    }
}

fn config(upstream: u16) -> String {
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    per_connection_buffer_limit_bytes: 65536
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          delayed_close_timeout: 0.05s
          route_config: {{virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: c, timeout: 0s}}}}]}}]}}
          http_filters: [{{name: r, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
  clusters:
  - name: c
    per_connection_buffer_limit_bytes: 65536
    load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}
"#
    )
}

/// Serves every connection to a port of its own on a thread of its own.
fn upstream(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Reads a head; its first line and `content-length`. `None` at the end.
fn head(reader: &mut impl BufRead) -> Option<(String, u64)> {
    let (mut first, mut length, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let text = line.trim_end();
        if text.is_empty() {
            return first.map(|first| (first, length));
        }
        if let Some(value) = text.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        first.get_or_insert_with(|| text.to_owned());
    }
}

/// Answers with the body that it is sent, while it is being sent.
fn echo(stream: TcpStream) {
    let mut out = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((_, length)) = head(&mut reader) {
        if write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").is_err()
            || std::io::copy(&mut (&mut reader).take(length), &mut out).ok() != Some(length)
        {
            return;
        }
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a body of `length` bytes; how many times a write was held back is told to `held`, if it wants to know.
fn send_body(stream: &mut impl Write, length: u64, held: Option<&Sender<()>>) {
    let mut block = vec![0; 1 << 16];
    let mut at = 0;
    while at < length {
        let n = block.len().min((length - at) as usize);
        fill(at, &mut block[..n]);
        let mut done = 0;
        while done < n {
            match stream.write(&block[done..n]) {
                Ok(written) => done += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let held = held.unwrap_or_else(|| panic!("a body that nobody holds back has to go on"));
                    let _ = held.send(());
                }
                Err(error) => panic!("at {at}: {error}"),
            }
        }
        at += n as u64;
    }
}

/// Reads a body of `length` bytes and looks at every one.
fn read_body(stream: &mut impl Read, length: u64) {
    let (mut got, mut want) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    while at < length {
        let most = got.len().min((length - at) as usize);
        let n = stream.read(&mut got[..most]).unwrap();
        assert!(n > 0, "cut at {at}");
        fill(at, &mut want[..n]);
        assert!(got[..n] == want[..n], "a byte between {at} and {} is wrong", at + n as u64);
        at += n as u64;
    }
}

fn post(length: u64) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

/// The most memory that the process has had, in KiB.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn stat(server: &Server, name: &str) -> u64 {
    let stats = server.ask("GET", &format!("/stats?filter=^{name}$")).body;
    let value = stats.trim().rsplit(' ').next().unwrap_or_default();
    value.parse().unwrap_or_else(|_| panic!("{name}: {stats:?}"))
}

/// Asks until `name` is `want`.
fn becomes(server: &Server, name: &str, want: u64) {
    let mut last = 0;
    for _ in 0..2000 {
        last = stat(server, name);
        if last == want {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{name} stays {last} instead of {want}");
}

fn nothing_is_left(server: &Server) {
    for gauge in [
        "http.in.downstream_cx_active",
        "http.in.downstream_rq_active",
        "cluster.c.upstream_rq_active",
        "cluster.c.upstream_rq_pending_active",
    ] {
        becomes(server, gauge, 0);
    }
    let total = stat(server, "http.in.downstream_cx_total");
    assert_eq!(stat(server, "http.in.downstream_cx_destroy"), total);
}

#[test]
fn a_body_is_echoed_while_it_is_sent_in_bounded_memory() {
    let server = Server::start(&config(upstream(echo)), &[]);
    let length = body_len();
    let mut stream = connect(server.listener("l"));
    let before = peak(&server);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        writer.write_all(post(length).as_bytes()).unwrap();
        send_body(&mut writer, length, None);
    });
    let mut reader = BufReader::with_capacity(1 << 16, &mut stream);
    let (line, echoed) = head(&mut reader).unwrap();
    assert_eq!((line.as_str(), echoed), ("HTTP/1.1 200 OK", length));
    read_body(&mut reader, length);
    sender.join().unwrap();
    drop(stream);
    let grown = peak(&server) - before;
    assert!(grown < GROWTH, "{grown} KiB for {length} bytes");
    nothing_is_left(&server);
}

/// Serves `length` bytes to a client that reads only when the upstream can write no more.
#[test]
fn a_client_that_does_not_read_holds_its_upstream_back() {
    let length = body_len();
    let (held, is_held) = channel();
    let port = upstream(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        if head(&mut reader).is_some() {
            stream.set_write_timeout(Some(HELD)).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").unwrap();
            send_body(&mut stream, length, Some(&held));
            let _ = head(&mut reader);
        }
    });
    let server = Server::start(&config(port), &[]);
    let mut stream = connect(server.listener("l"));
    let before = peak(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    is_held.recv_timeout(PATIENCE).unwrap();
    let mut reader = BufReader::new(&mut stream);
    assert_eq!(head(&mut reader).unwrap().1, length);
    read_body(&mut reader, length);
    drop(stream);
    let grown = peak(&server) - before;
    assert!(grown < GROWTH, "{grown} KiB for {length} bytes");
    nothing_is_left(&server);
}

#[test]
fn an_upstream_that_does_not_read_holds_its_client_back() {
    let length = body_len();
    let (go, may_go) = channel::<()>();
    let may_go = std::sync::Arc::new(std::sync::Mutex::new(may_go));
    let port = upstream(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((_, length)) = head(&mut reader) {
            may_go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            read_body(&mut reader, length);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let server = Server::start(&config(port), &[]);
    let mut stream = connect(server.listener("l"));
    let before = peak(&server);
    let mut writer = stream.try_clone().unwrap();
    let (held, is_held) = channel();
    let sender: JoinHandle<()> = std::thread::spawn(move || {
        writer.set_write_timeout(Some(HELD)).unwrap();
        writer.write_all(post(length).as_bytes()).unwrap();
        send_body(&mut writer, length, Some(&held));
    });
    is_held.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    let (line, _) = head(&mut BufReader::new(&mut stream)).unwrap();
    assert_eq!(line, "HTTP/1.1 204 No Content");
    sender.join().unwrap();
    drop(stream);
    let grown = peak(&server) - before;
    assert!(grown < GROWTH, "{grown} KiB for {length} bytes");
    nothing_is_left(&server);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let port = upstream(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((line, _)) = head(&mut reader) {
            let path = line.split(' ').nth(1).unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let server = Server::start(&config(port), &[]);
    let count: u64 = if long() { 100_000 } else { 10_000 };
    let mut stream = connect(server.listener("l"));
    let before = peak(&server);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut all = String::new();
        for i in 0..count {
            all.push_str(&format!("GET /{i} HTTP/1.1\r\nhost: a\r\n\r\n"));
        }
        writer.write_all(all.as_bytes()).unwrap();
    });
    let mut reader = BufReader::new(&mut stream);
    for i in 0..count {
        let (line, length) = head(&mut reader).unwrap();
        let mut body = vec![0; length as usize];
        reader.read_exact(&mut body).unwrap();
        assert_eq!((line.as_str(), body), ("HTTP/1.1 200 OK", format!("/{i}").into_bytes()));
    }
    sender.join().unwrap();
    drop(stream);
    let grown = peak(&server) - before;
    assert!(grown < GROWTH, "{grown} KiB for {count} requests");
    nothing_is_left(&server);
    for name in ["http.in.downstream_rq_total", "http.in.downstream_rq_2xx", "cluster.c.upstream_rq_total"] {
        assert_eq!(stat(&server, name), count, "{name}");
    }
    assert_eq!(stat(&server, "http.in.downstream_cx_total"), 1);
}

#[test]
fn a_client_may_go_away_at_every_byte_of_an_exchange() {
    let server = Server::start(&config(upstream(echo)), &[]);
    let to = server.listener("l");
    let request = format!("{}0123456789", post(10));
    let mut whole = connect(to);
    whole.write_all(request.as_bytes()).unwrap();
    whole.shutdown(Shutdown::Write).unwrap();
    let (mut aborted, mut connections) = (0, 1);
    for sent in 0..request.len() {
        let mut stream = connect(to);
        stream.write_all(&request.as_bytes()[..sent]).unwrap();
        (aborted, connections) = (aborted + u64::from(sent > 0), connections + 1);
    }
    // An answer has some 150 bytes; behind the last one the exchange is over.
    for received in 0..120 {
        let mut stream = connect(to);
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut vec![0; received]).unwrap();
        connections += 1;
    }
    drop(whole);
    becomes(&server, "http.in.downstream_cx_total", connections);
    nothing_is_left(&server);
    let total = stat(&server, "http.in.downstream_rq_total");
    assert_eq!(total, connections - 1, "every connection but the empty one has begun a request");
    let reset = stat(&server, "http.in.downstream_rq_rx_reset");
    let complete = stat(&server, "http.in.downstream_rq_completed");
    assert!(reset >= aborted && complete <= total && reset + complete >= total, "{reset} {complete} {total}");
    let mut stream = connect(to);
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(&mut stream);
    assert_eq!(head(&mut reader).unwrap(), ("HTTP/1.1 200 OK".to_owned(), 10));
}
