//! Commands that read the stream itself.

use super::FormatContext;
use super::address;
use super::command::{Op, write_number};
use super::tls;
use crate::address::Address;
use crate::stream_info::{
    ClusterInfo, Fingerprints, HostInfo, ResponseFlag, StreamInfo, UpstreamConnectionInfo,
};
use nuncio_codec::head::{HeaderMap, Known};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The command called `name`, if it is a plain field.
pub(super) fn find(name: &str) -> Option<Op> {
    if let Some((_, write)) = TEXTS.iter().find(|(n, _)| *n == name) {
        return Some(Op::Text(*write));
    }
    if let Some(op) = address::find(name).or_else(|| tls::find(name)) {
        return Some(op);
    }
    if let Some(read) = header_bytes(name) {
        HEADER_BYTES_WANTED.store(true, Relaxed);
        return Some(Op::Number(read));
    }
    if name == "ROUTE_RESOLUTION_TIME_US" {
        ROUTE_TIME_WANTED.store(true, Relaxed);
        return Some(Op::Number(|cx| Some(cx.info.route_resolution.as_micros() as u64)));
    }
    if name == "DOWNSTREAM_CX_RTT" {
        ROUND_TRIP_WANTED.store(true, Relaxed);
        return Some(Op::Number(|cx| cx.info.connection.state.round_trip.get().map(millis)));
    }
    if let Some((_, read)) = NUMBERS.iter().find(|(n, _)| *n == name) {
        return Some(Op::Number(*read));
    }
    ABSENT.contains(&name).then_some(Op::Absent)
}

/// Whether a format that reads header bytes was ever compiled in this process: counting them costs more than most
/// requests should pay.
static HEADER_BYTES_WANTED: AtomicBool = AtomicBool::new(false);

/// Whether header bytes have to be counted.
#[inline]
pub fn header_bytes_wanted() -> bool {
    HEADER_BYTES_WANTED.load(Relaxed)
}

/// Whether a format that reads round-trip times was ever compiled in this process.
static ROUND_TRIP_WANTED: AtomicBool = AtomicBool::new(false);

/// Whether round-trip times have to be asked for.
#[inline]
pub fn round_trip_wanted() -> bool {
    ROUND_TRIP_WANTED.load(Relaxed)
}

/// Whether a format that reads how long a route was looked for was ever compiled in this process.
static ROUTE_TIME_WANTED: AtomicBool = AtomicBool::new(false);

/// Whether it has to be measured how long routes are looked for.
#[inline]
pub fn route_time_wanted() -> bool {
    ROUTE_TIME_WANTED.load(Relaxed)
}

/// The commands for which header bytes are counted.
fn header_bytes(name: &str) -> Option<Number> {
    Some(match name {
        "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED" => {
            |cx| Some(cx.info.bytes.decompressed_header_received)
        }
        "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT" => |cx| Some(cx.info.bytes.decompressed_sent()),
        "DOWNSTREAM_HEADER_BYTES_RECEIVED" => |cx| Some(cx.info.bytes.header_received),
        "DOWNSTREAM_HEADER_BYTES_SENT" => |cx| Some(cx.info.bytes.header_sent),
        "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED" => {
            |cx| Some(cx.info.upstream.bytes.decompressed_header_received)
        }
        "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT" => |cx| Some(cx.info.upstream.bytes.decompressed_sent()),
        "UPSTREAM_HEADER_BYTES_RECEIVED" => |cx| Some(cx.info.upstream.bytes.header_received),
        "UPSTREAM_HEADER_BYTES_SENT" => |cx| Some(cx.info.upstream.bytes.header_sent),
        _ => return None,
    })
}

/// How long the last attempt waited for its connection.
pub(crate) fn pool_ready_duration(info: &StreamInfo, now: Instant) -> Option<Duration> {
    let (asked, sent) = (info.timings.upstream_pool_begin?, info.timings.upstream_tx_begin);
    // A connection that never came was waited for until the end.
    let ready = sent.filter(|sent| *sent >= asked).or(info.timings.complete).unwrap_or(now);
    Some(ready.saturating_duration_since(asked))
}

