use super::*;
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_net::stream::pair;
use nuncio_net::worker::block_on_local;
use std::time::UNIX_EPOCH;

/// What comes back for `sent` when the peer closes its side behind it.
fn exchange(sent: &str) -> String {
    let answer = |asked: &Asked| {
        let mut reply = Reply::new(200).with("x", "y");
        reply.body = [asked.head.path(), b" ", &asked.body].concat();
        reply
    };
    let bytes = block_on_local(async {
        let at = || Address::Pipe("".into());
        let (ours, theirs) = pair(1 << 20, at(), at());
        let worker = Worker::new(0, Clock::virtual_at(UNIX_EPOCH), Rng::seeded(1));
        send(&theirs, sent.as_bytes()).await.unwrap();
        poll_fn(|cx| theirs.poll_shutdown(cx)).await.unwrap();
        let _ = connection(&ours, &worker, &answer).await;
        drop(ours);
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
fn a_head_request_gets_no_body() {
    let got = exchange("HEAD /a HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(got, format!("HTTP/1.1 200 OK\r\nx: y\r\n{DATE}transfer-encoding: chunked\r\n\r\n"));
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let rows = [
        ("GET /a HTTP/1.0\r\n\r\n", "HTTP/1.1 426 Upgrade Required"),
        ("BAD\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("GET /a#b HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ];
    for (sent, line) in rows {
        let got = exchange(&format!("{sent}GET /b HTTP/1.1\r\nhost: h\r\n\r\n"));
        assert!(got.starts_with(line), "{sent}: {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{sent}: {got}");
    }
}

#[test]
fn whoever_waits_to_send_a_body_is_told_to() {
    let got = exchange("POST /a HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi");
    assert!(got.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{got}");
    assert!(got.ends_with("5\r\n/a hi\r\n0\r\n\r\n"), "{got}");
}

#[test]
fn a_body_without_end_is_refused() {
    let got = exchange(&format!(
        "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 2000000\r\n\r\n{}",
        "x".repeat((1 << 20) - 200)
    ));
    assert_eq!(got, "");
}
