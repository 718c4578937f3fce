//! A request over an idle connection allocates nothing.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead, Version};
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_net::stream::{ByteStream, ConnectOptions, MemoryStream, pair};
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_upstream::cluster::{Cluster, ClusterConfig, LocalityEndpoints, PickContext, RequestPriority};
use nuncio_upstream::host::{HealthFlags, HostSpec, Locality};
use nuncio_upstream::manager::{ClusterManager, ClusterSet, ClusterSetConfig};
use nuncio_upstream::pool::{Checkout, ConnectFuture, Connector, Exchange, UpstreamEvent};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system allocator's; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Accepts in memory and keeps the last peer.
#[derive(Default)]
struct Peers(RefCell<Option<MemoryStream>>);

impl Connector for Peers {
    fn connect<'a>(&'a self, peer: &'a Address, _: &'a ConnectOptions) -> ConnectFuture<'a> {
        let (ours, theirs) = pair(1 << 16, Address::Pipe("@us".into()), peer.clone());
        *self.0.borrow_mut() = Some(theirs);
        Box::pin(std::future::ready(Ok(Box::new(ours) as Box<dyn ByteStream>)))
    }
}

/// One request and its response, everything that can be reused being reused.
async fn turn(
    cluster: &Cluster,
    peers: &Peers,
    request: &RequestHead,
    response: &mut ResponseHead,
    trailers: &mut HeaderMap,
) {
    let host = cluster.pick(&PickContext::default()).unwrap();
    let mut exchange: Exchange = match cluster.checkout(&host, RequestPriority::Default, Version::Http11) {
        Ok(Checkout::Ready(exchange)) => exchange,
        Ok(Checkout::Wait(mut pending)) => poll_fn(|cx| pending.poll(cx)).await.unwrap(),
        Err(error) => panic!("{error}"),
    };
    exchange.encode_head(request, true).unwrap();
    poll_fn(|cx| exchange.poll_flush(cx)).await;
    // The router waits for the answer in the turn in which it sent the request.
    let early = poll_fn(|cx| Poll::Ready(exchange.poll_event(cx, response, trailers))).await;
    assert!(early.is_pending());
    {
        let peer = peers.0.borrow();
        let peer = peer.as_ref().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = [0; 1024];
        assert!(peer.poll_read(&mut cx, &mut ReadBuf::new(&mut bytes)).is_ready());
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nhello";
        assert!(matches!(peer.poll_write(&mut cx, answer), Poll::Ready(Ok(n)) if n == answer.len()));
    }
    let head = poll_fn(|cx| exchange.poll_event(cx, response, trailers)).await;
    assert_eq!(head, Ok(UpstreamEvent::Head { end_stream: false }));
    let data = poll_fn(|cx| exchange.poll_event(cx, response, trailers)).await;
    assert_eq!((data, exchange.data()), (Ok(UpstreamEvent::Data { end_stream: true }), &b"hello"[..]));
}

#[test]
fn a_request_over_an_idle_connection_allocates_nothing() {
    let mut config = ClusterConfig::new("c");
    let locality = Arc::new(Locality::default());
    let host = |port| HostSpec {
        further: None,
        address: Address::Ip(([127, 0, 0, 1], port).into()),
        hostname: "".into(),
        locality: Arc::clone(&locality),
        locality_metadata: None,
        weight: 1,
        priority: 0,
        health: HealthFlags::default(),
        metadata: None,
        check: None,
        stat_name: None,
    };
    config.discovery.endpoints.push(LocalityEndpoints {
        priority: 0,
        weight: None,
        locality: Arc::clone(&locality),
        hosts: vec![host(80)],
        names: Vec::new(),
    });
    let config = ClusterSetConfig { clusters: vec![Arc::new(config)], ..ClusterSetConfig::default() };
    block_on_local(async {
        let mut set = ClusterSet::new(&config, &Registry::new(), &Runtime::default());
        let worker = Worker::new(0, Clock::system(), Rng::seeded(1));
        let peers = Rc::new(Peers::default());
        let connector: Rc<dyn Connector> = peers.clone();
        let manager = ClusterManager::with_connector(&worker, set.seat(), connector);
        let mut request = RequestHead::new();
        request.headers.append(Known::Method, b"GET");
        request.headers.append(Known::Authority, b"h");
        request.headers.append(Known::Path, b"/");
        let (mut response, mut trailers) = (ResponseHead::default(), HeaderMap::new());
        let mut allocated = 0;
        for i in 0..30 {
            let before = COUNT.get();
            let cluster = manager.get("c").unwrap();
            turn(&cluster, &peers, &request, &mut response, &mut trailers).await;
            if i >= 10 {
                allocated += COUNT.get() - before;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(allocated, 0);
    })
    .unwrap();
}
