use super::super::original_ip::XffTrust;
use super::super::original_ip::tests::ranges;
use super::*;
use nuncio_core::clock::Clock;
use nuncio_core::stream_info::TlsInfo;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use std::rc::Rc;

const OWN: &str = "192.0.2.2";

pub(in super::super) fn connection(peer: &str, tls: bool) -> ConnectionInfo {
    let address = |text: &str, port| Address::Ip(SocketAddr::new(text.parse().unwrap(), port));
    let clock = Clock::system();
    ConnectionInfo {
        id: 1,
        local: address("127.0.0.1", 10000),
        direct_local: address("127.0.0.1", 10000),
        direct_remote: address(peer, 4711),
        remote: address(peer, 4711),
        requested_server_name: None,
        direction: TrafficDirection::Unspecified,
        listener: "l".into(),
        filter_chain: "".into(),
        tls: if tls { Rc::<TlsInfo>::default().into() } else { Default::default() },
        accepted: clock.now(),
        listener_metadata: None,
        filter_chain_metadata: None,
        state: Default::default(),
    }
}

pub(in super::super) fn info(connection: ConnectionInfo) -> StreamInfo {
    let clock = Clock::system();
    StreamInfo::new(clock.now(), clock.wall(), Rc::new(connection), 0)
}

fn forwarding(client: ClientAddress) -> Forwarding {
    Forwarding {
        client,
        internal: InternalAddresses::None,
        append_port: false,
        scheme: SchemeTransformation::default(),
        proto_by_port: ProtoByPort::default(),
        own_address: OWN.parse().unwrap(),
    }
}

fn peer(hops: u32) -> ClientAddress {
    ClientAddress::Peer { hops, skip_append: false }
}

fn xff(hops: u32, skip_append: bool) -> ClientAddress {
    ClientAddress::Detected(Box::new([Detection::Xff { trust: XffTrust::Hops(hops), skip_append }]))
}

struct Seen {
    client: Client,
    address: String,
    head: RequestHead,
}

fn seen(how: &Forwarding, from: ConnectionInfo, lines: &[(&str, &str)]) -> Seen {
    let mut head = RequestHead::default();
    for (name, value) in lines {
        head.headers.append(*name, value.as_bytes());
    }
    let mut info = info(from);
    let client = how.apply(&mut head, &mut info).unwrap();
    assert_eq!(info.internal, client.internal);
    Seen { client, address: info.remote_address().ip().unwrap().to_string(), head }
}

#[test]
fn the_client_and_x_forwarded_for_are_as_envoy_has_them() {
    // Configuration, peer, X-Forwarded-For as it came, as it goes on, trusted client.
    for (client, from, came, goes, address) in [
        (peer(0), "127.0.0.1", None, Some(OWN), "127.0.0.1"),
        (peer(0), "127.0.0.1", Some("1.2.3.4"), Some("1.2.3.4,192.0.2.2"), "127.0.0.1"),
        (peer(0), "127.0.0.1", Some(""), Some(OWN), "127.0.0.1"),
        (peer(0), "127.0.0.5", None, Some("127.0.0.5"), "127.0.0.5"),
        (peer(0), "8.8.8.8", Some("1.2.3.4"), Some("1.2.3.4,8.8.8.8"), "8.8.8.8"),
        (peer(0), "2001:db8::7", None, Some("2001:db8::7"), "2001:db8::7"),
        (peer(0), "::1", None, Some(OWN), "::1"),
        (peer(1), "127.0.0.1", Some("1.2.3.4"), Some("1.2.3.4,192.0.2.2"), "1.2.3.4"),
        (peer(1), "127.0.0.1", Some("1.1.1.1,a"), Some("1.1.1.1,a,192.0.2.2"), "127.0.0.1"),
        (
            peer(2),
            "127.0.0.1",
            Some("9.9.9.9, 8.8.8.8, 10.0.0.1"),
            Some("9.9.9.9, 8.8.8.8, 10.0.0.1,192.0.2.2"),
            "8.8.8.8",
        ),
        (peer(2), "127.0.0.1", Some("203.0.113.9"), Some("203.0.113.9,192.0.2.2"), "127.0.0.1"),
        (
            ClientAddress::Peer { hops: 0, skip_append: true },
            "8.8.8.8",
            Some("1.2.3.4"),
            Some("1.2.3.4"),
            "8.8.8.8",
        ),
        (ClientAddress::Peer { hops: 0, skip_append: true }, "8.8.8.8", None, None, "8.8.8.8"),
        (xff(0, true), "127.0.0.1", None, None, "127.0.0.1"),
        (
            xff(0, true),
            "127.0.0.1",
            Some("9.9.9.9, 8.8.8.8, 10.0.0.1"),
            Some("9.9.9.9, 8.8.8.8, 10.0.0.1"),
            "10.0.0.1",
        ),
        (
            xff(1, true),
            "127.0.0.1",
            Some("9.9.9.9, 8.8.8.8, 10.0.0.1"),
            Some("9.9.9.9, 8.8.8.8, 10.0.0.1"),
            "8.8.8.8",
        ),
        (xff(0, true), "127.0.0.1", Some("garbage"), Some("garbage"), "127.0.0.1"),
        (xff(0, false), "127.0.0.1", None, Some(OWN), "127.0.0.1"),
        (xff(0, false), "127.0.0.1", Some("bad"), Some("bad,192.0.2.2"), "127.0.0.1"),
        (xff(0, false), "127.0.0.1", Some("1.1.1.1"), Some("1.1.1.1,192.0.2.2"), "1.1.1.1"),
    ] {
        let lines: Vec<_> = came.map(|v| ("x-forwarded-for", v)).into_iter().collect();
        let seen = seen(&forwarding(client.clone()), connection(from, false), &lines);
        assert_eq!(seen.head.headers.get_str(Known::XForwardedFor), goes, "{client:?} {came:?}");
        assert_eq!(seen.address, address, "{client:?} {came:?}");
    }
}

