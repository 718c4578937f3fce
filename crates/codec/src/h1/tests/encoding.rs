//! What is written, and what is not.

use super::*;
use crate::head::PreserveCase;

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];
/// Request, status, fields, whether a body of `ok` follows; the bytes, and whether the connection goes on.
type ResponseRow<'a> = (&'a [u8], u16, Fields<'a>, bool, &'a str, bool);
/// Fields besides the usual ones, whether there is no body, and the bytes.
type RequestRow<'a> = (Fields<'a>, bool, &'a str);

fn response(status: u16, fields: Fields<'_>) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    for (name, value) in fields {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

fn request(fields: Fields<'_>) -> RequestHead {
    let mut head = RequestHead::new();
    for (name, value) in fields {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

/// A server codec that has read `input` whole.
fn asked(options: &ServerOptions, input: &[u8]) -> ServerCodec {
    let mut codec = ServerCodec::new();
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    codec.decode(options, input, &mut head, &mut trailers).unwrap();
    codec
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &[u8] = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n";
const OLD_KEPT: &[u8] = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn responses_are_framed_as_envoy_frames_them() {
    let options = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let close = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let rows: &[ResponseRow<'_>] = &[
        (GET, 200, &[("content-length", "2")], true, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
        (
            GET,
            200,
            &[],
            true,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            true,
        ),
        (GET, 404, &[], false, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", true),
        (GET, 204, &[("etag", "e")], false, "HTTP/1.1 204 No Content\r\netag: e\r\n\r\n", true),
        (
            GET,
            304,
            &[("content-length", "9")],
            false,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            true,
        ),
        (GET, 418, &[], false, "HTTP/1.1 418 Unknown\r\ncontent-length: 0\r\n\r\n", true),
        (
            GET,
            200,
            &[("transfer-encoding", "x"), ("content-length", "2")],
            true,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            true,
        ),
        (HEAD, 200, &[("content-length", "9")], false, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", true),
        (HEAD, 200, &[], true, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true),
        (HEAD, 200, &[], false, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true),
        (
            close,
            200,
            &[("content-length", "2")],
            true,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            false,
        ),
        (
            OLD,
            200,
            &[("content-length", "2")],
            true,
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            false,
        ),
        (
            OLD_KEPT,
            200,
            &[("content-length", "2")],
            true,
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok",
            true,
        ),
        (OLD_KEPT, 200, &[], true, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nok", false),
        (OLD_KEPT, 204, &[], false, "HTTP/1.0 204 No Content\r\nconnection: close\r\n\r\n", false),
    ];
    for (input, status, fields, body, want, kept) in rows {
        let mut codec = asked(&options, input);
        let mut out = Vec::new();
        codec.encode_head(HeaderCase::Lower, &response(*status, fields), !body, &mut out).unwrap();
        codec.encode_data(b"ok", true, &mut out);
        assert_eq!(text(&out), text(want.as_bytes()));
        assert_eq!(codec.keep_alive(), *kept, "{want}");
    }
}

#[test]
fn a_response_before_the_request_is_whole_ends_the_connection() {
    let mut codec =
        asked(&ServerOptions::default(), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    let mut out = Vec::new();
    codec.encode_head(HeaderCase::Lower, &response(413, &[]), true, &mut out).unwrap();
    assert!(text(&out).contains("connection: close"));
    assert!(codec.response_complete() && !codec.request_complete() && !codec.keep_alive());
}

#[test]
fn an_error_is_answered_and_ends_the_connection() {
    let mut codec = ServerCodec::new();
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let input = b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let error = codec.decode(&ServerOptions::default(), input, &mut head, &mut trailers).unwrap_err();
    let mut out = Vec::new();
    codec.encode_head(HeaderCase::Lower, &response(error.status(), &[]), true, &mut out).unwrap();
    let want = "HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(text(&out), text(want.as_bytes()));
    let rest = codec.decode(&ServerOptions::default(), input, &mut head, &mut trailers);
    assert_eq!(rest, Ok(Decoded::more(input.len())), "nothing behind the error is a request");
}

#[test]
fn informational_heads_go_before_the_final_one_only() {
    let (mut codec, mut out) = (asked(&ServerOptions::default(), GET), Vec::new());
    codec.encode_informational(HeaderCase::Lower, &response(100, &[]), &mut out);
    codec.encode_informational(HeaderCase::Lower, &response(103, &[("link", "x")]), &mut out);
    assert_eq!(text(&out), text(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Unknown\r\nlink: x\r\n\r\n"));
    codec.encode_head(HeaderCase::Lower, &response(200, &[]), true, &mut out).unwrap();
    let len = out.len();
    codec.encode_informational(HeaderCase::Lower, &response(100, &[]), &mut out);
    assert_eq!(out.len(), len);
    let options = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let (mut old, mut out) = (asked(&options, OLD), Vec::new());
    old.encode_informational(HeaderCase::Lower, &response(103, &[]), &mut out);
    assert!(out.is_empty(), "RFC 9110 section 15.2: not to HTTP/1.0");
    old.encode_informational(HeaderCase::Lower, &response(100, &[]), &mut out);
    assert_eq!(text(&out), text(b"HTTP/1.0 100 Continue\r\n\r\n"), "but Envoy answers an Expect");
}

#[test]
fn requests_are_written_with_the_host_first_and_framed() {
    let base = [(":method", "POST"), (":path", "/p"), ("x-a", "1"), (":authority", "h")];
    let rows: &[RequestRow<'_>] = &[
        (&[], true, "POST /p HTTP/1.1\r\nhost: h\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n"),
        (&[], false, "POST /p HTTP/1.1\r\nhost: h\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            &[("content-length", "5")],
            false,
            "POST /p HTTP/1.1\r\nhost: h\r\nx-a: 1\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            &[("transfer-encoding", "gzip"), ("host", "other")],
            true,
            "POST /p HTTP/1.1\r\nhost: h\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n",
        ),
    ];
    for (more, end, want) in rows {
        let (mut codec, mut out) = (ClientCodec::new(), Vec::new());
        codec.encode_head(HeaderCase::Lower, &request(&[&base, *more].concat()), *end, &mut out).unwrap();
        assert_eq!(text(&out), text(want.as_bytes()));
    }
    for method in ["GET", "HEAD", "DELETE", "TRACE"] {
        let (mut codec, mut out) = (ClientCodec::new(), Vec::new());
        codec
            .encode_head(HeaderCase::Lower, &request(&[(":method", method), (":path", "/")]), true, &mut out)
            .unwrap();
        assert_eq!(text(&out), format!("{method} / HTTP/1.1\\r\\n\\r\\n"));
    }
    let (mut codec, mut out) = (ClientCodec::new(), Vec::new());
    codec.set_fully_qualified_url();
    let absolute = request(&[(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", "/p")]);
    codec.encode_head(HeaderCase::Lower, &absolute, true, &mut out).unwrap();
    assert_eq!(text(&out), text(b"GET https://h/p HTTP/1.1\r\nhost: h\r\n\r\n"));
}

#[test]
fn what_would_make_a_line_of_its_own_is_not_written() {
    let good = [(":method", "GET"), (":path", "/"), (":authority", "h")];
    let rows: &[(Fields<'_>, EncodeError)] = &[
        (&[(":path", "/")], EncodeError::Method),
        (&[(":method", "GE T"), (":path", "/")], EncodeError::Method),
        (&[(":method", "GET\r\nX: 1"), (":path", "/")], EncodeError::Method),
        (&[(":method", "GET"), (":path", "")], EncodeError::Path),
        (&[(":method", "GET"), (":path", "/ HTTP/1.1\r\nX: 1\r\n\r\n")], EncodeError::Path),
        (&[(":method", "GET"), (":path", "/a b")], EncodeError::Path),
        (&[(":method", "CONNECT")], EncodeError::Authority),
        (&[(":method", "CONNECT"), (":authority", "a b")], EncodeError::Authority),
        (&[good[0], good[1], (":authority", "h\r\nX: 1")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("x-a", "1\r\nX-B: 2")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("x-a", "1\nX-B: 2")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("x-a", "a\0b")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("x-a: 1\r\nx-b", "2")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("x a", "2")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("", "2")], EncodeError::Header),
        (&[good[0], good[1], good[2], ("content-length", "+1")], EncodeError::ContentLength),
        (&[good[0], good[1], ("content-length", "1"), ("content-length", "1")], EncodeError::ContentLength),
    ];
    for (fields, want) in rows {
        let (mut codec, mut out) = (ClientCodec::new(), b"before".to_vec());
        let got = codec.encode_head(HeaderCase::Lower, &request(fields), true, &mut out);
        assert_eq!((got, &out[..]), (Err(*want), &b"before"[..]), "{fields:?}");
        assert!(codec.reusable(), "nothing was written: {fields:?}");
    }
    let mut codec = asked(&ServerOptions::default(), GET);
    let split = response(200, &[("location", "/\r\nSet-Cookie: a=b")]);
    assert_eq!(codec.encode_head(HeaderCase::Lower, &split, true, &mut Vec::new()), Err(EncodeError::Header));
    assert!(!codec.response_started(), "another response can take its place");
    let mut replaced = response(200, &[("location", "/long enough")]);
    replaced.headers.set("location", b"/\r\nX: 1");
    assert_eq!(
        codec.encode_head(HeaderCase::Lower, &replaced, true, &mut Vec::new()),
        Err(EncodeError::Header)
    );
}

#[test]
fn a_body_that_is_not_as_long_as_announced_poisons_the_connection() {
    let head = request(&[(":method", "POST"), (":path", "/"), (":authority", "h"), ("content-length", "3")]);
    for (pieces, written) in
        [(&[&b"abcd"[..]][..], &b"abc"[..]), (&[b"ab"], b"ab"), (&[b"ab", b"cd"], b"abc")]
    {
        let (mut codec, mut out) = (ClientCodec::new(), Vec::new());
        codec.encode_head(HeaderCase::Lower, &head, false, &mut out).unwrap();
        let start = out.len();
        for (i, piece) in pieces.iter().enumerate() {
            codec.encode_data(piece, i + 1 == pieces.len(), &mut out);
        }
        assert_eq!(&out[start..], written);
        assert!(codec.poisoned() && !codec.reusable());
    }
    let mut codec = asked(&ServerOptions::default(), GET);
    let mut out = Vec::new();
    codec
        .encode_head(HeaderCase::Lower, &response(200, &[("content-length", "3")]), false, &mut out)
        .unwrap();
    codec.encode_data(b"ab", true, &mut out);
    assert!(!codec.keep_alive());
}

#[test]
fn pieces_framed_for_the_caller_are_the_pieces_framed_here() {
    let head = request(&[(":method", "POST"), (":path", "/"), (":authority", "h")]);
    for len in [0, 1, 15, 16, 255, 4096, 65_535] {
        for end in [false, true] {
            let data = vec![b'd'; len];
            let (mut one, mut two) = (ClientCodec::new(), ClientCodec::new());
            let (mut copied, mut framed) = (Vec::new(), Vec::new());
            one.encode_head(HeaderCase::Lower, &head, false, &mut copied).unwrap();
            two.encode_head(HeaderCase::Lower, &head, false, &mut framed).unwrap();
            one.encode_data(&data, end, &mut copied);
            let (prefix, suffix) = two.data_framing(len, end);
            framed.extend_from_slice(&prefix);
            framed.extend_from_slice(&data);
            framed.extend_from_slice(suffix);
            assert_eq!(copied, framed);
            assert_eq!((one.request_complete(), two.request_complete()), (end, end));
        }
    }
}

#[test]
fn names_are_spelled_as_configured() {
    let options = ServerOptions { preserve_case: Some(PreserveCase::default()), ..ServerOptions::default() };
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nX-mY-hdr: 1\r\nUPPER: 2\r\nplain: 3\r\n\r\n";
    ServerCodec::new().decode(&options, input, &mut head, &mut trailers).unwrap();
    head.headers.append("foo$b#$are", b"4");
    let mut kept = Vec::new();
    let spelled = ClientCodec::new().encode_head(HeaderCase::ProperCaseWords, &head, true, &mut kept);
    assert_eq!(spelled, Ok(()));
    let want = "Host: a\r\nX-mY-hdr: 1\r\nUPPER: 2\r\nplain: 3\r\nfoo$b#$are: 4\r\n\r\n";
    assert_eq!(
        text(&kept),
        text(format!("GET / HTTP/1.1\r\n{want}").as_bytes()),
        "the sender's word counts first"
    );
    head.spelling = None;
    for (case, want) in [
        (HeaderCase::Lower, "host: a\r\nx-my-hdr: 1\r\nupper: 2\r\nplain: 3\r\nfoo$b#$are: 4\r\n\r\n"),
        (
            HeaderCase::ProperCaseWords,
            "Host: a\r\nX-My-Hdr: 1\r\nUpper: 2\r\nPlain: 3\r\nFoo$B#$Are: 4\r\n\r\n",
        ),
    ] {
        let mut out = Vec::new();
        ClientCodec::new().encode_head(case, &head, true, &mut out).unwrap();
        assert_eq!(text(&out), text(format!("GET / HTTP/1.1\r\n{want}").as_bytes()));
    }
}

#[test]
fn trailers_go_behind_chunks_only_and_without_what_frames_or_routes() {
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-t", "1"), ("content-length", "5"), ("host", "h"), ("transfer-encoding", "x")] {
        trailers.append(name, value.as_bytes());
    }
    let (mut codec, mut out) = (asked(&ServerOptions::default(), GET), Vec::new());
    codec.encode_head(HeaderCase::ProperCaseWords, &response(200, &[]), false, &mut out).unwrap();
    let start = out.len();
    codec.encode_trailers(&trailers, &mut out);
    assert_eq!(text(&out[start..]), text(b"0\r\nX-T: 1\r\n\r\n"));
    let (mut codec, mut out) = (asked(&ServerOptions::default(), GET), Vec::new());
    codec
        .encode_head(HeaderCase::Lower, &response(200, &[("content-length", "0")]), false, &mut out)
        .unwrap();
    let start = out.len();
    codec.encode_trailers(&trailers, &mut out);
    assert_eq!((out.len(), codec.keep_alive()), (start, true));
}
