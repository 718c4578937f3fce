//! `RouteMatch`: where a route stands in the index, and what else it asks.

use super::all;
use crate::route::affix::affixes;
use crate::route::conditions::{Conditions, CookieMatcher, PathCondition, TlsCondition};
use crate::route::index::{ExactHeader, PathKey, Reach};
use crate::route::rewrite::Matched;
use crate::route::template::TemplateMatch;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::{
    FilterStateMatcher, HeaderMatcher, MetadataMatcher, QueryParameterMatcher, StringMatcher, compile_regex,
};
use nuncio_core::runtime::RuntimeFraction;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_proto::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use prost::Name;

/// A compiled `RouteMatch`.
#[derive(Debug)]
pub(in crate::route) struct Compiled {
    pub path: PathPlace,
    pub conditions: Conditions,
}

/// Where a route stands in the index.
#[derive(Debug)]
pub(in crate::route) struct PathPlace {
    text: Vec<u8>,
    kind: KeyKind,
    pub matched: Matched,
    /// A request without a path can take it.
    pub without_path: bool,
    pub guard: Option<ExactHeader>,
}

#[derive(Clone, Copy, Debug)]
enum KeyKind {
    Literal(Reach),
    Folded(Reach),
    Suffix,
}

impl Compiled {
    /// The URI template that the path is matched against.
    pub(super) fn template(&self) -> Option<&TemplateMatch> {
        match &self.conditions.path {
            Some(PathCondition::Template(template)) => Some(template),
            _ => None,
        }
    }
}

impl PathPlace {
    /// Where it stands.
    pub(in crate::route) fn key(&self) -> PathKey<'_> {
        match self.kind {
            KeyKind::Literal(reach) => PathKey::Literal(&self.text, reach),
            KeyKind::Folded(reach) => PathKey::Folded(&self.text, reach),
            KeyKind::Suffix => PathKey::Suffix(&self.text),
        }
    }

    fn new(text: Vec<u8>, kind: KeyKind, matched: Matched) -> Self {
        Self { text, kind, matched, without_path: false, guard: None }
    }
}

/// `parameters_ignored`: other paths than templates are looked up without their `;…`.
pub(in crate::route) fn compile(
    message: pb::RouteMatch,
    cx: &CompileContext<'_>,
    parameters_ignored: bool,
) -> Option<Compiled> {
    let pb::RouteMatch {
        path_specifier,
        case_sensitive,
        headers,
        query_parameters,
        grpc,
        runtime_fraction,
        tls_context,
        cookies,
        dynamic_metadata,
        filter_state,
    } = message;
    let path = path(path_specifier, case_sensitive.unwrap_or(true), cx);
    let headers = all((0..).zip(&headers).map(|(i, m)| HeaderMatcher::compile(m, &cx.item("headers", i))));
    let query = all((0..)
        .zip(&query_parameters)
        .map(|(i, m)| QueryParameterMatcher::compile(m, &cx.item("query_parameters", i))));
    let cookies = all((0..).zip(cookies).map(|(i, m)| cookie(m, &cx.item("cookies", i))));
    let metadata = all((0..)
        .zip(&dynamic_metadata)
        .map(|(i, m)| MetadataMatcher::compile(m, &cx.item("dynamic_metadata", i))));
    let filter_state = all((0..)
        .zip(&filter_state)
        .map(|(i, m)| FilterStateMatcher::compile(m, &cx.item("filter_state", i))));
    let ((mut path, path_condition), headers) = (path?, headers?);
    path.guard = guard(&headers);
    if parameters_ignored {
        if matches!(path_condition, Some(PathCondition::Template(_))) {
            path.text.clear();
        } else {
            path.matched = path.matched.without_parameters();
        }
    }
    let conditions = Conditions {
        path: path_condition,
        runtime: runtime_fraction.as_ref().map(RuntimeFraction::compile),
        headers: headers.into(),
        query: query?.into(),
        cookies: cookies?.into(),
        metadata: metadata?.into(),
        filter_state: filter_state?.into(),
        grpc: grpc.is_some_and(|pb::route_match::GrpcRouteMatchOptions {}| true),
        tls: tls_context.map(|pb::route_match::TlsContextMatchOptions { presented, validated }| {
            TlsCondition { presented, validated }
        }),
        no_specifier: false,
    };
    Some(Compiled { path, conditions })
}

