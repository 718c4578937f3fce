//! The lines of the security checklist on message boundaries: what one reader could take for another message than the
//! next reader does is refused, or ends the connection.

use super::*;

fn served(input: &[u8]) -> String {
    under_all_splits("smuggling", input, |pieces| serve(&ServerOptions::default(), input, pieces));
    serve(&ServerOptions::default(), input, &[])
}

fn refused(input: &[u8]) -> bool {
    served(input).starts_with('!')
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
}

#[test]
fn a_length_that_two_readers_could_read_differently_is_refused() {
    for length in [
        "",
        "+3",
        "-3",
        "3 ",
        " 3",
        "3,3",
        "3, 3",
        "0x3",
        "3;",
        "3.0",
        "1e1",
        "\u{b2}",
        "3\x0b",
        "3\0",
        "3\r3",
        "18446744073709551616",
        "340282366920938463463374607431768211459",
        "999999999999999999999999999",
    ] {
        let plain = length.trim_matches(' ') == "3";
        assert_eq!(refused(&post(&format!("Content-Length: {length}\r\n"), "abc")), !plain, "{length:?}");
    }
    for fields in [
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 0\r\ncontent-length: 44\r\n",
        "Content-Length: 1\r\n 0\r\n",
        "Content-Length : 3\r\n",
        "Content-Length\t: 3\r\n",
        " Content-Length: 3\r\n",
        "\x0bContent-Length: 3\r\n",
    ] {
        let fields = if let Some(first) = fields.strip_prefix(' ') {
            format!("X:\r\n\r {first}")
        } else {
            fields.into()
        };
        assert!(refused(&post(&fields, "abc")), "{fields:?}");
    }
}

