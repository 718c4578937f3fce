//! The support ledger at run time: what is built, inert and unbuilt, and `docs/coverage.md`, which is printed from it.

use crate::schema::{Enum, Message, State};
use std::fmt::Write;

/// How many fields or enum values are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Honoured.
    pub built: usize,
    /// Accepted, without effect in Envoy either.
    pub inert: usize,
    /// Refused with their place.
    pub unbuilt: usize,
}

impl Totals {
    fn add(&mut self, state: State) {
        match state {
            State::Built => self.built += 1,
            State::Inert => self.inert += 1,
            State::Unbuilt => self.unbuilt += 1,
        }
    }
}

/// The fields of all messages that the ledger names.
pub fn field_totals() -> Totals {
    let mut totals = Totals::default();
    for message in Message::all().filter(|message| message.in_ledger()) {
        message.fields().for_each(|field| totals.add(field.state()));
    }
    totals
}

/// The values of all enums that the ledger names.
pub fn value_totals() -> Totals {
    let mut totals = Totals::default();
    for definition in Enum::all().filter(|definition| definition.in_ledger()) {
        definition.values().for_each(|value| totals.add(value.state()));
    }
    totals
}

/// `docs/coverage.md`.
pub fn coverage() -> String {
    let (fields, values) = (field_totals(), value_totals());
    let messages = Message::all().filter(|message| message.in_ledger()).count();
    let enums = Enum::all().filter(|definition| definition.in_ledger()).count();
    let mut out = format!(
        "# Coverage\n\nPrinted from the support ledger (`crates/proto/ledger`); a test fails when this file is stale.\n\
         Refresh it with `BLESS=1 cargo test -p nuncio-proto coverage`.\n\n\
         *Built* is honoured. *Inert* is accepted and has no effect in Envoy either. *Unbuilt* is refused with its place; \
         `--unsupported=warn`\nmakes that a warning and treats it as absent. A message or extension type that is not \
         listed here is unbuilt as a whole.\n\n\
         | | named here | built | inert | unbuilt |\n|---|---|---|---|---|\n\
         | messages, fields | {messages} | {} | {} | {} |\n| enums, values | {enums} | {} | {} | {} |\n",
        fields.built, fields.inert, fields.unbuilt, values.built, values.inert, values.unbuilt
    );
    out.push_str("\n## Messages\n\nA field of a oneof has the oneof's name behind it.\n");
    for message in Message::all().filter(|message| message.in_ledger()) {
        let oneof = |index: Option<usize>| {
            index.and_then(|index| message.oneofs().nth(index)).map(|oneof| oneof.name())
        };
        let rows = message.fields().map(|field| {
            let name = match oneof(field.oneof()) {
                Some(oneof) => format!("`{}` ({oneof})", field.name()),
                None => format!("`{}`", field.name()),
            };
            (name, field.state(), field.reason())
        });
        block(&mut out, message.name(), &rows.collect::<Vec<_>>());
    }
    out.push_str("\n## Enums\n");
    for definition in Enum::all().filter(|definition| definition.in_ledger()) {
        let rows =
            definition.values().map(|value| (format!("`{}`", value.name()), value.state(), value.reason()));
        block(&mut out, definition.name(), &rows.collect::<Vec<_>>());
    }
    out
}

fn block(out: &mut String, name: &str, rows: &[(String, State, &str)]) {
    let count = |state| rows.iter().filter(|row| row.1 == state).count();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "\n### {name}\n\nBuilt {}, inert {}, unbuilt {}.\n",
        count(State::Built),
        count(State::Inert),
        count(State::Unbuilt)
    );
    for (state, word) in [(State::Built, "Built"), (State::Inert, "Inert"), (State::Unbuilt, "Unbuilt")] {
        let names: Vec<String> = rows
            .iter()
            .filter(|row| row.1 == state)
            .map(
                |(name, _, reason)| {
                    if reason.is_empty() { name.clone() } else { format!("{name}: {reason}") }
                },
            )
            .collect();
        if !names.is_empty() {
            let separator = if names.iter().any(|name| name.contains(": ")) { "; " } else { ", " };
            let _ = writeln!(out, "- {word}: {}", names.join(separator));
        }
    }
}

#[cfg(test)]
mod tests;
