use super::*;
use crate::head::{HeaderMap, Known, RequestHead, ResponseHead};

fn head_text(map: &HeaderMap) -> String {
    map.iter()
        .map(|(n, v)| format!("{}: {}\n", String::from_utf8_lossy(n.as_bytes()), String::from_utf8_lossy(v)))
        .collect()
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
    assert_eq!(response.headers.get(Known::ContentLength), Some(&b"5"[..]));
}
