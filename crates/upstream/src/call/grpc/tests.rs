use super::*;

#[test]
fn the_last_whole_message_is_the_answer() {
    let message = |text: &[u8]| [&[0, 0, 0, 0, text.len() as u8], text].concat();
    assert_eq!(last_message(b""), None);
    assert_eq!(last_message(&message(b"")), Some(vec![]));
    assert_eq!(last_message(&message(b"ab")), Some(b"ab".to_vec()));
    assert_eq!(last_message(&[message(b"ab"), message(b"c")].concat()), Some(b"c".to_vec()));
    assert_eq!(last_message(&[message(b"ab"), vec![0, 0, 0, 0, 9, 1]].concat()), Some(b"ab".to_vec()));
    assert_eq!(last_message(&[0, 0, 0, 0, 9, 1]), None);
    assert_eq!(last_message(&[0, 255, 255, 255, 255]), None);
    assert_eq!(last_message(&[1, 0, 0, 0, 1, 7]), None);
}

#[test]
fn a_timeout_has_at_most_eight_digits() {
    for (timeout, text) in [
        (Duration::from_millis(200), "200m"),
        (Duration::from_secs(99_999), "99999000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(u64::MAX), "99999999S"),
    ] {
        assert_eq!(grpc_timeout(timeout), text);
    }
}
