use super::frames::{AnswerFrames, Frames};
use super::method;

#[test]
fn a_path_names_a_method_by_two_parts_that_are_not_empty() {
    for (path, want) in [
        ("/p.S/M", Some("p.S/M")),
        ("/p.S/M?x=/y", Some("p.S/M")),
        ("/a//b", Some("a/b")),
        ("/a/b/", Some("a/b")),
        ("/a", None),
        ("/a/", None),
        ("//b", None),
        ("/a/b/c", None),
        ("/", None),
    ] {
        assert_eq!(method(path).as_deref(), want, "{path}");
    }
}

#[test]
fn messages_are_counted_however_their_bytes_are_cut() {
    let bytes = [&[0, 0, 0, 0, 2][..], b"ab", &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[7; 256], &[0]].concat();
    for cut in 0..=bytes.len() {
        let mut frames = Frames::default();
        let new = frames.inspect(&bytes[..cut]) + frames.inspect(&bytes[cut..]);
        assert_eq!((new, frames.count()), (4, 4), "{cut}");
    }
}

#[test]
fn the_last_frame_of_a_connect_stream_is_no_message_and_says_how_it_ended() {
    let end = |json: &str| [&[0, 0, 0, 0, 1, 9, 2, 0, 0, 0, json.len() as u8], json.as_bytes()].concat();
    for (json, well) in [("{}", true), (r#"{"error":{"code":"x"}}"#, false), ("{", false), ("[]", false)] {
        let bytes = end(json);
        for cut in 0..=bytes.len() {
            let mut frames = AnswerFrames::default();
            let new = frames.inspect(&bytes[..cut]) + frames.inspect(&bytes[cut..]);
            assert_eq!((new, frames.count(), frames.is_success()), (1, 1, well), "{json} {cut}");
        }
    }
    assert!(!AnswerFrames::default().is_success());
}