#[test]
fn only_trusted_addresses_in_the_configured_ranges_are_internal() {
    let ranges =
        InternalAddresses::Ranges { ranges: ranges(&["127.0.0.0", "10.0.0.0"]), unix_sockets: false };
    let private = InternalAddresses::Private { unix_sockets: true };
    // Ranges, configuration, X-Forwarded-For, internal.
    for (internal, client, came, want) in [
        (&ranges, peer(0), None, true),
        (&ranges, peer(0), Some("10.0.0.1"), false),
        (&ranges, peer(0), Some(""), false),
        (&ranges, peer(1), None, true),
        (&ranges, peer(1), Some("10.0.0.1"), false),
        (&ranges, xff(0, true), None, false),
        (&ranges, xff(0, true), Some("10.0.0.1"), true),
        (&ranges, xff(0, true), Some("1.1.1.1"), false),
        (&ranges, xff(0, true), Some("1.1.1.1,10.0.0.1"), false),
        (&ranges, xff(0, true), Some("10.0.0.1,10.0.0.1"), false),
        (&ranges, xff(0, true), Some("10.0.0.1,"), false),
        (&private, peer(0), None, true),
        (&InternalAddresses::None, peer(0), None, false),
    ] {
        let lines: Vec<_> = came.map(|v| ("x-forwarded-for", v)).into_iter().collect();
        let edge = matches!(client, ClientAddress::Peer { .. }) && !want;
        let how = Forwarding { internal: internal.clone(), ..forwarding(client.clone()) };
        let seen = seen(&how, connection("127.0.0.1", false), &lines);
        assert_eq!(seen.client, Client { internal: want, edge }, "{client:?} {came:?}");
    }
}

#[test]
fn a_peer_on_a_unix_socket_is_internal_when_asked_for_and_leaves_no_address() {
    for unix_sockets in [false, true] {
        let how = Forwarding { internal: InternalAddresses::Private { unix_sockets }, ..forwarding(peer(0)) };
        let mut from = connection("127.0.0.1", false);
        from.remote = Address::Pipe("@x".into());
        let (mut head, mut info) = (RequestHead::default(), info(from));
        assert_eq!(how.apply(&mut head, &mut info).unwrap().internal, unix_sockets);
        assert!(!head.headers.contains(Known::XForwardedFor));
    }
}

#[test]
fn proto_scheme_and_port_follow_the_connection_or_what_came() {
    // Client, TLS, X-Forwarded-Proto as it came and goes on, `:scheme`.
    for (client, tls, came, proto, scheme) in [
        (peer(0), false, Some("https"), "http", "http"),
        (peer(0), true, Some("http"), "https", "https"),
        (peer(1), false, Some("https"), "https", "https"),
        (peer(1), false, Some("weird"), "weird", "http"),
        (peer(1), false, None, "http", "http"),
        (xff(0, true), false, Some("https"), "https", "https"),
        (xff(0, true), false, Some("HTTPS"), "HTTPS", "https"),
        (xff(0, true), false, Some("weird"), "weird", "http"),
        (xff(0, true), true, Some("ftp"), "ftp", "https"),
        (xff(0, true), false, Some(""), "", "http"),
        (xff(0, true), false, Some("https,http"), "https,http", "http"),
        (xff(0, true), true, None, "https", "https"),
    ] {
        let lines: Vec<_> = came.map(|v| ("x-forwarded-proto", v)).into_iter().collect();
        let seen = seen(&forwarding(client.clone()), connection("127.0.0.1", tls), &lines);
        assert_eq!(seen.head.headers.get_str(Known::XForwardedProto), Some(proto), "{client:?} {came:?}");
        assert_eq!(seen.head.scheme(), scheme.as_bytes(), "{client:?} {came:?}");
    }
}

