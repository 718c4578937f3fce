use super::*;
use nuncio_core::clock::Clock;

#[test]
fn tokens_come_at_their_rate_and_no_more_than_fit() {
    let bucket = TokenBucket::new(2, 10.0);
    let start = Clock::system().now();
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(bucket.left(start), (2, 0));
    assert!(bucket.take(at(0), 1));
    assert_eq!(bucket.left(at(0)), (1, 0), "nobody has to wait for one that is there");
    assert!(bucket.take(at(0), 1) && !bucket.take(at(0), 1));
    assert!(!bucket.take(at(99), 1), "a tenth of a second for each");
    assert!(bucket.take(at(100), 1) && !bucket.take(at(150), 1));
    assert!(bucket.take(at(200), 1));
    assert_eq!(bucket.left(at(200)), (0, 1));
    assert!(bucket.take(at(5000), 1) && bucket.take(at(5000), 1) && !bucket.take(at(5000), 1), "two fit");
}

#[test]
fn several_tokens_are_taken_together_or_none() {
    let bucket = TokenBucket::new(5, 1.0);
    let now = Clock::system().now();
    assert!(bucket.take(now, 3) && !bucket.take(now, 3) && bucket.take(now, 2) && !bucket.take(now, 0));
    bucket.give(now, 9);
    assert_eq!(bucket.left(now), (5, 0));
}
