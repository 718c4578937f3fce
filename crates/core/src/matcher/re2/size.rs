//! How many instructions RE2's program for a pattern has: simplified, compiled and flattened as RE2 does.

use super::bytes::Bytes;
use super::simplify::{simplified, without_begin, without_end};
use super::tree::{Kind, LAZY, Loop, Node};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// More instructions than RE2's memory limit allows; RE2 gives up then.
const MOST: usize = 698_990;

/// The number of instructions; `None` where the pattern is too large for RE2.
pub(super) fn program_size(pattern: &Rc<Node>) -> Option<usize> {
    let mut c = Compiler { insts: vec![Inst::Fail], full: false };
    let simple = simplified(pattern);
    let (simple, anchored) = without_begin(simple);
    let (simple, _) = without_end(simple);
    let all = c.fragment(&simple);
    let end = c.one(Inst::Match);
    let all = c.cat(all, end);
    let start = all.begin;
    let from = if anchored {
        start
    } else {
        let any = c.one(Inst::Step { out: 0, over: Over::Any });
        let skip = c.star(any, true);
        c.cat(skip, all).begin
    };
    if c.full || c.insts.len() > MOST {
        return None;
    }
    c.drop_nops(start);
    c.mark_final_loops(start);
    Some(Flat::new(&c.insts, from, start).size())
}

/// An instruction; 0 is the number of the one that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inst {
    Fail,
    Match,
    Nop {
        out: usize,
    },
    Alt {
        out: usize,
        out1: usize,
    },
    /// An alternative between a match and a loop over any byte.
    AltMatch {
        out: usize,
        out1: usize,
    },
    Step {
        out: usize,
        over: Over,
    },
}

/// What a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Any byte.
    Any,
    /// Some bytes.
    Some,
    /// A position that holds.
    Condition,
    /// None: a group begins or ends.
    Group,
}

/// A hole in an instruction: its number, and whether it is the second one.
type Hole = (usize, bool);

struct Frag {
    begin: usize,
    end: Vec<Hole>,
    nullable: bool,
}

impl Frag {
    const NONE: Self = Self { begin: 0, end: Vec::new(), nullable: false };
}

struct Compiler {
    insts: Vec<Inst>,
    full: bool,
}

impl Compiler {
    fn get(&self, at: usize) -> Inst {
        self.insts.get(at).copied().unwrap_or(Inst::Fail)
    }

    fn set(&mut self, at: usize, inst: Inst) {
        if let Some(own) = self.insts.get_mut(at) {
            *own = inst;
        }
    }

    fn add(&mut self, inst: Inst) -> usize {
        if self.insts.len() > MOST {
            self.full = true;
            return 0;
        }
        self.insts.push(inst);
        self.insts.len() - 1
    }

    /// A fragment of one instruction.
    fn one(&mut self, inst: Inst) -> Frag {
        let begin = self.add(inst);
        let end = if inst == Inst::Match { Vec::new() } else { vec![(begin, false)] };
        Frag { begin, end, nullable: matches!(inst, Inst::Nop { .. }) }
    }

    fn fill(&mut self, holes: &[Hole], to: usize) {
        for &(at, second) in holes {
            let filled = match (self.get(at), second) {
                (Inst::Nop { .. }, _) => Inst::Nop { out: to },
                (Inst::Step { over, .. }, _) => Inst::Step { out: to, over },
                (Inst::Alt { out1, .. }, false) => Inst::Alt { out: to, out1 },
                (Inst::Alt { out, .. }, true) => Inst::Alt { out, out1: to },
                (other, _) => other,
            };
            self.set(at, filled);
        }
    }

    fn cat(&mut self, a: Frag, b: Frag) -> Frag {
        if a.begin == 0 || b.begin == 0 {
            return Frag::NONE;
        }
        if self.get(a.begin) == (Inst::Nop { out: 0 }) && a.end == [(a.begin, false)] {
            self.fill(&a.end, b.begin);
            return b;
        }
        self.fill(&a.end, b.begin);
        Frag { begin: a.begin, end: b.end, nullable: a.nullable && b.nullable }
    }

    fn alt(&mut self, a: Frag, b: Frag) -> Frag {
        if a.begin == 0 {
            return b;
        }
        if b.begin == 0 {
            return a;
        }
        let begin = self.add(Inst::Alt { out: a.begin, out1: b.begin });
        let mut end = a.end;
        end.extend(b.end);
        Frag { begin, end, nullable: a.nullable || b.nullable }
    }

    /// An alternative between `to` and what comes later.
    fn or_later(&mut self, to: usize, lazy: bool) -> (usize, Hole) {
        let inst = if lazy { Inst::Alt { out: 0, out1: to } } else { Inst::Alt { out: to, out1: 0 } };
        let at = self.add(inst);
        (at, (at, !lazy))
    }

