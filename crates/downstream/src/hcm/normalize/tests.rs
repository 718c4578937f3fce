use super::*;
use nuncio_codec::head::Version;

fn head(method: &str, path: &str, host: Option<&str>) -> RequestHead {
    let mut head = RequestHead { version: Version::Http11, ..RequestHead::default() };
    head.headers.append(Known::Method, method.as_bytes());
    head.headers.append(Known::Path, path.as_bytes());
    if let Some(host) = host {
        head.headers.append(Known::Authority, host.as_bytes());
    }
    head
}

/// What becomes of a path: the new one, `STATUS` or `STATUS LOCATION`.
fn outcome(how: &Normalization, head: &mut RequestHead) -> String {
    match how.apply(head, Some(80)) {
        Ok(_) => String::from_utf8_lossy(head.path()).into_owned(),
        Err(refusal) => {
            let reply = refusal.into_reply();
            assert_eq!(reply.details, "path_normalization_failed");
            match reply.headers.first() {
                Some((name, value)) => {
                    assert_eq!(name, "location");
                    format!("{} {}", reply.status, String::from_utf8_lossy(value))
                }
                None => reply.status.to_string(),
            }
        }
    }
}

#[track_caller]
fn paths(how: Normalization, rows: &[(&str, &str)]) {
    for (path, want) in rows {
        assert_eq!(outcome(&how, &mut head("GET", path, Some("a"))), *want, "{path}");
    }
}

const NORMALIZE: Normalization = Normalization {
    path: true,
    merge_slashes: false,
    escaped_slashes: EscapedSlashes::KeepUnchanged,
    strip_trailing_host_dot: false,
    host_port: HostPort::Keep,
};
const NOTHING: Normalization = Normalization { path: false, ..NORMALIZE };

#[test]
fn without_configuration_only_a_fragment_is_refused() {
    paths(
        NOTHING,
        &[
            ("/", "/"),
            ("/a/../b", "/a/../b"),
            ("/%00", "/%00"),
            ("//", "//"),
            ("/a%2f..\\b", "/a%2f..\\b"),
            ("/a#b", "400"),
            ("/a?b?../c#d", "400"),
        ],
    );
}

