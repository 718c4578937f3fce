use super::*;

fn rules() -> MutationRules {
    MutationRules {
        routing: false,
        envoy: false,
        system: true,
        others: true,
        allowed: None,
        disallowed: None,
        is_error: false,
    }
}

#[test]
fn what_routes_and_what_is_envoys_is_not_changed_unless_rules_say_so() {
    let usual = rules();
    for (name, allowed) in [("x-a", true), (":path", true), (":method", false), ("host", false)] {
        assert_eq!(usual.allows(name), allowed, "{name}");
    }
    assert!(!usual.allows("x-envoy-a"));
    assert!(MutationRules { envoy: true, ..rules() }.allows("x-envoy-a"));
    assert!(MutationRules { routing: true, ..rules() }.allows(":method"));
    assert!(!MutationRules { system: false, ..rules() }.allows(":path"));
    assert!(!MutationRules { others: false, ..rules() }.allows("x-a"));
}

#[test]
fn an_expression_that_forbids_wins_over_one_that_allows_and_both_over_all_else() {
    let regex = |text| Some(Regex::new(text).unwrap());
    let both = MutationRules { others: false, allowed: regex("x-.*"), disallowed: regex("x-a"), ..rules() };
    assert!(both.allows("x-envoy-b"));
    assert!(!both.allows("x-a"));
    assert!(!both.allows("y"));
}

#[test]
fn values_that_cannot_be_and_pseudo_headers_that_would_grow_or_go_are_ignored_or_refused() {
    let all = MutationRules { routing: true, envoy: true, ..rules() };
    for (name, change) in [
        (":scheme", Change::Set(b"ftp")),
        (":authority", Change::Set(b"a b")),
        (":status", Change::Set(b"99")),
        (":path", Change::Append(b"/more")),
        ("x-a", Change::Set(b"a\nb")),
        ("host", Change::Remove),
        (":path", Change::Remove),
    ] {
        assert_eq!(all.permit(name, change), Permit::Ignored, "{name} {change:?}");
        let strict = MutationRules { routing: true, is_error: true, ..rules() };
        assert_eq!(strict.permit(name, change), Permit::Refused, "{name} {change:?}");
    }
    assert_eq!(all.permit(":path", Change::Set(b"/p")), Permit::Granted);
}

#[test]
fn names_are_tokens_and_values_have_no_control_characters() {
    assert!(is_name("x-a") && is_name(":path") && !is_name("x y") && !is_name("a:b"));
    assert!(is_value(b"a\tb \xe9") && !is_value(b"a\x7f") && !is_value(b"a\r"));
}
