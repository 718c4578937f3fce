//! `envoy.filters.http.header_to_metadata`: values of headers and cookies become dynamic metadata.

use super::frame::{Framed, Live, NoStats, compiled, of_route};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::RegexRewrite;
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Request, Response, RouteSays,
};
use nuncio_proto::pb::envoy::extensions::filters::http::header_to_metadata::v3::{Config, config as pb};
use nuncio_proto::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use std::any::Any;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Where values go that name no place.
const NAMESPACE: &str = "envoy.filters.http.header_to_metadata";

/// Longer values become no metadata, in bytes.
const LONGEST: usize = 8 << 10;

/// Compiles the filter's message.
pub struct HeaderToMetadataFactory;

impl HttpFilterFactory for HeaderToMetadataFactory {
    type Config = Config;
    type PerRoute = Config;

    fn compile(&self, message: Config, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<MetadataFilter>(Rules::compile(message, cx)?)
    }

    fn compile_route(&self, message: Config, cx: &CompileContext<'_>) -> Option<Arc<dyn Any + Send + Sync>> {
        of_route(Rules::compile(message, cx)?)
    }
}

/// A compiled `Config`.
struct Rules {
    request: Box<[Rule]>,
    response: Box<[Rule]>,
}

struct Rule {
    source: Source,
    present: Option<Target>,
    missing: Option<Target>,
    removes: bool,
}

/// Where a value comes from.
enum Source {
    Header(HeaderName),
    Cookie(Box<str>),
}

/// Where a value goes.
struct Target {
    namespace: Box<str>,
    key: Box<str>,
    /// Stands for what was found; empty: nothing does.
    value: Box<str>,
    rewrite: Option<RegexRewrite>,
    kind: pb::ValueType,
    base64: bool,
}

impl Rules {
    fn compile(message: Config, cx: &CompileContext<'_>) -> Option<Self> {
        let Config { request_rules, response_rules } = message;
        if request_rules.is_empty() && response_rules.is_empty() {
            cx.error("header_to_metadata_filter: Per filter configs must at least specify either request or response rules");
            return None;
        }
        let list = |rules: Vec<pb::Rule>, field: &str| {
            (0..).zip(rules).map(|(i, rule)| Rule::compile(rule, &cx.item(field, i))).collect()
        };
        let request: Option<_> = list(request_rules, "request_rules");
        let response: Option<_> = list(response_rules, "response_rules");
        Some(Self { request: request?, response: response? })
    }
}

impl Rule {
    fn compile(message: pb::Rule, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Rule { header, on_header_present, on_header_missing, remove, cookie } = message;
        let source = match (header.is_empty(), cookie.is_empty()) {
            (false, true) => Source::Header(HeaderName::new(&header)),
            (true, false) if remove => {
                cx.field("remove").error("Cannot specify remove for cookie");
                return None;
            }
            (true, false) => Source::Cookie(cookie.into()),
            _ => {
                cx.error("One of Cookie or Header option needs to be specified");
                return None;
            }
        };
        let target = |pair: Option<_>, field| match pair {
            None => Some(None),
            Some(pair) => Target::compile(pair, &cx.field(field)).map(Some),
        };
        let present = target(on_header_present, "on_header_present")?;
        let missing = target(on_header_missing, "on_header_missing")?;
        if missing.as_ref().is_some_and(|missing| missing.value.is_empty()) {
            cx.field("on_header_missing").error("Cannot specify on_header_missing rule with an empty value");
            return None;
        }
        Some(Self { source, present, missing, removes: remove })
    }

