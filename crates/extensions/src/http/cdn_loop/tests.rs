use super::*;

#[test]
fn identifiers_are_found_among_their_parameters() {
    let ids = |text: &'static str| {
        let ids = cdn_ids(text.as_bytes())?;
        Some(ids.into_iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect::<Vec<_>>().join("|"))
    };
    for (text, found) in [
        ("a", Some("a")),
        ("a, b", Some("a|b")),
        ("a; x=y, b;z=\"q, \\\" r\" ,c", Some("a|b|c")),
        (" ,a,, b ,", Some("a|b")),
        ("[::1]:80", Some("[::1]:80")),
        ("", Some("")),
        ("\"a\"", None),
        ("a b", None),
        ("a;x", None),
        ("a;x=\"y", None),
    ] {
        assert_eq!(ids(text).as_deref(), found, "{text}");
    }
}
