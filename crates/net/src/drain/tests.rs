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
    drain.start(now, Pace::Immediate);
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    assert_eq!(a.poll(&mut cx), Poll::Ready(now));
    drain.start(now + Duration::from_secs(1), Pace::Immediate);
    assert_eq!(drain.since(), Some(now));
}

#[test]
fn a_gradual_drain_asks_more_and_more_and_all_after_half_of_the_time() {
    let now = nuncio_core::clock::Clock::system().now();
    let asked = |pace, passed: u64| {
        let drain = Drain::new();
        drain.start(now, pace);
        (0..10).filter(|n| drain.closes(|| now + Duration::from_millis(passed), || *n)).count()
    };
    let ten = Pace::Gradual(Duration::from_secs(10));
    assert_eq!([0, 900, 1000, 2500, 4999, 5000].map(|ms| asked(ten, ms)), [0, 0, 2, 4, 8, 10]);
    assert_eq!(asked(Pace::Gradual(Duration::ZERO), 0), 10);
    assert_eq!(asked(Pace::Immediate, 0), 10);
    assert!(!Drain::new().closes(|| now, || 0));
}
