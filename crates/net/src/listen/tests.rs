use super::*;
use crate::stream::poll_read_vec;
use crate::worker::block_on_local;
use nuncio_core::address::Address;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use tokio::io::AsyncWriteExt as _;

fn loopback() -> ListenSpec {
    ListenSpec::new(Address::Ip("127.0.0.1:0".parse().unwrap()))
}

#[test]
fn workers_share_the_port_that_the_kernel_chose() {
    let sockets = bind(&loopback(), 3).unwrap();
    let ports: Vec<_> = sockets.iter().map(|s| s.address().port().unwrap()).collect();
    assert!(ports.iter().all(|&p| p == ports[0] && p != 0), "{ports:?}");
}

#[test]
fn an_address_in_use_is_named_in_the_error() {
    let mut spec = loopback();
    spec.reuse_port = false;
    let first = bind(&spec, 2).unwrap();
    spec.address = first[0].address().clone();
    assert_eq!(
        bind(&spec, 1).unwrap_err().to_string(),
        format!("cannot bind '{}': Address already in use", spec.address)
    );
}

#[test]
fn a_listener_hands_out_connections_with_both_addresses() {
    block_on_local(async {
        let listener = Listener::new(bind(&loopback(), 1).unwrap().remove(0)).unwrap();
        let Address::Ip(address) = *listener.address() else { panic!("not an IP address") };
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = Cell::new(Some(tell));
        let pause = Pause::default();
        tokio::select! {
            () = listener.accept_loop(1, &pause, |c| tell.take().unwrap().send(c).ok().unwrap(), |_| {}) => {}
            connection = told => {
                let stream = connection.unwrap().into_stream();
                assert_eq!(stream.local_address(), listener.address());
                assert_eq!(stream.peer_address(), &Address::Ip(client.local_addr().unwrap()));
                let mut buf = Vec::with_capacity(16);
                poll_fn(|cx| poll_read_vec(&*stream, cx, &mut buf)).await.unwrap();
                assert_eq!(buf, b"hello");
            }
        }
        assert_eq!(listener.counts().failed(), 0);
    })
    .unwrap();
}

#[test]
fn a_unix_listener_replaces_a_stale_path_and_sets_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("nuncio-listen-{}.sock", std::process::id()));
    let mut spec = ListenSpec::new(Address::Pipe(path.to_str().unwrap().into()));
    spec.mode = 0o600;
    drop(bind(&spec, 1).unwrap());
    let sockets = bind(&spec, 2).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    block_on_local(async {
        let listener = Listener::new(sockets.into_iter().next().unwrap()).unwrap();
        let seen = Rc::new(Cell::new(false));
        let client = tokio::net::UnixStream::connect(&path);
        let pause = Pause::default();
        tokio::select! {
            () = listener.accept_loop(8, &pause, |_| seen.set(true), |n| assert_eq!(n, 1)) => {}
            client = client => drop(client.unwrap()),
        }
    })
    .unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_paused_listener_leaves_connections_in_the_kernel_until_the_pause_ends() {
    block_on_local(async {
        let listener = Listener::new(bind(&loopback(), 1).unwrap().remove(0)).unwrap();
        let Address::Ip(address) = *listener.address() else { panic!("not an IP address") };
        let (pause, seen) = (Pause::default(), Cell::new(false));
        pause.set(true);
        let client = async {
            let client = tokio::net::TcpStream::connect(address).await.unwrap();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert!(!seen.get(), "it is paused");
            pause.set(false);
            while !seen.get() {
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        tokio::select! {
            () = listener.accept_loop(8, &pause, |_| seen.set(true), |_| {}) => {}
            () = client => {}
        }
    })
    .unwrap();
}
