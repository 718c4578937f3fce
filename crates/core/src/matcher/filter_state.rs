//! `envoy.type.matcher.v3.FilterStateMatcher`.

use super::{AddressMatcher, StringMatcher};
use crate::config::CompileContext;
use crate::stream_info::{FilterState, StreamInfo};
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
use pb::filter_state_matcher::Matcher;
use std::rc::Rc;

/// A condition on one object of the filter state.
#[derive(Clone, Debug)]
pub struct FilterStateMatcher {
    key: Box<str>,
    wanted: Wanted,
}

/// What the object has to be.
#[derive(Clone, Debug)]
enum Wanted {
    /// Of such a text.
    Text(StringMatcher),
    /// Such an address. What is no address never is.
    Address(AddressMatcher),
}

impl FilterStateMatcher {
    /// The message, compiled. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &pb::FilterStateMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::FilterStateMatcher { key, matcher } = message;
        let wanted = match matcher {
            Some(Matcher::StringMatch(text)) => {
                Wanted::Text(StringMatcher::compile(text, &cx.field("string_match"))?)
            }
            Some(Matcher::AddressMatch(message)) => {
                Wanted::Address(AddressMatcher::compile(message.clone(), &cx.field("address_match"))?)
            }
            None => {
                cx.error("matcher: value is required");
                return None;
            }
        };
        Some(Self { key: key.as_str().into(), wanted })
    }

    /// Whether there is such an object, and it is what is wanted.
    pub fn matches(&self, info: &StreamInfo) -> bool {
        self.matches_in(&|key| info.filter_state(key))
    }

    /// The same, of objects that `state` finds by their key.
    pub fn matches_in(&self, state: &dyn Fn(&str) -> Option<Rc<dyn FilterState>>) -> bool {
        let Some(object) = state(&self.key) else { return false };
        match &self.wanted {
            Wanted::Text(text) => object.serialize().is_some_and(|own| text.matches(own.as_bytes())),
            Wanted::Address(wanted) => object.address().is_some_and(|ip| wanted.matches(ip)),
        }
    }
}