type Text = fn(&FormatContext<'_>, &mut Vec<u8>) -> bool;
type Number = fn(&FormatContext<'_>) -> Option<u64>;

fn put(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    value.map(|v| out.extend_from_slice(v)).is_some()
}

fn put_named(value: &Option<std::sync::Arc<str>>, out: &mut Vec<u8>) -> bool {
    put(value.as_deref().filter(|v| !v.is_empty()).map(str::as_bytes), out)
}

fn put_address(address: Option<&Address>, out: &mut Vec<u8>) -> bool {
    match address {
        Some(address) => {
            address.write_to(out);
            true
        }
        None => false,
    }
}

fn put_ip(address: Option<&Address>, out: &mut Vec<u8>) -> bool {
    match address {
        Some(address) => {
            address.write_ip_to(out);
            true
        }
        None => false,
    }
}

pub(super) fn millis(d: Duration) -> u64 {
    d.as_secs() * 1000 + u64::from(d.subsec_millis())
}

fn since_start(info: &StreamInfo, point: Option<Instant>) -> Option<u64> {
    Some(millis(point?.saturating_duration_since(info.start)))
}

fn put_fingerprint(cx: &FormatContext<'_>, of: fn(&Fingerprints) -> &str, out: &mut Vec<u8>) -> bool {
    let found = cx.info.connection.state.fingerprints.as_deref().map(of);
    put(found.map(str::as_bytes).filter(|f| !f.is_empty()), out)
}

/// The values that are text.
const TEXTS: &[(&str, Text)] = &[
    ("ACCESS_LOG_TYPE", |cx, out| put(Some(cx.log_type.as_str().as_bytes()), out)),
    ("CONNECTION_TERMINATION_DETAILS", |cx, out| {
        write_details(cx.info.connection.state.termination.get().map(|t| &**t), false, out)
    }),
    ("CUSTOM_FLAGS", |_, _| true),
    ("DOWNSTREAM_DETECTED_CLOSE_TYPE", |cx, out| {
        // A stream's entry is written before Envoy notes how the connection was closed.
        let reset = cx.connection_entry() && cx.info.connection.state.remote_reset.get();
        put(Some(if reset { b"RemoteReset" } else { b"Normal" }), out)
    }),
    ("DOWNSTREAM_LOCAL_CLOSE_REASON", |cx, out| {
        let reason = cx.info.connection.state.local_close.get().filter(|_| cx.connection_entry());
        put(reason.map(str::as_bytes), out)
    }),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", |cx, out| {
        write_reason(cx.info.connection.state.transport_failure.get().map(|t| &**t), out)
    }),
    ("FILTER_CHAIN_NAME", |cx, out| {
        put(Some(cx.info.connection.filter_chain.as_bytes()).filter(|n| !n.is_empty()), out)
    }),
    ("LISTENER_NAME", |cx, out| {
        put(Some(cx.info.connection.listener.as_bytes()).filter(|n| !n.is_empty()), out)
    }),
    ("LOCAL_REPLY_BODY", |cx, out| put(Some(cx.local_reply_body), out)),
    ("PROTOCOL", |cx, out| put(cx.info.protocol.map(|p| p.as_str().as_bytes()), out)),
    ("RESPONSE_FLAGS", |cx, out| write_flags(cx, ResponseFlag::short, out)),
    ("RESPONSE_FLAGS_LONG", |cx, out| write_flags(cx, ResponseFlag::long, out)),
    ("ROUTE_NAME", |cx, out| put_named(&cx.info.route_name, out)),
    ("SPAN_ID", |cx, out| {
        let id = cx.info.span.as_ref().and_then(|span| span.context.span_id());
        id.map(|id| write!(out, "{id}")).is_some()
    }),
    ("STREAM_ID", |cx, out| put(cx.request.and_then(|r| r.get(Known::XRequestId)), out)),
    ("TLS_JA3_FINGERPRINT", |cx, out| put_fingerprint(cx, |f| &f.ja3, out)),
    ("TLS_JA4_FINGERPRINT", |cx, out| put_fingerprint(cx, |f| &f.ja4, out)),
    ("TRACE_ID", |cx, out| {
        cx.info.span.as_ref().map(|span| write!(out, "{}", span.context.trace_id())).is_some()
    }),
    ("UNIQUE_ID", write_unique_id),
    ("UPSTREAM_CLUSTER", |cx, out| put(cluster(cx).map(|c| c.observability_name.as_bytes()), out)),
    ("UPSTREAM_CLUSTER_RAW", |cx, out| put(cluster(cx).map(|c| c.name.as_bytes()), out)),
    ("UPSTREAM_CONNECTION_IDS_ATTEMPTED", |cx, out| {
        attempted(cx).map(|(_, connection)| write_number(connection.id, out)).is_some()
    }),
    ("UPSTREAM_DETECTED_CLOSE_TYPE", |cx, out| {
        let tried = cx.info.upstream.host.is_some() || cx.info.timings.upstream_pool_begin.is_some();
        put(tried.then_some(&b"Normal"[..]), out)
    }),
    ("UPSTREAM_HOST", |cx, out| put_address(cx.info.upstream.host.as_deref().map(|h| &h.address), out)),
    ("UPSTREAM_HOSTS_ATTEMPTED", |cx, out| put_address(attempted(cx).map(|(host, _)| &host.address), out)),
    ("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", |cx, out| {
        put_ip(attempted(cx).map(|(host, _)| &host.address), out)
    }),
    ("UPSTREAM_HOST_NAME", |cx, out| host_name(cx.info.upstream.host.as_deref(), out)),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", |cx, out| {
        host_name_without_port(cx.info.upstream.host.as_deref(), out)
    }),
    ("UPSTREAM_HOST_NAMES_ATTEMPTED", |cx, out| {
        attempted(cx).is_some_and(|(host, _)| host_name(Some(host), out))
    }),
    ("UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", |cx, out| {
        attempted(cx).is_some_and(|(host, _)| host_name_without_port(Some(host), out))
    }),
    ("UPSTREAM_LOCAL_CLOSE_REASON", |cx, out| {
        let reason = cx.info.connection.state.upstream_local_close.get().filter(|_| cx.connection_entry());
        put(reason.map(str::as_bytes), out)
    }),
    ("UPSTREAM_PROTOCOL", |cx, out| {
        let protocol = cx.info.upstream.connection.as_ref().and_then(|c| c.protocol);
        put(protocol.map(|p| p.as_str().as_bytes()), out)
    }),
    ("UPSTREAM_SERVER_NAME", |cx, out| {
        let name = cx.info.upstream.tls().and_then(|t| t.server_name.as_deref());
        put(name.map(str::as_bytes), out)
    }),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", |cx, out| {
        write_reason(cx.info.upstream.transport_failure.as_deref(), out)
    }),
    ("VIRTUAL_CLUSTER_NAME", |cx, out| put_named(&cx.info.virtual_cluster, out)),
];

