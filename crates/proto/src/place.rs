//! Where a piece of configuration stands: file, line and column, and the tree that finds it for a field path.

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

    /// Adds the children of another root to this one; theirs come later and so count.
    pub(crate) fn merge(&mut self, other: &PlaceTree) {
        let shift = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let shifted = |node: &Node| Node { first: node.first.saturating_add(shift), ..*node };
        let children: Vec<Node> = self
            .children(self.root)
            .iter()
            .copied()
            .chain(other.children(other.root).iter().map(shifted))
            .collect();
        self.nodes.extend(other.nodes.iter().map(shifted));
        self.root.first = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.root.count = u32::try_from(children.len()).unwrap_or_default();
        self.nodes.extend(children);
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
