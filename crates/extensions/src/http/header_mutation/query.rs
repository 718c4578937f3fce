//! Changes to the query of a path (`envoy.config.core.v3.KeyValueMutation`).

use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Format, FormatContext};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use pb::key_value_append::KeyValueAppendAction as Action;
use prost_types::value::Kind;
use std::collections::BTreeMap;

/// Changes in the order of their list. A query that is changed leaves, as in Envoy, sorted by its names and with its
/// escapes undone; unlike there, blanks and control characters stay escaped, so that no one writes a second request
/// into the first.
#[derive(Default)]
pub(super) struct QueryMutations(Box<[Change]>);

enum Change {
    Remove(Box<[u8]>),
    Put { key: Box<[u8]>, value: Format, action: Action },
}

/// A query's values by name, in their order.
type Parameters = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

impl QueryMutations {
    /// `None`: refused, and every reason is recorded.
    pub(super) fn compile(
        list: &[pb::KeyValueMutation],
        cx: &CompileContext<'_>,
        field: &str,
    ) -> Option<Self> {
        let changes: Vec<_> =
            list.iter().enumerate().filter_map(|(i, m)| Change::compile(m, &cx.item(field, i))).collect();
        (changes.len() == list.len()).then(|| Self(changes.into()))
    }

    /// Changes the path; the values read its request's headers.
    pub(super) fn apply(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        if self.0.is_empty() {
            return;
        }
        let path = head.path();
        let (before, query) = match memchr::memchr(b'?', path).and_then(|at| path.split_at_checked(at)) {
            Some((before, query)) => (before, query.get(1..).unwrap_or_default()),
            None => (path, &[][..]),
        };
        let mut parameters = parse(query);
        let cx = FormatContext { request: Some(&head.headers), ..*cx };
        for change in &self.0 {
            change.apply(&mut parameters, &cx);
        }
        let mut out = before.to_vec();
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
        head.headers.set(Known::Path, &out);
    }
}

impl Change {
    fn compile(message: &pb::KeyValueMutation, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::KeyValueMutation { append, remove } = message;
        let Some(append) = append else {
            if remove.is_empty() {
                cx.error("Only one of 'append'/'remove can be specified.");
                return None;
            }
            return Some(Self::Remove(remove.as_bytes().into()));
        };
        if !remove.is_empty() {
            cx.error("Only one of 'append'/'remove can be specified.");
            return None;
        }
        let pb::KeyValueAppend { record, action } = append;
        let append_cx = cx.field("append");
        let Some(pb::KeyValuePair { key, value }) = record else {
            append_cx.error("No record specified.");
            return None;
        };
        let value_cx = append_cx.field("record");
        let value_cx = value_cx.field("value");
        let Some(Kind::StringValue(text)) = value.as_ref().and_then(|v| v.kind.as_ref()) else {
            value_cx.error("Only string value is allowed for record value.");
            return None;
        };
        let value = Format::with(text, &Default::default(), true);
        let value = value.map_err(|e| value_cx.error(e.to_string())).ok()?;
        let action = Action::try_from(*action).unwrap_or(Action::AppendIfExistsOrAdd);
        Some(Self::Put { key: key.as_bytes().into(), value, action })
    }

    fn apply(&self, parameters: &mut Parameters, cx: &FormatContext<'_>) {
        match self {
            Self::Remove(key) => {
                parameters.remove(&**key);
            }
            Self::Put { key, value, action } => {
                let there = parameters.contains_key(&**key);
                match action {
                    Action::AddIfAbsent if there => return,
                    Action::OverwriteIfExists if !there => return,
                    Action::OverwriteIfExists | Action::OverwriteIfExistsOrAdd => {
                        parameters.remove(&**key);
                    }
                    Action::AddIfAbsent | Action::AppendIfExistsOrAdd => {}
                }
                let mut text = Vec::new();
                value.render(cx, &mut text);
                parameters.entry(key.to_vec()).or_default().push(escaped(&text));
            }
        }
    }
}

fn parse(query: &[u8]) -> Parameters {
    let mut parameters = Parameters::new();
    for pair in query.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        let (key, value) = match memchr::memchr(b'=', pair).and_then(|at| pair.split_at_checked(at)) {
            Some((key, value)) => (key, value.get(1..).unwrap_or_default()),
            None => (pair, &[][..]),
        };
        parameters.entry(decoded(key)).or_default().push(decoded(value));
    }
    parameters
}

/// Escapes undone, except those of what may not stand in a request's target.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in percent_encoding::percent_decode(text) {
        if byte == b' ' || byte.is_ascii_control() {
            out.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

/// All but letters, digits and `-_.~` as escapes (RFC 3986, section 2.3).
fn escaped(text: &[u8]) -> Vec<u8> {
    const RESERVED: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::percent_encode(text, &RESERVED).flat_map(|piece| piece.bytes()).collect()
}
