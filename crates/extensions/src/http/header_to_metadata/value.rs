//! How text becomes a value of metadata.

use super::NAMESPACE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{ValueEncode, ValueType};
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::RegexRewrite;
use nuncio_core::stream_info::StreamInfo;
use nuncio_proto::pb::envoy::extensions::filters::http::header_to_metadata::v3::config;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// Longer values are not kept, in bytes.
const MAX_LENGTH: usize = 8 * 1024;

/// Where a rule's value goes, and as what.
pub(super) struct Target {
    namespace: Box<str>,
    key: Box<str>,
    source: Source,
    kind: ValueType,
    encode: ValueEncode,
}

enum Source {
    /// The header's own text.
    Own,
    Fixed(Box<str>),
    Rewritten(Box<RegexRewrite>),
}

/// Why a value is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Empty,
    TooLong,
    Base64,
    /// The rewrite left nothing.
    Substitution,
    /// It is not of the kind that it should be.
    Kind,
}

impl Target {
    pub(super) fn compile(message: config::KeyValuePair, cx: &CompileContext<'_>) -> Option<Self> {
        let config::KeyValuePair { metadata_namespace, key, value, regex_value_rewrite, r#type, encode } =
            message;
        let source = match (value.is_empty(), regex_value_rewrite) {
            (true, None) => Source::Own,
            (false, None) => Source::Fixed(value.into()),
            (true, Some(rewrite)) => {
                Source::Rewritten(Box::new(RegexRewrite::compile(rewrite, &cx.field("regex_value_rewrite"))?))
            }
            (false, Some(_)) => {
                cx.error("Cannot specify both value and regex_value_rewrite");
                return None;
            }
        };
        let namespace =
            if metadata_namespace.is_empty() { NAMESPACE.into() } else { metadata_namespace.into() };
        Some(Self {
            namespace,
            key: key.into(),
            source,
            kind: ValueType::try_from(r#type).unwrap_or(ValueType::String),
            encode: ValueEncode::try_from(encode).unwrap_or(ValueEncode::None),
        })
    }

    /// Whether it gives nothing where there is no header.
    pub(super) fn adds_nothing(&self) -> bool {
        !matches!(self.source, Source::Fixed(_))
    }

    /// The value that a header's text becomes.
    pub(super) fn value(&self, text: Vec<u8>) -> Result<Value, Failure> {
        let text = match &self.source {
            Source::Own => text,
            Source::Fixed(value) => value.as_bytes().to_vec(),
            Source::Rewritten(rewrite) => {
                let mut out = Vec::new();
                rewrite.replace_all(&text, &mut out);
                if out.is_empty() && !text.is_empty() {
                    return Err(Failure::Substitution);
                }
                out
            }
        };
        match text.len() {
            0 => return Err(Failure::Empty),
            MAX_LENGTH.. => return Err(Failure::TooLong),
            _ => {}
        }
        let text = match self.encode {
            ValueEncode::None => text,
            ValueEncode::Base64 => {
                STANDARD.decode(&text).ok().filter(|bytes| !bytes.is_empty()).ok_or(Failure::Base64)?
            }
        };
        let kind = match self.kind {
            ValueType::String => Kind::StringValue(String::from_utf8_lossy(&text).into_owned()),
            ValueType::Number => Kind::NumberValue(number(&text).ok_or(Failure::Kind)?),
            ValueType::ProtobufValue => return Value::decode(&*text).map_err(|_| Failure::Kind),
        };
        Ok(Value { kind: Some(kind) })
    }

    /// Sets the value.
    pub(super) fn put(&self, value: Value, info: &mut StreamInfo) {
        let fields = [(self.key.to_string(), value)].into();
        info.set_dynamic_metadata(&self.namespace, Struct { fields });
    }
}

/// Decimal with an exponent, or hexadecimal after `0x`; blanks around it do not count.
fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) else {
        return text.parse().ok();
    };
    let value = u64::from_str_radix(hex, 16).ok()? as f64;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        for (text, want) in [
            ("12", Some(12.0)),
            (" 7 ", Some(7.0)),
            ("-1.5e3", Some(-1500.0)),
            ("0x10", Some(16.0)),
            ("-0x10", Some(-16.0)),
            ("0x", None),
            ("12a", None),
            ("", None),
        ] {
            assert_eq!(number(text.as_bytes()), want, "{text}");
        }
    }
}