#[test]
fn dot_segments_are_resolved_as_envoy_resolves_them() {
    paths(
        NORMALIZE,
        &[
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/b/%2e./c", "/a/c"),
            ("/%2e%2e/%2e%2e/x", "/x"),
            ("/a/.", "/a/"),
            ("/a/%2e", "/a/"),
            ("/a/..", "/"),
            ("/a/%2e%2e", "/"),
            ("/a/../", "/"),
            ("/..", "/"),
            ("/.", "/"),
            ("/a/./b", "/a/b"),
            ("/a/b/../../../c", "/c"),
            ("/a/b/..//c", "/a//c"),
            ("/a//../b", "/a/b"),
            ("//..//a", "//a"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/...", "/a/..."),
            ("/a/.b/..c", "/a/.b/..c"),
        ],
    );
}

#[test]
fn escapes_of_unreserved_characters_are_decoded_once_and_others_stay() {
    paths(
        NORMALIZE,
        &[
            ("/%7e%41%2d", "/~A-"),
            ("/%30%5A%5f", "/0Z_"),
            ("/%65xact", "/exact"),
            ("/%2f%2F%5c", "/%2f%2F%5c"),
            ("/a%00b", "400"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%zz", "/a%zz"),
            ("/%%", "/%%"),
            ("/a/%u0041", "/a/%u0041"),
            ("/%25%32%65", "/%252e"),
            ("/%%32e/x", "/%252e/x"),
            ("/%2%65/x", "/%252e/x"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%25%32f", "/%252f"),
            ("/a%c3%a9", "/a%c3%a9"),
            ("/%C3%28", "/%C3%28"),
            ("/%01", "/%01"),
            ("/%7f", "/%7f"),
            ("/%3f", "/%3f"),
            ("/%23", "/%23"),
            ("/%5b%5d", "/%5b%5d"),
            ("/%21%24%26%27%28%29%2a%2b%2c%3b%3d%3a%40", "/%21%24%26%27%28%29%2a%2b%2c%3b%3d%3a%40"),
            ("/a/%2E%2E%2Fb", "/a/..%2Fb"),
            ("/a/%2f..%2fb", "/a/%2f..%2fb"),
        ],
    );
}

#[test]
fn what_must_be_escaped_is_and_a_backslash_is_a_slash() {
    paths(
        NORMALIZE,
        &[
            ("/a\"<>^`{|}", "/a%22%3C%3E%5E%60%7B%7C%7D"),
            ("/a%22%3c%3e%5e%60%7b%7c%7d%20", "/a%22%3c%3e%5e%60%7b%7c%7d%20"),
            ("/[a]'", "/[a]'"),
            ("/!$&'()*+,;=:@-._~", "/!$&'()*+,;=:@-._~"),
            ("/a\\b", "/a/b"),
            ("/a\\..\\b", "/b"),
            ("/\\\\a", "///a"),
            ("/a\\%5c", "/a/%5c"),
            ("/é", "/%C3%A9"),
        ],
    );
    let mut bytes = head("GET", "/", Some("a"));
    bytes.headers.set(Known::Path, b"/\x80\xff");
    assert_eq!(outcome(&NORMALIZE, &mut bytes), "/%80%FF");
}

#[test]
fn parameters_of_dot_segments_go_and_all_others_stay() {
    paths(
        NORMALIZE,
        &[
            ("/foo/..;/exact", "/exact"),
            ("/a/b/..;x/c", "/a/c"),
            ("/a/.;y/b", "/a/b"),
            ("/a/..;", "/"),
            ("/..;", "/"),
            ("/.;", "/"),
            ("/a/.;x", "/a/"),
            ("/a/..;/..;/b", "/b"),
            ("/a/..;a;b/c", "/c"),
            ("/x/..;?q", "/?q"),
            ("/a/..;?a;b", "/?a;b"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/a/;x/b", "/a/;x/b"),
            ("/a/...;x/b", "/a/...;x/b"),
            ("/a/b;..;/c", "/a/b;..;/c"),
            ("/a;/../b", "/b"),
            ("/;/../x", "/x"),
            ("/a;..", "/a;.."),
            ("/a/%2e;x/b", "/a/.;x/b"),
            ("/a/..%3bx/b", "/a/..%3bx/b"),
            ("/a/%2e%2e%3bx/b", "/a/..%3bx/b"),
            ("/a/..\\..;x\\b", "/..;x/b"),
        ],
    );
}

#[test]
fn the_query_is_never_touched() {
    paths(
        Normalization { merge_slashes: true, escaped_slashes: EscapedSlashes::RejectRequest, ..NORMALIZE },
        &[
            ("/a?x=%41/../b//c\\d%2f%00", "/a?x=%41/../b//c\\d%2f%00"),
            ("/a/../b?/../x//", "/b?/../x//"),
            ("/a?", "/a?"),
            ("/?", "/?"),
            ("/??", "/??"),
        ],
    );
}

#[test]
fn slashes_are_merged_after_normalisation_and_only_in_the_path() {
    paths(
        Normalization { merge_slashes: true, ..NOTHING },
        &[
            ("//", "//"),
            ("///", "//"),
            ("/", "/"),
            ("///a//b///", "/a/b/"),
            ("/a//?x=//y", "/a/?x=//y"),
            ("/a//../b", "/a/../b"),
            ("/a%2f/b", "/a%2f/b"),
            ("/a\\\\b", "/a\\\\b"),
            ("/a#//", "400"),
        ],
    );
    paths(
        Normalization { merge_slashes: true, ..NORMALIZE },
        &[
            ("//a/./../b//c?x=//y", "/b/c?x=//y"),
            ("/a\\\\b", "/a/b"),
            ("/a//..//b", "/a/b"),
            ("/..//..//", "//"),
            ("/a%00", "400"),
        ],
    );
}

#[test]
fn escaped_slashes_are_kept_refused_redirected_or_decoded() {
    let how = |escaped_slashes, path| Normalization { path, merge_slashes: path, escaped_slashes, ..NOTHING };
    for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/%2f%2f?q=1", "/a%2fb#x", "/a%2f%2e%2e"] {
        let reject = how(EscapedSlashes::RejectRequest, false);
        assert_eq!(outcome(&reject, &mut head("GET", path, Some("a"))), "400", "{path}");
    }
    paths(
        how(EscapedSlashes::RejectRequest, true),
        &[("/a%2", "/a%2"), ("/a%252fb", "/a%252fb"), ("/a?x=%2f", "/a?x=%2f"), ("/%25%32f", "/%252f")],
    );
    paths(
        how(EscapedSlashes::UnescapeAndRedirect, false),
        &[
            ("/a%2fb", "307 /a/b"),
            ("/a%5Cb", "307 /a\\b"),
            ("/a%2f..%2fb", "307 /a/../b"),
            ("/%2f%2f?q=1", "307 ///?q=1"),
            ("/a%2f%2e%2e", "307 /a/%2e%2e"),
            ("/a/../b", "/a/../b"),
            ("/a%2fb#x", "400"),
        ],
    );
    paths(
        how(EscapedSlashes::UnescapeAndRedirect, true),
        &[
            ("/a%2f..%2fb", "307 /b"),
            ("/a/../b%5Cc", "307 /b/c"),
            ("/a%2f/b", "307 /a/b"),
            ("/a%00%2f", "400"),
            ("/%2e%2e%2f", "307 /"),
            ("/a%2f..;x/b", "307 /b"),
            ("/a/../b", "/b"),
        ],
    );
    paths(
        how(EscapedSlashes::UnescapeAndForward, true),
        &[("/a%2fb", "/a/b"), ("/a%2f..%2fb", "/b"), ("/a%5c..%5cb", "/b"), ("/a%2f..;x/b", "/b")],
    );
    paths(
        how(EscapedSlashes::UnescapeAndForward, false),
        &[("/a%5cb", "/a\\b"), ("/%2f%2f?q=1", "///?q=1"), ("/a%2f..%2fb", "/a/../b")],
    );
}

#[test]
fn a_refused_path_is_logged_with_its_slashes_decoded() {
    let how = Normalization { escaped_slashes: EscapedSlashes::RejectRequest, ..NOTHING };
    for (path, logged) in
        [("/a%2fb?x=%2f", "/a/b?x=%2f"), ("/a%5C%2e%2e%2fb", "/a\\%2e%2e/b"), ("/a#%2f", "/a#%2f")]
    {
        let mut head = head("GET", path, Some("a"));
        assert_eq!(outcome(&how, &mut head), "400");
        assert_eq!(head.path(), logged.as_bytes());
    }
    let mut nul = head("GET", "/b/../a%00", Some("a"));
    assert_eq!(outcome(&NORMALIZE, &mut nul), "400");
    assert_eq!(nul.path(), b"/b/../a%00");
}

#[test]
fn grpc_is_refused_where_others_are_redirected() {
    let how = Normalization { escaped_slashes: EscapedSlashes::UnescapeAndRedirect, ..NOTHING };
    let mut grpc = head("POST", "/a%2fb", Some("a"));
    grpc.headers.append(Known::ContentType, b"application/grpc");
    assert!(
        matches!(how.apply(&mut grpc, None), Err(Refusal::FailedPathNormalization(r)) if r.status == 400)
    );
}

#[test]
fn normalising_twice_changes_nothing_more() {
    let how = Normalization { merge_slashes: true, ..NORMALIZE };
    for path in
        ["/a/../b", "/%%32e/x", "/a\\..\\b", "//a/./../b//c?x=//y", "/a/b/..;x/c", "/%7e\"", "/..//..//"]
    {
        let mut once = head("GET", path, Some("a"));
        let first = outcome(&how, &mut once);
        assert_eq!(outcome(&how, &mut head("GET", &first, Some("a"))), first, "{path}");
    }
}

#[test]
fn hosts_lose_their_dot_and_their_port_as_configured() {
    let any = Normalization { host_port: HostPort::StripAny, ..NOTHING };
    let dot = Normalization { strip_trailing_host_dot: true, ..NOTHING };
    let both = Normalization { strip_trailing_host_dot: true, ..any };
    // Host, without port, without dot, without both.
    for (host, no_port, no_dot, neither) in [
        ("a", "a", "a", "a"),
        ("a:80", "a", "a:80", "a"),
        ("a:", "a:", "a:", "a:"),
        ("a.", "a.", "a", "a"),
        ("a.:80", "a.", "a:80", "a"),
        ("a.:", "a.:", "a:", "a:"),
        ("a.:99999", "a.", "a:99999", "a"),
        ("a:65536", "a", "a:65536", "a"),
        ("a:00080", "a", "a:00080", "a"),
        ("a:+80", "a", "a:+80", "a"),
        ("a:PORT", "a:PORT", "a:PORT", "a:PORT"),
        ("a:8x", "a:8x", "a:8x", "a:8x"),
        ("[::1]", "[::1]", "[::1]", "[::1]"),
        ("[::1]:80", "[::1]", "[::1]:80", "[::1]"),
        ("[::1]:", "[::1]:", "[::1]:", "[::1]:"),
        ("[::1].:80", "[::1].", "[::1]:80", "[::1]"),
        ("[::1.]:80", "[::1.]", "[::1.]:80", "[::1.]"),
        ("::1", ":", "::1", ":"),
        ("a:80:90", "a:80", "a:80:90", "a:80"),
        ("A.B", "A.B", "A.B", "A.B"),
        ("a..", "a..", "a.", "a."),
        (".", ".", "", ""),
        ("", "", "", ""),
        (":80", "", ":80", ""),
        ("..:80", "..", ".:80", "."),
    ] {
        for (how, want) in [(&any, no_port), (&dot, no_dot), (&both, neither), (&NOTHING, host)] {
            let mut head = head("GET", "/", Some(host));
            how.apply(&mut head, Some(80)).unwrap();
            assert_eq!(head.authority(), want.as_bytes(), "{host} {how:?}");
        }
    }
}

#[test]
fn a_matching_port_goes_and_another_stays() {
    let how = Normalization { host_port: HostPort::StripMatching, ..NOTHING };
    for (host, local, want, port) in
        [("a:80", Some(80), "a", Some(80)), ("a:81", Some(80), "a:81", None), ("a:80", None, "a:80", None)]
    {
        let mut head = head("GET", "/", Some(host));
        assert_eq!(how.apply(&mut head, local), Ok(port), "{host}");
        assert_eq!(head.authority(), want.as_bytes());
    }
}

#[test]
fn requests_without_host_or_path_are_answered_as_envoy_answers_them() {
    let row = |head: &mut RequestHead| {
        let refusal = NORMALIZE.apply(head, None).map_err(|r| (matches!(r, Refusal::NonRelativePath(_)), r));
        refusal.map_err(|(counts, r)| {
            let reply = r.into_reply();
            (reply.status, reply.details.into_owned(), counts)
        })
    };
    let refused = |status, details: &str, counts| Err((status, details.to_owned(), counts));
    assert_eq!(row(&mut head("GET", "/", None)), refused(400, "missing_host_header", false));
    assert_eq!(row(&mut head("GET", "/", Some(""))), Ok(None));
    assert_eq!(row(&mut head("GET", "", Some("a"))), refused(404, "missing_path_rejected", true));
    assert_eq!(row(&mut head("GET", "?q", Some("a"))), refused(404, "absolute_path_rejected", true));
    assert_eq!(row(&mut head("OPTIONS", "*", Some("a"))), refused(404, "absolute_path_rejected", true));
    assert_eq!(row(&mut head("QUERY", "/", Some("a"))), refused(400, "query_missing_content_type", false));
    let mut query = head("QUERY", "/", Some("a"));
    query.headers.append(Known::ContentType, b"x");
    assert_eq!(row(&mut query), Ok(None));
    let mut connect = head("CONNECT", "", Some("a:443"));
    connect.headers.remove(Known::Path);
    assert_eq!(row(&mut connect), Ok(None));
}

#[test]
fn authorities_hold_the_characters_that_envoy_allows() {
    for good in ["a", "a:80", "[::1]:80", "a%41", "a,b;c=d", "a!b'c(d)", "a$&+b", "a~b_c", "u@a", "*", ""] {
        assert!(authority_is_valid(good.as_bytes()), "{good}");
    }
    for bad in
        ["a/b", "a?b", "a#b", "a<b", "a\"b", "a\\b", "a^b", "a`b", "a{b", "a|b", "a b", "a\tb", "é", "a\0"]
    {
        assert!(!authority_is_valid(bad.as_bytes()), "{bad}");
    }
}
/// Paths made by chance from dots, slashes, escapes and parameters, each with what Envoy 1.40 did: the letters of
/// the configuration, the path, the status, the path in the log, the location.
const OBSERVED: &str = include_str!("observed.tsv");

#[test]
fn paths_made_by_chance_end_as_they_did_in_envoy() {
    for row in OBSERVED.lines() {
        let [letters, path, status, logged, location] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let escaped_slashes = match letters {
            l if l.contains('f') => EscapedSlashes::UnescapeAndForward,
            l if l.contains('r') => EscapedSlashes::UnescapeAndRedirect,
            l if l.contains('j') => EscapedSlashes::RejectRequest,
            _ => EscapedSlashes::KeepUnchanged,
        };
        let (path_too, merge_slashes) = (letters.contains('n'), letters.contains('m'));
        let how = Normalization { path: path_too, merge_slashes, escaped_slashes, ..NOTHING };
        let mut head = head("GET", path, Some("a"));
        let got = match how.apply(&mut head, None) {
            Ok(_) => ("200".to_owned(), "-".to_owned()),
            Err(refusal) => {
                let reply = refusal.into_reply();
                let location = reply.headers.first().map_or(&b"-"[..], |(_, value)| value);
                (reply.status.to_string(), String::from_utf8_lossy(location).into_owned())
            }
        };
        assert_eq!(got, (status.to_owned(), location.to_owned()), "{row}");
        assert_eq!(String::from_utf8_lossy(head.path()), logged, "{row}");
    }
}
