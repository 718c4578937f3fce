use super::*;

fn head(lines: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    for (name, value) in lines {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

fn lines(head: &RequestHead) -> Vec<String> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    head.headers.iter().map(|(n, v)| format!("{}: {}", text(n.as_bytes()), text(v))).collect()
}

#[test]
fn hop_by_hop_headers_go_and_what_only_looks_like_one_stays() {
    let mut head = head(&[
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("proxy-authenticate", "q"),
        ("proxy-authorization", "w"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("connection", "keep-alive"),
        ("x-envoy-internal", "true"),
        ("upgrade-insecure-requests", "1"),
    ]);
    hop_by_hop(&mut head);
    let want =
        ["proxy-authenticate: q", "proxy-authorization: w", "trailer: x", "upgrade-insecure-requests: 1"];
    assert_eq!(lines(&head), want);
}

#[test]
fn an_upgrade_request_keeps_the_two_headers_that_make_it_one() {
    for (connection, upgrade, kept) in [
        ("upgrade", "websocket", true),
        ("Upgrade, x-a", "WebSocket", true),
        ("keep-alive, Upgrade", "websocket", true),
        ("upgrade", "websocket, h2c", true),
        ("keep-alive", "websocket", false),
        ("Upgrade, HTTP2-Settings", "h2c", false),
        ("upgradex", "websocket", false),
    ] {
        let mut head = head(&[("connection", connection), ("upgrade", upgrade)]);
        hop_by_hop(&mut head);
        assert_eq!(head.headers.contains(Known::Connection), kept, "{connection} {upgrade}");
        assert_eq!(head.headers.contains(Known::Upgrade), kept, "{connection} {upgrade}");
    }
    let mut alone = head(&[("connection", "upgrade")]);
    hop_by_hop(&mut alone);
    assert_eq!(lines(&alone), [""; 0]);
}

#[test]
fn te_is_reduced_to_trailers() {
    for (te, want) in [
        ("trailers", Some("trailers")),
        ("gzip", None),
        ("trailers, gzip", Some("trailers")),
        ("gzip;q=0.5, trailers", Some("trailers")),
        ("Trailers", None),
        ("trailers;q=0.5", None),
        ("", Some("")),
    ] {
        let mut head = head(&[("te", te)]);
        hop_by_hop(&mut head);
        assert_eq!(head.headers.get_str(Known::Te), want, "{te}");
    }
}

#[test]
fn a_referer_stays_where_envoy_lets_it() {
    let keeps = [
        "http://a/b",
        "https://a",
        "ftp://a",
        "a",
        "/x",
        "",
        "HTTP://a/b",
        "http://a/%zz",
        "http://[::1]/",
        "android-app://x",
        "//a/b",
        "a+b://x/y",
        "a.b://x",
        "http://a/\"",
        "http://a/<",
        "http://a/[x]",
        "http://a/\\",
        "http://a?x",
        "http://a:80",
        "http://a:080/",
        "http://a:65535",
        "http://.",
        "http://-",
        "http://[::1]:80",
        "http://a/?#",
        "http://@a/",
        "a/b:c",
        "./a:b",
        "?a",
        "/a?b:c",
        "/a'b",
        "a%zz",
        "~!$&()*+,;=@",
        "*",
        "HTTPS://A/B?c=d&e=%20",
        "//",
        "///",
        "/",
    ];
    let drops = [
        "http://a b",
        "http://",
        "about:blank",
        "http:/a",
        "http://a:99999/",
        "http://u:p@a/",
        "http://a/x#f",
        "http://é/",
        "http://a:b/",
        "http://a/b?c d",
        "1a://x",
        "-a://x",
        "a_b://x",
        "http://a_b/",
        "http://a:",
        "http:///x",
        "http://*",
        "http://a,b",
        "http://a%41",
        "http://[::1",
        "http://[x]",
        "http://[fe80::1%25e]/",
        "a:b",
        "?a:b",
        "a?b:c",
        "/a\"b",
        "/a<b",
        "/a b",
        "/a\\b",
        "/a^b",
        "/a`b",
        "/a{b",
        "/a|b",
        "/a[b]",
        "/é",
        "http://a/é",
        "http:a",
        "https:",
        "mailto:x",
        "://a",
        "http://a;b/",
        "http://a~b",
        "data:text/html,x",
        "http://a/x?y#z",
        "/x#z",
    ];
    for (values, stays) in [(&keeps[..], true), (&drops[..], false)] {
        for value in values {
            assert_eq!(referer_is_valid(value.as_bytes()), stays, "{value}");
        }
    }
    let mut twice = head(&[("referer", "http://a"), ("referer", "http://a")]);
    hop_by_hop(&mut twice);
    assert_eq!(lines(&twice), [""; 0]);
}

#[test]
fn steering_headers_go_by_who_sent_them() {
    let all: Vec<(&str, &str)> =
        EXTERNAL.iter().chain(EDGE).map(|k| (k.as_str(), "1")).chain([("x-envoy-custom", "1")]).collect();
    let left = |internal, edge| {
        let mut head = head(&all);
        steering(&mut head, Client { internal, edge });
        head.headers.len()
    };
    assert_eq!(left(true, false), all.len());
    assert_eq!(left(false, false), EDGE.len() + 1);
    assert_eq!(left(false, true), 1);
}
