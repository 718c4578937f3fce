use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_signal_wakes_each_waiter_once_and_dropped_ones_never() {
    let (drain, count) = (Drain::new(), Arc::new(Count::default()));
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    let (mut a, mut b, mut c) = (drain.watch(), drain.watch(), drain.watch());
    for watch in [&mut a, &mut b, &mut c] {
        assert!(watch.poll(&mut cx).is_pending());
        assert!(watch.poll(&mut cx).is_pending());
    }
    drop(c);
    let now = nuncio_core::clock::Clock::system().now();
    drain.start(now);
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    assert_eq!(a.poll(&mut cx), Poll::Ready(now));
    drain.start(now + std::time::Duration::from_secs(1));
    assert_eq!(drain.since(), Some(now));
}
