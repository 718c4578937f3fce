use super::*;
use std::future::poll_fn;
use std::task::Waker;

fn address() -> Address {
    Address::Pipe("@test".into())
}

async fn read(stream: &dyn ByteStream) -> io::Result<Vec<u8>> {
    let mut buf = Vec::with_capacity(64);
    poll_fn(|cx| poll_read_vec(stream, cx, &mut buf)).await?;
    Ok(buf)
}

#[tokio::test]
async fn a_full_pipe_makes_the_writer_wait_until_the_reader_has_read() {
    let (a, b) = pair(4, address(), address());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(a.poll_write(&mut cx, b"abcdef"), Poll::Ready(Ok(4))));
    assert!(a.poll_write(&mut cx, b"ef").is_pending());
    assert_eq!(read(&b).await.unwrap(), b"abcd");
    assert!(matches!(a.poll_write(&mut cx, b"ef"), Poll::Ready(Ok(2))));
}

#[tokio::test]
async fn a_half_close_ends_one_direction_and_a_drop_ends_both() {
    let (a, b) = pair(16, address(), address());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(a.poll_shutdown(&mut cx).is_ready());
    assert_eq!(read(&b).await.unwrap(), b"");
    assert!(matches!(b.poll_write(&mut cx, b"late"), Poll::Ready(Ok(4))));
    assert_eq!(read(&a).await.unwrap(), b"late");
    drop(a);
    assert!(matches!(b.poll_write(&mut cx, b"x"), Poll::Ready(Err(_))));
}

#[tokio::test]
async fn a_reset_reaches_the_peer_as_an_error() {
    let (a, b) = pair(16, address(), address());
    a.reset_on_drop();
    drop(a);
    assert_eq!(read(&b).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn peeked_bytes_come_before_the_streams_own() {
    let (a, b) = pair(16, address(), address());
    let b = Rewind::new(b"PRI ".to_vec(), b);
    assert!(a.poll_write(&mut Context::from_waker(Waker::noop()), b"* HTTP").is_ready());
    assert_eq!(read(&b).await.unwrap(), b"PRI ");
    assert_eq!(read(&b).await.unwrap(), b"* HTTP");
}

#[tokio::test]
async fn a_short_read_clears_readiness_of_a_socket() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    let (client, server) =
        (TcpByteStream::new(client).unwrap(), TcpByteStream::with_peer(server, peer.into()).unwrap());
    poll_fn(|cx| client.poll_write(cx, b"hi")).await.unwrap();
    assert_eq!(read(&server).await.unwrap(), b"hi");
    assert!(server.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_pending());
    client.reset_on_drop();
    drop(client);
    poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
    assert_eq!(read(&server).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn connect_errors_tell_at_once_from_later() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = connect(&address.into(), &ConnectOptions::default()).await.ok().unwrap();
    assert_eq!(stream.peer_address(), &Address::Ip(address));
    drop((stream, listener));
    let refused = connect(&address.into(), &ConnectOptions::default()).await.err().unwrap();
    assert_eq!(refused.transport_failure(&address.into()), "delayed connect error: Connection refused");
    let path = Address::Pipe("/no/such/socket".into());
    let missing = connect(&path, &ConnectOptions::default()).await.err().unwrap();
    assert_eq!(
        missing.transport_failure(&path),
        "immediate connect error: No such file or directory|remote address:/no/such/socket"
    );
    let sources = vec![LocalAddress { address: "192.0.2.1:0".parse().unwrap(), options: None }];
    let options = ConnectOptions { sources, ..ConnectOptions::default() };
    assert!(connect(&address.into(), &options).await.err().unwrap().is_local());
}
