//! Changes that are made one after another, each seeing what the ones before it did.

use super::{HeaderName, HeaderValue, Reads, Side};
use crate::config::CompileContext;
use crate::format::{Commands, FormatContext};
use crate::matcher::StringMatcher;
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_proto::pb::envoy::config::common::mutation_rules::v3 as pb;
use pb::header_mutation::Action;

/// Changes in the order of their list (`envoy.config.common.mutation_rules.v3.HeaderMutation`). Unlike
/// [`HeaderMutations`](super::HeaderMutations), a value reads what the changes before it made.
#[derive(Debug, Default)]
pub struct OrderedMutations(Box<[Change]>);

#[derive(Debug)]
enum Change {
    Remove(HeaderName),
    RemoveMatching(StringMatcher),
    Put(HeaderValue),
}

impl OrderedMutations {
    /// The messages, compiled; `field` is the list's name in `cx`. `None`: refused, and every reason is recorded.
    pub fn compile(list: &[pb::HeaderMutation], cx: &CompileContext<'_>, field: &str) -> Option<Self> {
        let changes: Vec<_> =
            list.iter().enumerate().filter_map(|(i, m)| Change::compile(m, &cx.item(field, i))).collect();
        (changes.len() == list.len()).then(|| Self(changes.into()))
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes a request's headers, which the values read whatever `cx.request` is.
    pub fn apply_request(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        self.apply(&mut head.headers, Side::Request, Reads::Request, cx);
    }

    /// Changes a response's headers, which the values read whatever `cx.response` is.
    pub fn apply_response(&self, head: &mut ResponseHead, cx: &FormatContext<'_>) {
        self.apply(&mut head.headers, Side::Response, Reads::Response(head.status), cx);
    }

    /// Changes trailers; the values read the heads of `cx`.
    pub fn apply_trailers(&self, trailers: &mut HeaderMap, side: Side, cx: &FormatContext<'_>) {
        self.apply(trailers, side, Reads::Context, cx);
    }

    fn apply(&self, headers: &mut HeaderMap, side: Side, reads: Reads, cx: &FormatContext<'_>) {
        let mut value = Vec::new();
        for change in &self.0 {
            match change {
                Change::Remove(name) => {
                    headers.remove(name.as_name());
                }
                Change::RemoveMatching(matcher) => {
                    headers.retain(|name, _| name.known().is_pseudo() || !matcher.matches(name.as_bytes()));
                }
                Change::Put(header) => {
                    value.clear();
                    header.value.render(&reads.context(headers, cx), &mut value);
                    if let Some(overwrite) = header.overwrites(headers, value.is_empty()) {
                        header.put(headers, side, &value, overwrite);
                    }
                }
            }
        }
    }
}

impl Change {
    fn compile(message: &pb::HeaderMutation, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::HeaderMutation { action } = message;
        Some(match action {
            Some(Action::Remove(name)) => Self::Remove(HeaderName::new(name)),
            Some(Action::Append(value)) => {
                Self::Put(HeaderValue::compile(value, &cx.field("append"), &Commands::default())?)
            }
            Some(Action::RemoveOnMatch(pb::header_mutation::RemoveOnMatch { key_matcher })) => {
                let cx = cx.field("remove_on_match");
                let cx = cx.field("key_matcher");
                let Some(matcher) = key_matcher else {
                    cx.error("value is required");
                    return None;
                };
                Self::RemoveMatching(StringMatcher::compile(matcher, &cx)?)
            }
            None => {
                cx.error("action: value is required");
                return None;
            }
        })
    }
}
