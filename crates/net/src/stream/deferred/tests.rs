use super::super::{MemoryStream, pair, poll_read_vec};
use super::*;
use std::cell::Cell;
use std::task::Waker;

/// A stream whose handshake is over when the cell says so, well or not; and its peer.
fn deferred(verdict: &Rc<Cell<Option<bool>>>) -> (Deferred, MemoryStream) {
    let (near, far) = pair(usize::MAX, Address::Pipe("near".into()), Address::Pipe("far".into()));
    let verdict = Rc::clone(verdict);
    let stream = Deferred::new(Box::new(near), |io| {
        let mut io = Some(io);
        std::future::poll_fn(move |_| match verdict.get() {
            None => Poll::Pending,
            Some(true) => Poll::Ready(io.take().ok_or(())),
            Some(false) => Poll::Ready(Err(())),
        })
    });
    (stream, far)
}

fn received(far: &MemoryStream) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * EARLY);
    let _ = poll_read_vec(far, &mut Context::from_waker(Waker::noop()), &mut bytes);
    bytes
}

#[test]
fn what_is_written_before_goes_out_behind_the_handshake() {
    let verdict = Rc::default();
    let (stream, far) = deferred(&verdict);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(stream.poll_write(cx, b"hi "), Poll::Ready(Ok(3))));
    assert!(stream.poll_open(cx).is_pending() && stream.poll_shutdown(cx).is_pending());
    assert_eq!(received(&far), b"");
    verdict.set(Some(true));
    assert!(matches!(stream.poll_open(cx), Poll::Ready(Ok(()))));
    assert!(matches!(stream.poll_write(cx, b"there"), Poll::Ready(Ok(5))));
    assert_eq!(received(&far), b"hi there");
}

#[test]
fn no_more_is_kept_for_later_than_there_is_room() {
    let verdict = Rc::default();
    let (stream, far) = deferred(&verdict);
    let cx = &mut Context::from_waker(Waker::noop());
    let much = vec![b'x'; EARLY + 1];
    assert!(matches!(stream.poll_write(cx, &much), Poll::Ready(Ok(EARLY))));
    assert!(stream.poll_write(cx, b"y").is_pending());
    assert!(stream.poll_write_vectored(cx, &[IoSlice::new(b""), IoSlice::new(b"y")]).is_pending());
    verdict.set(Some(true));
    assert!(matches!(stream.poll_write_vectored(cx, &[IoSlice::new(b"y")]), Poll::Ready(Ok(1))));
    assert_eq!(received(&far).len(), EARLY + 1);
}

#[test]
fn a_handshake_that_fails_ends_everything() {
    let verdict = Rc::default();
    let (stream, _far) = deferred(&verdict);
    let cx = &mut Context::from_waker(Waker::noop());
    verdict.set(Some(false));
    assert!(matches!(stream.poll_read_ready(cx), Poll::Ready(Err(_))));
    assert!(matches!(stream.poll_write(cx, b"x"), Poll::Ready(Err(_))));
    assert!(matches!(stream.poll_open(cx), Poll::Ready(Err(_))));
}
