use super::*;
use nuncio_proto::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;

fn pair(name: &str, value: &str) -> (Box<str>, Vec<u8>) {
    (name.into(), value.into())
}

const VALIDATES: Permits = Permits { validates: true, rules: None };

#[test]
fn without_rules_everything_is_granted() {
    let none = Permits { validates: false, rules: None };
    let mut allowed = Allowed { set: vec![pair("x y", "a\nb")], ..Allowed::default() };
    assert_eq!(none.check(&mut allowed), Ok(()));
    assert_eq!(allowed.set.len(), 1);
}

#[test]
fn a_change_that_cannot_be_is_forbidden_but_a_removal_is_left_out() {
    let header = |name, value| Allowed { set: vec![pair(name, value)], ..Allowed::default() };
    for mut allowed in [
        header("x y", "1"),
        header("x-a", "a\rb"),
        Allowed { join: vec![pair("x-a", "\0")], ..Allowed::default() },
        Allowed { query_set: vec![(b"a".to_vec(), b"%20".to_vec())], ..Allowed::default() },
        Allowed {
            for_client: vec![("x y".into(), b"1".to_vec(), HeaderAppendAction::AppendIfExistsOrAdd)],
            ..Allowed::default()
        },
    ] {
        assert_eq!(VALIDATES.check(&mut allowed), Err(Forbidden));
    }
    let mut removes = Allowed { remove: vec!["x y".into(), "x-a".into()], ..Allowed::default() };
    assert_eq!(VALIDATES.check(&mut removes), Ok(()));
    assert_eq!(removes.remove, ["x-a".into()]);
}
