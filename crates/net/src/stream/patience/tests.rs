use super::*;
use crate::stream::pair;
use nuncio_core::address::Address;
use std::rc::Rc;
use std::task::Waker;

#[tokio::test(start_paused = true)]
async fn bytes_that_wait_for_too_long_end_the_stream_once_and_what_is_taken_in_time_does_not() {
    let (near, far) = pair(4, Address::Pipe("a".into()), Address::Pipe("b".into()));
    let ends = Rc::new(Cell::new(0));
    let count = Rc::clone(&ends);
    let stream = Patient::new(Box::new(near), Duration::from_secs(2), move || count.set(count.get() + 1));
    let mut cx = Context::from_waker(Waker::noop());
    let mut write = |data: &[u8]| Layer::poll_write(&*stream, &mut cx, data);
    assert!(matches!(write(b"1234"), Poll::Ready(Ok(4))));
    for _ in 0..3 {
        assert!(write(b"5678").is_pending());
        tokio::time::advance(Duration::from_secs(1)).await;
        // The peer reads all: the time begins anew.
        let mut room = [0; 4];
        let mut cx = Context::from_waker(Waker::noop());
        assert!(far.poll_read(&mut cx, &mut ReadBuf::new(&mut room)).is_ready());
        assert!(matches!(write(b"5678"), Poll::Ready(Ok(4))));
    }
    assert!(write(b"9").is_pending());
    tokio::time::advance(Duration::from_millis(2001)).await;
    let failed =
        |written| matches!(written, Poll::Ready(Err(e)) if io::Error::kind(&e) == io::ErrorKind::TimedOut);
    assert!(failed(write(b"9")) && failed(write(b"9")));
    assert_eq!(ends.get(), 1);
}
