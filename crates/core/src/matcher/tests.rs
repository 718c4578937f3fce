use super::*;
use crate::config::{CompileContext, Sink, Unsupported};
use nuncio_codec::head::HeaderMap;
use nuncio_proto::pb::envoy::config::route::v3 as route;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::Int64Range;
use pb::string_matcher::MatchPattern;
use route::header_matcher::HeaderMatchSpecifier as Spec;

fn string(pattern: MatchPattern, ignore_case: bool) -> StringMatcher {
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let message = pb::StringMatcher { match_pattern: Some(pattern), ignore_case };
    StringMatcher::compile(&message, &cx).expect("compiles")
}

#[test]
fn strings_match_by_their_kind_and_case() {
    let rows = [
        (MatchPattern::Exact("aB".into()), false, "aB", true),
        (MatchPattern::Exact("aB".into()), false, "ab", false),
        (MatchPattern::Exact("aB".into()), true, "Ab", true),
        (MatchPattern::Prefix("ab".into()), false, "abc", true),
        (MatchPattern::Prefix("ab".into()), false, "a", false),
        (MatchPattern::Suffix("BC".into()), true, "abc", true),
        (MatchPattern::Suffix("bcd".into()), false, "cd", false),
        (MatchPattern::Contains("b".into()), false, "abc", true),
        (MatchPattern::Contains("x".into()), false, "abc", false),
        (MatchPattern::SafeRegex(pb::RegexMatcher { regex: "a.*".into() }), false, "abc", true),
        (MatchPattern::SafeRegex(pb::RegexMatcher { regex: "b".into() }), false, "abc", false),
    ];
    for (pattern, ignore_case, subject, want) in rows {
        let shown = format!("{pattern:?} {ignore_case} {subject}");
        assert_eq!(string(pattern, ignore_case).matches(subject.as_bytes()), want, "{shown}");
    }
}

fn header(spec: Option<Spec>, invert_match: bool, treat_missing_header_as_empty: bool) -> HeaderMatcher {
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let message = route::HeaderMatcher {
        name: "X-A".into(),
        header_match_specifier: spec,
        invert_match,
        treat_missing_header_as_empty,
    };
    HeaderMatcher::compile(&message, &cx).expect("compiles")
}

#[test]
fn headers_match_value_by_value_and_a_missing_one_fails() {
    let exact = |s: &str| Some(Spec::ExactMatch(s.into()));
    let range = Some(Spec::RangeMatch(Int64Range { start: -5, end: 10 }));
    // specifier, inverted, missing counts as empty, values sent, outcome
    type Row<'a> = (Option<Spec>, bool, bool, &'a [&'a str], bool);
    let rows: [Row<'_>; 16] = [
        (None, false, false, &["v"], true),
        (None, false, false, &[], false),
        (None, true, false, &[], true),
        (Some(Spec::PresentMatch(false)), false, false, &[], true),
        (Some(Spec::PresentMatch(false)), false, false, &["v"], false),
        (exact("v"), false, false, &["v"], true),
        (exact("v"), false, false, &["w", "v"], true),
        (exact("w,v"), false, false, &["w", "v"], false),
        (exact("v"), true, false, &["w"], true),
        (exact("v"), true, false, &[], false),
        (exact(""), false, true, &[], true),
        (exact("v"), true, true, &[], true),
        (range.clone(), false, false, &["9"], true),
        (range.clone(), false, false, &["-5"], true),
        (range.clone(), false, false, &["10"], false),
        (range, false, false, &["9x"], false),
    ];
    for (spec, invert, empty, values, want) in rows {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|v| headers.append("x-a", v.as_bytes()));
        let shown = format!("{spec:?} invert {invert} empty {empty} {values:?}");
        assert_eq!(header(spec, invert, empty).matches(&headers), want, "{shown}");
    }
}

#[test]
fn the_first_value_of_a_query_parameter_counts() {
    assert_eq!(parameter(b"a=1&b=2&a=3", b"a"), Some(&b"1"[..]));
    assert_eq!(parameter(b"a&b=2", b"a"), Some(&b""[..]));
    assert_eq!(parameter(b"ab=1", b"a"), None);
    assert_eq!(parameter(b"", b"a"), None);
}

#[test]
fn an_empty_exact_text_asks_for_no_more_than_the_header() {
    let mut headers = HeaderMap::new();
    let exact = header(Some(Spec::ExactMatch(String::new())), false, false);
    assert!(!exact.matches(&headers));
    assert!(!header(Some(Spec::PresentMatch(false)), false, true).matches(&headers));
    headers.append("x-a", b"v");
    assert!(exact.matches(&headers));
}

#[test]
fn a_range_holds_the_addresses_with_its_first_bits() {
    use nuncio_proto::pb::envoy::config::core::v3::CidrRange;
    let list = |ranges: &[(&str, Option<u32>)]| {
        let sink = Sink::new(Unsupported::Refuse);
        let cx = CompileContext::root(&sink, "", None);
        let of = |(prefix, len): &(&str, Option<u32>)| CidrRange {
            address_prefix: (*prefix).into(),
            prefix_len: *len,
        };
        CidrList::compile(&ranges.iter().map(of).collect::<Vec<_>>(), &cx, "r")
    };
    let ranges = list(&[("10.1.2.3", Some(8)), ("::1", Some(128)), ("fd00::", Some(8))]).unwrap();
    for (ip, want) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("::1", true),
        ("::2", false),
        ("fdff::9", true),
        ("::ffff:10.0.0.1", false),
    ] {
        assert_eq!(ranges.contains(ip.parse().unwrap()), want, "{ip}");
    }
    assert!(list(&[("0.0.0.0", None)]).unwrap().contains("9.9.9.9".parse().unwrap()));
    let one = list(&[("10.0.0.1", Some(33))]).unwrap();
    assert!(one.contains("10.0.0.1".parse().unwrap()) && !one.contains("10.0.0.2".parse().unwrap()));
    assert!(list(&[("x", Some(8))]).is_none());
}

#[test]
fn a_value_that_is_not_there_is_neither_null_nor_absent_by_name() {
    let null = prost_types::value::Kind::NullValue(0);
    let present = |want| ValueMatcher::Present(want);
    assert!(present(true).matches(Some(&null)) && !present(true).matches(None));
    assert!(!present(false).matches(Some(&null)) && !present(false).matches(None));
    assert!(ValueMatcher::Null.matches(Some(&null)) && !ValueMatcher::Null.matches(None));
}
