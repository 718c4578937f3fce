//! Changes of query parameters.

use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext};
use nuncio_proto::pb::envoy::config::core::v3::{
    KeyValueAppend, KeyValueMutation, KeyValuePair, key_value_append::KeyValueAppendAction,
};
use prost_types::value::Kind;
use std::collections::BTreeMap;

/// One change.
pub(super) enum QueryMutation {
    Remove(Box<str>),
    Append { key: Box<str>, value: Format, action: KeyValueAppendAction },
}

impl QueryMutation {
    pub(super) fn compile(message: &KeyValueMutation, cx: &CompileContext<'_>) -> Option<Self> {
        let KeyValueMutation { append, remove } = message;
        let Some(KeyValueAppend { record, action }) = append else {
            if remove.is_empty() {
                cx.error("a query parameter mutation needs append or remove");
                return None;
            }
            return Some(Self::Remove(remove.as_str().into()));
        };
        let cx = cx.field("append");
        let cx = cx.field("record");
        let KeyValuePair { key, value } = record.as_ref()?;
        let Some(Kind::StringValue(text)) = value.as_ref().and_then(|v| v.kind.as_ref()) else {
            cx.field("value").error("Only string value is allowed for record value.");
            return None;
        };
        let value = Format::with(text, &Commands::default(), true);
        let value = value.map_err(|e| cx.field("value").error(e.to_string())).ok()?;
        let action = KeyValueAppendAction::try_from(*action).ok()?;
        Some(Self::Append { key: key.as_str().into(), value, action })
    }
}

/// The path with its parameters changed: they stand in alphabetical order then, as Envoy has them.
pub(super) fn change(mutations: &[QueryMutation], path: &[u8], cx: &FormatContext<'_>) -> Vec<u8> {
    let at = path.iter().position(|b| *b == b'?');
    let (plain, query) = path.split_at(at.unwrap_or(path.len()));
    let mut parameters: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for part in query.get(1..).unwrap_or_default().split(|b| *b == b'&').filter(|part| !part.is_empty()) {
        let equals = part.iter().position(|b| *b == b'=').unwrap_or(part.len());
        let (key, value) = part.split_at(equals);
        let value = value.get(1..).unwrap_or_default().to_vec();
        parameters.entry(key.to_vec()).or_default().push(value);
    }
    for mutation in mutations {
        match mutation {
            QueryMutation::Remove(key) => {
                parameters.remove(key.as_bytes());
            }
            QueryMutation::Append { key, value, action } => {
                let mut text = Vec::new();
                value.render(cx, &mut text);
                let text = encode(&text);
                let (key, there) = (key.as_bytes(), parameters.contains_key(key.as_bytes()));
                match action {
                    KeyValueAppendAction::AppendIfExistsOrAdd => {
                        parameters.entry(key.to_vec()).or_default().push(text);
                    }
                    KeyValueAppendAction::AddIfAbsent if there => {}
                    KeyValueAppendAction::OverwriteIfExists if !there => {}
                    _ => {
                        parameters.insert(key.to_vec(), vec![text]);
                    }
                }
            }
        }
    }
    let mut out = plain.to_vec();
    let mut separator = b'?';
    for (key, values) in &parameters {
        for value in values {
            out.push(separator);
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(value);
            separator = b'&';
        }
    }
    out
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3).
fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}
