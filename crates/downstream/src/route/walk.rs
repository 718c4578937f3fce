//! A look-up retraced, for explanations: every route of the virtual host in list order, with what the request fails.
//! It asks the index and the conditions that look-ups ask.

use super::conditions::{Conditions, PathCondition};
use super::index::{PathKey, Reach};
use super::list::{HostRoutes, RouteList, Target};
use super::{MatchContext, Mismatch, Route, RouteTable, Shortened};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::Place;
use nuncio_core::header::cookie;
use nuncio_core::matcher::{parameter, query_of};
use nuncio_core::why::shown;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A route of the list as a request meets it.
pub struct Met<'a> {
    /// Its number in the list.
    pub at: usize,
    /// The route, the first one of a weighted cluster.
    pub route: &'a Arc<Route>,
    /// The first condition that does not hold; `None`: it takes the request, if none before it does.
    pub mismatch: Option<Mismatch>,
    conditions: Option<&'a Conditions>,
}

/// What a virtual host's matcher leads to.
#[derive(Clone, Copy, Debug)]
pub struct MatcherAction {
    /// Where it stands.
    pub place: Option<Place>,
    /// How many routes it has.
    pub routes: usize,
}

impl RouteTable {
    /// The matcher of the virtual host that serves `head`, where it has one: its place, and that of the action that
    /// it leads to, which may be none.
    pub fn matcher(
        &self,
        head: &RequestHead,
        cx: &MatchContext<'_>,
    ) -> Option<(Option<Place>, Option<MatcherAction>)> {
        let HostRoutes::Matcher(_, place) = &self.virtual_host(&head.headers)?.routes else { return None };
        let action =
            self.list(head, cx).map(|list| MatcherAction { place: list.place, routes: list.entries.len() });
        Some((*place, action))
    }

    /// The list of routes that holds for `head`.
    fn list(&self, head: &RequestHead, cx: &MatchContext<'_>) -> Option<&RouteList> {
        self.virtual_host(&head.headers)?.routes.of(head, cx)
    }

    /// Every route of the list that holds for `head`. It walks the list.
    pub fn walk<'a>(
        &'a self,
        head: &'a RequestHead,
        cx: &'a MatchContext<'a>,
    ) -> impl Iterator<Item = Met<'a>> + 'a {
        let list = self.list(head, cx);
        let mut shortened = Shortened::new();
        let path: Box<[u8]> = self.match_path(head.path(), &mut shortened).into();
        let mut fits = HashSet::new();
        if let Some(list) = list {
            match head.headers.get(Known::Path) {
                None => fits.extend(list.pathless.iter().copied()),
                Some(_) => list.index.each(&path, |found| {
                    fits.insert(found);
                }),
            }
        }
        let entries = list.into_iter().flat_map(|list| (0_u32..).zip(list.entries.iter()));
        entries.filter_map(move |(number, entry)| {
            let route = entry.target.routes().into_iter().next()?;
            let conditions = entry.conditions.as_deref();
            let mismatch = match conditions {
                _ if !fits.contains(&number) => Some(Mismatch::Path),
                Some(conditions) => conditions.mismatch(head, &path, cx),
                None => None,
            };
            Some(Met { at: number as usize, route, mismatch, conditions })
        })
    }

    /// Which of the clusters of its weighted route this is, from 1, and of how many; none of a plain route.
    pub fn share(&self, route: &Route) -> Option<(usize, usize)> {
        let host = self.hosts.iter().find(|host| Arc::ptr_eq(&host.shared, &route.virtual_host))?;
        let entries = host.routes.all().into_iter().flat_map(|list| list.entries.iter());
        entries.into_iter().find_map(|entry| {
            let Target::Weighted(clusters) = &entry.target else { return None };
            let number = clusters.routes().position(|other| std::ptr::eq(Arc::as_ptr(other), route))?;
            Some((number + 1, clusters.routes().count()))
        })
    }

    /// What the first `most` routes of the list that holds for `head` ask of paths, by their numbers.
    pub fn paths_asked(
        &self,
        head: &RequestHead,
        cx: &MatchContext<'_>,
        most: usize,
    ) -> HashMap<usize, String> {
        let mut asked = HashMap::new();
        let Some(list) = self.list(head, cx) else { return asked };
        list.index.each_key(|number, key| {
            if (number as usize) < most {
                asked.insert(number as usize, key_text(key));
            }
        });
        for (number, entry) in list.entries.iter().enumerate().take(most) {
            if let Some(path) = entry.conditions.as_ref().and_then(|c| c.path.as_ref()) {
                asked.insert(number, condition_text(path));
            }
        }
        asked
    }
}

fn key_text(key: PathKey<'_>) -> String {
    let (text, reach, folded) = match key {
        PathKey::Literal(text, reach) => (text, reach, ""),
        PathKey::Folded(text, reach) => (text, reach, " (case_sensitive: false)"),
        PathKey::Suffix(text) => (text, Reach::Prefix, " (at its end)"),
    };
    let kind = match reach {
        Reach::Prefix => "prefix",
        Reach::Separated => "path_separated_prefix",
        Reach::Exact => "path",
    };
    format!("{kind} \"{}\"{folded}", text.escape_ascii())
}

fn condition_text(path: &PathCondition) -> String {
    match path {
        PathCondition::Regex(regex) => format!("safe_regex \"{}\"", regex.pattern()),
        PathCondition::Template(template) => format!("path_match_policy \"{}\"", template.text()),
        PathCondition::Connect => "connect_matcher".into(),
    }
}

impl Met<'_> {
    /// Why it is passed over, with what the request has instead; `None` where it is not. `asked` is what it asks of
    /// paths.
    pub fn reason(&self, head: &RequestHead, asked: Option<&str>) -> Option<String> {
        let mismatch = self.mismatch?;
        let has = |value: Option<&[u8]>| match value {
            Some(value) => format!("the request has \"{}\"", shown(value)),
            None => "the request has none".to_owned(),
        };
        let (asks, has) = match (mismatch, self.conditions) {
            (Mismatch::Path, _) => {
                let path = if head.path().is_empty() { "none".into() } else { shown(head.path()) };
                return Some(format!("the path {path} is not {}", asked.unwrap_or("what it asks")));
            }
            (Mismatch::Header(i), Some(conditions)) => {
                let matcher = conditions.headers.get(i)?;
                (matcher.to_string(), has(head.headers.get(matcher.header())))
            }
            (Mismatch::QueryParameter(i), Some(conditions)) => {
                let matcher = conditions.query.get(i)?;
                (matcher.to_string(), has(parameter(query_of(head.path()), matcher.parameter())))
            }
            (Mismatch::Cookie(i), Some(conditions)) => {
                let matcher = conditions.cookies.get(i)?;
                let invert = if matcher.invert { " (invert_match)" } else { "" };
                let asks = format!("{} {}{invert}", matcher.name.escape_ascii(), matcher.value);
                (asks, has(cookie(&head.headers, &matcher.name)))
            }
            (Mismatch::Grpc, _) => {
                ("content-type application/grpc".into(), has(head.headers.get("content-type")))
            }
            _ => return Some(format!("{mismatch} does not hold")),
        };
        Some(format!("{mismatch} ({asks}) does not hold: {has}"))
    }
}
