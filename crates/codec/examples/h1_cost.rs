//! What a small exchange costs the HTTP/1 codecs: `valgrind --tool=callgrind` of this with 0 and with N rounds, and
//! the difference divided by N, is the instructions of one exchange. The second argument chooses the part.

use nuncio_codec::h1::{ClientCodec, ClientOptions, HeaderCase, ServerCodec, ServerOptions};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};

const REQUEST: &[u8] =
    b"GET /some/path?with=query HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent: curl/8.5.0\r\n\
Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nX-Custom: some-value\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 03:06:17 GMT\r\n\
Content-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\nETag: \"65a1b2c3-5\"\r\n\r\nhello";

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds: u32 = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let part = args.next().unwrap_or_else(|| "all".into());
    let all = part == "all";
    let (server_options, client_options) = (ServerOptions::default(), ClientOptions::default());
    let (mut server, mut client) = (ServerCodec::new(), ClientCodec::new());
    let (mut request, mut response) = (RequestHead::new(), ResponseHead::new(200));
    let (mut trailers, mut up, mut down) = (HeaderMap::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    // One round outside the count lets storage grow to its size.
    for round in 0..=rounds {
        let once = round == 0;
        up.clear();
        down.clear();
        if all || once || part == "request" {
            if !all {
                server = ServerCodec::new();
            }
            let got = server.decode(&server_options, REQUEST, &mut request, &mut trailers);
            bytes += got.map_or(0, |d| d.consumed);
        }
        if all || once || part == "encode_request" {
            let _ = client.encode_head(HeaderCase::Lower, &request, true, &mut up);
            bytes += up.len();
        }
        if all || once || part == "response" {
            if !all {
                client = ClientCodec::new();
                let _ = client.encode_head(HeaderCase::Lower, &request, true, &mut up);
            }
            let got = client.decode(&client_options, RESPONSE, &mut response, &mut trailers);
            let at = got.map_or(0, |d| d.consumed);
            let body = RESPONSE.get(at..).unwrap_or_default();
            let got = client.decode(&client_options, body, &mut response, &mut trailers);
            bytes += got.map_or(0, |d| d.consumed);
        }
        if all || once || part == "encode_response" {
            let _ = server.encode_head(HeaderCase::Lower, &response, false, &mut down);
            server.encode_data(b"hello", true, &mut down);
            bytes += down.len();
        }
    }
    println!("{bytes}");
}
