//! Changes to the query of a path (`envoy.config.core.v3.KeyValueMutation`).

use super::super::query::{self, Parameters};
use nuncio_codec::head::RequestHead;
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Format, FormatContext};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use pb::key_value_append::KeyValueAppendAction as Action;
use prost_types::value::Kind;

/// Changes in the order of their list.
#[derive(Default)]
pub(super) struct QueryMutations(Box<[Change]>);

enum Change {
    Remove(Box<[u8]>),
    Put { key: Box<[u8]>, value: Format, action: Action },
}

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

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes the path; the values read its request's headers.
    pub(super) fn apply(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        if self.0.is_empty() {
            return;
        }
        query::change(head, |parameters, headers| {
            let cx = FormatContext { request: Some(headers), ..*cx };
            for change in &self.0 {
                change.apply(parameters, &cx);
            }
        });
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

/// All but letters, digits and `-_.~` as escapes (RFC 3986, section 2.3).
fn escaped(text: &[u8]) -> Vec<u8> {
    const RESERVED: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::percent_encode(text, &RESERVED).flat_map(|piece| piece.bytes()).collect()
}
