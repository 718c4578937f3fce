use super::*;

const BOTH: Wanted = Wanted { v1: true, v2: true };

fn said(source: &str, destination: &str, tlvs: &[(u8, &[u8])]) -> Said {
    let addresses = Some((source.parse().unwrap(), destination.parse().unwrap()));
    Said { addresses, tlvs: tlvs.iter().map(|(kind, value)| (*kind, (*value).into())).collect() }
}

fn samples() -> Vec<(Version, Said)> {
    let four = said("203.0.113.7:5555", "10.0.0.1:80", &[]);
    let six = said("[2001:db8::1]:5555", "[2001:db8::2]:80", &[]);
    let with = said("203.0.113.7:5555", "10.0.0.1:80", &[(1, b"h2"), (0xe0, b"")]);
    vec![
        (Version::V1, Said::default()),
        (Version::V1, four.clone()),
        (Version::V1, six.clone()),
        (Version::V2, Said::default()),
        (Version::V2, four),
        (Version::V2, six),
        (Version::V2, with),
    ]
}

#[test]
fn what_is_written_is_read_again_whatever_follows_it() {
    for (version, said) in samples() {
        let mut bytes = Vec::new();
        write(version, &said, &mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(parse(&bytes, BOTH), Head::Found(version, said, length));
    }
}

#[test]
fn every_prefix_is_incomplete() {
    for (version, said) in samples() {
        let mut bytes = Vec::new();
        write(version, &said, &mut bytes);
        for n in 0..bytes.len() {
            assert_eq!(parse(&bytes[..n], BOTH), Head::Incomplete, "{version:?} {n}");
        }
    }
}

#[test]
fn a_version_that_is_not_looked_for_is_none() {
    for (version, said) in samples() {
        let mut bytes = Vec::new();
        write(version, &said, &mut bytes);
        let other = Wanted { v1: version == Version::V2, v2: version == Version::V1 };
        assert_eq!(parse(&bytes, other), Head::None);
        assert_eq!(parse(&bytes, Wanted { v1: false, v2: false }), Head::None);
    }
}

#[test]
fn lines_that_are_almost_right_are_bad() {
    for line in [
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 66666\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 224.0.0.1 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 0.0.0.0 1 2\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(parse(line.as_bytes(), BOTH), Head::Bad(Version::V1), "{line}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(V1_MAX));
    assert_eq!(parse(long.as_bytes(), BOTH), Head::Bad(Version::V1));
}

#[test]
fn lengths_that_disagree_are_bad() {
    let head =
        |family: u8, body: &[u8]| [V2, &[0x21, family], &(body.len() as u16).to_be_bytes(), body].concat();
    let four = [203, 0, 113, 7, 10, 0, 0, 1, 0, 1, 0, 2];
    assert!(matches!(parse(&head(0x11, &four), BOTH), Head::Found(..)));
    for (what, bytes) in [
        ("short addresses", head(0x11, &four[..11])),
        ("four in six", head(0x21, &four)),
        ("unknown family", head(0x31, &[0; 216])),
        ("unspecified family", head(0x00, &[])),
        ("field longer than the head", head(0x11, &[&four[..], &[1, 0, 9, 0]].concat())),
        ("field cut in its length", head(0x11, &[&four[..], &[1, 0]].concat())),
    ] {
        assert_eq!(parse(&bytes, BOTH), Head::Bad(Version::V2), "{what}");
    }
    for (at, value) in [(12, 0x31), (12, 0x22)] {
        let mut bytes = head(0x11, &four);
        bytes[at] = value;
        assert_eq!(parse(&bytes, BOTH), Head::Bad(Version::V2));
    }
}
