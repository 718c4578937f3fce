use super::*;
use crate::schema::Message;

fn mark(line: u32) -> Mark {
    Mark { line, col: 1 }
}

fn leaf(builder: &mut PlaceTreeBuilder, key: u32, line: u32) {
    let open = builder.open();
    builder.close(open, key, mark(line), true);
}

#[test]
fn a_place_prints_as_file_line_column() {
    let place = Place { file: FileId::of("a.yaml"), line: 3, col: 7 };
    assert_eq!(place.to_string(), "a.yaml:3:7");
    assert_eq!(FileId::of("a.yaml"), place.file);
    assert!(size_of::<Place>() <= 12 && size_of::<Node>() <= 20);
}

#[test]
fn children_are_found_by_key_and_index_and_the_last_of_a_repeated_key_counts() {
    let mut builder = PlaceTreeBuilder::new(FileId::of("x"));
    let root = builder.open();
    leaf(&mut builder, key("name"), 1);
    let list = builder.open();
    leaf(&mut builder, 0, 3);
    leaf(&mut builder, 1, 4);
    builder.close(list, key("routes"), mark(2), true);
    leaf(&mut builder, key("name"), 5);
    let tree = builder.finish(root, mark(1));
    let line = |node: Option<Node>| node.map(|node| tree.place(node).line);
    assert_eq!(line(tree.child(tree.root(), key("name"))), Some(5));
    let routes = tree.child(tree.root(), key("routes")).unwrap();
    assert_eq!(line(tree.item(routes, 1)), Some(4));
    assert_eq!(line(tree.item(routes, 2)), None);
}

#[test]
fn no_two_fields_of_a_message_share_a_key() {
    for message in Message::all() {
        let mut keys: Vec<u32> = message.fields().map(|field| key(field.name())).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), message.fields().len(), "{message:?}");
    }
}
