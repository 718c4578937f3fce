//! Bodies over HTTP/2: many large ones at once on one connection, and small answers beside a large one.

use super::{GROWTH, PATIENCE, becomes, echo, fill, head, long, nothing_is_left, peak, send_body, upstream};
use crate::common::Server;
use nuncio_codec::h2::{Codec, Event, Incoming, Options, Side, StreamKey};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::clock::Clock;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// As much of a body may wait in the client before it makes more.
const AHEAD: usize = 64 * 1024;

/// Two hops: HTTP/2 to a listener, HTTP/2 from there to the next one, HTTP/1 to the upstream. Windows and buffers are small, so
/// that they bound memory and not the bodies' sizes.
fn config(upstream: u16, hop: u16) -> String {
    let windows = "initial_stream_window_size: 65536, initial_connection_window_size: 1048576, max_concurrent_streams: 100";
    let listener = |name: &str, port: u16, cluster: &str| {
        format!(
            r#"
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    per_connection_buffer_limit_bytes: 65536
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {}
          delayed_close_timeout: 0.05s
          http2_protocol_options: {{{windows}}}
          route_config: {{virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}, timeout: 0s}}}}]}}]}}
          http_filters: [{{name: r, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]"#,
            if name == "l" { "in" } else { name }
        )
    };
    let cluster = |name: &str, port: u16, more: &str| {
        format!(
            r#"
  - name: {name}
    per_connection_buffer_limit_bytes: 65536
    load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}{more}"#
        )
    };
    let http2 = format!(
        r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{{windows}}}}}"#
    );
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:{}{}\n  clusters:{}{}\n",
        listener("l", 0, "hop"),
        listener("hop", hop, "c"),
        cluster("hop", hop, &http2),
        cluster("c", upstream, "")
    )
}

/// A port that nobody has.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One stream of the client.
struct Exchange {
    key: StreamKey,
    /// Of the body, in bytes.
    length: u64,
    sent: u64,
    received: u64,
    done: bool,
}

/// A client of one connection that never waits for one direction alone.
struct Client {
    codec: Codec,
    options: Options,
    stream: TcpStream,
    input: Vec<u8>,
    exchanges: BTreeMap<u32, Exchange>,
    clock: Clock,
}

impl Client {
    fn new(to: SocketAddr) -> Self {
        let clock = Clock::system();
        let options = Options {
            initial_stream_window: 65_536,
            initial_connection_window: 1 << 20,
            ..Options::default()
        };
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nonblocking(true).unwrap();
        let codec = Codec::new(Side::Client, &options, clock.now());
        Self { codec, options, stream, input: Vec::new(), exchanges: BTreeMap::new(), clock }
    }

