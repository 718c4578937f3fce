use super::*;

/// A ClientHello with these extensions in one record.
fn hello(extensions: &[u8]) -> Vec<u8> {
    hello_of(0x0303, &[0x13, 0x01], extensions)
}

pub(crate) fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
}

/// A ClientHello with these suites and extensions in one record.
pub(crate) fn hello_of(version: u16, suites: &[u8], extensions: &[u8]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([0; 33]);
    body.extend((suites.len() as u16).to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

const SNI: &[u8] = b"\0\0\0\x0e\0\x0c\0\0\x09A.Example";
const ALPN: &[u8] = b"\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1";

#[test]
fn names_and_protocols_are_found_and_names_are_in_lower_case() {
    let Hello::Client(seen) = inspect(&hello(&[SNI, ALPN].concat())) else { panic!() };
    assert_eq!(seen.server_name.as_deref(), Some("a.example"));
    assert_eq!(seen.alpn, [Box::from(&b"h2"[..]), Box::from(&b"http/1.1"[..])]);
    assert_eq!((seen.tls13, seen.wants_status), (false, false));
    let Hello::Client(seen) = inspect(&hello(b"\0\x2b\0\x05\x04\x03\x03\x03\x04\0\x05\0\0")) else {
        panic!()
    };
    assert_eq!((seen.tls13, seen.wants_status), (true, true));
}

#[test]
fn every_prefix_of_a_hello_is_incomplete_and_other_bytes_are_no_tls() {
    let whole = hello(SNI);
    for n in 0..whole.len() {
        assert_eq!(inspect(&whole[..n]), Hello::Incomplete, "{n}");
    }
    assert_eq!(examine(b"GET / HTTP/1.1\r\n"), (Hello::NotTls, 5));
    assert_eq!(inspect(b"GET "), Hello::Incomplete);
    assert_eq!(examine(&[22, 3, 1, 0, 4, 2, 0, 0, 0, 9, 9]), (Hello::NotTls, 9));
    assert_eq!(examine(&[&whole[..], b"more"].concat()).1, whole.len());
}

#[test]
fn records_may_be_empty_and_of_any_version_of_tls() {
    let whole = hello(SNI);
    let empty = |n: usize| [&[22, 3, 9, 0, 0].repeat(n)[..], &whole].concat();
    assert!(matches!(inspect(&empty(32)), Hello::Client(_)));
    assert_eq!(inspect(&empty(33)), Hello::NotTls);
    assert_eq!(inspect(&[22, 3, 1, 0x40, 1]), Hello::NotTls, "a record of more than 16 KiB");
    assert_eq!(inspect(&[22, 3, 1, 0, 4, 1, 0, 0x40, 1]), Hello::NotTls, "a message of more than 16 KiB");
}

#[test]
fn what_boringssl_calls_malformed_is_no_hello() {
    for (why, bytes) in [
        ("an extension that comes twice", hello(&[SNI, SNI].concat())),
        ("an extension that is cut off", hello(b"\0\0\0\x20\0")),
        ("no suites", hello_of(0x0303, &[], SNI)),
        ("half a suite", hello_of(0x0303, &[0x13], SNI)),
        ("no name", hello(&extension(0, b""))),
        ("an empty name", hello(&extension(0, b"\0\x03\0\0\0"))),
        ("two names", hello(&extension(0, b"\0\x08\0\0\x01a\0\0\x01b"))),
        ("a name of another kind", hello(&extension(0, b"\0\x04\x01\0\x01a"))),
        ("a zero byte", hello(&extension(0, b"\0\x06\0\0\x03a\0b"))),
    ] {
        assert_eq!(inspect(&bytes), Hello::NotTls, "{why}");
    }
}

#[test]
fn a_name_has_at_most_255_bytes() {
    for (length, some) in [(255, true), (256, false), (4000, false)] {
        let name = vec![b'a'; length];
        let of = |n: usize| (n as u16).to_be_bytes();
        let sni = extension(0, &[&of(length + 3)[..], &[0], &of(length), &name].concat());
        assert_eq!(matches!(inspect(&hello(&sni)), Hello::Client(_)), some, "{length}");
    }
}

#[test]
fn a_list_of_protocols_that_is_malformed_is_none() {
    for content in [&b"\0\x03\x02h2x"[..], b"\0\x01\0", b"\0\x04\x02h2\x05", b""] {
        let Hello::Client(seen) = inspect(&hello(&extension(16, content))) else { panic!("{content:?}") };
        assert!(seen.alpn.is_empty(), "{content:?}");
    }
}

#[test]
fn no_bytes_are_too_odd_to_be_looked_at() {
    let whole = hello(&[SNI, ALPN, b"\0\x2b\0\x05\x04\x03\x03\x03\x04"].concat());
    let mut state = 1_u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next(4) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        bytes.truncate(1 + next(bytes.len()));
        if let Hello::Client(seen) = inspect(&bytes) {
            assert!(seen.server_name.is_none_or(|n| n.chars().count() <= 255));
        }
    }
}

#[test]
fn a_name_that_is_no_text_is_kept_byte_by_byte() {
    let Hello::Client(seen) = inspect(&hello(&extension(0, b"\0\x05\0\0\x02A\xff"))) else { panic!() };
    assert_eq!(seen.server_name.as_deref(), Some("a\u{ff}"));
}
