use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn start() -> Instant {
    crate::clock::Clock::system().now()
}

#[test]
fn the_page_explains_exactly_the_identifiers_that_there_are() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/why.md"));
    let listed: Vec<&str> = page.lines().filter_map(|l| l.strip_prefix("### `")?.strip_suffix('`')).collect();
    let ids: Vec<&str> = Why::ALL.iter().map(|w| w.id()).collect();
    assert_eq!(listed, ids);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn each_thing_has_its_own_lines_and_the_next_one_tells_how_many_were_held_back() {
    let (mut limiter, now) = (Limiter::new(), start());
    for _ in 0..LINES {
        assert_eq!(limiter.admit(Why::NoRoute, 1, now), Some(0));
    }
    assert_eq!(limiter.admit(Why::NoRoute, 1, now), None);
    assert_eq!(limiter.admit(Why::NoRoute, 1, now), None);
    assert_eq!(limiter.admit(Why::NoRoute, 2, now), Some(0), "another thing");
    assert_eq!(limiter.admit(Why::ConnectFailed, 1, now), Some(0), "another identifier");
    assert_eq!(limiter.admit(Why::NoRoute, 1, now + PERIOD), Some(2));
    assert_eq!(limiter.admit(Why::NoRoute, 1, now + PERIOD), Some(0));
}

#[test]
fn things_beyond_the_memory_wait_for_a_slot() {
    let (mut limiter, now) = (Limiter::new(), start());
    for about in 0..SUBJECTS as u64 {
        assert!(limiter.admit(Why::NoRoute, about, now).is_some());
    }
    assert_eq!(limiter.admit(Why::NoRoute, 100, now), None);
    let later = now + PERIOD;
    assert_eq!(limiter.admit(Why::NoRoute, 100, later), Some(1), "the oldest slot is free now");
    assert_eq!(limiter.admit(Why::NoRoute, 100, later + Duration::from_secs(1)), Some(0));
}

#[test]
fn a_line_names_cause_change_place_and_stream_and_stays_one_line() {
    let info = crate::testing::stream();
    let spot = Spot { path: "a.b".into(), place: None };
    let note = Note { cause: "it\nbroke".into(), change: "set it".into(), spot };
    let text = line(Why::NoRoute, Subject::Stream(&info, Some(b"id-1")), &note, 7);
    assert!(text.starts_with("why no-route: it?broke. To change it: set it, at a.b. [listener="), "{text}");
    assert!(text.contains(" request_id=id-1 route=") && text.contains(" cluster="), "{text}");
    assert!(text.ends_with("] (7 more like it were not written)"), "{text}");
    let long = Note { cause: "é".repeat(5000), change: String::new(), spot: Spot::default() };
    assert!(line(Why::NoRoute, Subject::Stream(&info, None), &long, 0).len() <= LONGEST);
}

#[test]
fn tongues_are_told_by_first_bytes() {
    let client: [(&[u8], _); 6] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Tongue::Http2)),
        (b"GET / HTTP/1.1\r\n", Some(Tongue::Http1)),
        (b"\x16\x03\x01\x02\x00", Some(Tongue::Tls)),
        (b"hello there", None),
        (b"", None),
        (b" ", None),
    ];
    for (bytes, tongue) in client {
        assert_eq!(Tongue::of_client(bytes), tongue, "{bytes:?}");
    }
    let server: [(&[u8], _); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n", Some(Tongue::Http1)),
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03", Some(Tongue::Http2)),
        (b"\0\0\x08\x07\0\0\0\0\0", Some(Tongue::Http2)),
        (b"\x15\x03\x01\0\x02", Some(Tongue::Tls)),
        (b"220 mail.example ESMTP", None),
    ];
    for (bytes, tongue) in server {
        assert_eq!(Tongue::of_server(bytes), tongue, "{bytes:?}");
    }
}