fn path(
    specifier: Option<pb::route_match::PathSpecifier>,
    case_sensitive: bool,
    cx: &CompileContext<'_>,
) -> Option<(PathPlace, Option<PathCondition>)> {
    use pb::route_match::PathSpecifier;
    let literal = |text: String, reach| {
        let kind = if case_sensitive { KeyKind::Literal(reach) } else { KeyKind::Folded(reach) };
        let matched = Matched::Bytes(text.len());
        (PathPlace::new(text.into_bytes(), kind, matched), None)
    };
    match specifier {
        Some(PathSpecifier::Prefix(text)) => Some(literal(text, Reach::Prefix)),
        Some(PathSpecifier::Path(text)) => Some(literal(text, Reach::Exact)),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => Some(literal(text, Reach::Separated)),
        Some(PathSpecifier::SafeRegex(message)) => {
            let regex = compile_regex(&message, &cx.field("safe_regex"))?;
            Some((regex_place(regex.pattern()), Some(PathCondition::Regex(Box::new(regex)))))
        }
        Some(PathSpecifier::ConnectMatcher(pb::route_match::ConnectMatcher {})) => {
            let place = PathPlace::new(Vec::new(), KeyKind::Literal(Reach::Prefix), Matched::Whole);
            Some((PathPlace { without_path: true, ..place }, Some(PathCondition::Connect)))
        }
        Some(PathSpecifier::PathMatchPolicy(extension)) => {
            let (place, condition) = of_template(extension, &cx.field("path_match_policy"))?;
            Some((place, Some(condition)))
        }
        None => {
            cx.error("field: \"path_specifier\", reason: is required");
            None
        }
    }
}

/// A regex stands under what its matches begin with, else under what they end with.
fn regex_place(pattern: &str) -> PathPlace {
    let ends = affixes(pattern);
    let (text, kind) = if ends.prefix.len() >= ends.suffix.len() {
        (ends.prefix, KeyKind::Literal(Reach::Prefix))
    } else {
        (ends.suffix, KeyKind::Suffix)
    };
    PathPlace::new(text, kind, Matched::Whole)
}

/// A `path_match_policy`.
pub(in crate::route) fn of_template(
    extension: TypedExtensionConfig,
    cx: &CompileContext<'_>,
) -> Option<(PathPlace, PathCondition)> {
    let template = template(extension, cx)?;
    let prefix = template.literal_prefix();
    let place = PathPlace::new(prefix, KeyKind::Literal(Reach::Prefix), Matched::Whole);
    Some((place, PathCondition::Template(Box::new(template))))
}

fn template(extension: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<TemplateMatch> {
    let TypedExtensionConfig { name, typed_config } = extension;
    let any = typed_config.unwrap_or_default();
    let type_name = type_name(&any.type_url);
    if type_name != UriTemplateMatchConfig::full_name() {
        cx.error(format!(
            "Didn't find a registered implementation for '{name}' with type URL: '{type_name}'"
        ));
        return None;
    }
    let cx = cx.field("typed_config");
    let UriTemplateMatchConfig { path_template } = cx.unpack(&any)?;
    match TemplateMatch::new(&path_template) {
        Ok(template) => Some(template),
        Err(error) => {
            cx.field("path_template")
                .error(format!("path_match_policy.path_template {path_template} is invalid: {error}"));
            None
        }
    }
}

fn cookie(message: pb::CookieMatcher, cx: &CompileContext<'_>) -> Option<CookieMatcher> {
    let pb::CookieMatcher { name, string_match, invert_match } = message;
    let value = StringMatcher::compile(&string_match.unwrap_or_default(), &cx.field("string_match"))?;
    Some(CookieMatcher { name: name.into_bytes().into(), value, invert: invert_match })
}

/// A header that must have one exact value for the route to match, by which the index can find it. One that
/// tells routes apart better than the method is preferred.
fn guard(headers: &[HeaderMatcher]) -> Option<ExactHeader> {
    let exact = || headers.iter().filter_map(HeaderMatcher::as_exact);
    let (name, value) = exact().find(|(name, _)| *name != ":method").or_else(|| exact().next())?;
    Some((name.into(), value.into()))
}
