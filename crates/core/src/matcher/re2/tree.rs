//! A pattern as RE2's parser would leave it, from which the size of RE2's program follows.
//!
//! What matters is how RE2 joins literals, squashes loops and factors alternations while it parses, since all of
//! that changes the number of instructions. Characters are bytes (Latin-1).

use super::bytes::Bytes;
use std::rc::Rc;

/// Parser flags that a node remembers.
pub(super) type Flags = u8;
/// `(?i)`
pub(super) const FOLD: Flags = 1;
/// `(?s)`
pub(super) const DOT_NL: Flags = 2;
/// `(?m)`
pub(super) const MULTI_LINE: Flags = 4;
/// `(?U)`, or a `?` behind an operator; both together are neither.
pub(super) const LAZY: Flags = 8;

/// What matches the empty string in some places only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assertion {
    BeginText,
    EndText,
    /// `$`, which RE2 keeps apart from `\z`.
    Dollar,
    BeginLine,
    EndLine,
    WordBoundary,
    NoWordBoundary,
}

/// How often a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    Star,
    Plus,
    Quest,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    NoMatch,
    Empty,
    Literal(u8),
    Text(Vec<u8>),
    Class(Bytes),
    /// `.` with `(?s)`
    AnyChar,
    /// `\C`
    AnyByte,
    Assertion(Assertion),
    Concat(Vec<Rc<Node>>),
    Alternate(Vec<Rc<Node>>),
    Loop(Loop, Rc<Node>),
    Repeat {
        min: u32,
        max: Option<u32>,
        of: Rc<Node>,
    },
    Capture(Rc<Node>),
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
}

impl PartialEq for Node {
    /// RE2's equality: flags count where they change what the node means.
    fn eq(&self, other: &Self) -> bool {
        let counts = match self.kind {
            Kind::Literal(_) | Kind::Text(_) => FOLD,
            Kind::Loop(..) | Kind::Repeat { .. } => LAZY,
            _ => 0,
        };
        (self.flags ^ other.flags) & counts == 0 && self.kind == other.kind
    }
}

impl Node {
    pub(super) fn new(kind: Kind, flags: Flags) -> Rc<Self> {
        Rc::new(Self { kind, flags })
    }

    /// A node of one character: a literal, a class, or any.
    pub(super) fn is_one_char(&self) -> bool {
        matches!(self.kind, Kind::Literal(_) | Kind::Class(_) | Kind::AnyChar | Kind::AnyByte)
    }

    /// The nodes one after another; one alone is itself.
    pub(super) fn concat(mut list: Vec<Rc<Self>>, flags: Flags) -> Rc<Self> {
        match list.len() {
            0 => Self::new(Kind::Empty, flags),
            1 => list.remove(0),
            _ => Self::new(Kind::Concat(list), flags),
        }
    }

    /// A loop, with loops of loops made one.
    pub(super) fn looped(how: Loop, of: Rc<Self>, flags: Flags) -> Rc<Self> {
        match &of.kind {
            Kind::Loop(own, _) if *own == how && of.flags == flags => of,
            Kind::Loop(_, inner) if of.flags == flags => {
                Self::new(Kind::Loop(Loop::Star, Rc::clone(inner)), flags)
            }
            _ => Self::new(Kind::Loop(how, of), flags),
        }
    }
}

enum Item {
    Node(Rc<Node>),
    Paren { captures: bool, flags: Flags },
    Bar,
}

/// RE2's parser's stack.
#[derive(Default)]
pub(super) struct Builder {
    stack: Vec<Item>,
    pub(super) flags: Flags,
}

impl Builder {
    /// A literal byte.
    pub(super) fn literal(&mut self, b: u8) {
        let other = other_case(b);
        if self.flags & FOLD != 0 && other != b {
            let mut set = Bytes::default();
            set.add(b);
            set.add(other);
            self.class(set);
        } else {
            self.push(Node { kind: Kind::Literal(b), flags: self.flags });
        }
    }

    /// A set of bytes, folded already. One of a single letter is a literal.
    pub(super) fn class(&mut self, set: Bytes) {
        let mut members = (0..=255).filter(|&b| set.contains(b));
        let (kind, flags) = match (members.next(), members.next(), members.next()) {
            (Some(b), None, _) => (Kind::Literal(b), self.flags),
            (Some(b @ b'A'..=b'Z'), Some(lower), None) if lower == b.to_ascii_lowercase() => {
                (Kind::Literal(lower), self.flags | FOLD)
            }
            _ => (Kind::Class(set), self.flags & !FOLD),
        };
        self.push(Node { kind, flags });
    }

    /// `.`
    pub(super) fn dot(&mut self) {
        if self.flags & DOT_NL != 0 {
            return self.simple(Kind::AnyChar);
        }
        let mut set = Bytes::default();
        set.add_where(|b| b != b'\n');
        self.class(set);
    }

    /// A node that is none of the others.
    pub(super) fn simple(&mut self, kind: Kind) {
        self.push(Node { kind, flags: self.flags });
    }

    fn push(&mut self, node: Node) {
        self.join_literals();
        self.stack.push(Item::Node(Rc::new(node)));
    }

