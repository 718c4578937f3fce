use super::*;

#[test]
fn every_known_name_is_found_and_no_other() {
    for &known in Known::ALL {
        assert_eq!(Known::find(known.as_str().as_bytes()), known);
    }
    for other in
        ["", "x", "hosts", "x-envoy-overloadee", "a-name-longer-than-every-name-that-the-proxy-knows-of"]
    {
        assert_eq!(Known::find(other.as_bytes()), Known::Other, "{other}");
    }
}

fn pairs(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter()
        .map(|(n, v)| {
            (String::from_utf8_lossy(n.as_bytes()).into_owned(), String::from_utf8_lossy(v).into_owned())
        })
        .collect()
}

#[test]
fn order_and_repetition_are_kept_and_names_are_lower_case() {
    let mut map = HeaderMap::new();
    map.append_any_case(b"X-B", b"1");
    map.append_any_case(b"Host", b"h");
    map.append_any_case(b"x-b", b"2");
    let want = [("x-b", "1"), ("host", "h"), ("x-b", "2")].map(|(a, b)| (a.to_string(), b.to_string()));
    assert_eq!(pairs(&map), want);
    assert_eq!(map.get_all("x-b").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(map.get(Known::Host), Some(&b"h"[..]));
}

#[test]
fn set_replaces_the_first_in_place_and_drops_the_rest() {
    let mut map = HeaderMap::new();
    map.append("a", b"1");
    map.append("b", b"2");
    map.append("a", b"3");
    map.set("a", b"longer than before");
    assert_eq!(map.len(), 2);
    assert_eq!(map.iter().next().map(|(_, v)| v.to_vec()), Some(b"longer than before".to_vec()));
    map.set("a", b"s");
    assert_eq!(map.get("a"), Some(&b"s"[..]));
    map.set("c", b"new");
    assert_eq!(map.get("c"), Some(&b"new"[..]));
}

#[test]
fn removal_forgets_known_and_other_names() {
    let mut map = HeaderMap::new();
    map.append(Known::Connection, b"close");
    map.append("x-other", b"1");
    map.append("x-another", b"2");
    assert!(map.remove(Known::Connection) && !map.remove(Known::Connection));
    assert!(map.remove("x-other") && !map.contains("x-other") && map.contains("x-another"));
    map.append(Known::Te, b"trailers");
    map.remove_known(KnownSet::of(&[Known::Te, Known::Upgrade]));
    assert!(!map.contains(Known::Te));
}

#[test]
fn joining_appends_to_the_first_value_or_makes_one() {
    let mut map = HeaderMap::new();
    map.append_joined("via", b", ", b"a");
    map.append_joined("via", b", ", b"b");
    assert_eq!(map.get("via"), Some(&b"a, b"[..]));
}

/// A list of pairs, which a map must behave like.
#[derive(Default)]
struct Model(Vec<(String, String)>);

impl Model {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter().position(|(n, _)| n == name) {
            Some(first) => {
                self.0[first].1 = value.to_string();
                let mut at = 0;
                self.0.retain(|(n, _)| {
                    at += 1;
                    n != name || at == first + 1
                });
            }
            None => self.0.push((name.to_string(), value.to_string())),
        }
    }

    fn join(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) if old.is_empty() => *old = value.to_string(),
            Some((_, old)) => *old = format!("{old}, {value}"),
            None => self.0.push((name.to_string(), value.to_string())),
        }
    }
}

#[test]
fn any_sequence_of_changes_leaves_what_a_list_of_pairs_would_hold() {
    const NAMES: [&str; 7] = [
        ":method",
        ":path",
        ":authority",
        "x-a",
        "x-other",
        "content-length",
        "x-envoy-upstream-rq-timeout-ms",
    ];
    const VALUES: [&str; 5] =
        ["", "1", "text/html; charset=utf-8", "a-much-longer-value-than-any-of-the-others", "v"];
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    for _ in 0..300 {
        let (mut map, mut model) = (HeaderMap::new(), Model::default());
        for _ in 0..30 {
            let (name, value) = (NAMES[next(NAMES.len())], VALUES[next(VALUES.len())]);
            match next(8) {
                0 | 1 => {
                    map.append(name, value.as_bytes());
                    model.0.push((name.to_string(), value.to_string()));
                }
                2 | 3 => {
                    assert!(map.append_any_case(name.to_uppercase().as_bytes(), value.as_bytes()));
                    model.0.push((name.to_string(), value.to_string()));
                }
                4 => {
                    map.set(name, value.as_bytes());
                    model.set(name, value);
                }
                5 => {
                    map.append_joined(name, b", ", value.as_bytes());
                    model.join(name, value);
                }
                6 => {
                    assert_eq!(map.remove(name), model.0.iter().any(|(n, _)| n == name));
                    model.0.retain(|(n, _)| n != name);
                }
                _ => {
                    map.retain(|n, v| n.as_bytes() != name.as_bytes() || v != value.as_bytes());
                    model.0.retain(|(n, v)| n != name || v != value);
                }
            }
            assert_eq!(pairs(&map), model.0);
            for name in NAMES {
                let of_name = model.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_bytes());
                assert!(map.get_all(name).eq(of_name.clone()));
                assert_eq!(map.get(name), of_name.clone().next());
                assert_eq!(map.contains(name), of_name.count() > 0);
            }
            let bytes: usize = model.0.iter().map(|(n, v)| n.len() + v.len()).sum();
            assert_eq!((map.len(), map.byte_size()), (model.0.len(), bytes));
        }
    }
}

#[test]
fn a_whole_line_is_an_entry_like_any_other() {
    let mut map = HeaderMap::new();
    map.append("a", b"1");
    map.append_line(Known::Server, b"server: envoy\r\n");
    map.append_line(Known::Via, b"via: \r\n");
    map.append("b", b"2");
    let want = [("a", "1"), ("server", "envoy"), ("via", ""), ("b", "2")];
    assert_eq!(pairs(&map), want.map(|(n, v)| (n.to_string(), v.to_string())));
    map.set(Known::Server, b"another name");
    assert_eq!(map.get(Known::Server), Some(&b"another name"[..]));
    assert_eq!(map.get("b"), Some(&b"2"[..]));
    map.append_line(Known::Date, b"date");
    assert!(!map.contains(Known::Date));
}

#[test]
fn numbers_are_written_with_as_many_digits_as_they_have() {
    for n in [0, 7, 10, 99, 100, 999, 1000, 9999, 10_000, 65_536, u64::MAX] {
        let mut map = HeaderMap::new();
        map.set_number(Known::ContentLength, n);
        map.append("b", b"2");
        let want = [("content-length", n.to_string()), ("b", "2".to_string())];
        assert_eq!(pairs(&map), want.map(|(n, v)| (n.to_string(), v)));
        let mut wire = Vec::new();
        let _ = map.write_wire(Known::Other, KnownSet::of(&[]), &mut wire);
        assert_eq!(wire, format!("content-length: {n}\r\nb: 2\r\n").into_bytes());
    }
}

#[test]
fn a_number_takes_the_place_of_what_stood_there() {
    let mut map = HeaderMap::new();
    map.set_number(Known::ContentLength, 0);
    map.append("b", b"2");
    assert_eq!(map.get(Known::ContentLength), Some(&b"0"[..]));
    map.set_number(Known::ContentLength, u64::MAX);
    let want = [("content-length", "18446744073709551615"), ("b", "2")];
    assert_eq!(pairs(&map), want.map(|(n, v)| (n.to_string(), v.to_string())));
}
