//! An explanation for people.

use super::sections::{Content, Section, sections};
use nuncio_core::config::Place;
use nuncio_core::why::Note;
use nuncio_downstream::explain::{Change, Explanation, Fact, FilterFact, PassedOver, Verdict};
use std::fmt::Write;

/// Whether the request fares well: it goes to a host, or gets an answer that is no error.
pub(super) fn is_well(told: &Explanation) -> bool {
    match told.verdict {
        Verdict::Forwarded => true,
        Verdict::Answered(status) => status < 400,
        Verdict::Closed(_) | Verdict::Undecided(_) => false,
    }
}

/// A name, what it comes to, and where that stands.
type Line = (String, String, Option<Place>);

/// Lines of one block.
struct Block {
    title: &'static str,
    lines: Vec<Line>,
}

/// How wide a block's columns may grow; what is longer stands as it is.
const WIDEST: [usize; 2] = [36, 72];

fn lines(content: Content<'_>) -> Vec<Line> {
    match content {
        Content::Facts(facts) => {
            let line = |Fact { name, value, place }: &Fact| ((*name).to_owned(), value.clone(), *place);
            facts.iter().map(line).collect()
        }
        Content::PassedOver(list, more) => passed(list, more),
        Content::Filters(filters) => filters.iter().flat_map(filter).collect(),
        Content::Changes(changes) => changes.iter().map(change_line).collect(),
        Content::Head(head) => {
            head.iter().map(|(name, value)| (format!("{name}:"), value.clone(), None)).collect()
        }
    }
}

impl Block {
    fn write(self, out: &mut String) {
        if self.lines.is_empty() {
            return;
        }
        let width = |most, of: &dyn Fn(&Line) -> usize| {
            self.lines.iter().map(of).filter(|n| *n <= most).max().unwrap_or(0)
        };
        let [most_name, most_value] = WIDEST;
        let name = width(most_name, &|line| line.0.chars().count());
        let value = width(most_value, &|line| if line.2.is_some() { line.1.chars().count() } else { 0 });
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", self.title);
        for (own, text, place) in self.lines {
            let _ = match place {
                Some(place) => writeln!(out, "  {own:name$}  {text:value$}  {place}"),
                None => writeln!(out, "{}", format!("  {own:name$}  {text}").trim_end()),
            };
        }
    }
}

/// The whole of it.
pub(super) fn render(told: &Explanation) -> String {
    let Explanation { verdict, notes, upstream, .. } = told;
    let mut out = String::new();
    let line = match verdict {
        Verdict::Forwarded => {
            let of = |name| upstream.iter().find(|f| f.name == name).map_or("", |f| &f.value);
            format!("It goes to {} of cluster {}.", of("host"), of("cluster"))
        }
        Verdict::Answered(status) => format!("The proxy answers it with {status}."),
        Verdict::Closed(why) => format!("It gets no answer: {why}."),
        Verdict::Undecided(why) => format!("It cannot be said: {why}."),
    };
    let _ = writeln!(out, "{line}");
    for (why, Note { cause, change, spot }) in notes {
        let _ = writeln!(out, "why {}: {cause}. To change it: {change}, at {spot}.", why.id());
    }
    out.push('\n');
    for Section { title, key: _, content } in sections(told) {
        Block { title, lines: lines(content) }.write(&mut out);
    }
    out
}

fn passed(list: &[PassedOver], more: usize) -> Vec<Line> {
    let line = |PassedOver { at, name, place, reason }: &PassedOver| {
        let name = if name.is_empty() { String::new() } else { format!(" '{name}'") };
        (format!("routes[{at}]{name}"), reason.clone(), *place)
    };
    let rest = (more > 0).then(|| (String::new(), format!("and {more} more"), None));
    list.iter().map(line).chain(rest).collect()
}

fn filter(fact: &FilterFact) -> Vec<Line> {
    let FilterFact { name, place, state, per_route } = fact;
    let own = (name.clone(), (*state).to_owned(), *place);
    let of_route = per_route
        .iter()
        .map(|(level, place)| (String::new(), format!("per-route configuration of the {level}"), *place));
    std::iter::once(own).chain(of_route).collect()
}

fn change_line(change: &Change) -> Line {
    let Change { by, place, name, before, after } = change;
    let text = match (&**before, &**after) {
        ([], after) => format!("added: {}", after.join(" | ")),
        (before, []) => format!("removed: {}", before.join(" | ")),
        (before, after) => format!("{} -> {}", before.join(" | "), after.join(" | ")),
    };
    (name.clone(), format!("{text} ({by})"), *place)
}
