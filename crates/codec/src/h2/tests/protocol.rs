//! Frames that must not come, or not there, and how a connection lives and ends.

use super::*;
use std::time::Duration;

#[test]
fn both_sides_begin_as_envoy_does() {
    let options = Options::default();
    let mut server = Codec::new(Side::Server, &options, now());
    let settings = [0, 1, 0, 0, 16, 0, 0, 8, 0, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 4, 1, 0, 0, 0];
    assert_eq!(server.unsent()[9..33], settings);
    assert_eq!(output(&mut server), "SETTINGS ");
    feed(&mut server, &options, &Wire::client().0, &[]);
    assert_eq!(output(&mut server), "ACK WINDOW0:25100289 ");
    let mut client = Codec::new(Side::Client, &options, now());
    assert_eq!(output(&mut client), "PREFACE SETTINGS WINDOW0:25100289 ");
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_with_its_code() {
    let c = Wire::client;
    let rows: Vec<(Wire, &str, &str)> = vec![
        (Wire(b"GET / HTTP/1.1\r\n\r\n".to_vec()), "!Preface", ""),
        (Wire(PREFACE.to_vec()).get(1), "!Protocol", "GOAWAY:0:1 "),
        (c().data(1, 1, b"x"), "!Protocol", "GOAWAY:0:1 "),
        (c().data(0, 1, b"x"), "!Protocol", "GOAWAY:0:1 "),
        (c().head(2, 1, GET), "!Forbidden", ""),
        (c().head(0, 1, GET), "!Forbidden", ""),
        (c().frame(kind::RST_STREAM, 0, 1, &[0; 4]), "!Forbidden", ""),
        (c().frame(kind::RST_STREAM, 0, 1, &[0; 3]), "!FrameSize", "GOAWAY:0:6 "),
        (c().frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), "!Window", ""),
        (c().frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]), "!EmptyUpdate { stream: 0 }", ""),
        (c().frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]), "!FlowControl", "GOAWAY:0:3 "),
        (c().frame(kind::SETTINGS, 0, 1, &[]), "!Stray { stream: 1 }", ""),
        (c().frame(kind::SETTINGS, 0, 0, &[0; 5]), "!FrameSize", "GOAWAY:0:6 "),
        (c().frame(kind::SETTINGS, 1, 0, &[0; 6]), "!FrameSize", "GOAWAY:0:6 "),
        (c().frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), "!Forbidden", ""),
        (c().frame(kind::SETTINGS, 0, 0, &[0, 4, 128, 0, 0, 0]), "!Window", ""),
        (c().frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), "!Forbidden", ""),
        (c().frame(kind::SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 2]), "!Forbidden", ""),
        (c().frame(kind::PING, 0, 0, &[0; 7]), "!FrameSize", "GOAWAY:0:6 "),
        (c().frame(kind::PING, 0, 1, &[0; 8]), "!Stray { stream: 1 }", ""),
        (c().frame(kind::GOAWAY, 0, 1, &[0; 8]), "!Stray { stream: 1 }", ""),
        (c().frame(kind::GOAWAY, 0, 0, &[0; 7]), "!FrameSize", "GOAWAY:0:6 "),
        (c().frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), "!Forbidden", ""),
        (c().frame(kind::PRIORITY, 0, 0, &[0; 5]), "!Forbidden", ""),
        (c().frame(kind::PRIORITY, 0, 1, &[0; 4]), "!FrameSize", "GOAWAY:0:6 "),
        (c().frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), "!Protocol", "GOAWAY:0:1 "),
        (c().frame(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), "!Stray { stream: 1 }", ""),
        (c().frame(kind::CONTINUATION, 4, 1, &[]), "!Protocol", "GOAWAY:0:1 "),
        (
            c().frame(kind::HEADERS, 0, 1, &[0x82]).frame(kind::PING, 0, 0, &[0; 8]),
            "!Protocol",
            "GOAWAY:1:1 ",
        ),
        (
            c().frame(kind::HEADERS, 0, 1, &[0x82]).frame(kind::CONTINUATION, 4, 3, &[]),
            "!Protocol",
            "GOAWAY:1:1 ",
        ),
        (c().frame(kind::HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff]), "!Compression", "GOAWAY:1:9 "),
        (c().frame(kind::HEADERS, 5 | 8, 1, &[5, 0x82]), "!Protocol", "GOAWAY:0:1 "),
        (c().frame(kind::HEADERS, 5 | 0x20, 1, &[0, 0, 0, 1, 0, 0x82]), "!Protocol", "GOAWAY:0:1 "),
        (c().frame(kind::DATA, 8, 1, &[9, 0]), "!Protocol", "GOAWAY:0:1 "),
    ];
    for (wire, events, sent) in rows {
        let (seen, out) = serve(&wire);
        assert_eq!(seen, events, "{}", wire.0.escape_ascii());
        assert!(out.ends_with(sent) && (!sent.is_empty() || !out.contains("GOAWAY")), "{out} for {events}");
    }
    let mut oversized = Wire::client();
    oversized.0.extend_from_slice(&FrameHeader { len: 16_385, kind: 0, flags: 0, stream: 1 }.bytes());
    assert_eq!(serve(&oversized).0, "!FrameSize");
}

#[test]
fn unknown_frames_flags_and_settings_mean_nothing() {
    let wire = Wire::client()
        .frame(99, 0xff, 0, b"whatever it is")
        .frame(kind::SETTINGS, 0xfe, 0, &[0, 99, 0, 0, 0, 1])
        .frame(kind::PING, 0xfe, 0, b"12345678")
        .get(1);
    let (events, sent) = serve(&wire);
    assert!(events.starts_with("head1/true"), "{events}");
    assert_eq!(sent, "ACK ACK PING/1 ");
}

