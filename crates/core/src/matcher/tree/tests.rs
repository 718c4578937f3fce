use super::*;
use crate::config::{CompileContext, Sink, Unsupported};
use nuncio_proto::pb::envoy::config::core::v3::CidrRange;

type Tree = MatcherTree<&'static str, u8>;

fn ranges(range: &str) -> CidrList {
    let (ip, len) = range.split_once('/').unwrap();
    let range = CidrRange { address_prefix: ip.to_owned(), prefix_len: len.parse().ok() };
    let sink = Sink::new(Unsupported::Refuse);
    CidrList::compile(&[range], &CompileContext::root(&sink, "", None), "ranges").unwrap()
}

fn find(tree: &Tree, values: &[(&str, &'static str)]) -> Option<u8> {
    tree.find(&|input| values.iter().find(|(k, _)| k == input).map(|(_, v)| Cow::Borrowed(*v)).into())
        .copied()
}

fn nothing() -> OnMatch<&'static str, u8> {
    OnMatch::Tree(Box::new(Tree { kind: Kind::Empty, on_no_match: None }))
}

#[test]
fn the_longest_range_wins_and_one_that_finds_nothing_leaves_it_to_the_next() {
    let tree = |exclusive| Tree {
        kind: Kind::Ip(
            Source::Input("ip"),
            vec![
                IpRanges { ranges: ranges("10.0.0.0/8"), exclusive: false, on_match: OnMatch::Action(1) },
                IpRanges { ranges: ranges("10.1.0.0/16"), exclusive: false, on_match: OnMatch::Action(2) },
                IpRanges { ranges: ranges("10.1.2.0/24"), exclusive, on_match: nothing() },
            ],
        ),
        on_no_match: Some(Box::new(OnMatch::Action(9))),
    };
    for (ip, want) in [("10.9.9.9", 1), ("10.1.9.9", 2), ("10.1.2.3", 2), ("11.0.0.0", 9), ("x", 9)] {
        assert_eq!(find(&tree(false), &[("ip", ip)]), Some(want), "{ip}");
    }
    assert_eq!(find(&tree(true), &[("ip", "10.1.2.3")]), Some(9));
    assert_eq!(find(&tree(false), &[]), Some(9));
}

#[test]
fn names_match_whole_then_by_their_longest_suffix() {
    let keys = [("a.example", 1), ("*.example", 2), ("*.b.example", 3), ("*", 4)];
    let map = keys.into_iter().map(|(k, v)| (k.into(), OnMatch::Action(v))).collect();
    let tree = Tree { kind: Kind::Names(Source::Input("sni"), map), on_no_match: None };
    for (name, want) in [
        ("a.example", 1),
        ("A.example", 2),
        ("z.example", 2),
        ("x.y.b.example", 3),
        ("b.example", 2),
        ("q", 4),
    ] {
        assert_eq!(find(&tree, &[("sni", name)]), Some(want), "{name}");
    }
}

#[test]
fn a_prefix_that_leads_nowhere_leaves_it_to_a_shorter_one() {
    let list =
        vec![("abc".into(), nothing()), ("ab".into(), OnMatch::Action(2)), ("a".into(), OnMatch::Action(1))];
    let tree = Tree { kind: Kind::Prefix(Source::Input("p"), list), on_no_match: None };
    for (text, want) in [("abcd", Some(2)), ("abx", Some(2)), ("ax", Some(1)), ("b", None)] {
        assert_eq!(find(&tree, &[("p", text)]), want, "{text}");
    }
}

#[test]
fn what_is_not_known_yet_decides_nothing() {
    let single = |name| Predicate::Single(Source::Input(name), Check::Text(text()));
    let tree = |predicate| Tree {
        kind: Kind::List(vec![(predicate, OnMatch::Action(1))]),
        on_no_match: Some(Box::new(OnMatch::Action(9))),
    };
    let find = |predicate| {
        let values = |input: &&str| match *input {
            "later" => Value::Unknown,
            "yes" => Value::Text(Cow::Borrowed("a")),
            _ => Value::Absent,
        };
        tree(predicate).find(&values).copied()
    };
    assert_eq!(find(single("later")), None);
    assert_eq!(find(Predicate::Not(Box::new(single("later")))), None);
    assert_eq!(find(Predicate::Or(vec![single("later"), single("yes")])), Some(1));
    assert_eq!(find(Predicate::Or(vec![single("later"), single("no")])), None);
    assert_eq!(find(Predicate::And(vec![single("no"), single("later")])), Some(9));
    assert_eq!(find(Predicate::And(vec![single("yes"), single("later")])), None);
}

fn text() -> crate::matcher::StringMatcher {
    use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
    let exact = pb::string_matcher::MatchPattern::Exact("a".into());
    let message = pb::StringMatcher { match_pattern: Some(exact), ignore_case: false };
    let sink = Sink::new(Unsupported::Refuse);
    crate::matcher::StringMatcher::compile(&message, &CompileContext::root(&sink, "", None)).unwrap()
}

#[test]
fn a_match_that_is_passed_leaves_it_to_the_next() {
    let list = vec![("abc".into(), OnMatch::Passed), ("ab".into(), OnMatch::Action(2))];
    let tree = Tree { kind: Kind::Prefix(Source::Input("p"), list), on_no_match: None };
    assert_eq!(find(&tree, &[("p", "abcd")]), Some(2));
}