    fn plus(&mut self, a: Frag, lazy: bool) -> Frag {
        let (at, hole) = self.or_later(a.begin, lazy);
        self.fill(&a.end, at);
        Frag { begin: a.begin, end: vec![hole], nullable: a.nullable }
    }

    fn star(&mut self, a: Frag, lazy: bool) -> Frag {
        if a.nullable {
            let plus = self.plus(a, lazy);
            return self.quest(plus, lazy);
        }
        let (at, hole) = self.or_later(a.begin, lazy);
        self.fill(&a.end, at);
        Frag { begin: at, end: vec![hole], nullable: true }
    }

    fn quest(&mut self, a: Frag, lazy: bool) -> Frag {
        if a.begin == 0 {
            return self.one(Inst::Nop { out: 0 });
        }
        let (begin, hole) = self.or_later(a.begin, lazy);
        let mut end = a.end;
        end.push(hole);
        Frag { begin, end, nullable: true }
    }

    fn fragment(&mut self, node: &Rc<Node>) -> Frag {
        if self.full {
            return Frag::NONE;
        }
        let step = |over| Inst::Step { out: 0, over };
        match &node.kind {
            Kind::NoMatch => Frag::NONE,
            Kind::Empty => self.one(Inst::Nop { out: 0 }),
            Kind::Literal(_) => self.one(step(Over::Some)),
            Kind::AnyByte | Kind::AnyChar => self.one(step(Over::Any)),
            Kind::Assertion(_) => Frag { nullable: true, ..self.one(step(Over::Condition)) },
            Kind::Text(text) => self.steps(text.len()),
            Kind::Class(set) => self.class(set),
            Kind::Concat(list) => self.folded(list, Self::cat),
            Kind::Alternate(list) => self.folded(list, Self::alt),
            Kind::Loop(how, of) => {
                let (of, lazy) = (self.fragment(of), node.flags & LAZY != 0);
                match how {
                    Loop::Star => self.star(of, lazy),
                    Loop::Plus => self.plus(of, lazy),
                    Loop::Quest => self.quest(of, lazy),
                }
            }
            Kind::Capture(of) => {
                let of = self.fragment(of);
                if of.begin == 0 {
                    return of;
                }
                let begin = self.add(Inst::Step { out: of.begin, over: Over::Group });
                let end = self.add(step(Over::Group));
                self.fill(&of.end, end);
                Frag { begin, end: vec![(end, false)], nullable: of.nullable }
            }
            // Written out before.
            Kind::Repeat { .. } => Frag::NONE,
        }
    }

    fn folded(&mut self, list: &[Rc<Node>], join: fn(&mut Self, Frag, Frag) -> Frag) -> Frag {
        let mut all: Option<Frag> = None;
        for node in list {
            let next = self.fragment(node);
            all = Some(match all {
                None => next,
                Some(all) => join(self, all, next),
            });
        }
        all.unwrap_or(Frag::NONE)
    }

    /// So many bytes in a row.
    fn steps(&mut self, count: usize) -> Frag {
        let step = Inst::Step { out: 0, over: Over::Some };
        let mut all = self.one(step);
        for _ in 1..count {
            let next = self.one(step);
            all = self.cat(all, next);
        }
        all
    }

    /// One instruction per range; where both cases are in, the capitals need none.
    fn class(&mut self, set: &Bytes) -> Frag {
        let folds = (b'a'..=b'z').all(|b| set.contains(b) == set.contains(b.to_ascii_uppercase()));
        let mut all = Frag::NONE;
        for (from, to) in set.ranges() {
            if folds && b'A' <= from && to <= b'Z' {
                continue;
            }
            let over = if from == 0 && to == 255 { Over::Any } else { Over::Some };
            let next = self.one(Inst::Step { out: 0, over });
            all = self.alt(all, next);
        }
        Frag { nullable: false, ..all }
    }

    fn past_nops(&self, mut at: usize) -> usize {
        while at != 0
            && let Inst::Nop { out } = self.get(at)
        {
            at = out;
        }
        at
    }

    /// Leads every way from `start` past instructions that do nothing.
    fn drop_nops(&mut self, start: usize) {
        self.each_reachable(start, |c, at| match c.get(at) {
            Inst::Nop { out } => c.set(at, Inst::Nop { out: c.past_nops(out) }),
            Inst::Step { out, over } => c.set(at, Inst::Step { out: c.past_nops(out), over }),
            Inst::Alt { out, out1 } => {
                c.set(at, Inst::Alt { out: c.past_nops(out), out1: c.past_nops(out1) });
            }
            Inst::AltMatch { .. } | Inst::Match | Inst::Fail => {}
        });
    }

