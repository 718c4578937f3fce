use super::*;
use crate::place::{FileId, Mark, PlaceTreeBuilder};

fn tree() -> PlaceTree {
    let mut builder = PlaceTreeBuilder::new(FileId::of("t.yaml"));
    let root = builder.open();
    let list = builder.open();
    let item = builder.open();
    let leaf = builder.open();
    builder.close(leaf, key("name"), Mark { line: 4, col: 7 }, true);
    builder.close(item, 0, Mark { line: 3, col: 5 }, true);
    builder.close(list, key("routes"), Mark { line: 2, col: 3 }, true);
    builder.finish(root, Mark { line: 1, col: 1 })
}

#[test]
fn an_unset_field_points_at_its_nearest_parent() {
    let (sink, tree) = (Sink::default(), tree());
    let cx = CompileContext::root(&sink, "static_resources.listeners[2]", Some(&tree));
    let route = cx.item("routes", 0);
    let line = |cx: &CompileContext<'_>| cx.place().map(|place| place.line);
    assert_eq!(line(&route.field("name")), Some(4));
    assert_eq!(line(&route.field("match").field("prefix")), Some(3));
    assert_eq!(line(&cx.item("routes", 7)), Some(2));
    assert_eq!(line(&cx.field("routes").index(0).field("name")), Some(4));
    assert_eq!(route.field("match").path(), "static_resources.listeners[2].routes[0].match");
}

#[test]
fn errors_come_sorted_by_position_with_their_paths() {
    let (sink, tree) = (Sink::default(), tree());
    {
        let cx = CompileContext::root(&sink, "", Some(&tree));
        cx.item("routes", 0).field("name").error("is taken");
        cx.field("metadata").key("a.b").error("is odd");
    }
    let (errors, _) = sink.finish();
    assert_eq!(
        errors.to_string(),
        "t.yaml:1:1: metadata[\"a.b\"]: is odd\nt.yaml:4:7: routes[0].name: is taken"
    );
}

#[test]
fn without_positions_the_path_still_works() {
    let sink = Sink::new(Unsupported::Warn);
    let cx = CompileContext::root(&sink, "", None);
    cx.field("a").index(1).unsupported("is not built");
    let (errors, warnings) = sink.finish();
    assert!(errors.is_empty());
    assert_eq!(warnings.to_string(), "a[1]: is not built");
}

#[test]
fn unpacking_the_wrong_type_is_an_error_that_names_both() {
    use crate::pb::envoy::config::core::v3::{Locality, Node};
    let sink = Sink::default();
    let cx = CompileContext::root(&sink, "x", None);
    let any = Any::from_msg(&Locality { zone: "z".into(), ..Default::default() }).unwrap();
    assert_eq!(cx.unpack::<Locality>(&any).unwrap().zone, "z");
    assert!(cx.unpack::<Node>(&any).is_none());
    assert_eq!(
        sink.finish().0.to_string(),
        "x: expected envoy.config.core.v3.Node, found 'type.googleapis.com/envoy.config.core.v3.Locality'"
    );
}
