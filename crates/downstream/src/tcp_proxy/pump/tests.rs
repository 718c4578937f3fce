//! One direction between two pairs of streams in memory.

use super::*;
use nuncio_core::address::Address;
use nuncio_net::stream::{MemoryStream, pair};
use std::task::Waker;

/// (the source's far end, its near end, the target's near end, its far end)
fn streams(limit: usize) -> (MemoryStream, MemoryStream, MemoryStream, MemoryStream) {
    let pipe = || Address::Pipe("".into());
    let (source, from) = pair(1 << 20, pipe(), pipe());
    let (to, target) = pair(limit, pipe(), pipe());
    (source, from, to, target)
}

fn write(stream: &MemoryStream, data: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut at = 0;
    assert!(poll_write_all(stream, &mut cx, data, &mut at).is_ready());
}

#[test]
fn an_end_is_passed_on_behind_the_last_byte() {
    let (source, from, to, target) = streams(1 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    write(&source, b"last");
    assert!(source.poll_shutdown(&mut cx).is_ready());
    let (buffers, mut moved) = (BufferPool::default(), Moved::default());
    let mut direction = Direction::default();
    assert!(matches!(direction.poll(&mut cx, (&from, &to), &buffers, &mut moved), Poll::Ready(Ok(()))));
    assert!(direction.is_over());
    assert_eq!((moved.read, moved.written), (4, 4));
    let mut got = Vec::with_capacity(64);
    assert!(matches!(poll_read_vec(&target, &mut cx, &mut got), Poll::Ready(Ok(4))));
    assert!(matches!(poll_read_vec(&target, &mut cx, &mut got), Poll::Ready(Ok(0))));
    assert_eq!(got, b"last");
}

#[test]
fn no_more_than_a_buffer_is_read_ahead_of_a_slow_target() {
    let (source, from, to, _target) = streams(10);
    let mut cx = Context::from_waker(Waker::noop());
    write(&source, &vec![b'x'; 512 * 1024]);
    let (buffers, mut moved) = (BufferPool::default(), Moved::default());
    let mut direction = Direction::default();
    for _ in 0..5 {
        assert!(direction.poll(&mut cx, (&from, &to), &buffers, &mut moved).is_pending());
    }
    assert_eq!(moved.written, 10);
    assert!(moved.read <= 4 * BufferPool::SIZE);
}

#[test]
fn an_idle_direction_holds_no_buffer() {
    let (_source, from, to, _target) = streams(10);
    let mut cx = Context::from_waker(Waker::noop());
    let (buffers, mut moved) = (BufferPool::default(), Moved::default());
    let mut direction = Direction::default();
    assert!(direction.poll(&mut cx, (&from, &to), &buffers, &mut moved).is_pending());
    assert_eq!(direction.buffer.capacity(), 0);
}