#[test]
fn a_coding_that_two_readers_could_read_differently_is_refused() {
    for coding in [
        "",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "chunked,",
        ",chunked",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\0",
        "\x0bchunked",
        "chun\rked",
        "chun\r\n ked",
        "chunked x",
    ] {
        assert!(refused(&post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n")), "{coding:?}");
    }
    for fields in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: identity\r\n",
    ] {
        assert!(refused(&post(fields, "0\r\n\r\n")), "{fields:?}");
    }
}

#[test]
fn where_a_coding_overrides_a_length_the_length_goes_no_further() {
    let options = ServerOptions { allow_chunked_length: true, ..ServerOptions::default() };
    let input = post("Content-Length: 99\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n");
    let got = serve(&options, &input, &[]);
    assert!(got.contains("transfer-encoding: chunked") && !got.contains("content-length"), "{got}");
}

#[test]
fn an_http_10_message_with_a_coding_is_the_last_of_its_connection() {
    let options = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let input = b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let got = serve(&options, input, &[]);
    assert!(got.ends_with("|close") && !got.contains("smuggled"), "{got}");
}

#[test]
fn a_request_without_a_length_has_no_body_and_never_one_until_the_end() {
    let options = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let got = serve(&options, b"POST / HTTP/1.0\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", &[]);
    assert!(got.contains("content-length: 0") && !got.contains("smuggled"), "{got}");
}

#[test]
fn bad_chunk_sizes_are_refused() {
    for size in ["", "-1", "+3", "0x3", " 3", "\t3", "3g", "g", ";a", "10000000000000000", "3\x0b", "3\r"] {
        let got = served(&post("Transfer-Encoding: chunked\r\n", &format!("{size}\r\nabc\r\n0\r\n\r\n")));
        assert!(got.contains("!400"), "{size:?}: {got}");
    }
    for body in ["3\nabc\r\n0\r\n\r\n", "3;a\nabc\r\n0\r\n\r\n", "3\rabc\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n"] {
        assert!(served(&post("Transfer-Encoding: chunked\r\n", body)).contains("!400"), "{body:?}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    for line in [
        ": 1",
        " : 1",
        "X A: 1",
        "X\tA: 1",
        "X\0: 1",
        "X\r: 1",
        "X\u{e9}: 1",
        "X",
        "X(: 1",
        ":path: /x",
        "\rX: 1",
    ] {
        assert!(refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n").as_bytes()), "{line:?}");
    }
}

#[test]
fn values_with_control_characters_are_refused_in_both_directions() {
    for byte in (0..0x20).chain([0x7f]).filter(|b| !matches!(b, b'\t' | b'\n' | b'\r')) {
        let request = [&b"GET / HTTP/1.1\r\nHost: a\r\nX: a"[..], &[byte], b"b\r\n\r\n"].concat();
        assert_eq!(served(&request), "!400 http1.invalid_characters", "{byte:#x}");
        let response = [&b"HTTP/1.1 200 OK\r\nX: a"[..], &[byte], b"b\r\n\r\n"].concat();
        let got = answer(&ClientOptions::default(), b"GET", &response, &[], false);
        assert_eq!(got, "!http1.invalid_characters", "{byte:#x}");
    }
}

#[test]
fn bytes_before_a_tunnel_is_granted_are_not_read_as_requests_nor_passed_on() {
    for head in
        ["CONNECT a:1 HTTP/1.1\r\nHost: a", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x"]
    {
        let input = format!("{head}\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let mut codec = ServerCodec::new();
        let options = ServerOptions::default();
        let (mut request, mut trailers) = (RequestHead::new(), HeaderMap::new());
        let len = codec.decode(&options, &input, &mut request, &mut trailers).unwrap().consumed;
        let rest = &input[len..];
        assert_eq!(codec.decode(&options, rest, &mut request, &mut trailers), Ok(Decoded::more(0)));
        // Refused: the connection ends.
        let mut refused = ServerCodec::new();
        refused.decode(&options, &input, &mut request, &mut trailers).unwrap();
        let mut out = Vec::new();
        refused.encode_head(HeaderCase::Lower, &ResponseHead::new(403), true, &mut out).unwrap();
        assert!(text(&out).contains("connection: close") && !refused.keep_alive());
        assert_eq!(refused.decode(&options, rest, &mut request, &mut trailers), Ok(Decoded::more(0)));
        // Granted: the bytes are the tunnel's.
        let status = if head.starts_with("CONNECT") { 200 } else { 101 };
        let mut granted = ResponseHead::new(status);
        granted.headers.append("upgrade", b"x");
        granted.headers.append("connection", b"upgrade");
        codec.encode_head(HeaderCase::Lower, &granted, false, &mut Vec::new()).unwrap();
        let tunnel = Event::Data { at: 0..rest.len(), end_stream: false };
        let got = codec.decode(&options, rest, &mut request, &mut trailers);
        assert_eq!(got, Ok(Decoded { consumed: rest.len(), event: tunnel }));
    }
}

#[test]
fn a_response_answered_before_its_request_was_read_leaves_no_bytes_for_the_next() {
    let mut codec = ServerCodec::new();
    let options = ServerOptions::default();
    let (mut request, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let input = post("Content-Length: 40\r\n", "");
    codec.decode(&options, &input, &mut request, &mut trailers).unwrap();
    codec.encode_head(HeaderCase::Lower, &ResponseHead::new(200), true, &mut Vec::new()).unwrap();
    let body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n.....GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let got = codec.decode(&options, body, &mut request, &mut trailers).unwrap();
    assert_eq!(got.event, Event::Data { at: 0..40, end_stream: true });
    let got = codec.decode(&options, &body[40..], &mut request, &mut trailers);
    assert_eq!(got, Ok(Decoded::more(body.len() - 40)), "dropped");
    assert_eq!(request.path(), b"/");
}

#[test]
fn what_follows_a_response_on_its_connection_is_no_response_to_the_next_request() {
    for extra in ["X", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "\r\n"] {
        let input = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{extra}");
        let got = answer(&ClientOptions::default(), b"GET", input.as_bytes(), &[], false);
        assert!(got.ends_with("ok|done"), "{got}");
        let late =
            answer(&ClientOptions::default(), b"GET", input.as_bytes(), &[input.len() - extra.len()], false);
        assert!(late.ends_with("ok|done"), "{late}");
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    assert!(answer(&ClientOptions::default(), b"HEAD", head, &[], false).ends_with("|done"));
}
