use super::super::forwarded::tests::{connection, info};
use super::*;
use nuncio_codec::head::{Known, RequestHead, ResponseHead, Version};
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::StreamInfo;
use nuncio_upstream::error::ResetReason;

fn request(method: &str, content_type: Option<&str>) -> RequestHead {
    let mut head = RequestHead::default();
    head.headers.append(Known::Method, method.as_bytes());
    head.headers.append(Known::Path, b"/p.S/m");
    if let Some(value) = content_type {
        head.headers.append(Known::ContentType, value.as_bytes());
    }
    head
}

/// A reply as it goes out.
struct Out {
    status: u16,
    lines: Vec<String>,
    body: Vec<u8>,
    info: StreamInfo,
    close: bool,
}

fn built_by(how: &LocalReplies, reply: LocalReply, request: &RequestHead) -> Out {
    built_with(how, reply, request, |_, _| {})
}

fn built_with(
    how: &LocalReplies,
    reply: LocalReply,
    request: &RequestHead,
    modify: impl FnOnce(&mut ResponseHead, &StreamInfo),
) -> Out {
    let (mut response, mut info) = (ResponseHead::default(), info(connection("127.0.0.1", false)));
    response.headers.append("left-over", b"1");
    let clock = Clock::system();
    let (now, wall, rng) = (clock.now(), clock.wall(), Rng::seeded(1));
    let cx = ReplyContext { request, response: &mut response, info: &mut info, now, wall, rng: &rng };
    let Built { body, close } = how.build(reply, cx, modify);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let lines =
        response.headers.iter().map(|(n, v)| format!("{}: {}", text(n.as_bytes()), text(v))).collect();
    Out { status: response.status, lines, body: body.to_vec(), info, close }
}

/// Status, header lines and body of a reply.
fn built(reply: LocalReply, request: &RequestHead) -> (u16, Vec<String>, Vec<u8>, StreamInfo) {
    let Out { status, lines, body, info, .. } = built_by(&LocalReplies::default(), reply, request);
    (status, lines, body, info)
}

#[test]
fn a_body_brings_its_length_and_type_behind_the_replys_own_headers() {
    let reply = LocalReply::maintenance_mode();
    let (status, lines, body, info) = built(reply, &request("GET", None));
    assert_eq!(status, 503);
    assert_eq!(lines, ["x-envoy-overloaded: true", "content-length: 16", "content-type: text/plain"]);
    assert_eq!(body, b"maintenance mode");
    assert_eq!(info.details.as_deref(), Some("maintenance_mode"));
    assert_eq!(info.response_code, Some(503));
    assert_eq!(info.flags.iter().map(|f| f.short()).collect::<Vec<_>>(), ["UO"]);
}

#[test]
fn a_reply_without_a_body_has_no_headers_of_its_own() {
    let (status, lines, body, info) = built(LocalReply::no_route(), &request("GET", None));
    assert_eq!((status, lines.len(), body.len()), (404, 0, 0));
    assert!(info.flags.contains(ResponseFlag::NoRouteFound));
}

#[test]
fn a_content_type_that_came_with_the_reply_stays() {
    let reply = LocalReply::new(200, "direct_response")
        .with_header("content-type", "application/json")
        .with_body(ReplyBody::Shared(Bytes::from_static(b"{}")));
    let (_, lines, body, _) = built(reply, &request("GET", None));
    assert_eq!(lines, ["content-type: application/json", "content-length: 2"]);
    assert_eq!(body, b"{}");
}

#[test]
fn head_gets_the_headers_and_no_body() {
    let (_, lines, body, _) = built(LocalReply::no_healthy_upstream(), &request("HEAD", None));
    assert_eq!(lines, ["content-length: 19", "content-type: text/plain"]);
    assert_eq!(body, b"");
}

#[test]
fn statuses_without_a_body_get_none() {
    for status in [100, 103] {
        let reply = LocalReply::new(status, "x").with_body(ReplyBody::Static("x"));
        let (_, lines, body, _) = built(reply, &request("GET", None));
        assert_eq!((lines.len(), body.len()), (0, 0), "{status}");
    }
    for status in [204, 304] {
        let reply = LocalReply::new(status, "x").with_body(ReplyBody::Static("x"));
        let (_, lines, body, _) = built(reply, &request("GET", None));
        assert_eq!(lines, ["content-length: 1", "content-type: text/plain"], "{status}");
        assert_eq!(body, b"", "{status}");
    }
}

#[test]
fn grpc_clients_get_a_trailers_only_response() {
    for (content_type, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc+", true),
        ("application/grpc-web", false),
        ("application/grpc;x", false),
        ("APPLICATION/GRPC", false),
        ("application/grpcx", false),
    ] {
        let (status, lines, _, _) =
            built(LocalReply::no_healthy_upstream(), &request("POST", Some(content_type)));
        assert_eq!(status == 200, grpc, "{content_type}");
        if grpc {
            let want =
                ["content-type: application/grpc", "grpc-status: 14", "grpc-message: no healthy upstream"];
            assert_eq!(lines, want);
        }
    }
}

#[test]
fn http_statuses_map_to_grpc_ones() {
    for (http, grpc) in [
        (200, 2),
        (302, 2),
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (405, 2),
        (408, 2),
        (413, 2),
        (429, 14),
        (499, 2),
        (500, 2),
        (501, 2),
        (502, 14),
        (503, 14),
        (504, 14),
        (599, 2),
    ] {
        assert_eq!(grpc_status(http), grpc, "{http}");
    }
}

