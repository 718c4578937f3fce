//! What a rehearsed stream tells of its way.

use super::{Change, Fact, PassedOver};
use crate::route::{Action, ClusterSpecifier, Found, MatchContext, Route, RouteTable};
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::config::Place;
use std::cell::RefCell;
use std::sync::Arc;

/// Who changes heads before the route is known, and behind it.
pub(crate) const CONNECTION_MANAGER: &str = "connection manager";
pub(crate) const ROUTER: &str = "router";

/// A head on its way.
pub(super) struct Stage {
    /// Who has left it so, and where that stands.
    pub by: Box<str>,
    pub place: Option<Place>,
    pub head: RequestHead,
}

/// What is known of a request that stands before its host.
#[derive(Default)]
pub(crate) struct Plan {
    /// What the route counts it as, besides.
    pub matched: Vec<Fact>,
    pub upstream: Vec<Fact>,
    pub timeouts: Vec<Fact>,
    pub retries: Vec<Fact>,
    pub rate_limits: Vec<Fact>,
    pub responses: Vec<Fact>,
}

/// What a rehearsed stream tells, in the order in which it meets it.
pub struct Script {
    told: RefCell<Told>,
    /// Routes that are listed at most.
    most: usize,
}

/// All of it.
#[derive(Default)]
pub(super) struct Told {
    pub routing: Vec<Fact>,
    pub passed_over: Vec<PassedOver>,
    pub more: usize,
    pub tracing: Vec<Fact>,
    /// The head, after each of those who change it.
    pub heads: Vec<Stage>,
    /// Where it goes to a host.
    pub plan: Option<Plan>,
    /// The chain of filters, by its number.
    pub chain: Option<usize>,
    pub route: Option<Arc<Route>>,
    pub answer: Option<ResponseHead>,
}

impl Script {
    pub(super) fn new(most: usize) -> Self {
        Self { told: RefCell::default(), most }
    }

    pub(super) fn take(&self) -> Told {
        self.told.take()
    }

    /// The head is as these have left it.
    #[cold]
    pub(crate) fn stage(&self, by: &str, place: Option<Place>, head: &RequestHead) {
        let heads = &mut self.told.borrow_mut().heads;
        match heads.last_mut() {
            Some(last) if *last.by == *by => last.head = head.clone(),
            _ => heads.push(Stage { by: by.into(), place, head: head.clone() }),
        }
    }

    /// It was decided whether the request is traced.
    pub(crate) fn traced(&self, facts: Vec<Fact>) {
        self.told.borrow_mut().tracing = facts;
    }

    /// The filters that the request meets.
    pub(crate) fn through(&self, chain: usize) {
        self.told.borrow_mut().chain = Some(chain);
    }

    pub(super) fn answered(&self, head: &ResponseHead) {
        self.told.borrow_mut().answer = Some(head.clone());
    }

    pub(super) fn chain_and_route(&self) -> (Option<usize>, Option<Arc<Route>>) {
        let told = self.told.borrow();
        (told.chain, told.route.clone())
    }

    pub(super) fn is_forwarded(&self) -> bool {
        self.told.borrow().plan.is_some()
    }

    /// The request is at its host.
    pub(crate) fn forwarded(&self, plan: Plan) {
        self.told.borrow_mut().plan = Some(plan);
    }

