use super::*;
use crate::route::tests::unread;

fn redirect() -> RedirectAction {
    RedirectAction {
        status: 301,
        scheme: "".into(),
        host: "".into(),
        port: "".into(),
        path: NewPath::Literal("".into()),
        rewrite: None,
        strip_query: false,
    }
}

fn head(host: &str, forwarded: &str, path: &str) -> RequestHead {
    let mut head = RequestHead::new();
    for (name, value) in [
        (Known::Path, path),
        (Known::Authority, host),
        (Known::Scheme, forwarded),
        (Known::XForwardedProto, forwarded),
    ] {
        head.headers.append(name, value.as_bytes());
    }
    head
}

fn location(action: &RedirectAction, head: &RequestHead) -> String {
    let mut out = Vec::new();
    action.write_location(head, unread, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_default_port_goes_when_the_scheme_changes() {
    let to = |scheme: &str| RedirectAction { scheme: scheme.into(), ..redirect() };
    for (action, host, forwarded, want) in [
        (to("https"), "ex.com:80", "http", "https://ex.com/a"),
        (to("ftp"), "ex.com:80", "http", "ftp://ex.com/a"),
        (to("http"), "ex.com:80", "http", "http://ex.com:80/a"),
        (to("https"), "ex.com:443", "http", "https://ex.com:443/a"),
        (to("https"), "ex.com:81", "http", "https://ex.com:81/a"),
        (to("https"), "[::1]:80", "http", "https://[::1]/a"),
        (to("https"), "[::1]", "http", "https://[::1]/a"),
        (to("https"), "EX.com", "http", "https://EX.com/a"),
        (to("https"), "ex.com:80", "https", "https://ex.com:80/a"),
        (to("http"), "ex.com:443", "https", "http://ex.com/a"),
        (redirect(), "ex.com:80", "http", "http://ex.com:80/a"),
    ] {
        assert_eq!(location(&action, &head(host, forwarded, "/a")), want, "{host} {forwarded}");
    }
}

#[test]
fn every_part_is_swapped_alone() {
    let port = |p: &str| RedirectAction { port: p.into(), ..redirect() };
    let h = head("ex.com:80", "http", "/x?q=1");
    assert_eq!(location(&port(":8443"), &h), "http://ex.com:8443/x?q=1");
    assert_eq!(
        location(&RedirectAction { scheme: "https".into(), ..port(":443") }, &h),
        "https://ex.com:443/x?q=1"
    );
    assert_eq!(
        location(&RedirectAction { host: "new.com".into(), ..redirect() }, &h),
        "http://new.com/x?q=1"
    );
    assert_eq!(
        location(&RedirectAction { host: "new.com".into(), ..port(":99") }, &h),
        "http://new.com:99/x?q=1"
    );
}

#[test]
fn a_query_in_the_new_path_wins_and_stays() {
    let path =
        |p: &str, strip_query| RedirectAction { path: NewPath::Literal(p.into()), strip_query, ..redirect() };
    for (action, want) in [
        (path("/np", false), "http://ex.com/np?q=1?r"),
        (path("/np?z=1", false), "http://ex.com/np?z=1"),
        (path("/np?z=1", true), "http://ex.com/np?z=1"),
        (path("/np", true), "http://ex.com/np"),
        (path("/a#b", false), "http://ex.com/a#b?q=1?r"),
        (path("n", false), "http://ex.com/n?q=1?r"),
        (path("?n", false), "http://ex.com/?n"),
        (path("//n", true), "http://ex.com//n"),
        (path("", true), "http://ex.com/x"),
        (path("", false), "http://ex.com/x?q=1?r"),
    ] {
        assert_eq!(location(&action, &head("ex.com", "http", "/x?q=1?r")), want);
    }
}

#[test]
fn a_path_that_a_rewrite_left_without_its_slash_gets_one() {
    assert_eq!(location(&redirect(), &head("ex.com", "http", "x/z?q")), "http://ex.com/x/z?q");
}

#[test]
fn require_tls_keeps_the_port() {
    let mut out = Vec::new();
    write_tls_url(&head("tls.com:80", "http", "/a?b"), &mut out);
    assert_eq!(out, b"https://tls.com:80/a?b");
}
