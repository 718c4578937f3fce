use super::*;

#[test]
fn integers_are_read_quoted_whole_floats_and_hexadecimal_included() {
    for (text, value) in [
        ("5", Some(5)),
        ("+5", Some(5)),
        ("-0", Some(0)),
        ("5.0", Some(5)),
        ("5.", Some(5)),
        ("1e3", Some(1000)),
        (".1e1", Some(1)),
        ("08", Some(8)),
        ("0x10", Some(16)),
        ("0x1p2", Some(4)),
        ("18446744073709551615", Some(u64::MAX)),
        ("5.5", None),
        ("-1", None),
        (" 5", None),
        ("5 ", None),
        ("", None),
        ("0x", None),
        ("0xg", None),
        ("1_000", None),
        ("inf", None),
        ("nan", None),
        ("1e400", None),
        ("--1", None),
        ("1e-1", None),
    ] {
        assert_eq!(unsigned(text).ok(), value, "{text:?}");
    }
    assert_eq!(signed("-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(signed("9223372036854775808"), Err("is out of range".into()));
    assert_eq!(signed("-1.0"), Ok(-1));
}

#[test]
fn floats_may_have_blanks_around_them_and_be_infinite() {
    assert_eq!(float(" 50 "), Some(50.0));
    assert_eq!(float("-.5"), Some(-0.5));
    assert_eq!(float("0x1.8p1"), Some(3.0));
    assert_eq!(float("-Infinity"), Some(f64::NEG_INFINITY));
    assert!(float("NaN").is_some_and(f64::is_nan));
    assert_eq!(float("+-1"), None);
    assert_eq!(float(""), None);
}

#[test]
fn durations_are_seconds_with_up_to_nine_digits() {
    for (text, value) in [
        ("5s", Some((5, 0))),
        ("0.25s", Some((0, 250_000_000))),
        ("1.000000001s", Some((1, 1))),
        ("-1.5s", Some((-1, -500_000_000))),
        ("-0.5s", Some((0, -500_000_000))),
        ("00005s", Some((5, 0))),
        ("315576000000s", Some((315_576_000_000, 0))),
        ("315576000001s", None),
        ("5", None),
        ("250ms", None),
        (".5s", None),
        ("5.s", None),
        ("1.0000000001s", None),
        ("5s ", None),
        ("+5s", None),
        ("5S", None),
        ("1e1s", None),
        ("1 s", None),
        ("", None),
        ("s", None),
    ] {
        assert_eq!(duration(text).ok(), value, "{text:?}");
    }
}

#[test]
fn base64_comes_in_both_alphabets_with_and_without_padding() {
    for (text, value) in [
        ("aGVsbG8=", Some(&b"hello"[..])),
        ("aGVsbG8", Some(b"hello")),
        ("", Some(b"")),
        ("_-_-", Some(&[0xff, 0xef, 0xfe])),
        ("/+/+", Some(&[0xff, 0xef, 0xfe])),
        ("aGVs bG8=", None),
        ("aGVsbG8==", None),
        ("a", None),
        ("!!", None),
        ("====", None),
    ] {
        assert_eq!(base64(text).as_deref(), value, "{text:?}");
    }
}

#[test]
fn timestamps_count_from_1970() {
    assert_eq!(timestamp("1970-01-01T00:00:00Z"), Some((0, 0)));
    assert_eq!(timestamp("2024-02-29T12:00:00.5Z"), Some((1_709_208_000, 500_000_000)));
    assert_eq!(timestamp("2024-02-29T12:00:00+01:00"), Some((1_709_204_400, 0)));
    for bad in
        ["2024-02-29T12:00:00", "2024-02-29 12:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00z", "x"]
    {
        assert_eq!(timestamp(bad), None, "{bad}");
    }
}

#[test]
fn quoted_booleans_are_those_of_the_c_reader() {
    for word in ["true", "t", "yes", "Y", "1"] {
        assert_eq!(boolean(word), Some(true), "{word}");
    }
    assert_eq!(boolean("NO"), Some(false));
    assert_eq!(boolean("on"), None);
}
