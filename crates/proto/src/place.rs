//! Where a piece of configuration stands: file, line and column, and the tree that finds it for a field path.

use crate::schema::{Class, Field, Message};
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// Names of the files read so far. Each distinct name stays for the life of the process, so that a [`Place`] is a
/// few bytes and `Copy`; there are as many as configuration files.
static FILES: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

/// A configuration file, by its number in a table of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(u16);

impl FileId {
    /// The id of a file name; the same name gives the same id. After 65535 names all further ones share the last id.
    pub fn of(name: &str) -> FileId {
        let mut files = FILES.write().unwrap_or_else(PoisonError::into_inner);
        let known = files.iter().position(|file| *file == name);
        let index = known.unwrap_or_else(|| {
            if files.len() < usize::from(u16::MAX) {
                files.push(Box::leak(name.to_owned().into_boxed_str()));
            }
            files.len() - 1
        });
        FileId(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// The name it was made of.
    pub fn name(self) -> &'static str {
        let files = FILES.read().unwrap_or_else(PoisonError::into_inner);
        files.get(usize::from(self.0)).copied().unwrap_or("?")
    }
}

/// A position in a file. Line and column count from 1; the column counts characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 65535 stands for anything further right.
    pub col: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.name(), self.line, self.col)
    }
}

/// Line and column within the file of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) col: u16,
}

/// The positions of one resource: a node for each field that is set, each list item and each map entry.
///
/// The content of an `Any` hangs directly below the field that holds the `Any`.
#[derive(Debug, Clone)]
pub struct PlaceTree {
    nodes: Vec<Node>,
    root: Node,
}

/// A node of a [`PlaceTree`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// [`key`] of the field or map key, or the index in a list.
    key: u32,
    /// The top bit: the value could not be read, and that has been reported.
    line: u32,
    first: u32,
    count: u32,
    col: u16,
    file: FileId,
}

const BROKEN: u32 = 1 << 31;

impl Node {
    /// The value in the text could not be read, and that has been reported: nothing more is to be said of it.
    pub(crate) fn broken(self) -> bool {
        self.line & BROKEN != 0
    }
}

/// What a child is found by: the hash of a field's name or a map's key.
pub(crate) fn key(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl PlaceTree {
    pub(crate) fn root(&self) -> Node {
        self.root
    }

    pub(crate) fn place(&self, node: Node) -> Place {
        Place { file: node.file, line: node.line & !BROKEN, col: node.col }
    }

    /// The child of this key. Where a key occurs twice the last one counts, as it does for the values.
    pub(crate) fn child(&self, node: Node, key: u32) -> Option<Node> {
        self.children(node).iter().rev().find(|child| child.key == key).copied()
    }

    /// The item of a list: looks at the place where it should be first.
    pub(crate) fn item(&self, node: Node, index: usize) -> Option<Node> {
        let key = u32::try_from(index).ok()?;
        match self.children(node).get(index) {
            Some(child) if child.key == key => Some(*child),
            _ => self.child(node, key),
        }
    }

    /// The positions of a message whose text was merged over this one's, as protobuf merges the values: lists grow,
    /// messages and maps join, the later one of two single values counts.
    pub(crate) fn merged(&self, later: &PlaceTree, message: Message) -> PlaceTree {
        let mut builder = PlaceTreeBuilder::new(self.root.file);
        let open = builder.open();
        builder.join((self, self.root), (later, later.root), Shape::Message(message));
        let mut tree = builder.finish(open, Mark::default());
        tree.root = Node { first: tree.root.first, count: tree.root.count, ..self.root };
        tree
    }

    fn children(&self, node: Node) -> &[Node] {
        let first = node.first as usize;
        self.nodes.get(first..first + node.count as usize).unwrap_or_default()
    }
}

/// Builds a [`PlaceTree`] while a resource is read, children before parents.
#[derive(Debug)]
pub(crate) struct PlaceTreeBuilder {
    file: FileId,
    nodes: Vec<Node>,
    /// Finished nodes whose parents are still open.
    pending: Vec<Node>,
}

/// What the children of a node are.
#[derive(Clone, Copy)]
enum Shape {
    /// The fields of a message.
    Message(Message),
    /// The items of a list.
    List,
    /// The entries of a map.
    Map,
    /// Of no account: the later value stands for both.
    Single,
}

impl Shape {
    fn of(field: Field) -> Self {
        match field.message() {
            _ if field.is_map() => Shape::Map,
            _ if field.repeated() => Shape::List,
            Some(message) if message.class() == Class::Plain => Shape::Message(message),
            Some(message) if message.class() == Class::Struct => Shape::Map,
            _ => Shape::Single,
        }
    }
}

/// An open node: how many finished nodes there were when it was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open(usize);

impl PlaceTreeBuilder {
    pub(crate) fn new(file: FileId) -> Self {
        PlaceTreeBuilder { file, nodes: Vec::new(), pending: Vec::new() }
    }

    pub(crate) fn open(&self) -> Open {
        Open(self.pending.len())
    }

    /// Ends a node; `fine` is false where the value could not be read.
    pub(crate) fn close(&mut self, open: Open, key: u32, mark: Mark, fine: bool) {
        let mut node = self.node(open, key, mark);
        node.line |= if fine { 0 } else { BROKEN };
        self.pending.push(node);
    }

    pub(crate) fn finish(mut self, open: Open, mark: Mark) -> PlaceTree {
        let root = self.node(open, 0, mark);
        self.nodes.shrink_to_fit();
        PlaceTree { nodes: self.nodes, root }
    }

    /// A node of another tree with everything below it.
    fn copy(&mut self, tree: &PlaceTree, node: Node) {
        let open = self.open();
        tree.children(node).iter().for_each(|child| self.copy(tree, *child));
        self.adopt(open, node);
    }

    /// The children of two nodes that were merged.
    fn join(&mut self, (earlier, a): (&PlaceTree, Node), (later, b): (&PlaceTree, Node), shape: Shape) {
        if let Shape::List = shape {
            earlier.children(a).iter().for_each(|item| self.copy(earlier, *item));
            for item in later.children(b) {
                self.copy(later, Node { key: item.key.saturating_add(a.count), ..*item });
            }
            return;
        }
        for child in earlier.children(a) {
            if later.child(b, child.key).is_none() {
                self.copy(earlier, *child);
            }
        }
        for child in later.children(b) {
            let inner = match shape {
                Shape::Message(message) => message
                    .fields()
                    .find(|field| key(field.name()) == child.key)
                    .map_or(Shape::Single, Shape::of),
                _ => Shape::Single,
            };
            match earlier.child(a, child.key) {
                Some(old) if !matches!(inner, Shape::Single) => {
                    let open = self.open();
                    self.join((earlier, old), (later, *child), inner);
                    self.adopt(open, *child);
                }
                _ => self.copy(later, *child),
            }
        }
    }

    /// Ends a node that stands where `like` does.
    fn adopt(&mut self, open: Open, like: Node) {
        let node = self.node(open, like.key, Mark { line: like.line, col: like.col });
        self.pending.push(Node { line: like.line, file: like.file, ..node });
    }

    fn node(&mut self, open: Open, key: u32, mark: Mark) -> Node {
        let first = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let children = self.pending.get(open.0..).unwrap_or_default();
        let count = u32::try_from(children.len()).unwrap_or_default();
        self.nodes.extend_from_slice(children);
        self.pending.truncate(open.0);
        Node { key, line: mark.line & !BROKEN, col: mark.col, file: self.file, first, count }
    }
}

#[cfg(test)]
mod tests;
