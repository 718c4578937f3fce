use super::*;
use crate::rng::Rng;
use crate::testing::{compiled, entry, headers, stream};
use HeaderAppendAction as A;

fn option(key: &str, value: &str, action: A) -> pb::HeaderValueOption {
    pb::HeaderValueOption {
        header: Some(pb::HeaderValue { key: key.into(), value: value.into(), raw_value: Vec::new() }),
        append: None,
        append_action: action as i32,
        keep_empty_value: false,
    }
}

fn compile(add: &[pb::HeaderValueOption], remove: &[&str]) -> Result<HeaderMutations, String> {
    let remove: Vec<String> = remove.iter().map(|s| (*s).to_owned()).collect();
    compiled(|cx| HeaderMutations::compile(add, &remove, cx, MutationFields::REQUEST))
}

fn applied(add: &[pb::HeaderValueOption], remove: &[&str], before: &[(&str, &str)]) -> Vec<(String, String)> {
    let (info, rng) = (stream(), Rng::seeded(1));
    let mut head = RequestHead { headers: headers(before), ..RequestHead::new() };
    compile(add, remove).unwrap().apply_request(&mut head, &entry(&info, None, &rng));
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    head.headers.iter().map(|(n, v)| (text(n.as_bytes()), text(v))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn each_action_does_what_its_name_says() {
    let before = [("a", "1"), ("b", "2")];
    for (key, action, want) in [
        ("a", A::AppendIfExistsOrAdd, &[("a", "1"), ("b", "2"), ("a", "n")][..]),
        ("c", A::AppendIfExistsOrAdd, &[("a", "1"), ("b", "2"), ("c", "n")]),
        ("a", A::AddIfAbsent, &[("a", "1"), ("b", "2")]),
        ("c", A::AddIfAbsent, &[("a", "1"), ("b", "2"), ("c", "n")]),
        ("a", A::OverwriteIfExistsOrAdd, &[("b", "2"), ("a", "n")]),
        ("c", A::OverwriteIfExistsOrAdd, &[("a", "1"), ("b", "2"), ("c", "n")]),
        ("a", A::OverwriteIfExists, &[("b", "2"), ("a", "n")]),
        ("c", A::OverwriteIfExists, &[("a", "1"), ("b", "2")]),
    ] {
        assert_eq!(applied(&[option(key, "n", action)], &[], &before), pairs(want), "{key} {action:?}");
    }
}

#[test]
fn values_see_the_removals_but_not_each_other() {
    let add = [
        option("x-a", "%REQ(x-gone)%|%REQ(x-b)%", A::OverwriteIfExistsOrAdd),
        option("x-b", "new", A::OverwriteIfExistsOrAdd),
        option("x-c", "%REQ(x-b)%", A::AppendIfExistsOrAdd),
    ];
    let after = applied(&add, &["X-Gone"], &[("x-gone", "1"), ("x-b", "old")]);
    assert_eq!(after, pairs(&[("x-a", "|old"), ("x-b", "new"), ("x-c", "old")]));
}

#[test]
fn empty_values_are_dropped_unless_they_are_to_be_kept() {
    let mut kept = option("x-b", "%REQ(nope)%", A::AppendIfExistsOrAdd);
    kept.keep_empty_value = true;
    let add = [option("x-a", "%REQ(nope)%", A::OverwriteIfExistsOrAdd), kept];
    assert_eq!(applied(&add, &[], &[("x-a", "1")]), pairs(&[("x-a", "1"), ("x-b", "")]));
}

#[test]
fn headers_that_envoy_keeps_in_one_place_are_joined() {
    let add = [
        option("user-agent", "n", A::AppendIfExistsOrAdd),
        option("x-forwarded-for", "n", A::AppendIfExistsOrAdd),
    ];
    let after = applied(&add, &[], &[("user-agent", "1"), ("x-forwarded-for", "2")]);
    assert_eq!(after, pairs(&[("user-agent", "1,n"), ("x-forwarded-for", "2,n")]));
    assert!(is_joined(Side::Response, "vary".into()) && !is_joined(Side::Request, "vary".into()));
    assert!(!is_joined(Side::Response, "set-cookie".into()));
}

#[test]
fn what_envoy_refuses_is_refused_in_its_words() {
    let append = A::AppendIfExistsOrAdd;
    let mut both = option("a", "x", A::AddIfAbsent);
    both.append = Some(true);
    for (add, remove, want) in [
        (
            vec![option(":path", "x", append)],
            vec![],
            "request_headers_to_add[0].header: :-prefixed or host headers may not be modified",
        ),
        (
            vec![option("Host", "x", append)],
            vec![],
            "request_headers_to_add[0].header: :-prefixed or host headers may not be modified",
        ),
        (
            vec![],
            vec!["a", ":path"],
            "request_headers_to_remove[1]: :-prefixed or host headers may not be removed",
        ),
        (
            vec![both],
            vec![],
            "request_headers_to_add[0]: Both append and append_action are set and it's not allowed",
        ),
        (
            vec![option("a", "%FOO%", append)],
            vec![],
            "request_headers_to_add[0].header.value: Not supported field in StreamInfo: FOO",
        ),
    ] {
        assert_eq!(compile(&add, &remove).err().as_deref(), Some(want));
    }
}

#[test]
fn older_spellings_of_metadata_are_understood() {
    assert_eq!(modern(r#"a%UPSTREAM_METADATA(["ns", "k"])%b"#), "a%UPSTREAM_METADATA(ns:k)%b");
    assert_eq!(modern("%PER_REQUEST_STATE(a.b)%x"), "%FILTER_STATE(a.b:PLAIN)%x");
    assert_eq!(modern("%DYNAMIC_METADATA(a:b)%"), "%DYNAMIC_METADATA(a:b)%");
}

#[test]
fn ordered_changes_see_each_other() {
    use nuncio_proto::pb::envoy::config::common::mutation_rules::v3::{
        HeaderMutation, header_mutation::Action,
    };
    let put = |key, value| Action::Append(option(key, value, A::AppendIfExistsOrAdd));
    let list = [
        put("x-a", "%REQ(x-in)%"),
        Action::Remove("x-in".into()),
        put("x-b", "%REQ(x-in)%"),
        put("x-c", "%REQ(x-a)%!"),
    ]
    .map(|action| HeaderMutation { action: Some(action) });
    let changes = compiled(|cx| OrderedMutations::compile(&list, cx, "list")).unwrap();
    let (info, rng) = (stream(), Rng::seeded(1));
    let mut head = RequestHead { headers: headers(&[("x-in", "v")]), ..RequestHead::new() };
    changes.apply_request(&mut head, &entry(&info, None, &rng));
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    let after: Vec<_> = head.headers.iter().map(|(n, v)| (text(n.as_bytes()), text(v))).collect();
    assert_eq!(after, pairs(&[("x-a", "v"), ("x-c", "v!")]));
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