    /// Takes its value from `headers`.
    fn apply(&self, headers: &mut HeaderMap, found: &mut Found) {
        let value = match &self.source {
            Source::Header(name) => {
                let values: Vec<&[u8]> = name.values(headers).collect();
                (!values.is_empty()).then(|| values.join(&b","[..]))
            }
            Source::Cookie(name) => cookie(headers, name).map(|value| value.as_bytes().to_vec()),
        };
        match (value, &self.present, &self.missing) {
            (Some(value), Some(target), _) => target.add(&value, found),
            (None, _, Some(target)) => target.add(&[], found),
            _ => {}
        }
        if let Source::Header(name) = &self.source
            && self.removes
        {
            headers.remove(name.as_name());
        }
    }
}

/// Fields by namespace.
type Found = BTreeMap<String, Struct>;

impl Target {
    fn compile(message: pb::KeyValuePair, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::KeyValuePair { metadata_namespace, key, value, r#type, encode, regex_value_rewrite } =
            message;
        let rewrite = match regex_value_rewrite {
            None => None,
            Some(RegexMatchAndSubstitute { pattern, substitution }) => {
                let pattern = pattern.unwrap_or_default().regex;
                let rewrite = RegexRewrite::new(&pattern, &substitution);
                Some(rewrite.map_err(|e| cx.field("regex_value_rewrite").error(e.to_string())).ok()?)
            }
        };
        if rewrite.is_some() && !value.is_empty() {
            cx.error("Cannot specify both value and regex_value_rewrite");
            return None;
        }
        let namespace = if metadata_namespace.is_empty() { NAMESPACE } else { metadata_namespace.as_str() };
        Some(Self {
            namespace: namespace.into(),
            key: key.into(),
            value: value.into(),
            rewrite,
            kind: pb::ValueType::try_from(r#type).ok()?,
            base64: pb::ValueEncode::try_from(encode) == Ok(pb::ValueEncode::Base64),
        })
    }

    /// Adds what was found, or what stands for it, where it is a value of the kind.
    fn add(&self, found: &[u8], all: &mut Found) {
        let mut text = if self.value.is_empty() { found.to_vec() } else { self.value.as_bytes().to_vec() };
        if let Some(rewrite) = &self.rewrite {
            let mut out = Vec::new();
            rewrite.replace_all(&text, &mut out);
            text = out;
        }
        if text.is_empty() || text.len() >= LONGEST {
            return;
        }
        if self.base64 {
            let Ok(decoded) = STANDARD.decode(&text) else { return };
            text = decoded;
        }
        let kind = match self.kind {
            pb::ValueType::String => Kind::StringValue(String::from_utf8_lossy(&text).into_owned()),
            pb::ValueType::Number => {
                match std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()) {
                    Some(number) => Kind::NumberValue(number),
                    None => return,
                }
            }
            pb::ValueType::ProtobufValue => match Value::decode(text.as_slice()) {
                Ok(Value { kind: Some(kind) }) => kind,
                _ => return,
            },
        };
        let fields = &mut all.entry(self.namespace.to_string()).or_default().fields;
        fields.insert(self.key.to_string(), Value { kind: Some(kind) });
    }
}

/// A cookie's value.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(Known::Cookie).filter_map(|line| std::str::from_utf8(line).ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

/// One stream's filter.
struct MetadataFilter(Arc<Rules>);

impl Framed for MetadataFilter {
    type Settings = Rules;
    type Stats = NoStats;

    fn stat_prefix(_: &Rules, hcm: &str) -> String {
        format!("{hcm}header_to_metadata.")
    }

    fn make(_: Rc<Live<Self>>, rules: Arc<Rules>, _: RouteSays<'_>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Self(rules)))
    }
}

fn apply(rules: &[Rule], headers: &mut HeaderMap, info: &mut StreamInfo) {
    let mut found = Found::new();
    for rule in rules {
        rule.apply(headers, &mut found);
    }
    for (namespace, fields) in found {
        info.set_dynamic_metadata(&namespace, fields);
    }
}

impl HttpFilter for MetadataFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        apply(&self.0.request, &mut request.head.headers, request.info);
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        apply(&self.0.response, &mut response.head.headers, response.info);
        Flow::Continue
    }
}
