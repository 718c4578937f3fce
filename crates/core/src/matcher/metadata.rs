//! `envoy.type.matcher.v3.MetadataMatcher` and `ValueMatcher`.

use super::StringMatcher;
use crate::config::CompileContext;
use crate::stream_info::Metadata;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
use nuncio_proto::pb::envoy::r#type::metadata::v3::{MetadataKey, metadata_key};
use pb::double_matcher::MatchPattern as DoublePattern;
use pb::list_matcher::MatchPattern as ListPattern;
use pb::value_matcher::MatchPattern as ValuePattern;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// A condition on one value of metadata.
#[derive(Clone, Debug)]
pub struct MetadataMatcher {
    at: MetadataPath,
    value: ValueMatcher,
    invert: bool,
}

impl MetadataMatcher {
    /// The message, compiled.
    pub fn compile(message: &pb::MetadataMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::MetadataMatcher { filter, path, value, invert } = message;
        let keys = path.iter().map(|segment| {
            let pb::metadata_matcher::PathSegment { segment } = segment;
            match segment {
                Some(pb::metadata_matcher::path_segment::Segment::Key(key)) => key.as_str().into(),
                None => "".into(),
            }
        });
        let Some(value) = value else {
            cx.field("value").error("value is required");
            return None;
        };
        let value = ValueMatcher::compile(value, &cx.field("value"))?;
        let at = MetadataPath::of(filter, keys);
        Some(Self { at, value, invert: *invert })
    }

    /// Whether the value at the path satisfies it; a missing one is null.
    pub fn matches(&self, metadata: Option<&Metadata>) -> bool {
        self.value.matches(self.at.find(metadata)) != self.invert
    }

    /// Whether there is a value at the path at all.
    pub fn is_found(&self, metadata: Option<&Metadata>) -> bool {
        self.at.find(metadata).is_some()
    }
}

/// Where in metadata a value stands (`envoy.type.metadata.v3.MetadataKey`).
#[derive(Clone, Debug)]
pub struct MetadataPath {
    namespace: Box<str>,
    path: Box<[Box<str>]>,
}

impl MetadataPath {
    /// The message, compiled.
    pub fn new(message: &MetadataKey) -> Self {
        let MetadataKey { key, path } = message;
        let segment = |segment: &metadata_key::PathSegment| {
            let metadata_key::PathSegment { segment } = segment;
            match segment {
                Some(metadata_key::path_segment::Segment::Key(key)) => key.as_str().into(),
                None => "".into(),
            }
        };
        Self::of(key, path.iter().map(segment))
    }

    /// The path `path` of a namespace.
    pub fn of(namespace: &str, path: impl Iterator<Item = Box<str>>) -> Self {
        Self { namespace: namespace.into(), path: path.collect() }
    }

    /// A namespace's fields with this text at the path, and nothing else.
    pub fn holding(&self, text: String) -> (&str, Struct) {
        let around =
            |key: &str, kind| Struct { fields: [(key.to_owned(), Value { kind: Some(kind) })].into() };
        let fields = match self.path.split_first() {
            None => Struct::default(),
            Some((first, rest)) => {
                let kind = rest
                    .iter()
                    .rfold(Kind::StringValue(text), |kind, key| Kind::StructValue(around(key, kind)));
                around(first, kind)
            }
        };
        (&self.namespace, fields)
    }

    /// The value there, if there is one.
    pub fn find<'m>(&self, metadata: Option<&'m Metadata>) -> Option<&'m Kind> {
        let (first, rest) = self.path.split_first()?;
        let mut value = metadata?.get(&*self.namespace)?.fields.get(&**first)?.kind.as_ref()?;
        for key in rest {
            let Kind::StructValue(s) = value else { return None };
            value = s.fields.get(&**key)?.kind.as_ref()?;
        }
        Some(value)
    }
}

/// A condition on a value of any kind.
#[derive(Clone, Debug)]
pub enum ValueMatcher {
    /// It is null.
    Null,
    /// It is this number.
    Number(f64),
    /// It is a number in `[start, end)`.
    Range(f64, f64),
    /// It is a text that matches.
    String(StringMatcher),
    /// It is this boolean.
    Bool(bool),
    /// It is there, be it null. `present_match: false` holds for nothing, as in Envoy.
    Present(bool),
    /// It is a list of which one element matches.
    OneOf(Box<ValueMatcher>),
    /// One of these matches.
    Any(Box<[ValueMatcher]>),
}

impl ValueMatcher {
    /// The message, compiled.
    pub fn compile(message: &pb::ValueMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::ValueMatcher { match_pattern } = message;
        Some(match match_pattern {
            Some(ValuePattern::NullMatch(pb::value_matcher::NullMatch {})) => Self::Null,
            Some(ValuePattern::DoubleMatch(pb::DoubleMatcher { match_pattern })) => match match_pattern {
                Some(DoublePattern::Exact(n)) => Self::Number(*n),
                Some(DoublePattern::Range(nuncio_proto::pb::envoy::r#type::v3::DoubleRange {
                    start,
                    end,
                })) => Self::Range(*start, *end),
                None => return missing(&cx.field("double_match")),
            },
            Some(ValuePattern::StringMatch(s)) => {
                Self::String(StringMatcher::compile(s, &cx.field("string_match"))?)
            }
            Some(ValuePattern::BoolMatch(b)) => Self::Bool(*b),
            Some(ValuePattern::PresentMatch(b)) => Self::Present(*b),
            Some(ValuePattern::ListMatch(list)) => {
                let pb::ListMatcher { match_pattern } = &**list;
                match match_pattern {
                    Some(ListPattern::OneOf(v)) => {
                        Self::OneOf(Box::new(Self::compile(v, &cx.field("list_match").field("one_of"))?))
                    }
                    None => return missing(&cx.field("list_match")),
                }
            }
            Some(ValuePattern::OrMatch(pb::OrMatcher { value_matchers })) => {
                let cx = cx.field("or_match");
                let one = |(i, m)| Self::compile(m, &cx.item("value_matchers", i));
                Self::Any(value_matchers.iter().enumerate().map(one).collect::<Option<_>>()?)
            }
            None => return missing(cx),
        })
    }

    /// Whether `value` satisfies it; `None` is a value that is not there.
    pub fn matches(&self, value: Option<&Kind>) -> bool {
        match (self, value) {
            (Self::Null, Some(Kind::NullValue(_))) => true,
            (Self::Number(want), Some(Kind::NumberValue(n))) => n == want,
            (Self::Range(start, end), Some(Kind::NumberValue(n))) => start <= n && n < end,
            (Self::String(matcher), Some(Kind::StringValue(s))) => matcher.matches(s.as_bytes()),
            (Self::Bool(want), Some(Kind::BoolValue(b))) => b == want,
            (Self::Present(want), value) => *want && value.is_some(),
            (Self::OneOf(matcher), Some(Kind::ListValue(list))) => {
                list.values.iter().any(|v| matcher.matches(v.kind.as_ref()))
            }
            (Self::Any(matchers), value) => matchers.iter().any(|m| m.matches(value)),
            _ => false,
        }
    }
}

fn missing(cx: &CompileContext<'_>) -> Option<ValueMatcher> {
    cx.error("a match pattern is required");
    None
}