    /// The two literals on top become one string, unless one folds and the other does not. The last literal stays
    /// apart till the next node comes, since an operator would take it alone.
    fn join_literals(&mut self) {
        let [.., Item::Node(first), Item::Node(second)] = &mut *self.stack else { return };
        let text = |node: &Node| match &node.kind {
            Kind::Literal(b) => Some(vec![*b]),
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        };
        if (first.flags ^ second.flags) & FOLD != 0 {
            return;
        }
        let Some(tail) = text(second) else { return };
        let own = Rc::make_mut(first);
        match &mut own.kind {
            Kind::Text(head) => head.extend(tail),
            Kind::Literal(b) => own.kind = Kind::Text([vec![*b], tail].concat()),
            _ => return,
        }
        self.stack.pop();
    }

    fn pop_node(&mut self) -> Option<Rc<Node>> {
        match self.stack.pop() {
            Some(Item::Node(node)) => Some(node),
            Some(marker) => {
                self.stack.push(marker);
                None
            }
            None => None,
        }
    }

    /// `*`, `+` or `?` for what stands on top.
    pub(super) fn repeat(&mut self, how: Loop, lazy: bool) {
        let Some(of) = self.pop_node() else { return };
        let flags = if lazy { self.flags ^ LAZY } else { self.flags };
        self.stack.push(Item::Node(Node::looped(how, of, flags)));
    }

    /// `{min,max}` for what stands on top; `false` when the counts of nested ones multiply to more than `limit`.
    pub(super) fn count(&mut self, min: u32, max: Option<u32>, lazy: bool, limit: u32) -> bool {
        let Some(of) = self.pop_node() else { return true };
        let flags = if lazy { self.flags ^ LAZY } else { self.flags };
        let node = Node::new(Kind::Repeat { min, max, of }, flags);
        let fits = (min < 2 && max.is_none_or(|m| m < 2)) || share(&node, limit) > 0;
        self.stack.push(Item::Node(node));
        fits
    }

    /// `(`; its flags end with it.
    pub(super) fn open(&mut self, captures: bool, inner: Flags) {
        self.join_literals();
        self.stack.push(Item::Paren { captures, flags: self.flags });
        self.flags = inner;
    }

    /// `)`
    pub(super) fn close(&mut self) {
        self.alternation();
        let Some(node) = self.pop_node() else { return };
        let Some(Item::Paren { captures, flags }) = self.stack.pop() else { return };
        self.flags = flags;
        let node = if captures { Node::new(Kind::Capture(node), flags) } else { node };
        self.join_literals();
        self.stack.push(Item::Node(node));
    }

    /// `|`
    pub(super) fn bar(&mut self) {
        self.join_literals();
        self.concatenation();
        let Some(last) = self.pop_node() else { return };
        if !matches!(self.stack.last(), Some(Item::Bar)) {
            self.stack.push(Item::Node(last));
            self.stack.push(Item::Bar);
            return;
        }
        // The bar stays on top: below it is the list of alternatives, above it what is being concatenated.
        self.stack.pop();
        let any = |node: &Node| node.kind == Kind::AnyChar;
        let swallowed = |node: &Node| matches!(node.kind, Kind::Literal(_) | Kind::Class(_) | Kind::AnyChar);
        match self.pop_node() {
            Some(before) if any(&before) && swallowed(&last) => self.stack.push(Item::Node(before)),
            Some(before) if any(&last) && swallowed(&before) => self.stack.push(Item::Node(last)),
            Some(before) => self.stack.extend([Item::Node(before), Item::Node(last)]),
            None => self.stack.push(Item::Node(last)),
        }
        self.stack.push(Item::Bar);
    }

    fn concatenation(&mut self) {
        if !matches!(self.stack.last(), Some(Item::Node(_))) {
            let empty = Node::new(Kind::Empty, self.flags);
            self.stack.push(Item::Node(empty));
        }
        let mut list = Vec::new();
        for node in self.pop_list() {
            match &node.kind {
                Kind::Concat(own) => list.extend(own.iter().cloned()),
                _ => list.push(node),
            }
        }
        self.stack.push(Item::Node(Node::concat(list, self.flags)));
    }

    fn alternation(&mut self) {
        self.bar();
        self.stack.pop();
        let nodes = self.pop_list();
        if let [one] = &*nodes {
            self.stack.push(Item::Node(Rc::clone(one)));
            return;
        }
        let mut list = Vec::new();
        for node in nodes {
            match &node.kind {
                Kind::Alternate(own) => list.extend(own.iter().cloned()),
                _ => list.push(node),
            }
        }
        self.stack.push(Item::Node(super::factor::alternate(list, self.flags)));
    }

    /// The nodes above the last marker.
    fn pop_list(&mut self) -> Vec<Rc<Node>> {
        let mut nodes: Vec<_> = std::iter::from_fn(|| self.pop_node()).collect();
        nodes.reverse();
        nodes
    }

    /// The whole pattern.
    pub(super) fn finish(mut self) -> Rc<Node> {
        self.alternation();
        self.pop_node().unwrap_or_else(|| Node::new(Kind::Empty, 0))
    }
}

/// What is left of `limit` below nested counts: 0 when they come to more.
fn share(node: &Node, limit: u32) -> u32 {
    match &node.kind {
        Kind::Repeat { min, max, of } => share(of, limit / max.unwrap_or(*min).max(1)),
        Kind::Loop(_, of) | Kind::Capture(of) => share(of, limit),
        Kind::Concat(list) | Kind::Alternate(list) => {
            list.iter().map(|n| share(n, limit)).min().unwrap_or(limit)
        }
        _ => limit,
    }
}

/// The other case of a letter; any other byte is itself, as in RE2's Latin-1 mode: above ASCII nothing folds.
pub(super) fn other_case(b: u8) -> u8 {
    if b.is_ascii_alphabetic() { b ^ 0x20 } else { b }
}
