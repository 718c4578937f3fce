use super::*;
use nuncio_core::clock::Clock;
use std::time::Duration;

#[test]
fn tokens_come_at_their_rate_and_no_more_than_fit() {
    let bucket = Bucket::new(2, 10.0);
    let start = Clock::system().now();
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(bucket.left(start), (2, 0));
    assert!(bucket.take(at(0)) && bucket.take(at(0)) && !bucket.take(at(0)));
    assert!(!bucket.take(at(99)), "a tenth of a second for each");
    assert!(bucket.take(at(100)) && !bucket.take(at(150)));
    assert!(bucket.take(at(200)));
    assert_eq!(bucket.left(at(200)), (0, 1));
    assert!(bucket.take(at(5000)) && bucket.take(at(5000)) && !bucket.take(at(5000)), "two fit");
}