/// The values that are numbers.
const NUMBERS: &[(&str, Number)] = &[
    ("BYTES_RECEIVED", |cx| Some(cx.info.bytes_received)),
    ("BYTES_RETRANSMITTED", |_| Some(0)),
    ("BYTES_SENT", |cx| Some(cx.info.bytes_sent)),
    ("CONNECTION_ID", |cx| Some(cx.info.connection.id)),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", |cx| Some(cx.info.bytes.wire_received)),
    ("DOWNSTREAM_WIRE_BYTES_SENT", |cx| Some(cx.info.bytes.wire_sent)),
    ("DURATION", |cx| Some(millis(cx.duration()))),
    ("PACKETS_RETRANSMITTED", |_| Some(0)),
    ("REQUEST_DURATION", |cx| since_start(cx.info, cx.info.timings.downstream_rx_end)),
    ("REQUEST_HEADERS_BYTES", |cx| Some(cx.request.map_or(0, HeaderMap::byte_size) as u64)),
    ("REQUEST_TX_DURATION", |cx| since_start(cx.info, cx.info.timings.upstream_tx_end)),
    ("RESPONSE_CODE", |cx| Some(u64::from(cx.info.response_code.unwrap_or(0)))),
    ("RESPONSE_DURATION", |cx| since_start(cx.info, cx.info.timings.upstream_rx_begin)),
    // The status counts as the header `:status`.
    ("RESPONSE_HEADERS_BYTES", |cx| Some(cx.response.map_or(0, |(map, _)| map.byte_size() as u64 + 10))),
    ("RESPONSE_TRAILERS_BYTES", |cx| Some(cx.trailers.map_or(0, HeaderMap::byte_size) as u64)),
    ("RESPONSE_TX_DURATION", |cx| {
        let from = cx.info.timings.upstream_rx_begin?;
        Some(millis(cx.info.timings.downstream_tx_end?.saturating_duration_since(from)))
    }),
    ("ROUTE_RESOLUTION_COUNT", |cx| Some(u64::from(cx.info.route_resolutions))),
    ("UPSTREAM_CONNECTION_ID", |cx| Some(cx.info.upstream.connection.as_ref().map_or(0, |c| c.id))),
    ("UPSTREAM_CONNECTION_POOL_READY_DURATION", |cx| pool_ready_duration(cx.info, cx.now).map(millis)),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", |cx| Some(u64::from(cx.info.upstream.attempts))),
    ("UPSTREAM_WIRE_BYTES_RECEIVED", |cx| Some(cx.info.upstream.bytes.wire_received)),
    ("UPSTREAM_WIRE_BYTES_SENT", |cx| Some(cx.info.upstream.bytes.wire_sent)),
];