    /// A last loop over any byte, such as `.*` in `(?s)a.*`, is an instruction more.
    fn mark_final_loops(&mut self, start: usize) {
        self.each_reachable(start, |c, at| {
            let Inst::Alt { out, out1 } = c.get(at) else { return };
            let back = |to| c.get(to) == Inst::Step { out: at, over: Over::Any };
            if (back(out) && c.matches(out1)) || (c.matches(out) && back(out1)) {
                c.set(at, Inst::AltMatch { out, out1 });
            }
        });
    }

    /// Whether nothing but a match follows.
    fn matches(&self, mut at: usize) -> bool {
        loop {
            match self.get(at) {
                Inst::Match => return true,
                Inst::Nop { out } | Inst::Step { out, over: Over::Group } => at = out,
                _ => return false,
            }
        }
    }

    fn each_reachable(&mut self, start: usize, mut each: impl FnMut(&mut Self, usize)) {
        let (mut seen, mut next) = (HashSet::from([start]), vec![start]);
        while let Some(at) = next.pop() {
            each(self, at);
            let mut go = |to| {
                if to != 0 && seen.insert(to) {
                    next.push(to);
                }
            };
            match self.get(at) {
                Inst::Alt { out, out1 } | Inst::AltMatch { out, out1 } => {
                    go(out);
                    go(out1);
                }
                Inst::Nop { out } | Inst::Step { out, .. } => go(out),
                Inst::Match | Inst::Fail => {}
            }
        }
    }
}

/// The lists into which RE2 flattens a program: each begins at a root and holds what can be reached from it without
/// taking a step, up to the next root.
struct Flat<'c> {
    insts: &'c [Inst],
    roots: BTreeMap<usize, ()>,
    /// The alternatives that lead to an instruction.
    before: HashMap<usize, Vec<usize>>,
}

impl<'c> Flat<'c> {
    fn new(insts: &'c [Inst], from: usize, start: usize) -> Self {
        let mut flat = Self { insts, roots: BTreeMap::new(), before: HashMap::new() };
        flat.roots.extend([(0, ()), (from, ()), (start, ())]);
        flat.mark_successors(from);
        // In falling order, as of before.
        for root in flat.roots.keys().rev().copied().collect::<Vec<_>>() {
            if root != 0 && root != from && root != start {
                flat.mark_dominators(root);
            }
        }
        flat
    }

    fn get(&self, at: usize) -> Inst {
        self.insts.get(at).copied().unwrap_or(Inst::Fail)
    }

    fn mark_successors(&mut self, from: usize) {
        let (mut seen, mut next) = (HashSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            if !seen.insert(at) {
                continue;
            }
            match self.get(at) {
                Inst::Alt { out, out1 } | Inst::AltMatch { out, out1 } => {
                    for to in [out, out1] {
                        self.before.entry(to).or_default().push(at);
                    }
                    next.extend([out1, out]);
                }
                Inst::Step { out, .. } => {
                    self.roots.insert(out, ());
                    next.push(out);
                }
                Inst::Nop { out } => next.push(out),
                Inst::Match | Inst::Fail => {}
            }
        }
    }

    /// What can be reached from `root` without taking a step; other roots are reached and not passed.
    fn list(&self, root: usize, mut each: impl FnMut(usize, bool)) {
        let (mut seen, mut next) = (HashSet::new(), vec![root]);
        while let Some(at) = next.pop() {
            if !seen.insert(at) {
                continue;
            }
            let other = at != root && self.roots.contains_key(&at);
            each(at, other);
            if other {
                continue;
            }
            match self.get(at) {
                Inst::Alt { out, out1 } | Inst::AltMatch { out, out1 } => next.extend([out1, out]),
                Inst::Nop { out } => next.push(out),
                Inst::Step { .. } | Inst::Match | Inst::Fail => {}
            }
        }
    }

    /// What is reached from `root` and from elsewhere too is a root of its own.
    fn mark_dominators(&mut self, root: usize) {
        let mut reached = Vec::new();
        self.list(root, |at, _| reached.push(at));
        let own: HashSet<usize> = reached.iter().copied().collect();
        for at in reached {
            if self.before.get(&at).is_some_and(|before| before.iter().any(|b| !own.contains(b))) {
                self.roots.insert(at, ());
            }
        }
    }

    fn size(&self) -> usize {
        let mut size = 0;
        for root in self.roots.keys() {
            self.list(*root, |at, other| {
                size += match self.get(at) {
                    _ if other => 1,
                    Inst::AltMatch { .. } | Inst::Step { .. } | Inst::Match | Inst::Fail => 1,
                    Inst::Alt { .. } | Inst::Nop { .. } => 0,
                };
            });
        }
        size
    }
}