    /// Asks for `path`, with a body of `length` bytes if there is one.
    fn ask(&mut self, path: &str, length: u64) -> u32 {
        let mut head = RequestHead::new();
        let method = if length > 0 { "POST" } else { "GET" };
        for (name, value) in [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        {
            head.headers.append(name, value.as_bytes());
        }
        if length > 0 {
            head.headers.append("content-length", length.to_string().as_bytes());
        }
        let key = self.codec.open(self.clock.now(), &head, length == 0).unwrap();
        let exchange = Exchange { key, length, sent: 0, received: 0, done: false };
        self.exchanges.insert(key.id(), exchange);
        key.id()
    }

    /// Sends and receives until `end` says that it is enough.
    fn run(&mut self, end: impl Fn(&Self) -> bool) {
        let mut last = self.clock.now();
        while !end(self) {
            self.make_bodies();
            let sent = self.send();
            if self.receive() || sent {
                last = self.clock.now();
            } else {
                assert!(self.waited(last) < PATIENCE, "nothing moves");
                std::thread::yield_now();
            }
        }
    }

    fn waited(&self, since: Instant) -> std::time::Duration {
        self.clock.now().saturating_duration_since(since)
    }

    fn make_bodies(&mut self) {
        let mut block = vec![0; 1 << 14];
        for exchange in self.exchanges.values_mut() {
            while exchange.sent < exchange.length && self.codec.waiting(exchange.key) < AHEAD {
                let n = block.len().min((exchange.length - exchange.sent) as usize);
                fill(exchange.sent, &mut block[..n]);
                exchange.sent += n as u64;
                self.codec.encode_data(exchange.key, &block[..n], exchange.sent == exchange.length);
            }
        }
    }

    fn send(&mut self) -> bool {
        self.codec.fill();
        if self.codec.unsent().is_empty() {
            return false;
        }
        match self.stream.write(self.codec.unsent()) {
            Ok(n) => {
                self.codec.sent(n);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    fn receive(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                assert!(n > 0, "the connection is closed");
                self.input.extend_from_slice(&buffer[..n]);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return false;
            }
        }
        let (mut response, mut trailers) = (ResponseHead::default(), HeaderMap::new());
        let mut want = Vec::new();
        let mut at = 0;
        loop {
            let now = self.clock.now();
            let into = Incoming::Response(&mut response);
            let decoded =
                self.codec.decode(now, &self.options, &self.input[at..], into, &mut trailers).unwrap();
            let from = at;
            at += decoded.consumed;
            match decoded.event {
                Event::More => break,
                Event::Head { end_stream, stream } => {
                    assert_eq!(response.status, 200);
                    self.exchanges.get_mut(&stream.id()).unwrap().done = end_stream;
                }
                Event::Data { stream, at: part, end_stream } => {
                    let exchange = self.exchanges.get_mut(&stream.id()).unwrap();
                    let data = &self.input[from + part.start..from + part.end];
                    want.resize(data.len(), 0);
                    fill(exchange.received, &mut want);
                    assert!(data == want, "a byte of stream {} is wrong", stream.id());
                    exchange.received += data.len() as u64;
                    exchange.done = end_stream;
                    self.codec.consumed(stream, data.len());
                }
                Event::Settings => {}
                other => panic!("{other:?}"),
            }
        }
        self.input.drain(..at);
        true
    }
}

#[test]
fn many_large_bodies_are_echoed_at_once_in_bounded_memory() {
    let server = Server::start(&config(upstream(echo), free_port()), &[]);
    let length = if long() { 100 << 20 } else { 3 << 20 };
    let mut client = Client::new(server.listener("l"));
    client.run(|client| client.codec.peer_spoke());
    let before = peak(&server);
    let streams: Vec<u32> = (0..64).map(|_| client.ask("/", length)).collect();
    client.run(|client| client.exchanges.values().all(|e| e.done));
    for id in streams {
        assert_eq!(client.exchanges[&id].received, length, "stream {id}");
    }
    let grown = peak(&server) - before;
    // Each of them may have as much waiting in each of four places.
    assert!(grown < 2 * GROWTH, "{grown} KiB for 64 bodies of {length} bytes");
    drop(client);
    nothing_is_left(&server);
}

#[test]
fn small_answers_do_not_wait_for_a_large_one() {
    let length: u64 = 64 << 20;
    let port = upstream(move |mut stream| {
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        while let Some((line, _)) = head(&mut reader) {
            let length = if line.contains("/large") { length } else { 1000 };
            if write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").is_err() {
                return;
            }
            send_body(&mut stream, length, None);
        }
    });
    let server = Server::start(&config(port, free_port()), &[]);
    let mut client = Client::new(server.listener("l"));
    client.run(|client| client.codec.peer_spoke());
    let large = client.ask("/large", 0);
    client.run(|client| client.exchanges[&large].received > 1 << 20);
    for _ in 0..20 {
        let begun = client.exchanges[&large].received;
        let small = client.ask("/small", 0);
        client.run(|client| client.exchanges[&small].done);
        assert_eq!(client.exchanges[&small].received, 1000);
        // What was on its way before the small one was asked for: windows, and buffers of sockets.
        let meanwhile = client.exchanges[&large].received - begun;
        assert!(meanwhile < 12 << 20, "{meanwhile} bytes of the large answer came first");
        assert!(!client.exchanges[&large].done, "it has to last longer than the small ones");
        if client.exchanges[&large].received > length / 2 {
            break;
        }
    }
    client.run(|client| client.exchanges[&large].done);
    assert_eq!(client.exchanges[&large].received, length);
    drop(client);
    becomes(&server, "http.in.downstream_rq_active", 0);
}