/// What is not known of secured connections, and what Envoy prints `-` for wherever it can be asked.
const ABSENT: &[&str] = &["DOWNSTREAM_HANDSHAKE_DURATION", "ROUNDTRIP_DURATION"];

fn write_flags(cx: &FormatContext<'_>, name: fn(ResponseFlag) -> &'static str, out: &mut Vec<u8>) -> bool {
    if cx.info.flags.is_empty() {
        out.push(b'-');
        return true;
    }
    for (i, flag) in cx.info.flags.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name(flag).as_bytes());
    }
    true
}

/// Why a transport failed. A reason without a word counts as none.
fn write_reason(reason: Option<&str>, out: &mut Vec<u8>) -> bool {
    write_details(reason.filter(|reason| !reason.is_empty()), false, out)
}

/// Details and failure reasons: blanks become `_` unless `blanks`.
pub(super) fn write_details(details: Option<&str>, blanks: bool, out: &mut Vec<u8>) -> bool {
    let Some(details) = details else { return false };
    if blanks {
        out.extend_from_slice(details.as_bytes());
    } else {
        out.extend(details.bytes().map(|b| if b.is_ascii_whitespace() || b == 11 { b'_' } else { b }));
    }
    true
}

/// A random UUID (RFC 9562, version 4).
fn write_unique_id(cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    let (high, low) = (cx.rng.next(), cx.rng.next());
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let _ = write!(
        out,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    true
}

fn host_name(host: Option<&HostInfo>, out: &mut Vec<u8>) -> bool {
    match host {
        Some(host) if !host.name.is_empty() => put(Some(host.name.as_bytes()), out),
        _ => put_address(host.map(|h| &h.address), out),
    }
}

fn host_name_without_port(host: Option<&HostInfo>, out: &mut Vec<u8>) -> bool {
    match host.map(|h| &*h.name).filter(|n| !n.is_empty()) {
        Some(name) => {
            let bare =
                name.rsplit_once(':').filter(|(_, p)| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
            put(Some(bare.map_or(name, |(n, _)| n).as_bytes()), out)
        }
        None => put_ip(host.map(|h| &h.address), out),
    }
}

/// The last attempt, where it got a connection: Envoy 1.40 forgets the others with each that it begins.
fn attempted<'a>(cx: &FormatContext<'a>) -> Option<(&'a HostInfo, &'a UpstreamConnectionInfo)> {
    let up = &cx.info.upstream;
    up.host.as_deref().zip(up.connection.as_deref())
}

fn cluster<'a>(cx: &FormatContext<'a>) -> Option<&'a ClusterInfo> {
    cx.info.upstream.cluster.as_deref()
}