#[test]
fn a_scheme_that_came_stays_in_lower_case_unless_it_is_overwritten() {
    let lines = [(":scheme", "HTTPS"), ("x-forwarded-proto", "http")];
    let keep = seen(&forwarding(xff(0, true)), connection("127.0.0.1", false), &lines);
    assert_eq!(keep.head.scheme(), b"https");
    assert_eq!(keep.head.headers.get_str(Known::XForwardedProto), Some("http"));
    let scheme = SchemeTransformation { overwrite: Some(Scheme::Https), match_upstream: false };
    let how = Forwarding { scheme, ..forwarding(peer(0)) };
    let overwritten = seen(&how, connection("127.0.0.1", false), &[(":scheme", "http")]);
    assert_eq!(overwritten.head.scheme(), b"https");
    assert_eq!(overwritten.head.headers.get_str(Known::XForwardedProto), Some("https"));
}

#[test]
fn the_local_port_is_told_when_asked_for() {
    for (client, came, goes) in [
        (peer(0), None, "10000"),
        (peer(0), Some("9"), "10000"),
        (peer(1), Some("9"), "9"),
        (peer(1), Some(""), ""),
        (peer(1), None, "10000"),
        (xff(0, true), Some("9"), "9"),
        (xff(0, true), None, "10000"),
    ] {
        let how = Forwarding { append_port: true, ..forwarding(client.clone()) };
        let lines: Vec<_> = came.map(|v| ("x-forwarded-port", v)).into_iter().collect();
        let seen = seen(&how, connection("127.0.0.1", false), &lines);
        assert_eq!(seen.head.headers.get_str(Known::XForwardedPort), Some(goes), "{client:?} {came:?}");
    }
}

#[test]
fn the_first_detection_that_finds_an_address_wins_and_one_may_refuse() {
    let custom = |reject| Detection::CustomHeader { name: "x-real-ip".into(), trusted: false, reject };
    let list = Detection::Xff { trust: XffTrust::Hops(0), skip_append: true };
    let how = forwarding(ClientAddress::Detected(Box::new([custom(None), list])));
    for (lines, want) in [
        (&[("x-real-ip", "2.2.2.2"), ("x-forwarded-for", "1.1.1.1")][..], "2.2.2.2"),
        (&[("x-forwarded-for", "1.1.1.1")], "1.1.1.1"),
        (&[], "127.0.0.1"),
    ] {
        assert_eq!(seen(&how, connection("127.0.0.1", false), lines).address, want);
    }
    let how = forwarding(ClientAddress::Detected(Box::new([custom(Some(403))])));
    let mut info = info(connection("127.0.0.1", false));
    let reply = how.apply(&mut RequestHead::default(), &mut info).unwrap_err();
    assert_eq!((reply.status, &*reply.details), (403, "rejecting_because_detection_failed"));
}

#[test]
fn addresses_are_written_as_the_standard_library_writes_them() {
    for ip in [
        "0.0.0.0",
        "255.255.255.255",
        "100.10.1.0",
        "1.2.3.4",
        "10.20.30.40",
        "127.0.0.1",
        "199.100.99.255",
        "::",
        "fe80::1",
        "::ffff:1.2.3.4",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        let line = IpLine::new(b"x-envoy-external-address", ip);
        assert_eq!(line.value(), ip.to_string().as_bytes());
        assert_eq!(line.line(), format!("x-envoy-external-address: {ip}\r\n").as_bytes());
    }
}

#[test]
fn the_port_of_a_restored_destination_tells_the_scheme() {
    let how = Forwarding {
        proto_by_port: ProtoByPort { https: Box::new([443]), http: Box::new([80, 443]) },
        ..forwarding(peer(0))
    };
    for (restored, port, tls, want) in [
        (true, 443, false, "https"),
        (true, 80, true, "http"),
        (true, 81, false, "http"),
        (true, 81, true, "https"),
        (false, 443, false, "http"),
    ] {
        let mut from = connection("127.0.0.1", tls);
        from.local = Address::Ip(([6, 6, 6, 6], port).into());
        if !restored {
            from.direct_local = from.local.clone();
        }
        let seen = seen(&how, from, &[]);
        assert_eq!(seen.head.headers.get_str(Known::XForwardedProto), Some(want), "{restored} {port} {tls}");
        assert_eq!(seen.head.scheme(), want.as_bytes());
    }
}
