//! What RE2 does to a pattern between parsing and compiling it.

use super::tree::{Assertion, FOLD, Flags, Kind, LAZY, Loop, Node};
use std::rc::Rc;

/// The pattern as RE2 compiles it: without a text that is compared on its own, and with counts written out.
pub(super) fn simplified(pattern: &Rc<Node>) -> Rc<Node> {
    simplify(&coalesced(&without_prefix(pattern)))
}

/// Without a literal text that stands behind `^` at the beginning: RE2 compares that on its own.
fn without_prefix(node: &Rc<Node>) -> Rc<Node> {
    let Kind::Concat(list) = &node.kind else { return Rc::clone(node) };
    let begins = |n: &Rc<Node>| n.kind == Kind::Assertion(Assertion::BeginText);
    let at = list.iter().take_while(|n| begins(n)).count();
    match list.get(at).map(|n| &n.kind) {
        Some(Kind::Literal(_) | Kind::Text(_)) if at > 0 => {
            Node::concat(list.get(at + 1..).unwrap_or_default().to_vec(), node.flags)
        }
        _ => Rc::clone(node),
    }
}

/// Loops of one character beside more of it become one count.
fn coalesced(node: &Rc<Node>) -> Rc<Node> {
    let kind = match &node.kind {
        Kind::Concat(list) => {
            let mut out: Vec<Rc<Node>> = Vec::with_capacity(list.len());
            let mut changed = false;
            for next in list.iter().map(coalesced) {
                match out.last().and_then(|last| joined(last, &next)) {
                    Some(both) => {
                        changed = true;
                        out.pop();
                        out.extend(both);
                    }
                    None => out.push(next),
                }
            }
            if changed {
                out.retain(|n| n.kind != Kind::Empty);
            }
            return Node::concat(out, node.flags);
        }
        Kind::Alternate(list) => Kind::Alternate(list.iter().map(coalesced).collect()),
        Kind::Capture(of) => Kind::Capture(coalesced(of)),
        Kind::Loop(how, of) => Kind::Loop(*how, coalesced(of)),
        Kind::Repeat { min, max, of } => Kind::Repeat { min: *min, max: *max, of: coalesced(of) },
        _ => return Rc::clone(node),
    };
    Node::new(kind, node.flags)
}

/// The bounds of a loop of one character, and the character.
fn bounds(node: &Node) -> Option<(u32, Option<u32>, &Rc<Node>)> {
    let (min, max, of) = match &node.kind {
        Kind::Loop(Loop::Star, of) => (0, None, of),
        Kind::Loop(Loop::Plus, of) => (1, None, of),
        Kind::Loop(Loop::Quest, of) => (0, Some(1), of),
        Kind::Repeat { min, max, of } => (*min, *max, of),
        _ => return None,
    };
    of.is_one_char().then_some((min, max, of))
}

fn joined(first: &Rc<Node>, second: &Rc<Node>) -> Option<Vec<Rc<Node>>> {
    let (min, max, of) = bounds(first)?;
    let more = |least: u32, most: Option<u32>| {
        let max = max.zip(most).map(|(a, b)| a + b);
        Node::new(Kind::Repeat { min: min + least, max, of: Rc::clone(of) }, first.flags)
    };
    if let Some((least, most, other)) = bounds(second)
        && of == other
        && (first.flags ^ second.flags) & LAZY == 0
    {
        return Some(vec![more(least, most)]);
    }
    if of == second {
        return Some(vec![more(1, Some(1))]);
    }
    let (Kind::Literal(b), Kind::Text(text)) = (&of.kind, &second.kind) else { return None };
    let same = text.iter().take_while(|t| *t == b).count();
    if same == 0 || (of.flags ^ second.flags) & FOLD != 0 {
        return None;
    }
    let mut out = vec![more(same as u32, Some(same as u32))];
    match text.get(same..).unwrap_or_default() {
        [] => {}
        [one] => out.push(Node::new(Kind::Literal(*one), second.flags)),
        rest => out.push(Node::new(Kind::Text(rest.to_vec()), second.flags)),
    }
    Some(out)
}

