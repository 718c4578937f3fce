//! What a log line costs: `cargo bench -p nuncio-core --bench format [-- LINES]`.
//!
//! Prints nanoseconds per line; for instructions run the built binary twice under `perf stat -e instructions:u`
//! with different numbers of lines, and divide the difference.

use nuncio_codec::head::{HeaderMap, Version};
use nuncio_core::clock::Clock;
use nuncio_core::format::{Commands, DEFAULT_FORMAT, FormatContext, LineFormat, LogType};
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::{ConnectionInfo, HostInfo, StreamInfo};
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The members of the default text format, and a few more.
const JSON: [(&str, &str); 14] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("status", "%RESPONSE_CODE%"),
    ("time", "%START_TIME%"),
    ("upstream", "%UPSTREAM_HOST%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
];

fn json_tree() -> prost_types::Struct {
    let value = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    prost_types::Struct { fields: JSON.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect() }
}

fn stream(clock: &Clock) -> StreamInfo {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port)).into();
    let connection = ConnectionInfo {
        id: 1,
        local: address(10_000),
        direct_local: address(10_000),
        direct_remote: address(40_000),
        remote: address(40_000),
        requested_server_name: None,
        direction: TrafficDirection::Unspecified,
        listener: "listener".into(),
        filter_chain: "".into(),
        tls: Default::default(),
        accepted: clock.now(),
        listener_metadata: None,
        filter_chain_metadata: None,
        state: Default::default(),
    };
    let mut info = StreamInfo::new(clock.now(), clock.wall(), Rc::new(connection), 7);
    info.protocol = Some(Version::Http11);
    info.response_code = Some(200);
    info.bytes_sent = 1234;
    info.upstream.host = Some(Rc::new(HostInfo {
        address: address(8080),
        name: "".into(),
        metadata: None,
        locality: Default::default(),
        locality_metadata: None,
    }));
    info.timings.complete = Some(clock.now() + Duration::from_millis(12));
    info
}

fn main() {
    let lines: u32 = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(1_000_000);
    let (clock, rng) = (Clock::system(), Rng::seeded(1));
    let info = stream(&clock);
    let (mut request, mut response) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in [
        (":method", "GET"),
        (":path", "/some/path?with=query"),
        (":authority", "example.test"),
        ("user-agent", "bench/1.0"),
        ("accept", "*/*"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-request-id", "0d3b5b6c-2a4e-4e0e-9c9b-0d3b5b6c2a4e"),
    ] {
        request.append(name, value.as_bytes());
    }
    response.append("x-envoy-upstream-service-time", b"11");
    let cx = FormatContext {
        info: &info,
        request: Some(&request),
        response: Some((&response, 200)),
        trailers: None,
        local_reply_body: b"",
        log_type: LogType::DownstreamEnd,
        now: clock.now(),
        wall: clock.wall(),
        rng: &rng,
    };
    let sink = nuncio_core::config::Sink::default();
    let root = nuncio_core::config::CompileContext::root(&sink, "", None);
    let commands = Commands::default();
    let only = std::env::args().nth(1).filter(|a| a == "text" || a == "json");
    for (name, format) in [
        ("text", LineFormat::text(DEFAULT_FORMAT, &commands, false, &root)),
        ("json", LineFormat::json(&json_tree(), &commands, false, &root)),
    ] {
        let Some(format) = format.filter(|_| only.as_deref().is_none_or(|o| o == name)) else { continue };
        let (mut out, mut bytes) = (Vec::with_capacity(1024), 0);
        let start = clock.now();
        for _ in 0..lines {
            out.clear();
            format.render(std::hint::black_box(&cx), &mut out);
            bytes += out.len();
        }
        let each = clock.now().duration_since(start).as_nanos() / u128::from(lines.max(1));
        println!("{name}: {each} ns a line, {} bytes", bytes / lines.max(1) as usize);
    }
}
