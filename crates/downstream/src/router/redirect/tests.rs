use super::target;

type Parts = (&'static str, &'static str, &'static str);

#[test]
fn only_whole_urls_can_be_followed() {
    let rows: [(&str, Option<Parts>); 17] = [
        ("http://a/b?c", Some(("http", "a", "/b?c"))),
        ("HTTPS://a:8443", Some(("https", "a:8443", "/"))),
        ("http://a/b#c", Some(("http", "a", "/b"))),
        ("http://a#c", Some(("http", "a", "/"))),
        ("http://a?q", Some(("http", "a", "?q"))),
        ("http://u:p@a/b", Some(("http", "a", "/b"))),
        ("ftp://a/", Some(("ftp", "a", "/"))),
        ("http://[::1]:80/x", Some(("http", "[::1]:80", "/x"))),
        ("http://a:65535/", Some(("http", "a:65535", "/"))),
        ("http://a:65536/", None),
        ("http://a:/b", None),
        ("", None),
        ("/b", None),
        ("//a/b", None),
        ("http://", None),
        ("http:///b", None),
        ("1http://a", None),
    ];
    for (url, want) in rows {
        let got = target(url.as_bytes());
        let got = got.as_ref().map(|t| {
            (&*t.scheme, std::str::from_utf8(t.authority).unwrap(), std::str::from_utf8(t.path).unwrap())
        });
        assert_eq!(got, want, "{url}");
    }
}
