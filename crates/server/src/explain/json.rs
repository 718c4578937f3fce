//! An explanation for machines.

use nuncio_core::config::Place;
use nuncio_core::why::{Note, Why};
use nuncio_downstream::explain::{Change, Explanation, Fact, FilterFact, PassedOver, Verdict};
use serde_json::{Map, Value, json};

/// One JSON object, pretty-printed, with a line end behind it.
pub(super) fn render(told: &Explanation) -> String {
    let Explanation {
        verdict,
        connection,
        routing,
        passed_over,
        more_passed_over,
        filters,
        changes,
        head,
        upstream,
        timeouts,
        retries,
        answer,
        notes,
    } = told;
    let (kind, detail) = match verdict {
        Verdict::Forwarded => ("forwarded", Value::Null),
        Verdict::Answered(status) => ("answered", json!(status)),
        Verdict::Closed(why) => ("closed", json!(why)),
        Verdict::Undecided(why) => ("undecided", json!(why)),
    };
    let whole = json!({
        "verdict": kind,
        "detail": detail,
        "why": notes.iter().map(note).collect::<Vec<_>>(),
        "connection": facts(connection),
        "routing": facts(routing),
        "routes_passed_over": passed_over.iter().map(passed).collect::<Vec<_>>(),
        "more_routes_passed_over": more_passed_over,
        "filters": filters.iter().map(filter).collect::<Vec<_>>(),
        "headers_changed": changes.iter().map(change).collect::<Vec<_>>(),
        "request": head.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "upstream": facts(upstream),
        "timeouts": facts(timeouts),
        "retries": facts(retries),
        "answer": facts(answer),
    });
    format!("{whole:#}\n")
}

fn at(place: Option<Place>) -> Value {
    place.map_or(Value::Null, |place| json!(place.to_string()))
}

fn facts(facts: &[Fact]) -> Vec<Value> {
    let one = |Fact { name, value, place }: &Fact| json!({"name": name, "value": value, "place": at(*place)});
    facts.iter().map(one).collect()
}

fn passed(route: &PassedOver) -> Value {
    let PassedOver { at: number, name, place, reason } = route;
    json!({"index": number, "name": name, "reason": reason, "place": at(*place)})
}

fn filter(fact: &FilterFact) -> Value {
    let FilterFact { name, place, state, per_route } = fact;
    let per_route: Vec<Value> = per_route.iter().map(|place| at(*place)).collect();
    json!({"name": name, "state": state, "place": at(*place), "per_route": per_route})
}

fn change(change: &Change) -> Value {
    let Change { by, name, before, after } = change;
    json!({"by": by, "name": name, "before": before, "after": after})
}

fn note((why, note): &(Why, Note)) -> Value {
    let Note { cause, change, spot } = note;
    let mut out = Map::new();
    let texts = [("id", why.id()), ("cause", cause), ("change", change), ("path", &spot.path)];
    out.extend(texts.map(|(name, text)| (name.to_owned(), json!(text))));
    out.insert("place".to_owned(), at(spot.place));
    Value::Object(out)
}
