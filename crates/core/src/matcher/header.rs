//! `envoy.config.route.v3.HeaderMatcher` and `QueryParameterMatcher`.

use super::{StringMatcher, compile_regex};
use crate::config::CompileContext;
use crate::header::HeaderName;
use nuncio_codec::head::HeaderMap;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use std::fmt;
use std::ops::Range;

/// A compiled `HeaderMatcher`. Pseudo headers are entries of the map like any other.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    name: HeaderName,
    test: Test,
    invert: bool,
    missing_is_empty: bool,
    /// What it says of a head without the header.
    of_none: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Present(bool),
    Value(StringMatcher),
    Range(Range<i64>),
}

impl HeaderMatcher {
    /// Compiles the message. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &pb::HeaderMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        use pb::header_matcher::HeaderMatchSpecifier as Spec;
        let pb::HeaderMatcher { name, header_match_specifier, invert_match, treat_missing_header_as_empty } =
            message;
        let test = match header_match_specifier {
            None => Test::Present(true),
            Some(Spec::PresentMatch(present)) => Test::Present(*present),
            // As in Envoy, an empty text asks for no more than the header.
            Some(Spec::ExactMatch(text)) if text.is_empty() => Test::Present(true),
            Some(Spec::ExactMatch(text)) => Test::Value(StringMatcher::exact(text)),
            Some(Spec::PrefixMatch(text)) => Test::Value(StringMatcher::prefix(text)),
            Some(Spec::SuffixMatch(text)) => Test::Value(StringMatcher::suffix(text)),
            Some(Spec::ContainsMatch(text)) => Test::Value(StringMatcher::contains(text)),
            Some(Spec::SafeRegexMatch(regex)) => {
                Test::Value(StringMatcher::regex(compile_regex(regex, &cx.field("safe_regex_match"))?))
            }
            Some(Spec::StringMatch(m)) => Test::Value(StringMatcher::compile(m, &cx.field("string_match"))?),
            Some(Spec::RangeMatch(range)) => Test::Range(range.start..range.end),
        };
        let (invert, missing_is_empty) = (*invert_match, *treat_missing_header_as_empty);
        let of_none = match &test {
            Test::Present(want) => (missing_is_empty == *want) != invert,
            test => missing_is_empty && (test.holds(b"") != invert),
        };
        Some(Self { name: HeaderName::new(name), test, invert, missing_is_empty, of_none })
    }

    /// Whether the headers match. A header that was sent several times is judged value by value: one that
    /// matches is enough. A missing header fails every test of a value, also an inverted one, unless it counts
    /// as empty.
    #[inline]
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        if self.name.is_in(headers) { self.judge_all(headers) } else { self.of_none }
    }

    /// As above, of headers that have it. Apart, so that the look for it, which mostly is in vain, is small.
    #[inline(never)]
    fn judge_all(&self, headers: &HeaderMap) -> bool {
        self.judge(headers.get_all(self.name.as_name()))
    }

    /// As [`matches`](Self::matches), of a head whose one value of the header is this one: for pseudo headers that are
    /// kept apart.
    pub fn matches_value(&self, value: Option<&[u8]>) -> bool {
        value.map_or(self.of_none, |value| self.judge(std::iter::once(value)))
    }

    /// What it says of a header with these values.
    fn judge<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        values.any(|value| self.test.holds(value)) != self.invert
    }

    /// The header's name and the value that it must have, where the matcher is a plain equality.
    pub fn as_exact(&self) -> Option<(&str, &[u8])> {
        match &self.test {
            Test::Value(matcher) if !self.invert && !self.missing_is_empty => {
                matcher.as_exact().map(|value| (self.name.as_str(), value))
            }
            _ => None,
        }
    }
}

impl fmt::Display for HeaderMatcher {
    /// The header's name and what is asked of it, as in `x-canary exact "yes"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name)?;
        match &self.test {
            Test::Present(present) => write!(f, "present_match {present}")?,
            Test::Value(matcher) => matcher.fmt(f)?,
            Test::Range(range) => write!(f, "range_match [{}, {})", range.start, range.end)?,
        }
        if self.invert {
            f.write_str(" (invert_match)")?;
        }
        if self.missing_is_empty { f.write_str(" (treat_missing_header_as_empty)") } else { Ok(()) }
    }
}

impl HeaderMatcher {
    /// The header that is looked at, in lower case.
    pub fn header(&self) -> &str {
        self.name.as_str()
    }
}

impl Test {
    /// Whether a value passes.
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(want) => *want,
            Self::Value(matcher) => matcher.matches(value),
            Self::Range(range) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|n| range.contains(&n)),
        }
    }
}

/// A compiled `QueryParameterMatcher`.
#[derive(Clone, Debug)]
pub struct QueryParameterMatcher {
    name: Box<[u8]>,
    test: Option<StringMatcher>,
    /// Whether the parameter has to be there, where no value is asked for.
    present: bool,
}

impl QueryParameterMatcher {
    /// Compiles the message. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &pb::QueryParameterMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Spec;
        let pb::QueryParameterMatcher { name, query_parameter_match_specifier } = message;
        let (test, present) = match query_parameter_match_specifier {
            None => (None, true),
            Some(Spec::PresentMatch(present)) => (None, *present),
            Some(Spec::StringMatch(m)) => (Some(StringMatcher::compile(m, &cx.field("string_match"))?), true),
        };
        Some(Self { name: name.as_bytes().into(), test, present })
    }

    /// The parameter that is looked at.
    pub fn parameter(&self) -> &[u8] {
        &self.name
    }

    /// Whether the query string (what follows `?`, not decoded) matches. The parameter's first value counts.
    pub fn matches(&self, query: &[u8]) -> bool {
        match (parameter(query, &self.name), &self.test) {
            (None, _) => !self.present,
            (Some(value), Some(test)) => test.matches(value),
            (Some(_), None) => self.present,
        }
    }
}

impl fmt::Display for QueryParameterMatcher {
    /// The parameter's name and what is asked of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name.escape_ascii())?;
        match &self.test {
            Some(test) => test.fmt(f),
            None => write!(f, "present_match {}", self.present),
        }
    }
}

/// What follows the `?` of a path, up to a fragment.
pub fn query_of(path: &[u8]) -> &[u8] {
    let query = memchr::memchr(b'?', path).and_then(|at| path.get(at + 1..)).unwrap_or_default();
    memchr::memchr(b'#', query).and_then(|end| query.get(..end)).unwrap_or(query)
}

/// The first value of the parameter `name` in `query`, as it stands; empty for a parameter without `=`.
pub fn parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        (pair.get(..at)? == name).then(|| pair.get(at + 1..).unwrap_or_default())
    })
}
