//! The unified matcher (`xds.type.matcher.v3.Matcher`): a decision tree over inputs that its user knows.

mod check;
mod compile;

use super::CidrList;
use crate::cel::Activation;
use check::Check;
use prost_types::value::Kind as Datum;
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
    Exact(Source<I>, HashMap<Box<str>, OnMatch<I, A>>),
    /// `prefix_match_map`, the longest prefix first.
    Prefix(Source<I>, Vec<(Box<str>, OnMatch<I, A>)>),
    /// `IPMatcher`: the longest range.
    Ip(Source<I>, Vec<IpRanges<I, A>>),
    /// `ServerNameMatcher`: the name itself, then `*.x` from the longest suffix on, then `*`; case counts.
    Names(Source<I>, HashMap<Box<str>, OnMatch<I, A>>),
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
    /// `keep_matching`: as if nothing had matched.
    Passed,
}

#[derive(Debug)]
enum Predicate<I> {
    Single(Source<I>, Check),
    Or(Vec<Predicate<I>>),
    And(Vec<Predicate<I>>),
    Not(Box<Predicate<I>>),
}

/// Where a value comes from.
#[derive(Debug)]
enum Source<I> {
    /// An input of the vocabulary.
    Input(I),
    /// An environment variable, as it was when the tree was compiled.
    Environment(Option<Box<str>>),
}

/// What an input is.
#[derive(Debug)]
pub enum Value<'v> {
    /// It is not known yet at this point of the stream. Whatever depends on it is left undecided: such a tree finds
    /// nothing, not even its `on_no_match`.
    Unknown,
    /// There is none, and there will be none.
    Absent,
    /// A text.
    Text(Cow<'v, str>),
    /// A value of metadata, which only matchers of metadata judge; none is null.
    Datum(Option<&'v Datum>),
    /// What expressions read, which only they judge.
    Attributes(Activation<'v>),
}

impl<'v> From<Option<Cow<'v, str>>> for Value<'v> {
    fn from(text: Option<Cow<'v, str>>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

/// What one search works with.
struct Search<'f, 'v, I> {
    /// Tells what an input is.
    value: &'f dyn Fn(&I) -> Value<'v>,
    /// Checks count what they count.
    counts: bool,
}

impl<I> Clone for Search<'_, '_, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I> Copy for Search<'_, '_, I> {}

/// An input that the outcome hangs on is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotYet;

impl<I> Source<I> {
    fn value<'v>(&'v self, by: Search<'_, 'v, I>) -> Value<'v> {
        match self {
            Self::Input(input) => (by.value)(input),
            Self::Environment(text) => text.as_deref().map(Cow::Borrowed).into(),
        }
    }

    /// Its text, where it is one.
    fn text<'v>(&'v self, by: Search<'_, 'v, I>) -> Result<Option<Cow<'v, str>>, NotYet> {
        match self.value(by) {
            Value::Unknown => Err(NotYet),
            Value::Absent | Value::Datum(_) | Value::Attributes(_) => Ok(None),
            Value::Text(text) => Ok(Some(text)),
        }
    }
}

impl<I> Predicate<I> {
    fn holds<'v>(&'v self, by: Search<'_, 'v, I>) -> Result<bool, NotYet> {
        match self {
            Self::Single(input, check) => check.holds(&input.value(by), by.counts),
            Self::Or(all) => {
                let mut open = false;
                for one in all {
                    match one.holds(by) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(NotYet) => open = true,
                    }
                }
                if open { Err(NotYet) } else { Ok(false) }
            }
            Self::And(all) => {
                for one in all {
                    if !one.holds(by)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(one) => one.holds(by).map(|holds| !holds),
        }
    }
}

/// An action, or that there is none.
type Found<'t, A> = Result<Option<&'t A>, NotYet>;

impl<I, A> OnMatch<I, A> {
    fn find<'t: 'v, 'v>(&'t self, by: Search<'_, 'v, I>) -> Found<'t, A> {
        match self {
            Self::Tree(tree) => tree.seek(by),
            Self::Action(action) => Ok(Some(action)),
            Self::Passed => Ok(None),
        }
    }
}

impl<I, A> MatcherTree<I, A> {
    /// The action that the tree leads to; `value` tells what an input is.
    pub fn find<'t: 'v, 'v>(&'t self, value: &dyn Fn(&I) -> Value<'v>) -> Option<&'t A> {
        self.search(value, true)
    }

