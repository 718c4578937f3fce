use super::*;
use nuncio_core::config::{CompileContext, Sink, Unsupported};
use nuncio_proto::pb::envoy::config::core::v3::CidrRange;
use std::net::IpAddr;

/// Ranges of addresses that share their first eight bits.
pub(in super::super) fn ranges(prefixes: &[&str]) -> CidrList {
    let range = |prefix: &&str| CidrRange { address_prefix: prefix.to_string(), prefix_len: Some(8) };
    let list: Vec<_> = prefixes.iter().map(range).collect();
    let sink = Sink::new(Unsupported::Refuse);
    CidrList::compile(&list, &CompileContext::root(&sink, "", None), "ranges").unwrap()
}

fn xff(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.append(Known::XForwardedFor, value.as_bytes());
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_taken_from_the_right_of_the_list() {
    for (value, skip, want, trusted) in [
        ("1.1.1.1", 0, Some("1.1.1.1"), true),
        ("1.1.1.1", 1, None, false),
        (" 1.1.1.1 , 2.2.2.2 ", 0, Some("2.2.2.2"), false),
        ("1.1.1.1, 2.2.2.2, 3.3.3.3", 1, Some("2.2.2.2"), false),
        ("1.1.1.1, 2.2.2.2", 1, Some("1.1.1.1"), false),
        ("1.1.1.1,", 0, None, false),
        ("1.1.1.1,,2.2.2.2", 0, Some("2.2.2.2"), false),
        ("a,1.1.1.1", 0, Some("1.1.1.1"), false),
        ("1.1.1.1,a", 0, None, false),
        (",", 0, None, false),
        ("", 0, None, false),
        ("::1", 0, Some("::1"), true),
        ("[::1]", 0, None, false),
        ("1.1.1.1:80", 0, None, false),
        ("1.1.1", 0, None, false),
        ("01.1.1.1", 0, None, false),
        ("::ffff:1.2.3.4", 0, Some("::ffff:1.2.3.4"), true),
        ("2001:DB8::1", 0, Some("2001:db8::1"), true),
        ("1.1.1.1", u32::MAX, None, false),
    ] {
        let found = from_xff(&xff(value), skip);
        assert_eq!(found.map(|f| f.address.ip().to_string()).as_deref(), want, "{value:?} {skip}");
        assert_eq!(found.is_some_and(|f| f.trusted), trusted, "{value:?} {skip}");
    }
    assert_eq!(from_xff(&HeaderMap::new(), 0), None);
}

#[test]
fn an_address_with_a_scope_keeps_it() {
    assert_eq!(parse_ip(b"fe80::1%4").unwrap().to_string(), "[fe80::1%4]:0");
    assert_eq!(parse_ip(b"1.2.3.4%4"), None);
    assert_eq!(parse_ip(b"fe80::1%"), None);
}

#[test]
fn proxies_are_skipped_from_the_right() {
    let proxies = ranges(&["127.0.0.0", "10.0.0.0"]);
    let detection = Detection::Xff { trust: XffTrust::Proxies(proxies), skip_append: true };
    let peer = |text: &str| Address::Ip(SocketAddr::new(ip(text), 1));
    for (from, value, want) in [
        ("127.0.0.1", "1.2.3.4", Some("1.2.3.4")),
        ("127.0.0.1", "9.9.9.9, 8.8.8.8, 10.0.0.1", Some("8.8.8.8")),
        ("127.0.0.1", "10.0.0.5", Some("10.0.0.5")),
        ("127.0.0.1", "10.0.0.6, 10.0.0.5", Some("10.0.0.6")),
        ("127.0.0.1", "bad,127.0.0.1", None),
        ("127.0.0.1", "3.3.3.3,,127.0.0.1", None),
        ("127.0.0.1", "127.0.0.1,", None),
        ("4.4.4.4", "1.2.3.4", None),
    ] {
        let got = match detection.detect(&xff(value), &peer(from)) {
            Detected::Address(found) => {
                assert!(!found.trusted);
                Some(found.address.ip().to_string())
            }
            _ => None,
        };
        assert_eq!(got.as_deref(), want, "{from} {value}");
    }
    assert!(!detection.appends(&peer("127.0.0.1")) && detection.appends(&peer("4.4.4.4")));
}

#[test]
fn a_custom_header_is_read_and_its_absence_may_be_refused() {
    let detection = |reject| Detection::CustomHeader { name: "x-real-ip".into(), trusted: true, reject };
    let headers = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|v| headers.append("x-real-ip", v.as_bytes()));
        headers
    };
    let peer = Address::Ip(SocketAddr::new(ip("127.0.0.1"), 1));
    for (values, want) in [
        (&["2.2.2.2"][..], Some("2.2.2.2")),
        (&["2.2.2.2", "3.3.3.3"], Some("2.2.2.2")),
        (&["2.2.2.2,3.3.3.3"], None),
        (&["2.2.2.2:80"], None),
        (&["::1"], Some("::1")),
        (&["bad"], None),
        (&[], None),
    ] {
        let headers = headers(values);
        let refused = detection(Some(403)).detect(&headers, &peer);
        match (want, detection(None).detect(&headers, &peer)) {
            (Some(want), Detected::Address(found)) => assert_eq!(found.address.ip(), ip(want)),
            (None, Detected::Nothing) => assert_eq!(refused, Detected::Reject(403)),
            (want, got) => panic!("{values:?}: {want:?} {got:?}"),
        }
    }
}

#[test]
fn private_networks_are_rfc_1918_rfc_4193_and_loopback_itself() {
    for (address, private) in [
        ("10.0.0.1", true),
        ("172.16.0.1", true),
        ("172.31.255.255", true),
        ("172.32.0.1", false),
        ("192.168.1.1", true),
        ("127.0.0.1", true),
        ("127.0.0.9", false),
        ("8.8.8.8", false),
        ("::1", true),
        ("fc00::1", true),
        ("fdff::1", true),
        ("fe80::1", false),
    ] {
        assert_eq!(is_private(ip(address)), private, "{address}");
    }
}
