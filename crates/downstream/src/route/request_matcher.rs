//! `RouteMatch` apart from a route table, as filters have it that choose requests by it.

use super::compile::matching;
use super::conditions::PathCondition;
use super::index::PathKey;
use nuncio_codec::head::RequestHead;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::{HeaderMatcher, QueryParameterMatcher, query_of};
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::config::route::v3::RouteMatch;

/// Path, headers and query of a `RouteMatch`; as in Envoy, its other conditions do not count for filters.
#[derive(Debug)]
pub struct RequestMatcher {
    place: matching::PathPlace,
    path: Option<PathCondition>,
    headers: Box<[HeaderMatcher]>,
    query: Box<[QueryParameterMatcher]>,
}

impl RequestMatcher {
    /// `None`: refused, and every reason is recorded in `cx`.
    pub fn compile(message: RouteMatch, cx: &CompileContext<'_>) -> Option<Self> {
        let matching::Compiled { path: place, conditions } = matching::compile(message, cx, false)?;
        let (path, headers, query) = (conditions.path, conditions.headers, conditions.query);
        Some(Self { place, path, headers, query })
    }

    /// A URI template alone, as `path_match_policy` has it.
    pub fn of_template(extension: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let (place, path) = matching::of_template(extension, cx)?;
        Some(Self { place, path: Some(path), headers: Box::default(), query: Box::default() })
    }

    /// Whether it takes a request.
    pub fn matches(&self, head: &RequestHead) -> bool {
        let path = head.path_without_query();
        let fits = match self.place.key() {
            PathKey::Literal(text, reach) => path.starts_with(text) && reach.fits(path, text.len()),
            PathKey::Folded(text, reach) => {
                let begin = path.get(..text.len());
                begin.is_some_and(|b| b.eq_ignore_ascii_case(text)) && reach.fits(path, text.len())
            }
            PathKey::Suffix(text) => path.ends_with(text),
        };
        fits && self.path.as_ref().is_none_or(|condition| condition.holds(head, path))
            && self.headers.iter().all(|matcher| matcher.matches(&head.headers))
            && self.query.iter().all(|matcher| matcher.matches(query_of(head.path())))
    }
}