#[test]
fn grpc_messages_are_percent_encoded_and_left_out_for_head() {
    let reply = || LocalReply::new(403, "x").with_body(ReplyBody::Static("no \"we\"%\ncaf\u{e9}\u{1}~"));
    let (_, lines, body, _) = built(reply(), &request("GET", Some("application/grpc")));
    assert_eq!(lines[1..], ["grpc-status: 7", "grpc-message: no \"we\"%25%0Acaf%C3%A9%01%7E"]);
    assert_eq!(body, b"");
    let (_, lines, _, _) = built(reply(), &request("HEAD", Some("application/grpc")));
    assert_eq!(lines, ["content-type: application/grpc", "grpc-status: 7"]);
}

#[test]
fn a_reply_may_name_its_grpc_status() {
    let reply = LocalReply::max_stream_duration(true);
    let (status, lines, _, info) = built(reply, &request("POST", Some("application/grpc")));
    assert_eq!(status, 200);
    assert_eq!(lines[1..], ["grpc-status: 4", "grpc-message: downstream duration timeout"]);
    assert!(info.flags.is_empty());
    assert_eq!(info.response_code, Some(200));
}

#[test]
fn each_failure_has_envoys_status_flag_details_and_body() {
    let rows: [(LocalReply, u16, &str, &str, &str); 16] = [
        (LocalReply::missing_host(), 400, "", "missing_host_header", ""),
        (
            LocalReply::codec_error(431, "http1.headers_too_large"),
            431,
            "DPE",
            "http1.headers_too_large",
            "Request Header Fields Too Large",
        ),
        (LocalReply::codec_error(426, "low_version"), 426, "DPE", "low_version", "Upgrade Required"),
        (
            LocalReply::codec_error(501, "http1.invalid_transfer_encoding"),
            501,
            "DPE",
            "http1.invalid_transfer_encoding",
            "Not Implemented",
        ),
        (
            LocalReply::https_on_plaintext(),
            403,
            "DPE",
            "http1.https_url_on_plaintext_connection",
            "Forbidden",
        ),
        (LocalReply::upgrade_failed(), 403, "", "upgrade_failed", ""),
        (LocalReply::no_route(), 404, "NR", "route_not_found", ""),
        (LocalReply::cluster_not_found(503), 503, "NC", "cluster_not_found", ""),
        (LocalReply::no_healthy_upstream(), 503, "UH", "no_healthy_upstream", "no healthy upstream"),
        (
            LocalReply::upstream_timeout("response_timeout"),
            504,
            "UT",
            "response_timeout",
            "upstream request timeout",
        ),
        (LocalReply::upstream_timeout_alt("response_timeout"), 204, "UT", "response_timeout", ""),
        (LocalReply::stream_idle(true), 504, "SI", "stream_idle_timeout", "stream timeout"),
        (LocalReply::stream_idle(false), 408, "SI", "stream_idle_timeout", "stream timeout"),
        (LocalReply::request_timeout(), 408, "", "request_overall_timeout", "request timeout"),
        (LocalReply::request_headers_timeout(), 408, "", "request_header_timeout", "request header timeout"),
        (LocalReply::request_too_large(), 413, "", "request_payload_too_large", "Payload Too Large"),
    ];
    for (reply, status, flag, details, body) in rows {
        assert_eq!(reply.status, status, "{details}");
        assert_eq!(reply.flag.map_or("", ResponseFlag::short), flag, "{details}");
        assert_eq!(reply.details, details);
        assert_eq!(&*reply.body, body.as_bytes(), "{details}");
    }
}

#[test]
fn upstream_resets_tell_their_reason_and_keep_the_transports_words_for_the_log() {
    let reply = LocalReply::upstream_reset(
        ResetReason::RemoteConnectionFailure,
        Some("delayed connect error: Connection refused"),
        false,
    );
    assert_eq!(
        reply.details,
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    );
    assert_eq!(
        &*reply.body,
        b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
    );
    assert_eq!((reply.status, reply.flag), (503, Some(ResponseFlag::UpstreamConnectionFailure)));
    let reply = LocalReply::upstream_reset(ResetReason::Overflow, None, true);
    assert_eq!(
        &*reply.body,
        b"upstream connect error or disconnect/reset before headers. retried and the latest reset reason: overflow"
    );
    assert_eq!(reply.headers, [("x-envoy-overloaded".into(), b"true".to_vec())]);
    assert_eq!(LocalReply::upstream_reset(ResetReason::ProtocolError, None, false).status, 502);
}

#[test]
fn numbers_are_written_in_decimal() {
    for n in [0, 7, 10, 4096, u64::MAX] {
        assert_eq!(decimal(n, &mut [0; 20]), n.to_string().as_bytes());
    }
}

#[test]
fn a_bad_request_ends_an_http_1_connection_unless_configured_otherwise() {
    let keep = LocalReplies::compile_for_test(|m| m, true);
    for (version, status, closes) in [
        (Version::Http11, 400, true),
        (Version::Http10, 400, true),
        (Version::Http2, 400, false),
        (Version::Http11, 404, false),
        (Version::Http11, 403, false),
    ] {
        let mut request = request("GET", None);
        request.version = version;
        let reply = || LocalReply::new(status, "x");
        assert_eq!(
            built_by(&LocalReplies::default(), reply(), &request).close,
            closes,
            "{version:?} {status}"
        );
        assert!(!built_by(&keep, reply(), &request).close);
        assert!(built_by(&keep, reply().closing(), &request).close);
    }
}

mod rewriting;
