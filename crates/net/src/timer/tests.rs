use super::*;
use std::cell::Cell;
use std::future::poll_fn;
use std::time::Duration;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_moved_later_fires_at_its_last_place_after_one_early_wake() {
    let start = now();
    let (mut timer, polls) = (LazyTimer::new(), Cell::new(0));
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        // The first turn asks for 1 s, every later one for 3 s.
        let deadline = start + Duration::from_secs(if polls.get() == 1 { 1 } else { 3 });
        timer.poll(cx, now(), Some(deadline))
    })
    .await;
    assert_eq!(now() - start, Duration::from_secs(3));
    assert_eq!(polls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_moved_earlier_fires_early() {
    let start = now();
    let mut timer = LazyTimer::new();
    let first = poll_fn(|cx| Poll::Ready(timer.poll(cx, now(), Some(start + Duration::from_secs(9))))).await;
    assert!(first.is_pending());
    poll_fn(|cx| timer.poll(cx, now(), Some(start + Duration::from_secs(2)))).await;
    assert_eq!(now() - start, Duration::from_secs(2));
}