    /// A route was looked for in `table`.
    pub(crate) fn looked_up(
        &self,
        table: &RouteTable,
        head: &RequestHead,
        cx: &MatchContext<'_>,
        found: &Found<'_>,
    ) {
        let told = &mut *self.told.borrow_mut();
        told.routing.clear();
        told.routing.push(Fact::new("route configuration", &**table.name(), table.place()));
        if let Some((at, host)) = table.host_of(head) {
            let value = format!("'{}' (virtual_hosts[{at}])", host.name);
            told.routing.push(Fact::new("virtual host", value, host.place));
        }
        if let Some((place, action)) = table.matcher(head, cx) {
            let value = match action {
                Some(action) => format!(
                    "leads to {}, of {} route(s)",
                    action.place.map_or_else(|| "an action".into(), |place| format!("the action of {place}")),
                    action.routes
                ),
                None => "leads nowhere".into(),
            };
            told.routing.push(Fact::new("matcher", value, place));
        }
        told.route = match found {
            Found::Route(route) => Some(Arc::clone(route)),
            Found::NoRoute(_) | Found::NoVirtualHost => None,
        };
        if let Some(route) = told.route.as_ref().filter(|route| matches!(route.action, Action::ToTls)) {
            told.routing.push(Fact::new("require_tls", "redirected to https", route.place_of("require_tls")));
            return;
        }
        (told.passed_over, told.more) = passed_over(table, head, cx, self.most);
        if let Some(route) = &told.route {
            told.routing.extend(taken(table, route));
        }
    }
}

/// The routes before the first one that takes the request.
fn passed_over(
    table: &RouteTable,
    head: &RequestHead,
    cx: &MatchContext<'_>,
    most: usize,
) -> (Vec<PassedOver>, usize) {
    let asked = table.paths_asked(head, cx, most);
    let (mut listed, mut more) = (Vec::new(), 0);
    for met in table.walk(head, cx).take_while(|met| met.mismatch.is_some()) {
        if listed.len() == most {
            more += 1;
            continue;
        }
        let reason = met.reason(head, asked.get(&met.at).map(String::as_str)).unwrap_or_default();
        let (name, place) = (met.route.name.to_string(), met.route.place);
        listed.push(PassedOver { at: met.at, name, place, reason });
    }
    (listed, more)
}

/// The route that was taken.
fn taken(table: &RouteTable, route: &Route) -> Vec<Fact> {
    let at = table.position(route).and_then(|position| position.at).map(|at| format!("routes[{at}]"));
    let name = match (&*route.name, at) {
        ("", at) => at.unwrap_or_else(|| "of the matcher's action".into()),
        (name, Some(at)) => format!("'{name}' ({at})"),
        (name, None) => format!("'{name}'"),
    };
    let action = match &route.action {
        Action::Cluster(action) => match &action.cluster {
            ClusterSpecifier::Name(name) => format!("to cluster '{name}'"),
            ClusterSpecifier::Header(header) => format!("to the cluster that the header '{header}' names"),
        },
        Action::Redirect(redirect) => format!("a redirect ({})", redirect.status()),
        Action::ToTls => "to https".into(),
        Action::DirectResponse(answer) => format!("a direct response ({})", answer.status),
        Action::NonForwarding => "none: a filter has to answer".into(),
    };
    let mut facts =
        vec![Fact::new("route", name, route.place), Fact::new("action", action, route.place_of_action())];
    if let Some((at, of)) = table.share(route) {
        let value = format!("cluster {at} of {of} was chosen by weight");
        facts.push(Fact::new("weighted_clusters", value, route.place_of("weighted_clusters")));
    }
    facts
}

/// A head, line by line.
pub(super) fn lines(head: &RequestHead) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = head.headers.iter().map(|(name, value)| (text(name.as_bytes()), text(value)));
    let (pseudo, mut rest): (Vec<_>, Vec<_>) = all.partition(|(name, _)| name.starts_with(':'));
    rest.splice(0..0, pseudo);
    rest
}

/// What each stage changed of the one before it.
pub(super) fn changes(heads: &[Stage]) -> Vec<Change> {
    let mut all = Vec::new();
    for pair in heads.windows(2) {
        let [before, Stage { by, place, head: after }] = pair else { continue };
        let (before, after) = (lines(&before.head), lines(after));
        let of = |lines: &[(String, String)], name: &str| -> Vec<String> {
            lines.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
        };
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in before.iter().chain(&after) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let (was, is) = (of(&before, name), of(&after, name));
            if was != is {
                all.push(Change {
                    by: by.clone(),
                    place: *place,
                    name: name.clone(),
                    before: was,
                    after: is,
                });
            }
        }
    }
    all
}
