//! Bodies: lengths, padding, trailers, windows.

use super::*;

#[test]
fn bodies_come_with_padding_and_trailers() {
    let wire = Wire::client()
        .post(1, &[])
        .data(1, 0, b"abc")
        .frame(kind::DATA, flag::PADDED, 1, b"\x02def\0\0")
        .data(1, flag::END_STREAM, b"g");
    assert_eq!(
        serve(&wire).0,
        "head1/false[:method=POST,:scheme=http,:path=/,:authority=a,] data1[abcdefg] end1 "
    );
    let wire = Wire::client().post(1, &[]).data(1, 0, b"abc").head(1, flag::END_STREAM, &[("x", "y")]);
    assert!(serve(&wire).0.ends_with("data1[abc] trailers1[x=y,] "));
    let wire = Wire::client().post(1, &[]).frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\x02\0\0");
    assert!(serve(&wire).0.ends_with("] end1 "));
}

#[test]
fn lengths_must_agree_with_bodies_and_trailers_must_end_them() {
    let messaging = "!Message { stream: 1, error: Messaging }";
    let length = |n: &str| Wire::client().post(1, &[("content-length", n)]);
    assert!(serve(&length("3").data(1, 0, b"ab").data(1, 1, b"c")).0.ends_with("data1[abc] end1 "));
    assert!(serve(&length("3").data(1, 0, b"abcd")).0.ends_with(messaging));
    assert!(serve(&length("3").data(1, 1, b"ab")).0.ends_with(messaging));
    assert!(serve(&length("3").data(1, 0, b"ab").head(1, 1, &[("x", "y")])).0.ends_with(messaging));
    assert!(serve(&Wire::client().post(1, &[]).head(1, 0, &[("x", "y")])).0.ends_with(messaging));
    let field = "!Message { stream: 1, error: Field }";
    assert!(serve(&Wire::client().post(1, &[]).head(1, 1, &[(":path", "/")])).0.ends_with(field));
}

#[test]
fn windows_are_held_and_refilled_when_half_was_consumed() {
    let options = Options {
        initial_stream_window: 100,
        initial_connection_window: 65_535,
        stream_error_on_invalid_message: true,
        ..Options::default()
    };
    let wire = Wire::client().post(1, &[]).data(1, 0, &[b'x'; 49]).data(1, 0, &[b'x'; 20]);
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &wire.0, &[]);
    assert!(output(&mut codec).ends_with("WINDOW1:69 "));
    let wire = Wire::client().post(1, &[]).data(1, 0, &[b'x'; 101]).get(3);
    let (events, sent) = run_with(Side::Server, &options, &wire);
    assert!(events.contains("failed1:None head3/true"), "{events}");
    assert!(sent.contains("RST1:3"), "{sent}");
    let mut wire = Wire::client().post(1, &[]);
    let options = Options { initial_connection_window: 65_535, ..Options::default() };
    for _ in 0..5 {
        wire = wire.data(1, 0, &[b'x'; 16_000]);
    }
    let mut codec = Codec::new(Side::Server, &options, now());
    let (mut head, mut trailers, mut at) = (RequestHead::new(), HeaderMap::new(), 0);
    let error = loop {
        match codec.decode(now(), &options, &wire.0[at..], Incoming::Request(&mut head), &mut trailers) {
            Ok(Decoded { consumed, .. }) => at += consumed,
            Err(error) => break error,
        }
    };
    assert_eq!(error, ConnectionError::FlowControl);
}

/// A server with a stream whose client's windows are as given.
fn responder(stream_window: u32, streams: u32) -> (Codec, Vec<StreamKey>) {
    let options = Options::default();
    let mut wire = Wire(PREFACE.to_vec());
    let setting = [&[0, 4][..], &stream_window.to_be_bytes()].concat();
    wire = wire.frame(kind::SETTINGS, 0, 0, &setting);
    for i in 0..streams {
        wire = wire.get(1 + 2 * i);
    }
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(&mut codec, &options, &wire.0, &[]);
    let keys: Vec<_> = codec.streams.keys().collect();
    for key in &keys {
        codec.encode_response(*key, &ResponseHead::new(200), false).unwrap();
    }
    output(&mut codec);
    (codec, keys)
}

