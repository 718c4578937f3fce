//! METADATA is taken in whole, within its limits, where it is allowed.

use super::*;

fn allowed(most: u32) -> Options {
    Options { metadata: Some(most), ..Options::default() }
}

fn map(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        hpack::literal(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

fn events(most: u32, wire: Wire) -> String {
    run_with(Side::Server, &allowed(most), &wire)
        .0
        .split_once("] ")
        .map(|(_, rest)| rest.into())
        .unwrap_or_default()
}

fn post() -> Wire {
    Wire::client().post(1, &[])
}

#[test]
fn a_map_comes_in_one_frame_or_more_and_keeps_its_place() {
    let whole = map(&[("a", "1"), ("B", "2"), ("a", "3"), ("", ""), (":status", "x"), (":authority", "y")]);
    let one = post().frame(kind::METADATA, flag::END_METADATA, 1, &whole);
    assert_eq!(events(100, one), "metadata1/behind[a=1,B=2,=,:status=x,:authority=y,] ");
    let (first, second) = whole.split_at(2);
    let two = post()
        .data(1, 0, b"x")
        .frame(kind::METADATA, 0, 1, first)
        .frame(kind::METADATA, flag::END_METADATA, 1, second)
        .data(1, 1, b"y");
    let seen = events(100, two);
    assert!(seen.starts_with("data1[x] metadata1/behind[a=1,") && seen.ends_with("data1[y] end1 "), "{seen}");
    let early = Wire::server().frame(kind::METADATA, flag::END_METADATA, 1, &map(&[("a", "1")]));
    assert_eq!(run_with(Side::Client, &allowed(100), &early).0, "metadata1/before[a=1,] ");
}

#[test]
fn what_says_nothing_is_passed_over() {
    let a = map(&[("a", "1")]);
    let other_flags = post().frame(kind::METADATA, 0xff, 1, &a);
    let behind_the_end = post().data(1, 1, b"").frame(kind::METADATA, 4, 1, &a);
    assert_eq!(events(100, other_flags), "");
    assert_eq!(events(100, behind_the_end), "end1 ");
    for stream in [0, 3, 2] {
        assert_eq!(events(100, post().frame(kind::METADATA, 4, stream, &a)), "");
    }
    // Where it is not allowed, nobody looks whether it makes sense, and the first one of a stream is told of.
    let twice = post().frame(kind::METADATA, 4, 3, &a).frame(kind::METADATA, 4, 1, b"\xff\xff");
    assert_eq!(serve(&twice.frame(kind::METADATA, 4, 1, &a)).0, serve(&post()).0 + "unmetadata1 ");
    let options = allowed(100);
    let mut codec = Codec::new(Side::Server, &options, now());
    feed(
        &mut codec,
        &options,
        &post().frame(kind::METADATA, 0, 1, b"").frame(kind::METADATA, 4, 1, b"").0,
        &[],
    );
    assert_eq!(codec.take_counters().metadata_empty_frames, 1);
}

#[test]
fn a_stream_brings_no_more_than_the_limit_in_all_its_life() {
    let ten = map(&[("abcd", "&&&&&")]);
    assert_eq!(ten.len(), 11, "{ten:?}");
    let frames =
        |n: usize, flags: u8| (0..n).fold(post(), |wire, _| wire.frame(kind::METADATA, flags, 1, &ten));
    assert!(!events(33, frames(3, flag::END_METADATA)).contains('!'));
    assert!(events(32, frames(3, flag::END_METADATA)).ends_with("!Metadata"));
    assert!(events(32, frames(3, 0)).ends_with("!Metadata"));
    assert!(events(1000, post().frame(kind::METADATA, 4, 1, b"\xff\xff\xff\xff\xff")).ends_with("!Metadata"));
    assert!(events(1000, post().frame(kind::METADATA, 4, 1, &ten[..9])).ends_with("!Metadata"));
}

#[test]
fn an_entry_named_often_does_not_make_much_of_little() {
    let mut bomb = vec![0x40, 1, b'a', 127, 0x81, 7];
    bomb.extend_from_slice(&[b'x'; 1024]);
    bomb.extend_from_slice(&[0xbe; 500]);
    assert!(events(2000, post().frame(kind::METADATA, 4, 1, &bomb)).ends_with("!Metadata"));
    assert!(!events(200_000, post().frame(kind::METADATA, 4, 1, &bomb[..1040])).contains('!'));
}

#[test]
fn parts_on_many_streams_are_bounded_together() {
    let mut wire = Wire::client();
    for i in 0..17 {
        wire = wire.post(1 + 2 * i, &[]).frame(kind::METADATA, 0, 1 + 2 * i, &[0; 100]);
    }
    assert!(run_with(Side::Server, &allowed(100), &wire).0.ends_with("!Metadata"));
}

#[test]
fn it_is_written_before_a_body_that_waits_and_not_behind_the_end() {
    let options = allowed(100);
    let mut codec = Codec::new(Side::Client, &options, now());
    feed(&mut codec, &options, &Wire::server().frame(kind::METADATA, 4, 1, &map(&[("a", "1")])).0, &[]);
    codec.peer.initial_window = 0;
    let key = codec.open(now(), &request(POST), false).unwrap();
    feed(&mut codec, &options, &Wire::default().frame(kind::METADATA, 4, 1, &map(&[("a", "1")])).0, &[]);
    output(&mut codec);
    codec.encode_data(key, b"body", false);
    let come = Wire::default().frame(kind::METADATA, 4, 1, &map(&[("b", "1")])).0;
    let (mut head, mut trailers) = (ResponseHead::default(), HeaderMap::new());
    codec.decode(now(), &options, &come, Incoming::Response(&mut head), &mut trailers).unwrap();
    let metadata = codec.take_metadata().unwrap();
    codec.encode_metadata(key, &metadata);
    assert_eq!(output(&mut codec), "?77 ");
    codec.encode_data(key, b"", true);
    codec.encode_metadata(key, &metadata);
    assert_eq!(output(&mut codec), "");
}

#[test]
fn maps_in_a_queue_cut_the_body_where_they_stand() {
    let of = |name: &str| {
        let mut codec = Codec::new(Side::Client, &allowed(100), now());
        codec.peer.seen = true;
        codec.peer.max_concurrent_streams = 1;
        codec.open(now(), &request(POST), false).unwrap();
        let wire = Wire::default().frame(kind::METADATA, 4, 1, &map(&[(name, "1")])).0;
        let (mut head, mut trailers) = (ResponseHead::default(), HeaderMap::new());
        codec.decode(now(), &allowed(100), &wire, Incoming::Response(&mut head), &mut trailers).unwrap();
        codec.take_metadata().unwrap()
    };
    let (mut queue, mut body, mut data) = (MetadataQueue::default(), b"abcdef".to_vec(), Vec::new());
    queue.push(Place::Behind(2), of("x"));
    queue.push(Place::Behind(6), of("y"));
    queue.split_body(&mut body, &mut data);
    assert_eq!((&data[..], &body[..], queue.place()), (&b"ab"[..], &b"cdef"[..], Some(Place::Behind(0))));
    assert_eq!(queue.pop().unwrap().text(), "x=1,");
    data.clear();
    queue.split_body(&mut body, &mut data);
    assert_eq!((&data[..], queue.place()), (&b"cdef"[..], Some(Place::Behind(0))));
    assert_eq!(queue.pop().unwrap().text(), "y=1,");
    assert!(queue.is_empty());
}
