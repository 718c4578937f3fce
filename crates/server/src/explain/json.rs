//! An explanation for machines.

use super::sections::{Content, Section, sections};
use nuncio_core::config::Place;
use nuncio_core::why::{Note, Why};
use nuncio_downstream::explain::{Change, Explanation, Fact, FilterFact, PassedOver, Verdict};
use serde_json::{Map, Value, json};

/// One JSON object, pretty-printed, with a line end behind it.
pub(super) fn render(told: &Explanation) -> String {
    let Explanation { verdict, notes, .. } = told;
    let (kind, detail) = match verdict {
        Verdict::Forwarded => ("forwarded", Value::Null),
        Verdict::Answered(status) => ("answered", json!(status)),
        Verdict::Closed(why) => ("closed", json!(why)),
        Verdict::Undecided(why) => ("undecided", json!(why)),
    };
    let mut whole = Map::new();
    whole.insert("verdict".to_owned(), json!(kind));
    whole.insert("detail".to_owned(), detail);
    whole.insert("why".to_owned(), notes.iter().map(note).collect());
    for Section { title: _, key, content } in sections(told) {
        if let Content::PassedOver(_, more) = content {
            whole.insert(format!("more_{key}"), json!(more));
        }
        whole.insert(key.to_owned(), values(content));
    }
    format!("{:#}\n", Value::Object(whole))
}

fn values(content: Content<'_>) -> Value {
    match content {
        Content::Facts(facts) => facts.iter().map(fact).collect(),
        Content::PassedOver(list, _) => list.iter().map(passed).collect(),
        Content::Filters(filters) => filters.iter().map(filter).collect(),
        Content::Changes(changes) => changes.iter().map(change).collect(),
        Content::Head(head) => head.iter().map(|(name, value)| json!([name, value])).collect(),
    }
}

fn at(place: Option<Place>) -> Value {
    place.map_or(Value::Null, |place| json!(place.to_string()))
}

fn fact(Fact { name, value, place }: &Fact) -> Value {
    json!({"name": name, "value": value, "place": at(*place)})
}

fn passed(route: &PassedOver) -> Value {
    let PassedOver { at: number, name, place, reason } = route;
    json!({"index": number, "name": name, "reason": reason, "place": at(*place)})
}

fn filter(fact: &FilterFact) -> Value {
    let FilterFact { name, place, state, per_route } = fact;
    let per_route: Vec<Value> =
        per_route.iter().map(|(level, place)| json!({"level": level, "place": at(*place)})).collect();
    json!({"name": name, "state": state, "place": at(*place), "per_route": per_route})
}

fn change(change: &Change) -> Value {
    let Change { by, place, name, before, after } = change;
    json!({"by": by, "place": at(*place), "name": name, "before": before, "after": after})
}

fn note((why, note): &(Why, Note)) -> Value {
    let Note { cause, change, spot } = note;
    let mut out = Map::new();
    let texts = [("id", why.id()), ("cause", cause), ("change", change), ("path", &spot.path)];
    out.extend(texts.map(|(name, text)| (name.to_owned(), json!(text))));
    out.insert("place".to_owned(), at(spot.place));
    Value::Object(out)
}
