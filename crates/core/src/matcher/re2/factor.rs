//! How RE2 factors an alternation: common beginnings are taken out, single characters become a class.

use super::bytes::Bytes;
use super::tree::{Assertion, FOLD, Flags, Kind, Node, other_case};
use std::rc::Rc;

type List = Vec<Rc<Node>>;

/// An alternation, factored.
pub(super) fn alternate(list: List, flags: Flags) -> Rc<Node> {
    unfactored(factor(list, flags), flags)
}

fn unfactored(mut list: List, flags: Flags) -> Rc<Node> {
    match list.len() {
        0 => Node::new(Kind::NoMatch, flags),
        1 => list.remove(0),
        _ => Node::new(Kind::Alternate(list), flags),
    }
}

fn factor(list: List, flags: Flags) -> List {
    if list.len() < 2 {
        return list;
    }
    let list = by_text(list, flags);
    let list = by_first(list, flags);
    into_classes(list, flags)
}

/// `prefix` and then what the members of a run go on with.
fn spliced(prefix: Rc<Node>, rests: List, flags: Flags) -> Rc<Node> {
    Node::concat(vec![prefix, unfactored(factor(rests, flags), flags)], flags)
}

/// Runs of alternatives that begin with the same literal text.
fn by_text(list: List, flags: Flags) -> List {
    let (mut out, mut run): (List, List) = (Vec::new(), Vec::new());
    let mut common: (Vec<u8>, Flags) = Default::default();
    let close = |out: &mut List, run: &mut List, (text, fold): &(Vec<u8>, Flags)| {
        if run.len() < 2 {
            return out.append(run);
        }
        let prefix = Node::new(
            match &**text {
                [one] => Kind::Literal(*one),
                _ => Kind::Text(text.clone()),
            },
            *fold,
        );
        let rests = run.drain(..).map(|node| without_text(node, text.len())).collect();
        out.push(spliced(prefix, rests, flags));
    };
    for node in list {
        let (text, fold) = leading_text(&node);
        let same = common.0.iter().zip(text).take_while(|(a, b)| a == b).count();
        if same > 0 && fold == common.1 {
            common.0.truncate(same);
        } else {
            close(&mut out, &mut run, &common);
            common = (text.to_vec(), fold);
        }
        run.push(node);
    }
    close(&mut out, &mut run, &common);
    out
}

fn leading_text(mut node: &Node) -> (&[u8], Flags) {
    while let Kind::Concat(list) = &node.kind {
        let Some(first) = list.first() else { break };
        node = first;
    }
    match &node.kind {
        Kind::Literal(b) => (std::slice::from_ref(b), node.flags & FOLD),
        Kind::Text(text) => (text, node.flags & FOLD),
        _ => (&[], node.flags & FOLD),
    }
}

/// A node without the first `n` bytes of its leading text.
fn without_text(node: Rc<Node>, n: usize) -> Rc<Node> {
    let flags = node.flags;
    match &node.kind {
        Kind::Text(text) if n < text.len() => {
            let kind = match text.get(n..).unwrap_or_default() {
                [last] => Kind::Literal(*last),
                rest => Kind::Text(rest.to_vec()),
            };
            Node::new(kind, flags)
        }
        Kind::Literal(_) | Kind::Text(_) => Node::new(Kind::Empty, flags),
        Kind::Concat(list) => {
            let mut list = list.clone();
            let Some(first) = list.first_mut() else { return node };
            *first = without_text(Rc::clone(first), n);
            if first.kind == Kind::Empty {
                list.remove(0);
            }
            Node::concat(list, flags)
        }
        _ => node,
    }
}

/// Runs of alternatives whose first piece is the same simple one.
fn by_first(list: List, flags: Flags) -> List {
    let (mut out, mut run): (List, List) = (Vec::new(), Vec::new());
    let mut first: Option<Rc<Node>> = None;
    let close = |out: &mut List, run: &mut List, first: &Option<Rc<Node>>| match first {
        Some(prefix) if run.len() > 1 => {
            let rests = run.drain(..).map(without_first).collect();
            out.push(spliced(Rc::clone(prefix), rests, flags));
        }
        _ => out.append(run),
    };
    for node in list {
        let own = leading(&node);
        if !first.as_ref().is_some_and(|first| may_be_shared(first) && Some(first) == own.as_ref()) {
            close(&mut out, &mut run, &first);
            first = own;
        }
        run.push(node);
    }
    close(&mut out, &mut run, &first);
    out
}

fn leading(node: &Rc<Node>) -> Option<Rc<Node>> {
    match &node.kind {
        Kind::Empty => None,
        Kind::Concat(list) => list.first().filter(|first| first.kind != Kind::Empty).cloned(),
        _ => Some(Rc::clone(node)),
    }
}

/// Pieces with loops in them are not factored out: that would change which way a match goes.
fn may_be_shared(node: &Node) -> bool {
    match &node.kind {
        Kind::Assertion(
            Assertion::BeginText
            | Assertion::EndText
            | Assertion::Dollar
            | Assertion::BeginLine
            | Assertion::EndLine
            | Assertion::WordBoundary
            | Assertion::NoWordBoundary,
        )
        | Kind::Class(_)
        | Kind::AnyChar
        | Kind::AnyByte => true,
        Kind::Repeat { min, max, of } => Some(*min) == *max && of.is_one_char(),
        _ => false,
    }
}

fn without_first(node: Rc<Node>) -> Rc<Node> {
    match &node.kind {
        Kind::Concat(list) => Node::concat(list.get(1..).unwrap_or_default().to_vec(), node.flags),
        _ => Node::new(Kind::Empty, node.flags),
    }
}

/// Runs of single characters become one class.
fn into_classes(list: List, flags: Flags) -> List {
    let (mut out, mut run): (List, List) = (Vec::new(), Vec::new());
    let close = |out: &mut List, run: &mut List| {
        if run.len() < 2 {
            return out.append(run);
        }
        let mut set = Bytes::default();
        for node in run.drain(..) {
            match &node.kind {
                Kind::Class(own) => set.add_all(own),
                Kind::Literal(b) => {
                    set.add(*b);
                    if node.flags & FOLD != 0 {
                        set.add(other_case(*b));
                    }
                }
                _ => {}
            }
        }
        out.push(Node::new(Kind::Class(set), flags & !FOLD));
    };
    for node in list {
        let single = matches!(node.kind, Kind::Literal(_) | Kind::Class(_));
        if !single {
            close(&mut out, &mut run);
            out.push(node);
        } else {
            run.push(node);
        }
    }
    close(&mut out, &mut run);
    out
}