#[test]
fn a_closed_stream_takes_nothing_more() {
    assert!(serve(&Wire::client().get(1).data(1, 1, b"x")).0.ends_with("!StreamClosed"));
    assert!(serve(&Wire::client().get(1).get(1)).0.ends_with("!StreamClosed"));
    assert!(serve(&Wire::client().get(3).get(1)).0.ends_with("!StreamClosed"));
    // What was on its way when we reset the stream is no fault, and gives its window back.
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &Wire::client().post(1, &[]).0, &[]);
    let key = codec.streams.find(1).unwrap();
    codec.finish(key, Some(ErrorCode::CANCEL));
    assert!(output(&mut codec).ends_with("RST1:8 "));
    let late = Wire::default().data(1, 0, b"late").head(1, 1, &[("x", "y")]).get(3);
    assert!(feed(&mut codec, &options, &late.0, &[]).starts_with("head3/true"));
    assert_eq!(output(&mut codec), "");
}

#[test]
fn a_reset_is_told_once_and_its_stream_is_gone_when_the_caller_lets_go() {
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    let wire = Wire::client().post(1, &[]).frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    assert!(feed(&mut codec, &options, &wire.0, &[]).ends_with("reset1:8 "));
    let key = codec.streams.find(1).unwrap();
    assert_eq!((codec.open_streams(), codec.held_streams()), (0, 1));
    codec.encode_response(key, &ResponseHead::new(200), true).unwrap();
    codec.finish(key, None);
    assert_eq!((codec.held_streams(), output(&mut codec).contains("HEADERS")), (0, false));
}

#[test]
fn a_response_before_the_request_is_complete_ends_with_a_reset_without_error() {
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &Wire::client().post(1, &[]).0, &[]);
    output(&mut codec);
    let key = codec.streams.find(1).unwrap();
    codec.encode_response(key, &ResponseHead::new(200), false).unwrap();
    codec.encode_data(key, b"hello", true);
    codec.finish(key, None);
    assert_eq!(output(&mut codec), "HEADERS1/4 DATA1/1:5 RST1:0 ");
}

#[test]
fn streams_beyond_the_limit_are_refused_and_then_end_the_connection() {
    let options = Options { max_concurrent_streams: 1, ..Options::default() };
    let unacked = Wire(PREFACE.to_vec()).frame(kind::SETTINGS, 0, 0, &[]);
    let (events, sent) = run_with(Side::Server, &options, &unacked.post(1, &[]).get(3).get(5));
    assert!(events.starts_with("head1/false") && !events.contains("head3"), "{events}");
    assert_eq!(sent, "ACK RST3:7 RST5:7 ");
    let (events, _) = run_with(Side::Server, &options, &Wire::client().post(1, &[]).get(3));
    assert!(events.ends_with("!Protocol"), "{events}");
}

#[test]
fn a_connection_drains_in_two_steps() {
    let options = Options::default();
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &Wire::client().get(1).0, &[]);
    output(&mut codec);
    codec.announce_shutdown();
    assert_eq!(output(&mut codec), "GOAWAY:2147483647:0 ");
    assert!(feed(&mut codec, &options, &Wire::default().get(3).0, &[]).starts_with("head3"));
    codec.shut_down();
    codec.shut_down();
    assert_eq!(output(&mut codec), "GOAWAY:3:0 ");
    assert_eq!(feed(&mut codec, &options, &Wire::default().get(5).0, &[]), "");
    assert_eq!(codec.take_counters().goaway_sent, 2);
}

#[test]
fn a_client_hears_of_what_the_peer_will_not_look_at() {
    let wire = Wire::server().frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(run_with(Side::Client, &Options::default(), &wire).0, "goaway0:2 ");
    let again = wire.frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert!(run_with(Side::Client, &Options::default(), &again).0.ends_with("!Forbidden"));
}

#[test]
fn keepalive_and_settings_have_their_deadlines() {
    let s = Duration::from_secs(1);
    let keepalive = Keepalive {
        interval: Some(10 * s),
        timeout: 2 * s,
        jitter: 0,
        spread: Duration::ZERO,
        idle_interval: None,
    };
    let options = Options { keepalive: Some(keepalive), ..Options::default() };
    let start = now();
    let mut codec = Codec::new(Side::Server, &options, start);
    feed(&mut codec, &options, &Wire::client().0, &[]);
    output(&mut codec);
    assert_eq!(codec.deadline(), Some(start + 10 * s));
    codec.tick(start + 10 * s, 0).unwrap();
    let ping = codec.unsent()[9..17].to_vec();
    assert_eq!(output(&mut codec), "PING/0 ");
    assert_eq!(codec.deadline(), Some(start + 12 * s));
    feed(&mut codec, &options, &Wire::default().frame(kind::PING, 1, 0, &ping).0, &[]);
    let next = codec.deadline().unwrap();
    assert!(next >= start + 10 * s && next < start + 11 * s);
    codec.tick(next, 0).unwrap();
    assert_eq!(codec.tick(next + 2 * s, 0), Err(ConnectionError::KeepaliveTimeout));
    let mut codec = Codec::new(Side::Server, &Options::default(), start);
    assert_eq!(codec.tick(start + 60 * s, 0), Err(ConnectionError::SettingsTimeout));
    assert!(output(&mut codec).ends_with("GOAWAY:0:4 "));
}
