use super::*;

#[test]
fn a_query_ends_at_the_fragment() {
    for (path, want) in [("/a?b=c#d", "b=c"), ("/a", ""), ("/a?", ""), ("/a?b?c", "b?c"), ("/a#?b", "b")] {
        assert_eq!(query_of(path.as_bytes()), want.as_bytes(), "{path}");
    }
}

#[test]
fn the_first_cookie_of_a_name_counts_without_its_quotes() {
    let mut headers = HeaderMap::new();
    headers.append(Known::Cookie, b"a=1;  b=\"two\"; c; =d; b=3; e=");
    headers.append(Known::Cookie, b"f=x=y");
    for (name, want) in
        [("a", Some("1")), ("b", Some("two")), ("c", None), ("e", Some("")), ("f", Some("x=y")), ("g", None)]
    {
        assert_eq!(cookie(&headers, name.as_bytes()), want.map(str::as_bytes), "{name}");
    }
}
