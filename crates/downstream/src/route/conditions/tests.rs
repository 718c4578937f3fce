use super::*;

#[test]
fn a_query_ends_at_the_fragment() {
    for (path, want) in [("/a?b=c#d", "b=c"), ("/a", ""), ("/a?", ""), ("/a?b?c", "b?c"), ("/a#?b", "b")] {
        assert_eq!(query_of(path.as_bytes()), want.as_bytes(), "{path}");
    }
}
