use super::*;
use crate::testing::stream;
use prost_types::value::Kind;

fn fields(list: &[(&str, f64)]) -> prost_types::Struct {
    let number = |n: f64| prost_types::Value { kind: Some(Kind::NumberValue(n)) };
    prost_types::Struct { fields: list.iter().map(|(key, n)| ((*key).to_owned(), number(*n))).collect() }
}

fn noted(namespace: &str, list: &[(&str, f64)]) -> Arc<NamespaceFields> {
    Arc::new(NamespaceFields { namespace: namespace.into(), fields: fields(list) })
}

/// The fields of a namespace, as they are seen.
fn seen(info: &StreamInfo, namespace: &str) -> Option<prost_types::Struct> {
    info.dynamic_metadata()?.get(namespace).cloned()
}

#[test]
fn what_is_noted_is_there_for_whoever_looks_and_later_fields_win() {
    let mut info = stream();
    info.note_dynamic_metadata(&noted("a", &[("x", 1.0), ("y", 1.0)]));
    info.note_dynamic_metadata(&noted("a", &[("x", 2.0)]));
    assert!(info.has_dynamic_metadata("a") && !info.has_dynamic_metadata("b"));
    assert_eq!(seen(&info, "a"), Some(fields(&[("x", 2.0), ("y", 1.0)])));
    info.note_dynamic_metadata(&noted("a", &[("y", 3.0)]));
    assert_eq!(seen(&info, "a"), Some(fields(&[("x", 2.0), ("y", 3.0)])), "behind the first look, too");
}

#[test]
fn what_is_set_and_what_is_noted_hold_in_the_order_in_which_they_came() {
    let mut info = stream();
    info.set_dynamic_metadata("a", fields(&[("x", 1.0)]));
    info.note_dynamic_metadata(&noted("a", &[("x", 2.0)]));
    info.set_dynamic_metadata("a", fields(&[("y", 3.0)]));
    info.note_dynamic_metadata(&noted("b", &[("z", 4.0)]));
    assert_eq!(seen(&info, "a"), Some(fields(&[("x", 2.0), ("y", 3.0)])));
    info.set_dynamic_metadata("b", fields(&[("z", 5.0)]));
    assert_eq!(seen(&info, "b"), Some(fields(&[("z", 5.0)])));
}

#[test]
fn a_stream_finds_nothing_of_the_one_whose_storage_it_takes() {
    let mut first = stream();
    first.set_dynamic_metadata("a", fields(&[("x", 1.0)]));
    first.note_dynamic_metadata(&noted("b", &[("y", 1.0)]));
    assert!(seen(&first, "b").is_some());
    drop(first);
    let mut second = stream();
    assert!(second.dynamic_metadata().is_none(), "storage is taken with the first use");
    second.note_dynamic_metadata(&noted("c", &[("z", 1.0)]));
    assert!(!second.has_dynamic_metadata("a") && !second.has_dynamic_metadata("b"));
    assert_eq!(second.dynamic_metadata().unwrap().len(), 1);
}

#[test]
fn a_copy_of_a_stream_goes_its_own_way() {
    let mut info = stream();
    info.note_dynamic_metadata(&noted("a", &[("x", 1.0)]));
    let mut copy = stream();
    copy.state = info.state.clone();
    copy.set_dynamic_metadata("a", fields(&[("x", 2.0)]));
    assert_eq!(seen(&info, "a"), Some(fields(&[("x", 1.0)])));
    assert_eq!(seen(&copy, "a"), Some(fields(&[("x", 2.0)])));
}
