//! The unified matcher (`xds.type.matcher.v3.Matcher`): a decision tree over inputs that its user knows.

mod compile;

use super::{CidrList, StringMatcher};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

pub use compile::Vocabulary;

/// A compiled matcher over inputs `I`, which finds actions `A`.
#[derive(Debug)]
pub struct MatcherTree<I, A> {
    kind: Kind<I, A>,
    on_no_match: Option<Box<OnMatch<I, A>>>,
}

#[derive(Debug)]
enum Kind<I, A> {
    /// `matcher_list`: the first predicate that holds.
    List(Vec<(Predicate<I>, OnMatch<I, A>)>),
    /// `exact_match_map`
    Exact(I, HashMap<Box<str>, OnMatch<I, A>>),
    /// `prefix_match_map`, the longest prefix first.
    Prefix(I, Vec<(Box<str>, OnMatch<I, A>)>),
    /// `IPMatcher`: the longest range.
    Ip(I, Vec<IpRanges<I, A>>),
    /// `ServerNameMatcher`: the name itself, then `*.x` from the longest suffix on, then `*`.
    Names(I, HashMap<Box<str>, OnMatch<I, A>>),
    /// Nothing but `on_no_match`.
    Empty,
}

#[derive(Debug)]
struct IpRanges<I, A> {
    ranges: CidrList,
    /// What it leads to is final, even where that finds nothing.
    exclusive: bool,
    on_match: OnMatch<I, A>,
}

#[derive(Debug)]
enum OnMatch<I, A> {
    Tree(Box<MatcherTree<I, A>>),
    Action(A),
}

#[derive(Debug)]
enum Predicate<I> {
    Single(I, StringMatcher),
    Or(Vec<Predicate<I>>),
    And(Vec<Predicate<I>>),
    Not(Box<Predicate<I>>),
}

/// What an input is, if it is there.
pub type Value<'v> = Option<Cow<'v, str>>;

impl<I> Predicate<I> {
    fn holds<'v>(&self, value: &dyn Fn(&I) -> Value<'v>) -> bool {
        match self {
            Self::Single(input, matcher) => value(input).is_some_and(|v| matcher.matches(v.as_bytes())),
            Self::Or(all) => all.iter().any(|p| p.holds(value)),
            Self::And(all) => all.iter().all(|p| p.holds(value)),
            Self::Not(one) => !one.holds(value),
        }
    }
}

impl<I, A> OnMatch<I, A> {
    fn find<'v>(&self, value: &dyn Fn(&I) -> Value<'v>) -> Option<&A> {
        match self {
            Self::Tree(tree) => tree.find(value),
            Self::Action(action) => Some(action),
        }
    }
}

impl<I, A> MatcherTree<I, A> {
    /// The action that the tree leads to; `value` tells what an input is.
    pub fn find<'v>(&self, value: &dyn Fn(&I) -> Value<'v>) -> Option<&A> {
        let found = match &self.kind {
            Kind::List(list) => {
                list.iter().filter(|(p, _)| p.holds(value)).find_map(|(_, then)| then.find(value))
            }
            Kind::Exact(input, map) => {
                value(input).and_then(|v| map.get(&*v)).and_then(|then| then.find(value))
            }
            Kind::Prefix(input, list) => value(input).and_then(|v| {
                list.iter()
                    .filter(|(prefix, _)| v.starts_with(&**prefix))
                    .find_map(|(_, then)| then.find(value))
            }),
            Kind::Ip(input, ranges) => value(input)
                .and_then(|v| v.parse::<IpAddr>().ok())
                .and_then(|ip| longest(ranges, ip, |then| then.find(value))),
            Kind::Names(input, map) => value(input).and_then(|v| by_name(map, &v, |then| then.find(value))),
            Kind::Empty => None,
        };
        found.or_else(|| self.on_no_match.as_ref().and_then(|then| then.find(value)))
    }
}

/// Tries the ranges around `ip`, the longest first.
fn longest<'t, I, A>(
    ranges: &'t [IpRanges<I, A>],
    ip: IpAddr,
    find: impl Fn(&'t OnMatch<I, A>) -> Option<&'t A>,
) -> Option<&'t A> {
    let mut around: Vec<(u8, &IpRanges<I, A>)> =
        ranges.iter().filter_map(|r| Some((r.ranges.longest(ip)?, r))).collect();
    // Those of one length stay in their order.
    around.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    for (_, range) in around {
        let found = find(&range.on_match);
        if found.is_some() || range.exclusive {
            return found;
        }
    }
    None
}

fn by_name<'t, I, A>(
    map: &'t HashMap<Box<str>, OnMatch<I, A>>,
    name: &str,
    find: impl Fn(&'t OnMatch<I, A>) -> Option<&'t A>,
) -> Option<&'t A> {
    let name = name.to_ascii_lowercase();
    let found = |key: &str| map.get(key).and_then(&find);
    if let Some(action) = found(&name) {
        return Some(action);
    }
    let mut rest = &*name;
    while let Some((_, suffix)) = rest.split_once('.') {
        if let Some(action) = found(&format!("*.{suffix}")) {
            return Some(action);
        }
        rest = suffix;
    }
    found("*")
}

#[cfg(test)]
mod tests;
