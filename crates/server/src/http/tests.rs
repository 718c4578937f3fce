use super::*;
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_downstream::hcm::answer::Answer;
use nuncio_downstream::network::NetworkFilter as _;
use nuncio_net::stream::{ByteStream as _, pair, poll_read_vec, poll_write_all};
use nuncio_net::worker::block_on_local;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use std::future::poll_fn;
use std::time::UNIX_EPOCH;

struct Echo;

impl Responder for Echo {
    fn respond(&self, head: &RequestHead, body: &[u8]) -> Answer {
        let mut answer = ResponseHead::new(200);
        answer.headers.append("x", b"y");
        let text = [head.path(), b" ", body].concat();
        Answer { head: answer, body: Box::new(std::iter::once(text)), details: "test" }
    }
}

/// What comes back for `sent` when the peer closes its side behind it.
fn exchange(sent: &str) -> String {
    let bytes = block_on_local(async {
        let at = || Address::Pipe("".into());
        let (ours, theirs) = pair(1 << 21, at(), at());
        let worker = Worker::new(0, Clock::virtual_at(UNIX_EPOCH), Rng::seeded(1));
        let mut written = 0;
        poll_fn(|cx| poll_write_all(&theirs, cx, sent.as_bytes(), &mut written)).await.unwrap();
        poll_fn(|cx| theirs.poll_shutdown(cx)).await.unwrap();
        let site = Site::plain("test", at()).unwrap();
        let connection = Rc::new(ConnectionInfo {
            id: 1,
            local: at(),
            direct_local: at(),
            direct_remote: at(),
            remote: at(),
            requested_server_name: None,
            direction: TrafficDirection::Unspecified,
            listener: "test".into(),
            filter_chain: "".into(),
            tls: Default::default(),
            accepted: worker.now(),
            listener_metadata: None,
            filter_chain_metadata: None,
            state: Default::default(),
        });
        site.manager(worker, &Registry::new(), Rc::new(Echo)).serve(Box::new(ours), connection).await;
        let mut got = Vec::new();
        loop {
            got.reserve(1 << 16);
            if poll_fn(|cx| poll_read_vec(&theirs, cx, &mut got)).await.unwrap() == 0 {
                return got;
            }
        }
    });
    String::from_utf8(bytes.unwrap()).unwrap()
}

const DATE: &str = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: envoy\r\n";

#[test]
fn requests_are_answered_in_order_on_one_connection() {
    let got = exchange(
        "PUT /a HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET /b?c HTTP/1.1\r\nhost: h\r\n\
         connection: close\r\n\r\n",
    );
    let want = format!(
        "HTTP/1.1 200 OK\r\nx: y\r\n{DATE}transfer-encoding: chunked\r\n\r\n6\r\n/a abc\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\nx: y\r\n{DATE}connection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\n/b?c \r\n0\r\n\r\n"
    );
    assert_eq!(got, want);
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let rows = [
        ("GET /a HTTP/1.0\r\n\r\n", "HTTP/1.1 426 Upgrade Required"),
        ("BAD\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET http://h/a HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 404 Not Found"),
    ];
    for (sent, line) in rows {
        let got = exchange(sent);
        assert!(got.starts_with(line), "{sent}: {got}");
    }
}

#[test]
fn a_body_beyond_a_mebibyte_is_refused() {
    let size = (1 << 20) + 1;
    let got = exchange(&format!(
        "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n{}",
        "x".repeat(size)
    ));
    assert!(got.starts_with("HTTP/1.1 413 Payload Too Large"), "{got}");
}
