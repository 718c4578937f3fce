//! The plain exchange, and what a caller may rely on around it.

use super::*;

fn head_text(map: &HeaderMap) -> String {
    map.iter().map(|(n, v)| format!("{}: {}\n", text(n.as_bytes()), text(v))).collect()
}

#[test]
fn a_plain_request_and_its_response_pass() {
    let (mut codec, options) = (ServerCodec::new(), ServerOptions::default());
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let input = b"GET /a?b HTTP/1.1\r\nHost: h.example\r\nUser-Agent: curl/8.0\r\nX-Empty: \r\n\r\nGET";
    let got = codec.decode(&options, input, &mut head, &mut trailers);
    assert_eq!(got, Ok(Decoded { consumed: input.len() - 3, event: Event::Head { end_stream: true } }));
    let want = ":method: GET\n:path: /a?b\n:authority: h.example\nuser-agent: curl/8.0\nx-empty: \n";
    assert_eq!(head_text(&head.headers), want);

    let mut client = ClientCodec::new();
    let mut out = Vec::new();
    assert_eq!(client.encode_head(HeaderCase::Lower, &head, true, &mut out), Ok(()));
    let want = "GET /a?b HTTP/1.1\r\nhost: h.example\r\nuser-agent: curl/8.0\r\nx-empty: \r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), want);

    let mut response = ResponseHead::new(0);
    let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello";
    let got = client.decode(&ClientOptions::default(), input, &mut response, &mut trailers);
    assert_eq!(got, Ok(Decoded { consumed: input.len() - 5, event: Event::Head { end_stream: false } }));
    let got = client.decode(&ClientOptions::default(), b"hello", &mut response, &mut trailers);
    assert_eq!(got, Ok(Decoded { consumed: 5, event: Event::Data { at: 0..5, end_stream: true } }));
    assert!(client.reusable());

    out.clear();
    assert_eq!(codec.encode_head(HeaderCase::Lower, &response, false, &mut out), Ok(()));
    codec.encode_data(b"hello", true, &mut out);
    let want = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello";
    assert_eq!(String::from_utf8_lossy(&out), want);
    assert!(codec.keep_alive());
}

#[test]
fn an_idle_codec_is_small() {
    assert!(size_of::<ServerCodec>() <= 96, "{}", size_of::<ServerCodec>());
    assert!(size_of::<ClientCodec>() <= 96, "{}", size_of::<ClientCodec>());
}

#[test]
fn pipelined_requests_wait_for_the_response_before_them() {
    let (mut codec, options) = (ServerCodec::new(), ServerOptions::default());
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let one = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let input = [&one[..], b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let first = codec.decode(&options, &input, &mut head, &mut trailers).unwrap();
    assert_eq!(first.consumed, one.len());
    let rest = &input[one.len()..];
    assert_eq!(codec.decode(&options, rest, &mut head, &mut trailers), Ok(Decoded::more(0)));
    codec.encode_head(HeaderCase::Lower, &ResponseHead::new(200), true, &mut Vec::new()).unwrap();
    let second = codec.decode(&options, rest, &mut head, &mut trailers).unwrap();
    assert_eq!((second.consumed, head.path()), (rest.len(), &b"/2"[..]));
}

#[test]
fn a_head_that_arrives_byte_by_byte_costs_no_more_than_linear_work() {
    // 60 KiB in one line and in many, each byte a call: a decoder that begins anew each time would need minutes.
    for filler in [vec![b'a'; 60_000], b"x: 1\r\n".repeat(95), b"x: 1\r\n y\r\n".repeat(90)] {
        let input = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &filler[..], b"z: 1\r\n\r\n"].concat();
        let (mut codec, options) = (ServerCodec::new(), ServerOptions::default());
        let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
        for len in 1..input.len() {
            assert_eq!(codec.decode(&options, &input[..len], &mut head, &mut trailers), Ok(Decoded::more(0)));
        }
        let got = codec.decode(&options, &input, &mut head, &mut trailers);
        assert_eq!(got.map(|d| d.consumed), Ok(input.len()));
    }
}

#[test]
fn limits_are_exact() {
    let options = ServerOptions::default();
    let request = |len: usize| {
        let start = b"GET / HTTP/1.1\r\nHost: a\r\nx: ";
        [&start[..], &vec![b'v'; len - start.len() - 4], b"\r\n\r\n"].concat()
    };
    assert!(serve(&options, &request(61_440), &[]).starts_with("GET / "));
    for pieces in [vec![], vec![61_440], vec![20, 61_000], vec![61_439, 1, 1]] {
        assert_eq!(serve(&options, &request(61_441), &pieces), "!431 http1.headers_too_large");
    }
    let fields = |n: usize| {
        let lines: String = (0..n).map(|i| format!("x{i}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{lines}\r\n").into_bytes()
    };
    assert!(serve(&options, &fields(99), &[]).starts_with("GET / "));
    assert_eq!(serve(&options, &fields(100), &[]), "!431 http1.too_many_headers");
    let client = ClientOptions::default();
    let response = |len: usize| {
        let start = b"HTTP/1.1 200 OK\r\nx: ";
        let end = b"\r\ncontent-length: 0\r\n\r\n";
        [&start[..], &vec![b'v'; len - start.len() - end.len()], end].concat()
    };
    assert!(answer(&client, b"GET", &response(81_920), &[], false).ends_with("|reuse"));
    assert_eq!(answer(&client, b"GET", &response(81_921), &[], false), "!http1.headers_too_large");
}

#[test]
fn an_endless_first_line_is_refused_at_the_limit() {
    let input = [b"GET /".to_vec(), vec![b'a'; 61_440]].concat();
    assert_eq!(serve(&ServerOptions::default(), &input, &[]), "!431 http1.headers_too_large");
    assert_eq!(serve(&ServerOptions::default(), &input, &[61_430, 20]), "!431 http1.headers_too_large");
}

#[test]
fn a_first_line_is_judged_when_it_is_complete() {
    // Seen from Envoy: the first byte, then the first line, are refused at once; versions and headers are not.
    let options = ServerOptions::default();
    for (early, refused) in [
        (&b"\x16"[..], true),
        (b" ", true),
        (b"get", false),
        (b"GETX", false),
        (b"GETX / HTTP/1.1\r\n", true),
        (b"GET / HTTP/x\r\n", true),
        (b"GET foo HTTP/1.1\r\n", true),
        (b"GET / HTTP/1.0\r\n", false),
        (b"GET /a\x00 HTTP/1.1\r\n", false),
        (b"CONNECT a HTTP/1.1\r\n", false),
        (b"GET / HTTP/1.1\r\nX(: 1\r\n", false),
    ] {
        assert_eq!(!serve(&options, early, &[]).is_empty(), refused, "{}", text(early));
    }
}

#[test]
fn a_method_with_line_ends_in_it_is_no_method_however_it_arrives() {
    for input in
        [&b"GE\x00\nX /  HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"MK\x01\r\n / HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        under_all_splits("method", input, |pieces| serve(&ServerOptions::default(), input, pieces));
        assert_eq!(serve(&ServerOptions::default(), input, &[]), "!400 http1.invalid_characters");
    }
    let custom = ServerOptions { allow_custom_methods: true, ..ServerOptions::default() };
    let input = b"SIXTEEN-LETTERS-\n/ HTTP/1.1\r\nHost: a\r\n\r\n";
    under_all_splits("sixteen", input, |pieces| serve(&custom, input, pieces));
    assert_eq!(serve(&custom, input, &[]), "!400 http1.codec_error");
}
