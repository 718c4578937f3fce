use super::*;

fn fragment(separator: &str, part: Part) -> Fragment {
    Fragment { header: HeaderName::new("x-s"), separator: separator.into(), part }
}

#[test]
fn a_fragment_is_an_element_by_number_or_by_key() {
    let element = || Part::Element { key: "k".into(), separator: "=".into() };
    for (separator, part, value, want) in [
        ("", Part::Index(0), "a,b", Some("a,b")),
        (",", Part::Index(0), "a,b", Some("a")),
        (",", Part::Index(1), "a,b", Some("b")),
        (",", Part::Index(2), "a,b", None),
        (";", element(), "x;k=b", Some("b")),
        (";", element(), "k=a=b", Some("a=b")),
        (";", element(), "b", None),
        ("", element(), "k=a", Some("a")),
    ] {
        let mut headers = HeaderMap::default();
        headers.append("x-s", value.as_bytes());
        let fragment = fragment(separator, part);
        assert_eq!(fragment.value(&headers), want, "{fragment:?} of {value}");
    }
}

#[test]
fn keys_of_other_parts_are_other_keys() {
    let of = |parts: &[&str]| key(parts.iter().map(|part| Some(*part)));
    assert_ne!(of(&["a", "b"]), of(&["ab"]));
    assert_ne!(of(&["ab", ""]), of(&["a", "b"]));
    assert_eq!(key([Some("a"), None].into_iter()), None, "without a part there is no key");
}
