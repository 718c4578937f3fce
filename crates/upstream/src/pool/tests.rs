mod simulation;

use super::*;
use crate::circuit::Resource;
use crate::cluster::{Cluster, ClusterConfig, PickContext, RequestPriority};
use crate::testing::{Manner, Peer, World, cluster, now, run, settle};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead, Version};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn get() -> RequestHead {
    let mut head = RequestHead::new();
    head.headers.append(Known::Method, b"GET");
    head.headers.append(Known::Authority, b"h");
    head.headers.append(Known::Path, b"/");
    head
}

fn post(length: Option<&str>) -> RequestHead {
    let mut head = get();
    head.headers.set(Known::Method, b"POST");
    if let Some(length) = length {
        head.headers.append(Known::ContentLength, length.as_bytes());
    }
    head
}

fn begin(cluster: &Cluster) -> Result<Checkout, PoolError> {
    let host = cluster.pick(&PickContext::default()).unwrap();
    cluster.checkout(&host, RequestPriority::Default, Version::Http11)
}

async fn wait(mut pending: PendingStream) -> Result<Exchange, PoolError> {
    poll_fn(|cx| pending.poll(cx)).await
}

async fn open(cluster: &Cluster) -> Result<Exchange, PoolError> {
    match begin(cluster)? {
        Checkout::Ready(exchange) => Ok(exchange),
        Checkout::Wait(pending) => wait(pending).await,
    }
}

fn pending(cluster: &Cluster) -> PendingStream {
    match begin(cluster) {
        Ok(Checkout::Wait(pending)) => pending,
        _ => panic!("a connection was at hand, or refused"),
    }
}

async fn event(exchange: &mut Exchange, head: &mut ResponseHead) -> Result<UpstreamEvent, Box<StreamError>> {
    let mut trailers = HeaderMap::new();
    poll_fn(|cx| {
        let _ = exchange.poll_flush(cx);
        exchange.poll_event(cx, head, &mut trailers)
    })
    .await
}

async fn send(exchange: &mut Exchange) {
    exchange.encode_head(&get(), true).unwrap();
    poll_fn(|cx| exchange.poll_flush(cx)).await;
}

/// The whole response: status and body.
async fn response(exchange: &mut Exchange) -> Result<(u16, Vec<u8>), Box<StreamError>> {
    let (mut head, mut body) = (ResponseHead::default(), Vec::new());
    loop {
        let end = match event(exchange, &mut head).await? {
            UpstreamEvent::Head { end_stream } => end_stream,
            UpstreamEvent::Data { end_stream } => {
                body.extend_from_slice(exchange.data());
                end_stream
            }
            UpstreamEvent::Informational | UpstreamEvent::Metadata => false,
            UpstreamEvent::Trailers | UpstreamEvent::End => true,
        };
        if end {
            return Ok((head.status, body));
        }
    }
}