    /// The same, also for those who ask on the side and do not want its checks to count anything.
    pub fn search<'t: 'v, 'v>(&'t self, value: &dyn Fn(&I) -> Value<'v>, counts: bool) -> Option<&'t A> {
        self.seek(Search { value, counts }).unwrap_or(None)
    }

    fn seek<'t: 'v, 'v>(&'t self, by: Search<'_, 'v, I>) -> Found<'t, A> {
        let found = match &self.kind {
            Kind::List(list) => first(list, by)?,
            Kind::Exact(input, map) => match input.text(by)?.and_then(|text| map.get(&*text)) {
                Some(then) => then.find(by)?,
                None => None,
            },
            Kind::Prefix(input, list) => match input.text(by)? {
                Some(text) => {
                    let fitting = list.iter().filter(|(prefix, _)| text.starts_with(&**prefix));
                    any(fitting.map(|(_, then)| then), by)?
                }
                None => None,
            },
            Kind::Ip(input, ranges) => match input.text(by)?.and_then(|v| v.parse::<IpAddr>().ok()) {
                Some(ip) => longest(ranges, ip, by)?,
                None => None,
            },
            Kind::Names(input, map) => match input.text(by)? {
                Some(name) => by_name(map, &name, by)?,
                None => None,
            },
            Kind::Empty => None,
        };
        match (found, &self.on_no_match) {
            (None, Some(then)) => then.find(by),
            (found, _) => Ok(found),
        }
    }

    /// Every action in it, in no promised order.
    pub fn actions(&self) -> Vec<&A> {
        let mut all = Vec::new();
        self.gather(&mut all);
        all
    }

    fn gather<'t>(&'t self, all: &mut Vec<&'t A>) {
        let mut add = |then: &'t OnMatch<I, A>| match then {
            OnMatch::Tree(tree) => tree.gather(all),
            OnMatch::Action(action) => all.push(action),
            OnMatch::Passed => {}
        };
        match &self.kind {
            Kind::List(list) => list.iter().for_each(|(_, then)| add(then)),
            Kind::Exact(_, map) | Kind::Names(_, map) => map.values().for_each(&mut add),
            Kind::Prefix(_, list) => list.iter().for_each(|(_, then)| add(then)),
            Kind::Ip(_, ranges) => ranges.iter().for_each(|range| add(&range.on_match)),
            Kind::Empty => {}
        }
        self.on_no_match.as_deref().into_iter().for_each(add);
    }
}

/// What the first predicate leads to that holds and leads anywhere.
fn first<'t: 'v, 'v, I, A>(list: &'t [(Predicate<I>, OnMatch<I, A>)], by: Search<'_, 'v, I>) -> Found<'t, A> {
    for (predicate, then) in list {
        if predicate.holds(by)?
            && let Some(action) = then.find(by)?
        {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

/// What the first of these leads to that leads anywhere.
fn any<'t: 'v, 'v, I: 't, A: 't>(
    matched: impl IntoIterator<Item = &'t OnMatch<I, A>>,
    by: Search<'_, 'v, I>,
) -> Found<'t, A> {
    for then in matched {
        if let Some(action) = then.find(by)? {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

/// Tries the ranges around `ip`, the longest first.
fn longest<'t: 'v, 'v, I, A>(
    ranges: &'t [IpRanges<I, A>],
    ip: IpAddr,
    by: Search<'_, 'v, I>,
) -> Found<'t, A> {
    let mut around: Vec<(u8, &IpRanges<I, A>)> =
        ranges.iter().filter_map(|r| Some((r.ranges.longest(ip)?, r))).collect();
    // Those of one length stay in their order.
    around.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    for (_, range) in around {
        let found = range.on_match.find(by)?;
        if found.is_some() || range.exclusive {
            return Ok(found);
        }
    }
    Ok(None)
}

fn by_name<'t: 'v, 'v, I, A>(
    map: &'t HashMap<Box<str>, OnMatch<I, A>>,
    name: &str,
    by: Search<'_, 'v, I>,
) -> Found<'t, A> {
    let suffixes = name.match_indices('.').map(|(at, _)| format!("*{}", name.get(at..).unwrap_or_default()));
    let keys = std::iter::once(name.to_owned()).chain(suffixes).chain(["*".to_owned()]);
    any(keys.filter_map(|key| map.get(&*key)), by)
}

#[cfg(test)]
mod tests;
