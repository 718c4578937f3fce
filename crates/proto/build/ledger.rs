//! The support ledger: which fields and enum values are built, inert or unbuilt.
//!
//! ```text
//! full.message.Name
//!   built a b c
//!   inert d e : why it has no effect
//!   unbuilt f : why not yet
//! ```
//! An enum stands likewise with the names of its values. `built *` names everything. Blocks of one name add up. What
//! is not named is unbuilt. A built field's message or enum must be in the ledger too.

use crate::Problems;
use crate::descriptors::{ENUM, MESSAGE, Schema};
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Unbuilt,
    Inert,
    Built,
}

#[derive(Default)]
pub struct Ledger {
    /// By full name of the message or enum, then by name of the field or value.
    entries: BTreeMap<String, Entry>,
}

#[derive(Default)]
struct Entry {
    at: String,
    states: HashMap<String, (State, String)>,
}

impl Ledger {
    pub fn read(schema: &Schema, files: &[(String, String)]) -> Result<Ledger, Problems> {
        let (mut ledger, mut problems) = (Ledger::default(), Vec::new());
        for (file, text) in files {
            let mut current = None;
            for (at, line) in text.lines().enumerate() {
                let at = format!("{file}:{}", at + 1);
                if let Err(problem) = ledger.line(schema, &at, line, &mut current) {
                    problems.push(format!("{at}: {problem}"));
                }
            }
        }
        ledger.close(schema, &mut problems);
        if problems.is_empty() { Ok(ledger) } else { Err(problems) }
    }

    /// True when the message or enum has a block.
    pub fn names(&self, full: &str) -> bool {
        self.entries.contains_key(full)
    }

    pub fn state(&self, full: &str, item: &str) -> (State, &str) {
        let found = self.entries.get(full).and_then(|entry| entry.states.get(item));
        found.map_or((State::Unbuilt, ""), |(state, reason)| (*state, reason.as_str()))
    }

    pub fn built(&self, full: &str, item: &str) -> bool {
        self.state(full, item).0 == State::Built
    }

    fn line(
        &mut self,
        schema: &Schema,
        at: &str,
        line: &str,
        current: &mut Option<String>,
    ) -> Result<(), String> {
        let line = line.split('#').next().unwrap_or_default();
        if line.trim().is_empty() {
            return Ok(());
        }
        if !line.starts_with(char::is_whitespace) {
            let name = line.trim();
            *current = Some(name.to_owned());
            if items(schema, name).is_none() {
                return Err(format!("the schema has no message or enum '{name}'{}", moved(schema, name)));
            }
            self.entries
                .entry(name.to_owned())
                .or_insert_with(|| Entry { at: at.to_owned(), ..Entry::default() });
            return Ok(());
        }
        let name = current.as_ref().ok_or("a line before any name")?;
        let (words, reason) = line.split_once(':').unwrap_or((line, ""));
        let mut words = words.split_whitespace();
        let state = match words.next() {
            Some("built") => State::Built,
            Some("inert") if reason.trim().is_empty() => return Err("inert needs a reason after ':'".into()),
            Some("inert") => State::Inert,
            Some("unbuilt") => State::Unbuilt,
            other => return Err(format!("'{}' is none of built, inert, unbuilt", other.unwrap_or_default())),
        };
        let Some(known) = items(schema, name) else { return Ok(()) };
        let Some(entry) = self.entries.get_mut(name) else { return Ok(()) };
        for word in words {
            let chosen: Vec<&String> = known.iter().filter(|item| word == "*" || word == *item).collect();
            if chosen.is_empty() && word != "*" {
                return Err(format!("{name} has no '{word}'; it has: {}", known.join(" ")));
            }
            for item in chosen {
                let old = entry.states.insert(item.clone(), (state, reason.trim().to_owned()));
                if old.is_some_and(|(old, _)| old != state) && word != "*" {
                    return Err(format!("{name}.{item} has another state already"));
                }
            }
        }
        Ok(())
    }

    /// A built field needs the block of its own message or enum.
    fn close(&self, schema: &Schema, problems: &mut Problems) {
        for (full, entry) in &self.entries {
            let Some(message) = schema.messages.get(full) else { continue };
            for field in message.fields.iter().filter(|f| self.built(full, &f.name)) {
                let target = match schema.messages.get(&field.target) {
                    Some(pair) if pair.map_entry => pair.fields.last().unwrap_or(field),
                    _ => field,
                };
                let foreign =
                    matches!(target.kind, MESSAGE | ENUM) && !target.target.starts_with("google.protobuf.");
                if foreign && !self.names(&target.target) {
                    let (at, wanted) = (&entry.at, &target.target);
                    problems.push(format!(
                        "{at}: {full}.{} is built, but no ledger file names {wanted}",
                        field.name
                    ));
                }
            }
        }
    }
}

fn items(schema: &Schema, name: &str) -> Option<Vec<String>> {
    let message = schema.messages.get(name).map(|m| m.fields.iter().map(|f| f.name.clone()).collect());
    message.or_else(|| schema.enums.get(name).map(|e| e.values.iter().map(|v| v.name.clone()).collect()))
}

/// A hint for a type that the schema has under another package.
fn moved(schema: &Schema, name: &str) -> String {
    let last = format!(".{}", name.rsplit('.').next().unwrap_or(name));
    let names = schema.messages.keys().chain(schema.enums.keys()).filter(|full| full.ends_with(&last));
    let found: Vec<&str> = names.map(String::as_str).take(4).collect();
    if found.is_empty() { String::new() } else { format!("; there is {}", found.join(", ")) }
}