/// A request, answered with `answer`; the connection goes back.
async fn exchange(world: &World, cluster: &Cluster, answer: &[u8]) -> bool {
    let mut exchange = open(cluster).await.unwrap();
    send(&mut exchange).await;
    world.peer(|p| {
        assert_eq!(p.read(), "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        p.write(answer);
    });
    assert_eq!(response(&mut exchange).await.unwrap().0, 200);
    exchange.reused()
}

fn world(change: impl FnOnce(&mut ClusterConfig)) -> (World, Rc<Cluster>) {
    let mut config = cluster(&[1]);
    change(&mut config);
    let world = World::new(vec![config]);
    let cluster = world.cluster();
    (world, cluster)
}

#[test]
fn a_connection_serves_one_request_after_another() {
    run(async {
        let (world, cluster) = world(|_| {});
        assert!(!exchange(&world, &cluster, OK).await);
        assert!(exchange(&world, &cluster, OK).await);
        let stats = cluster.stats();
        assert_eq!((stats.upstream_cx_total.value(), stats.upstream_cx_active.value()), (1, 1));
        assert_eq!((stats.upstream_rq_total.value(), stats.upstream_rq_active.value()), (2, 0));
        assert_eq!(stats.upstream_rq_pending_total.value(), 1);
        assert_eq!(stats.upstream_cx_tx_bytes_total.value(), 2 * 27);
        assert_eq!(stats.upstream_cx_rx_bytes_total.value(), 2 * OK.len() as u64);
    });
}

#[test]
fn the_most_recently_used_connection_goes_first() {
    run(async {
        let (world, cluster) = world(|_| {});
        let (mut a, mut b) = (open(&cluster).await.unwrap(), open(&cluster).await.unwrap());
        let last = b.connection().id;
        for (x, i) in [(&mut a, 0), (&mut b, 1)] {
            send(x).await;
            world.peers.accepted.borrow()[i].write(OK);
            response(x).await.unwrap();
        }
        drop(a);
        drop(b);
        assert_eq!(open(&cluster).await.unwrap().connection().id, last);
    });
}

#[test]
fn an_idle_connection_that_the_peer_closes_is_gone_at_once() {
    run(async {
        let (world, cluster) = world(|_| {});
        exchange(&world, &cluster, OK).await;
        world.peers.accepted.borrow_mut().clear();
        settle().await;
        let stats = cluster.stats();
        assert_eq!((stats.upstream_cx_active.value(), stats.upstream_cx_destroy_remote.value()), (0, 1));
        assert!(!exchange(&world, &cluster, OK).await);
    });
}

#[test]
fn a_close_that_was_not_noticed_yet_is_seen_at_checkout() {
    run(async {
        let (world, cluster) = world(|_| {});
        exchange(&world, &cluster, OK).await;
        world.peers.accepted.borrow_mut().clear();
        // No other task has run since.
        assert!(matches!(begin(&cluster), Ok(Checkout::Wait(_))));
    });
}

#[test]
fn a_reused_connection_that_ends_without_an_answer_is_told_apart() {
    run(async {
        let (world, cluster) = world(|_| {});
        exchange(&world, &cluster, OK).await;
        for (stale, answer) in [(true, &b""[..]), (false, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok")]
        {
            if !stale {
                exchange(&world, &cluster, OK).await;
            }
            let mut x = open(&cluster).await.unwrap();
            send(&mut x).await;
            world.peer(|p| p.write(answer));
            world.peers.accepted.borrow_mut().clear();
            let error = response(&mut x).await.unwrap_err();
            assert_eq!(error.stale_reuse, stale);
            assert!(error.request_sent);
            let reason = if stale { ResetReason::ConnectionTermination } else { ResetReason::ProtocolError };
            assert_eq!(error.reason, reason);
        }
        drop(cluster);
    });
}

#[test]
fn a_fresh_connection_that_ends_without_an_answer_is_not_stale() {
    run(async {
        let (world, cluster) = world(|_| {});
        let mut x = open(&cluster).await.unwrap();
        send(&mut x).await;
        world.peers.accepted.borrow_mut().clear();
        let error = response(&mut x).await.unwrap_err();
        assert_eq!((error.reason, error.stale_reuse), (ResetReason::ConnectionTermination, false));
        drop(x);
        let stats = cluster.stats();
        assert_eq!(stats.upstream_cx_destroy_remote_with_active_rq.value(), 1);
        assert_eq!(stats.upstream_rq_active.value(), 0);
    });
}

#[test]
fn an_answer_sent_before_the_peer_closed_survives_a_failed_write() {
    run(async {
        let (world, cluster) = world(|_| {});
        let mut x = open(&cluster).await.unwrap();
        x.encode_head(&post(Some("9")), false).unwrap();
        poll_fn(|cx| x.poll_flush(cx)).await;
        world.peer(|p| p.write(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n"));
        world.peers.accepted.borrow_mut().clear();
        x.encode_data(b"123456789", true);
        assert_eq!(response(&mut x).await.unwrap().0, 413);
    });
}

#[test]
fn requests_beyond_max_connections_wait_in_order() {
    run(async {
        let (world, cluster) = world(|c| c.limits.default.max_connections = 1);
        let mut first = open(&cluster).await.unwrap();
        let (second, third) = (pending(&cluster), pending(&cluster));
        settle().await;
        assert_eq!((world.connections(), cluster.stats().upstream_cx_overflow.value() > 0), (1, true));
        send(&mut first).await;
        world.peer(|p| p.write(OK));
        response(&mut first).await.unwrap();
        drop(first);
        let id = {
            let mut second = wait(second).await.unwrap();
            send(&mut second).await;
            world.peer(|p| p.write(OK));
            response(&mut second).await.unwrap();
            second.connection().id
        };
        assert_eq!(wait(third).await.unwrap().connection().id, id);
        assert_eq!(world.connections(), 1);
    });
}

#[test]
fn a_request_that_waits_gets_the_permit_of_the_one_that_ends() {
    run(async {
        let (world, cluster) = world(|c| {
            c.limits.default.max_connections = 1;
            c.limits.default.max_requests = 1;
        });
        let mut first = open(&cluster).await.unwrap();
        let second = pending(&cluster);
        send(&mut first).await;
        world.peer(|p| p.write(OK));
        response(&mut first).await.unwrap();
        drop(first);
        assert!(wait(second).await.is_ok());
    });
}

#[test]
fn limits_refuse_with_overflow_and_the_right_counter() {
    run(async {
        let (_, cluster) = world(|c| c.limits.default.max_pending = 0);
        assert!(matches!(begin(&cluster), Err(PoolError::PendingOverflow)));
        assert_eq!(cluster.stats().upstream_rq_pending_overflow.value(), 1);
    });
    run(async {
        let (_, cluster) = world(|c| c.limits.default.max_pools = 0);
        assert!(matches!(begin(&cluster), Err(PoolError::PoolOverflow)));
        assert_eq!(cluster.stats().upstream_cx_pool_overflow.value(), 1);
    });
    run(async {
        let (world, cluster) = world(|c| c.limits.default.max_requests = 1);
        exchange(&world, &cluster, OK).await;
        let host = cluster.pick(&PickContext::default()).unwrap();
        let held = cluster.checkout(&host, RequestPriority::Default, Version::Http11).unwrap();
        // Another connection is opened, but the request does not get onto it.
        assert!(matches!(open(&cluster).await, Err(PoolError::Overflow)));
        assert_eq!(cluster.stats().upstream_rq_active_overflow.value(), 1);
        // The other priority has limits of its own.
        assert!(cluster.checkout(&host, RequestPriority::High, Version::Http11).is_ok());
        drop(held);
        assert_eq!(cluster.shared().breaker(RequestPriority::Default).held(Resource::Requests), 0);
    });
}

#[test]
fn a_pool_without_connections_opens_one_whatever_the_limit() {
    run(async {
        let (world, cluster) = world(|c| c.limits.default.max_connections = 0);
        assert!(!exchange(&world, &cluster, OK).await);
    });
}

#[test]
fn a_refused_connection_fails_all_who_wait_and_says_why() {
    run(async {
        let (world, cluster) = world(|_| {});
        world.peers.manner.set(Manner::Refuse);
        let (a, b) = (pending(&cluster), pending(&cluster));
        for waiting in [a, b] {
            let error = wait(waiting).await.err().unwrap();
            assert_eq!(error.transport_failure(), Some("delayed connect error: Connection refused"));
            assert_eq!(error.reason(), ResetReason::RemoteConnectionFailure);
        }
        settle().await;
        let stats = cluster.stats();
        assert_eq!(stats.upstream_rq_pending_failure_eject.value(), 2);
        assert_eq!((stats.upstream_cx_connect_fail.value(), stats.upstream_cx_active.value()), (2, 0));
        assert_eq!(stats.upstream_rq_pending_active.value(), 0);
    });
}

#[test]
fn a_connection_that_does_not_come_times_out() {
    run(async {
        let (world, cluster) = world(|c| c.connect_timeout = Duration::from_millis(250));
        world.peers.manner.set(Manner::Silent);
        let start = now();
        assert_eq!(open(&cluster).await.err(), Some(PoolError::Timeout));
        assert!((now() - start).as_millis().abs_diff(250) <= 1);
        let stats = cluster.stats();
        assert_eq!(
            (stats.upstream_cx_connect_timeout.value(), stats.upstream_cx_connect_fail.value()),
            (1, 1)
        );
    });
}

#[test]
fn a_connection_whose_request_gave_up_stays_for_the_next() {
    run(async {
        let (world, cluster) = world(|_| {});
        drop(pending(&cluster));
        settle().await;
        assert_eq!(cluster.stats().upstream_rq_cancelled.value(), 1);
        assert!(!exchange(&world, &cluster, OK).await);
        assert_eq!(world.connections(), 1);
    });
}

#[test]
fn idle_connections_close_when_their_time_is_over() {
    run(async {
        let (world, cluster) = world(|c| c.http.idle_timeout = Some(Duration::from_secs(30)));
        exchange(&world, &cluster, OK).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        exchange(&world, &cluster, OK).await;
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(cluster.stats().upstream_cx_active.value(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stats = cluster.stats();
        assert_eq!((stats.upstream_cx_active.value(), stats.upstream_cx_idle_timeout.value()), (0, 1));
        assert_eq!(world.connections(), 1);
    });
}

#[test]
fn a_connection_ends_after_its_last_allowed_request() {
    run(async {
        let (world, cluster) = world(|c| c.http.max_requests = Some(2));
        exchange(&world, &cluster, OK).await;
        exchange(&world, &cluster, OK).await;
        assert_eq!(cluster.stats().upstream_cx_active.value(), 0);
        assert_eq!(cluster.stats().upstream_cx_max_requests.value(), 1);
        assert!(!exchange(&world, &cluster, OK).await);
    });
}

#[test]
fn a_connection_is_not_kept_when_it_must_not_be() {
    let close = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let more = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let old = b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n";
    for (answer, notified) in [(&close[..], 1), (more, 0), (old, 1)] {
        run(async {
            let (world, cluster) = world(|_| {});
            exchange(&world, &cluster, answer).await;
            assert_eq!(cluster.stats().upstream_cx_active.value(), 0);
            assert_eq!(cluster.stats().upstream_cx_destroy_with_active_rq.value(), 0);
            assert_eq!(cluster.stats().upstream_cx_close_notify.value(), notified);
        });
    }
}

#[test]
fn an_exchange_that_is_dropped_early_closes_its_connection() {
    run(async {
        let (world, cluster) = world(|_| {});
        let mut x = open(&cluster).await.unwrap();
        send(&mut x).await;
        drop(x);
        assert_eq!(world.peer(|p| p.read()), "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(world.peer(Peer::closed));
        assert_eq!(cluster.stats().upstream_cx_destroy_local_with_active_rq.value(), 1);
        let mut x = open(&cluster).await.unwrap();
        // An answer before the request is complete.
        x.encode_head(&post(Some("5")), false).unwrap();
        poll_fn(|cx| x.poll_flush(cx)).await;
        world.peer(|p| p.write(OK));
        assert_eq!(response(&mut x).await.unwrap().0, 200);
        drop(x);
        assert_eq!(cluster.stats().upstream_cx_active.value(), 0);
    });
}

#[test]
fn a_body_that_ends_with_the_connection_is_complete() {
    run(async {
        let (world, cluster) = world(|_| {});
        let mut x = open(&cluster).await.unwrap();
        send(&mut x).await;
        world.peer(|p| p.write(b"HTTP/1.1 200 OK\r\n\r\nall of it"));
        world.peers.accepted.borrow_mut().clear();
        assert_eq!(response(&mut x).await.unwrap(), (200, b"all of it".to_vec()));
        drop(x);
        assert_eq!(cluster.stats().upstream_cx_destroy_remote.value(), 1);
    });
}

#[test]
fn informational_heads_come_before_the_true_one() {
    run(async {
        let (world, cluster) = world(|_| {});
        let mut x = open(&cluster).await.unwrap();
        send(&mut x).await;
        world.peer(|p| p.write(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"));
        let mut head = ResponseHead::default();
        assert_eq!(event(&mut x, &mut head).await, Ok(UpstreamEvent::Informational));
        assert_eq!(head.status, 103);
        assert_eq!(event(&mut x, &mut head).await, Ok(UpstreamEvent::Head { end_stream: true }));
        assert_eq!(head.status, 204);
    });
}

#[test]
fn a_connection_that_ends_after_a_1xx_has_not_begun_its_answer() {
    for (after, reason) in [("", ResetReason::ConnectionTermination), ("HTTP/", ResetReason::ProtocolError)] {
        run(async {
            let (world, cluster) = world(|_| {});
            let mut x = open(&cluster).await.unwrap();
            send(&mut x).await;
            world.peer(|p| p.write(format!("HTTP/1.1 100 Continue\r\n\r\n{after}").as_bytes()));
            world.peers.accepted.borrow_mut().clear();
            assert_eq!(response(&mut x).await.unwrap_err().reason, reason);
        });
    }
}

#[test]
fn large_pieces_go_out_uncopied_and_what_is_not_taken_waits() {
    let body = vec![b'x'; 300_000];
    for head in [post(Some("300000")), post(None)] {
        run(async {
            let (world, cluster) = world(|_| {});
            world.peers.window.set(64 * 1024);
            let mut x = open(&cluster).await.unwrap();
            x.encode_head(&head, false).unwrap();
            let mut cx = Context::from_waker(Waker::noop());
            x.send_data(&mut cx, &body, true);
            assert!(x.buffered() > 200_000);
            let mut seen = String::new();
            while x.buffered() > 0 {
                seen += &world.peer(|p| p.read());
                let _ = x.poll_flush(&mut cx);
            }
            seen += &world.peer(|p| p.read());
            let chunked = seen.contains("transfer-encoding: chunked");
            let body = seen.split_once("\r\n\r\n").unwrap().1;
            let want = if chunked { "493e0\r\n".len() + 300_000 + "\r\n0\r\n\r\n".len() } else { 300_000 };
            assert_eq!(body.len(), want);
            assert_eq!(x.bytes().wire_sent, seen.len() as u64);
        });
    }
}

#[test]
fn a_connection_stays_open_though_its_last_read_filled_the_buffer() {
    run(async {
        let (world, cluster) = world(|_| {});
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 16342\r\n\r\n".to_vec();
        answer.resize(answer.len() + 16342, b'x');
        assert_eq!(answer.len(), nuncio_net::worker::BufferPool::SIZE);
        exchange(&world, &cluster, &answer).await;
        assert_eq!(cluster.stats().upstream_cx_active.value(), 1);
    });
}
