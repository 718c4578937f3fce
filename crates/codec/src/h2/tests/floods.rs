//! Whoever makes us work without working himself is cut off.

use super::*;

#[test]
fn empty_frames_end_the_connection_when_they_follow_each_other() {
    let wire = Wire::client().post(1, &[]);
    assert!(serve(&wire.clone().data(1, 0, b"").data(1, 0, b"x").data(1, 0, b"")).0.ends_with("data1[x] "));
    assert!(serve(&wire.data(1, 0, b"").data(1, 0, b"")).0.ends_with("!EmptyFramesFlood { stream: 1 }"));
}

#[test]
fn priorities_and_window_updates_are_paid_for_by_streams_and_data() {
    let many = |wire: Wire, n: usize, kind: u8, payload: &[u8]| {
        let mut wire = wire;
        for _ in 0..n {
            wire = wire.frame(kind, 0, if kind == kind::PRIORITY { 7 } else { 0 }, payload);
        }
        serve(&wire).0
    };
    assert_eq!(many(Wire::client(), 100, kind::PRIORITY, &[0; 5]), "");
    assert_eq!(many(Wire::client(), 101, kind::PRIORITY, &[0; 5]), "!PriorityFlood");
    assert!(!many(Wire::client().post(1, &[]), 200, kind::PRIORITY, &[0; 5]).contains('!'));
    assert!(many(Wire::client().post(1, &[]), 201, kind::PRIORITY, &[0; 5]).ends_with("!PriorityFlood"));
    assert_eq!(many(Wire::client(), 5, kind::WINDOW_UPDATE, &[0, 0, 0, 1]), "");
    assert_eq!(many(Wire::client(), 6, kind::WINDOW_UPDATE, &[0, 0, 0, 1]), "!WindowUpdateFlood");
}

#[test]
fn budgets_are_not_saved_up_over_closed_streams() {
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &Wire::client().0, &[]);
    for i in 0..50 {
        feed(&mut codec, &options, &Wire::default().get(1 + 2 * i).0, &[]);
        let key = codec.streams.find(1 + 2 * i).unwrap();
        codec.encode_response(key, &ResponseHead::new(200), true).unwrap();
        codec.finish(key, None);
    }
    let mut wire = Wire::default();
    for _ in 0..301 {
        wire = wire.frame(kind::PRIORITY, 0, 7, &[0; 5]);
    }
    assert_eq!(feed(&mut codec, &options, &wire.0, &[]), "!PriorityFlood");
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut wire = Wire::client();
    for _ in 0..1001 {
        wire = wire.frame(kind::PING, 0, 0, b"12345678");
    }
    assert_eq!(serve(&wire).0, "!OutboundControlFlood");
    // Those that were sent do not count.
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &Wire::client().0, &[]);
    output(&mut codec);
    for _ in 0..10 {
        let mut wire = Wire::default();
        for _ in 0..500 {
            wire = wire.frame(kind::PING, 0, 0, b"12345678");
        }
        assert_eq!(feed(&mut codec, &options, &wire.0, &[]), "");
        // All but a half of the last one.
        codec.sent(codec.unsent().len() - 9);
        assert_eq!(codec.budgets.outbound_control, 1);
    }
}

#[test]
fn resets_have_a_rate() {
    let mut wire = Wire::client();
    for i in 0..1001 {
        wire = wire.get(1 + 2 * i).frame(kind::RST_STREAM, 0, 1 + 2 * i, &[0, 0, 0, 8]);
    }
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    let (mut head, mut trailers, mut at, mut resets) = (RequestHead::new(), HeaderMap::new(), 0, 0);
    let time = now();
    let error = loop {
        match codec.decode(time, &options, &wire.0[at..], Incoming::Request(&mut head), &mut trailers) {
            Ok(Decoded { consumed, event, .. }) => {
                at += consumed;
                if let Event::Reset { stream, .. } = event {
                    resets += 1;
                    codec.finish(stream, None);
                }
                assert!(event != Event::More);
            }
            Err(error) => break error,
        }
    };
    assert_eq!((error, resets), (ConnectionError::ResetFlood, 1000));
}
