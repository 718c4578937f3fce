use super::*;
use crate::route::tests::unread;

fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new();
    head.headers.append(Known::Path, path.as_bytes());
    head.headers.append(Known::Authority, b"ex.com");
    for (name, value) in headers {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

fn regex(pattern: &str, substitution: &str) -> Box<RegexRewrite> {
    Box::new(RegexRewrite::new(pattern, substitution).unwrap())
}

#[test]
fn paths_are_rewritten_as_envoy_does_and_the_old_one_kept() {
    let prefix = |to: &str| PathRewrite::Prefix(to.into());
    for (rewrite, matched, path, want) in [
        (prefix("/P"), Matched::Bytes(5), "/pre/aab/c?q=a", "/Paab/c?q=a"),
        (prefix("/other"), Matched::Bytes(6), "/exact?q", "/other?q"),
        (prefix("/E"), Matched::Bytes(6), "/exact;v=1?q", "/E;v=1?q"),
        (prefix("/other"), Matched::Whole, "/rx/y?q=1", "/other?q=1"),
        (prefix("/"), Matched::Bytes(3), "/sp/a?b", "//a?b"),
        (prefix("/root/"), Matched::Bytes(1), "/x?y", "/root/x?y"),
        (PathRewrite::Regex(regex("a", r"[\0]")), Matched::Whole, "/re/aab/c?q=a", "/re/[a][a]b/c?q=a"),
        (
            PathRewrite::Regex(regex("/reg/([^/]+)/(.*)", r"/\2/\1")),
            Matched::Whole,
            "/reg/aab/c?q=a",
            "/c/aab?q=a",
        ),
        (PathRewrite::Regex(regex("b*", "-")), Matched::Whole, "/aab/?q", "-/-a-a-/-?q"),
        (PathRewrite::Regex(regex("^.*$", "x")), Matched::Whole, "/h2/aab?q=a", "x?q=a"),
    ] {
        let mut h = head(path, &[]);
        rewrite.apply(&mut h, matched, true, unread);
        assert_eq!(h.path(), want.as_bytes(), "{path}");
        assert_eq!(h.headers.get(Known::XEnvoyOriginalPath), Some(path.as_bytes()), "{path}");
        let mut h = head(path, &[]);
        rewrite.apply(&mut h, matched, false, unread);
        assert!(!h.headers.contains(Known::XEnvoyOriginalPath));
    }
}

#[test]
fn a_regex_rewrite_that_leaves_nothing_changes_nothing() {
    let mut h = head("/tohash/a?q", &[]);
    PathRewrite::Regex(regex("^.*$", "")).apply(&mut h, Matched::Whole, true, unread);
    assert_eq!(h.path(), b"/tohash/a?q");
    assert!(!h.headers.contains(Known::XEnvoyOriginalPath));
}

#[test]
fn hosts_are_rewritten_from_a_text_a_header_or_the_path() {
    for (rewrite, path, headers, want) in [
        (HostRewrite::Literal("h.new".into()), "/", &[][..], "h.new"),
        (HostRewrite::Header(HeaderName::new("x-h")), "/", &[("x-h", "a1"), ("x-h", "a2")], "a1"),
        (HostRewrite::PathRegex(regex("^/hpr/([^/]+).*$", r"\1")), "/hpr/aab/c?q", &[], "aab"),
        (HostRewrite::PathRegex(regex("nomatch", "z")), "/hpn/a?q", &[], "/hpn/a"),
    ] {
        let mut h = head(path, headers);
        rewrite.apply(&mut h, true, true, unread);
        assert_eq!(h.authority(), want.as_bytes());
        assert_eq!(h.headers.get(Known::XEnvoyOriginalHost), Some(&b"ex.com"[..]));
        assert_eq!(h.headers.get(Known::XForwardedHost), Some(&b"ex.com"[..]));
    }
}

#[test]
fn an_empty_host_changes_nothing() {
    for (rewrite, headers) in [
        (HostRewrite::Header(HeaderName::new("x-h")), &[][..]),
        (HostRewrite::Header(HeaderName::new("x-h")), &[("x-h", "")]),
        (HostRewrite::PathRegex(regex("^(.*)(z?)$", r"\2")), &[]),
    ] {
        let mut h = head("/a", headers);
        rewrite.apply(&mut h, true, true, unread);
        assert_eq!(h.authority(), b"ex.com");
        assert!(!h.headers.contains(Known::XEnvoyOriginalHost) && !h.headers.contains(Known::XForwardedHost));
    }
}

#[test]
fn the_old_host_is_appended_unless_it_is_the_last_already() {
    for (before, after) in [
        ("ex.com", "ex.com"),
        ("a,ex.com", "a,ex.com"),
        ("ex.com,b", "ex.com,b,ex.com"),
        ("a, ex.com", "a, ex.com,ex.com"),
        ("", "ex.com"),
    ] {
        let mut h = head("/a", &[("x-forwarded-host", before)]);
        set_authority(&mut h, b"new", true, false);
        assert_eq!(h.headers.get(Known::XForwardedHost), Some(after.as_bytes()), "{before}");
        assert!(!h.headers.contains(Known::XEnvoyOriginalHost));
    }
}

#[test]
fn a_prefix_that_was_matched_without_parameters_is_replaced_only_where_the_path_has_it() {
    for (path, matched, want) in [
        ("/a/b;q?x", Matched::Bytes(4), "/n;q?x"),
        ("/a;p/b", Matched::Bytes(4), "/a;p/b"),
        ("/a;p/b", Matched::Bytes(2), "/n;p/b"),
        ("/a;p/b", Matched::Whole, "/n"),
        ("/a/b", Matched::Whole, "/n"),
    ] {
        let mut h = head(path, &[]);
        PathRewrite::Prefix("/n".into()).apply(&mut h, matched.without_parameters(), false, unread);
        assert_eq!(h.path(), want.as_bytes(), "{path}");
    }
}
