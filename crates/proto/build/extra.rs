//! The messages and fields that `envoy-types` lacks, in a form of a line per field:
//!
//! ```text
//! message xds.type.v3.TypedStruct in xds.type.v3
//!   1 type_url string
//!   2 value google.protobuf.Struct
//! extend envoy.config.core.v3.HealthCheck
//!   27 name string
//! ```
//! A type is a scalar of protobuf or the full name of a message; `repeated` may stand before it.

use crate::Problems;
use crate::descriptors::{Field, MESSAGE, Message, Schema};

const SCALARS: &[(&str, u8)] = &[
    ("double", 1),
    ("float", 2),
    ("int64", 3),
    ("uint64", 4),
    ("int32", 5),
    ("bool", 8),
    ("string", 9),
    ("bytes", 12),
    ("uint32", 13),
];

pub fn add(schema: &mut Schema, file: &str, text: &str) -> Result<(), Problems> {
    let mut current: Option<String> = None;
    for (at, line) in text.lines().enumerate() {
        let problem = |what: String| vec![format!("{file}:{}: {what}", at + 1)];
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["message", full, "in", package] => {
                if schema.messages.contains_key(*full) {
                    return Err(problem(format!("{full} is in envoy-types: remove it here")));
                }
                let message = Message { package: (*package).to_owned(), ..Message::default() };
                schema.messages.insert((*full).to_owned(), message);
                current = Some((*full).to_owned());
            }
            ["extend", full] => {
                if !schema.messages.contains_key(*full) {
                    return Err(problem(format!("{full} is unknown")));
                }
                current = Some((*full).to_owned());
            }
            [number, name, rest @ ..] => {
                let message = current.as_ref().and_then(|name| schema.messages.get_mut(name));
                let message = message.ok_or_else(|| problem("a field before any message".into()))?;
                let number = number.parse().map_err(|_| problem(format!("'{number}' is no field number")))?;
                let field = field(name, number, rest).map_err(problem)?;
                if message.fields.iter().any(|f| f.number == field.number || f.name == field.name) {
                    return Err(problem(format!("{name} is in envoy-types: remove it here")));
                }
                message.fields.push(field);
            }
            _ => return Err(problem("neither a message nor a field".into())),
        }
    }
    Ok(())
}

fn field(name: &str, number: u32, words: &[&str]) -> Result<Field, String> {
    let (repeated, target) = match words {
        ["repeated", target] => (true, *target),
        [target] => (false, *target),
        _ => return Err(format!("field {name} needs one type")),
    };
    let scalar = SCALARS.iter().find(|(word, _)| *word == target);
    let kind = scalar.map_or(MESSAGE, |(_, kind)| *kind);
    let target = if scalar.is_some() { String::new() } else { target.to_owned() };
    Ok(Field {
        name: name.into(),
        json: crate::names::json(name),
        number,
        kind,
        target,
        repeated,
        ..Field::default()
    })
}
