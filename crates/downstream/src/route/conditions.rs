//! `RouteMatch` beside the path's literal part: what else a request must satisfy.

use super::MatchContext;
use super::template::TemplateMatch;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::format::is_grpc_request;
use nuncio_core::header::cookie;
use nuncio_core::matcher::{
    FilterStateMatcher, HeaderMatcher, MetadataMatcher, QueryParameterMatcher, Regex, StringMatcher, query_of,
};
use nuncio_core::runtime::RuntimeFraction;
use std::fmt;

/// The conditions of one route that its place in the index does not settle. All must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub path: Option<PathCondition>,
    pub runtime: Option<RuntimeFraction>,
    pub headers: Box<[HeaderMatcher]>,
    pub query: Box<[QueryParameterMatcher]>,
    pub cookies: Box<[CookieMatcher]>,
    pub grpc: bool,
    pub tls: Option<TlsCondition>,
    pub metadata: Box<[MetadataMatcher]>,
    pub filter_state: Box<[FilterStateMatcher]>,
    /// Its cluster specifier is `is_optional` and nobody knows it: it takes no request.
    pub no_specifier: bool,
}

/// A path condition that is more than a literal.
#[derive(Debug)]
pub(super) enum PathCondition {
    /// `safe_regex`: the whole path, query apart.
    Regex(Box<Regex>),
    /// `path_match_policy` with a URI template.
    Template(Box<TemplateMatch>),
    /// `connect_matcher`: CONNECT and CONNECT-UDP requests only.
    Connect,
}

/// `RouteMatch.cookies`: one cookie's value.
#[derive(Debug)]
pub(super) struct CookieMatcher {
    pub name: Box<[u8]>,
    pub value: StringMatcher,
    pub invert: bool,
}

/// `RouteMatch.tls_context`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TlsCondition {
    pub presented: Option<bool>,
    pub validated: Option<bool>,
}

/// Which condition of a route a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The path.
    Path,
    /// `runtime_fraction`.
    Runtime,
    /// The header matcher with this index.
    Header(usize),
    /// The query parameter matcher with this index.
    QueryParameter(usize),
    /// The cookie matcher with this index.
    Cookie(usize),
    /// `grpc`.
    Grpc,
    /// `tls_context`.
    TlsContext,
    /// The matcher of `dynamic_metadata` with this index.
    DynamicMetadata(usize),
    /// The matcher of `filter_state` with this index.
    FilterState(usize),
    /// Its cluster specifier is optional and unknown.
    Specifier,
}

impl Mismatch {
    /// Whether it is the path.
    pub fn is_path(self) -> bool {
        self == Self::Path
    }
}

impl fmt::Display for Mismatch {
    /// The field of `match`, with its index.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("the path"),
            Self::Runtime => f.write_str("match.runtime_fraction"),
            Self::Header(i) => write!(f, "match.headers[{i}]"),
            Self::QueryParameter(i) => write!(f, "match.query_parameters[{i}]"),
            Self::Cookie(i) => write!(f, "match.cookies[{i}]"),
            Self::Grpc => f.write_str("match.grpc"),
            Self::TlsContext => f.write_str("match.tls_context"),
            Self::DynamicMetadata(i) => write!(f, "match.dynamic_metadata[{i}]"),
            Self::FilterState(i) => write!(f, "match.filter_state[{i}]"),
            Self::Specifier => f.write_str("its optional cluster specifier plugin"),
        }
    }
}

impl Conditions {
    /// The first condition that does not hold; `None`: all hold. `path` is the path that routes match on.
    #[inline]
    pub(super) fn mismatch(
        &self,
        head: &RequestHead,
        path: &[u8],
        cx: &MatchContext<'_>,
    ) -> Option<Mismatch> {
        let Self {
            path: path_condition,
            runtime,
            headers,
            query,
            cookies,
            grpc,
            tls,
            metadata,
            filter_state,
            no_specifier,
        } = self;
        if path_condition.as_ref().is_some_and(|p| !p.holds(head, path)) {
            return Some(Mismatch::Path);
        }
        if runtime.as_ref().is_some_and(|r| !r.enabled(cx.runtime, cx.info.random)) {
            return Some(Mismatch::Runtime);
        }
        if let Some(i) = headers.iter().position(|m| !m.matches(&head.headers)) {
            return Some(Mismatch::Header(i));
        }
        if !query.is_empty() {
            let text = query_of(head.path());
            if let Some(i) = query.iter().position(|m| !m.matches(text)) {
                return Some(Mismatch::QueryParameter(i));
            }
        }
        if let Some(i) = cookies.iter().position(|c| !c.matches(&head.headers)) {
            return Some(Mismatch::Cookie(i));
        }
        if *grpc && !is_grpc_request(&head.headers) {
            return Some(Mismatch::Grpc);
        }
        if tls.is_some_and(|t| !t.holds(cx)) {
            return Some(Mismatch::TlsContext);
        }
        let dynamic = cx.info.dynamic_metadata();
        if let Some(i) = metadata.iter().position(|m| !m.matches(dynamic)) {
            return Some(Mismatch::DynamicMetadata(i));
        }
        if let Some(i) = filter_state.iter().position(|m| !m.matches(cx.info)) {
            return Some(Mismatch::FilterState(i));
        }
        no_specifier.then_some(Mismatch::Specifier)
    }

    /// Whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        let Self { path, runtime, headers, query, cookies, grpc, tls, metadata, filter_state, no_specifier } =
            self;
        path.is_none()
            && runtime.is_none()
            && headers.is_empty()
            && query.is_empty()
            && cookies.is_empty()
            && !grpc
            && tls.is_none()
            && metadata.is_empty()
            && filter_state.is_empty()
            && !no_specifier
    }
}

impl PathCondition {
    /// Whether it holds; `path` is the path that routes match on.
    pub(super) fn holds(&self, head: &RequestHead, path: &[u8]) -> bool {
        match self {
            Self::Regex(regex) => regex.is_full_match(path),
            // Parameters count here even where the other kinds ignore them.
            Self::Template(template) => template.matches(head.path_without_query()),
            Self::Connect => is_connect(head),
        }
    }
}

impl CookieMatcher {
    /// Judges the first cookie of this name; one that is missing matches only inverted.
    pub(super) fn matches(&self, headers: &HeaderMap) -> bool {
        cookie(headers, &self.name).is_some_and(|v| self.value.matches(v)) != self.invert
    }
}

impl TlsCondition {
    fn holds(self, cx: &MatchContext<'_>) -> bool {
        self.presented.is_none_or(|want| want == cx.peer_certificate.presented)
            && self.validated.is_none_or(|want| want == cx.peer_certificate.validated)
    }
}

/// Whether it is a CONNECT, or an upgrade to `connect-udp`.
pub(super) fn is_connect(head: &RequestHead) -> bool {
    head.method() == b"CONNECT"
        || head.headers.get(Known::Upgrade).is_some_and(|u| u.eq_ignore_ascii_case(b"connect-udp"))
}

#[cfg(test)]
mod tests;