/// Counts written out.
fn simplify(node: &Rc<Node>) -> Rc<Node> {
    let kind = match &node.kind {
        Kind::Concat(list) => Kind::Concat(list.iter().map(simplify).collect()),
        Kind::Alternate(list) => Kind::Alternate(list.iter().map(simplify).collect()),
        Kind::Capture(of) => Kind::Capture(simplify(of)),
        Kind::Loop(how, of) => {
            let of = simplify(of);
            match &of.kind {
                Kind::Empty => return of,
                Kind::Loop(own, _) if own == how && of.flags == node.flags => return of,
                _ => Kind::Loop(*how, of),
            }
        }
        Kind::Repeat { min, max, of } => {
            let of = simplify(of);
            return if of.kind == Kind::Empty { of } else { unrolled(&of, *min, *max, node.flags) };
        }
        Kind::Class(set) if (0..=255).all(|b| !set.contains(b)) => Kind::NoMatch,
        _ => return Rc::clone(node),
    };
    Node::new(kind, node.flags)
}

/// Conditions on the place alone, one after another or one of several. RE2 does not look deeper.
fn takes_nothing(node: &Node) -> bool {
    let condition = |node: &Node| matches!(node.kind, Kind::Assertion(_));
    match &node.kind {
        Kind::Concat(list) | Kind::Alternate(list) => list.iter().all(|n| condition(n)),
        _ => condition(node),
    }
}

fn unrolled(of: &Rc<Node>, mut min: u32, mut max: Option<u32>, flags: Flags) -> Rc<Node> {
    if takes_nothing(of) {
        // More than one makes no difference.
        (min, max) = (min.min(1), max.map(|m| m.min(1)));
    }
    let times = |n: u32| vec![Rc::clone(of); n as usize];
    match (min, max) {
        (0, None) => Node::looped(Loop::Star, Rc::clone(of), flags),
        (1, None) => Node::looped(Loop::Plus, Rc::clone(of), flags),
        (_, None) => {
            let mut list = times(min - 1);
            list.push(Node::looped(Loop::Plus, Rc::clone(of), flags));
            Node::concat(list, flags)
        }
        (0, Some(0)) => Node::new(Kind::Empty, flags),
        (1, Some(1)) => Rc::clone(of),
        (_, Some(max)) => {
            let mut list = if min > 0 { vec![Node::concat(times(min), flags)] } else { Vec::new() };
            if max > min {
                let mut tail = Node::looped(Loop::Quest, Rc::clone(of), flags);
                for _ in min + 1..max {
                    let inner = Node::concat(vec![Rc::clone(of), tail], flags);
                    tail = Node::looped(Loop::Quest, inner, flags);
                }
                list.push(tail);
            }
            Node::concat(list, flags)
        }
    }
}

/// RE2 looks for anchors so deep.
const DEPTH: u32 = 4;

/// The node without the `\A` that it begins with, and whether there was one.
pub(super) fn without_begin(node: Rc<Node>) -> (Rc<Node>, bool) {
    without_anchor(node, 0, true)
}

/// The node without the `\z` that it ends in, and whether there was one.
pub(super) fn without_end(node: Rc<Node>) -> (Rc<Node>, bool) {
    without_anchor(node, 0, false)
}

fn without_anchor(node: Rc<Node>, depth: u32, at_begin: bool) -> (Rc<Node>, bool) {
    if depth >= DEPTH {
        return (node, false);
    }
    let kind = match &node.kind {
        Kind::Concat(list) => {
            let mut list = list.clone();
            let Some(edge) = (if at_begin { list.first_mut() } else { list.last_mut() }) else {
                return (node, false);
            };
            let (without, found) = without_anchor(Rc::clone(edge), depth + 1, at_begin);
            *edge = without;
            if !found {
                return (node, false);
            }
            Kind::Concat(list)
        }
        Kind::Capture(of) => match without_anchor(Rc::clone(of), depth + 1, at_begin) {
            (of, true) => Kind::Capture(of),
            (_, false) => return (node, false),
        },
        Kind::Assertion(Assertion::BeginText) if at_begin => Kind::Empty,
        Kind::Assertion(Assertion::EndText | Assertion::Dollar) if !at_begin => Kind::Empty,
        _ => return (node, false),
    };
    (Node::new(kind, node.flags), true)
}