#[test]
fn what_no_window_takes_waits_and_its_end_comes_with_its_last_byte() {
    let (mut codec, keys) = responder(10, 1);
    codec.encode_data(keys[0], b"0123456789ab", true);
    codec.finish(keys[0], None);
    assert_eq!(output(&mut codec), "DATA1/0:10 ");
    assert_eq!((codec.waiting_bytes(), codec.open_streams()), (2, 1));
    let options = Options::default();
    feed(&mut codec, &options, &Wire::default().frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).0, &[]);
    assert_eq!(output(&mut codec), "DATA1/0:1 ");
    let setting = Wire::default().frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 20]);
    feed(&mut codec, &options, &setting.0, &[]);
    assert_eq!(output(&mut codec), "ACK DATA1/1:1 ");
    assert_eq!((codec.waiting_bytes(), codec.held_streams()), (0, 0));
}

#[test]
fn trailers_wait_behind_the_body() {
    let (mut codec, keys) = responder(3, 1);
    let mut trailers = HeaderMap::new();
    trailers.append("grpc-status", b"0");
    codec.encode_data(keys[0], b"abcd", false);
    codec.encode_trailers(keys[0], &trailers);
    assert_eq!(output(&mut codec), "DATA1/0:3 ");
    let more = Wire::default().frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
    feed(&mut codec, &Options::default(), &more.0, &[]);
    assert_eq!(output(&mut codec), "DATA1/0:1 HEADERS1/5 ");
}

#[test]
fn streams_take_turns_when_there_is_more_than_fits() {
    let (mut codec, keys) = responder(1 << 20, 3);
    let big = vec![b'x'; 300_000];
    codec.send_window = 1 << 30;
    for key in &keys {
        codec.encode_data(*key, &big, true);
    }
    let mut seen = String::new();
    while codec.waiting_bytes() > 0 {
        seen.push_str(&output(&mut codec));
    }
    // The first fills the output; from then on each has a frame in turn.
    let order: Vec<&str> = seen.split(' ').filter_map(|f| f.split('/').next()).skip(4).take(6).collect();
    assert_eq!(order, ["DATA1", "DATA3", "DATA5", "DATA1", "DATA3", "DATA5"], "{seen}");
    assert_eq!(seen.matches("/1:").count(), 3);
}

#[test]
fn a_large_piece_is_written_from_where_it_lies_and_only_what_is_left_is_copied() {
    let (mut codec, keys) = responder(1 << 20, 2);
    codec.send_window = 1 << 20;
    let big = vec![b'x'; 40_000];
    let all = big.len() + 3 * frame::HEADER;
    codec.send_data(keys[0], &big, false, |pieces| {
        assert!(pieces[2].as_ptr() == big.as_ptr() && pieces[6].len() == 40_000 - 2 * MAX_PAYLOAD);
        pieces.iter().map(|piece| piece.len()).sum()
    });
    assert_eq!((codec.unsent().len(), codec.send_window), (0, (1 << 20) - 40_000));
    let mut calls = 0;
    codec.send_data(keys[0], &big, true, |_| {
        calls += 1;
        20_000
    });
    // Of a frame that has begun all stays, and what was taken of it is not sent again.
    assert_eq!((calls, codec.unsent().len(), codec.waiting_bytes()), (1, all - 20_000, 0));
    codec.sent(all - 20_000);
    codec.send_data(keys[1], b"small", false, |_| unreachable!());
    assert_eq!(output(&mut codec), "DATA3/0:5 ");
}

#[test]
fn a_piece_does_not_pass_streams_that_wait() {
    let (mut codec, keys) = responder(1 << 20, 2);
    codec.send_window = 1 << 30;
    let big = vec![b'x'; 300_000];
    codec.encode_data(keys[0], &big, true);
    codec.send_data(keys[1], &big, true, |_| unreachable!());
    assert_eq!(codec.waiting(keys[1]), 300_000);
}

#[test]
fn a_caller_that_waits_is_told_when_its_bytes_are_gone() {
    let (mut codec, keys) = responder(1 << 20, 1);
    codec.encode_data(keys[0], &vec![b'x'; 100_000], false);
    codec.await_writable(keys[0]);
    assert_eq!(codec.take_writable(), None);
    output(&mut codec);
    assert!(codec.waiting(keys[0]) > 0);
    let more = Wire::default().frame(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]);
    feed(&mut codec, &Options::default(), &more.0, &[]);
    output(&mut codec);
    assert_eq!(codec.take_writable(), Some(keys[0]));
}
