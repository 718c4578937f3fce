//! `envoy.type.matcher.v3.FilterStateMatcher`.

use super::StringMatcher;
use crate::config::CompileContext;
use crate::stream_info::{FilterState, StreamInfo};
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
use pb::filter_state_matcher::Matcher;
use std::rc::Rc;

/// A condition on the text of one object of the filter state.
#[derive(Clone, Debug)]
pub struct FilterStateMatcher {
    key: Box<str>,
    text: StringMatcher,
}

impl FilterStateMatcher {
    /// The message, compiled. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &pb::FilterStateMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::FilterStateMatcher { key, matcher } = message;
        let Some(Matcher::StringMatch(text)) = matcher else {
            cx.error("matcher: value is required");
            return None;
        };
        let text = StringMatcher::compile(text, &cx.field("string_match"))?;
        Some(Self { key: key.as_str().into(), text })
    }

    /// Whether there is such an object, and its text matches.
    pub fn matches(&self, info: &StreamInfo) -> bool {
        self.matches_in(&|key| info.filter_state(key))
    }

    /// The same, of objects that `state` finds by their key.
    pub fn matches_in(&self, state: &dyn Fn(&str) -> Option<Rc<dyn FilterState>>) -> bool {
        let text = state(&self.key).and_then(|object| object.serialize());
        text.is_some_and(|text| self.text.matches(text.as_bytes()))
    }
}
