//! `envoy.type.tracing.v3.CustomTag`: tags that configuration adds to spans.

use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext, write_json_value};
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::MetadataPath;
use nuncio_core::stream_info::{Metadata, StreamInfo};
use nuncio_core::trace::Span;
use nuncio_proto::pb::envoy::r#type::metadata::v3::{MetadataKind, metadata_kind};
use nuncio_proto::pb::envoy::r#type::tracing::v3::{CustomTag as Message, custom_tag};
use prost_types::value::Kind;

/// One compiled tag.
#[derive(Debug)]
struct CustomTag {
    name: String,
    source: Source,
}

/// Where a tag's value comes from. Without a value there is no tag.
#[derive(Debug)]
enum Source {
    Text(String),
    /// A request header's first value.
    Header {
        name: HeaderName,
        default: String,
    },
    Metadata {
        of: MetadataOf,
        path: MetadataPath,
        default: String,
    },
    Format(Format),
}

/// Whose metadata is read.
#[derive(Clone, Copy, Debug)]
enum MetadataOf {
    Request,
    Route,
    Cluster,
    Host,
}

/// A list of tags.
#[derive(Debug, Default)]
pub(super) struct CustomTags(Box<[CustomTag]>);

impl CustomTags {
    /// Compiles the list that stands in field `custom_tags` of `cx`.
    pub(super) fn compile(list: Vec<Message>, cx: &CompileContext<'_>) -> Option<Self> {
        let mut tags: Vec<CustomTag> = Vec::with_capacity(list.len());
        let mut good = true;
        for (i, message) in list.into_iter().enumerate() {
            match CustomTag::compile(message, &cx.item("custom_tags", i)) {
                // The first of a name counts.
                Some(tag) if tags.iter().any(|other| other.name == tag.name) => {}
                Some(tag) => tags.push(tag),
                None => good = false,
            }
        }
        good.then(|| Self(tags.into()))
    }

    /// Sets those tags that have a value. A tag of the same name that `over` has is left to that list.
    pub(super) fn apply(&self, span: &mut Span, cx: &FormatContext<'_>, over: Option<&Self>) {
        let mut value = Vec::new();
        for CustomTag { name, source } in &self.0 {
            if over.is_some_and(|over| over.0.iter().any(|tag| tag.name == *name)) {
                continue;
            }
            value.clear();
            source.write(cx, &mut value);
            if !value.is_empty() {
                span.tag_bytes(name.clone(), &value);
            }
        }
    }
}

impl CustomTag {
    fn compile(message: Message, cx: &CompileContext<'_>) -> Option<Self> {
        let Message { tag, r#type } = message;
        let source = match r#type? {
            custom_tag::Type::Literal(custom_tag::Literal { value }) => Source::Text(value),
            custom_tag::Type::Environment(custom_tag::Environment { name, default_value }) => {
                Source::Text(std::env::var(name).unwrap_or(default_value))
            }
            custom_tag::Type::RequestHeader(custom_tag::Header { name, default_value }) => {
                Source::Header { name: HeaderName::new(&name), default: default_value }
            }
            custom_tag::Type::Metadata(metadata) => compile_metadata(metadata, &cx.field("metadata"))?,
            custom_tag::Type::Value(text) => Source::Format(compile_format(&text, &cx.field("value"))?),
        };
        Some(Self { name: tag, source })
    }
}

fn compile_metadata(message: custom_tag::Metadata, cx: &CompileContext<'_>) -> Option<Source> {
    let custom_tag::Metadata { kind, metadata_key, default_value } = message;
    let of = match kind.and_then(|MetadataKind { kind }| kind) {
        Some(metadata_kind::Kind::Request(_)) => MetadataOf::Request,
        Some(metadata_kind::Kind::Route(_)) => MetadataOf::Route,
        Some(metadata_kind::Kind::Cluster(_)) => MetadataOf::Cluster,
        Some(metadata_kind::Kind::Host(_)) => MetadataOf::Host,
        None => {
            cx.field("kind").error("a tag of metadata has to say whose metadata it reads");
            return None;
        }
    };
    let path = MetadataPath::new(&metadata_key.unwrap_or_default());
    Some(Source::Metadata { of, path, default: default_value })
}

/// A format whose missing values are empty, as those of tags and operations are.
pub(super) fn compile_format(text: &str, cx: &CompileContext<'_>) -> Option<Format> {
    match Format::with(text, &Commands::default(), true) {
        Ok(format) => Some(format),
        Err(error) => {
            cx.error(error.to_string());
            None
        }
    }
}

impl Source {
    fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Header { name, default } => {
                let value = cx.request.and_then(|headers| name.values(headers).next());
                out.extend_from_slice(value.unwrap_or(default.as_bytes()));
            }
            Self::Metadata { of, path, default } => match path.find(of.of(cx.info)) {
                Some(Kind::StringValue(text)) => out.extend_from_slice(text.as_bytes()),
                Some(Kind::NumberValue(number)) => out.extend_from_slice(six_digits(*number).as_bytes()),
                None | Some(Kind::NullValue(_)) => out.extend_from_slice(default.as_bytes()),
                Some(value) => write_json_value(Some(value), out),
            },
            Self::Format(format) => format.render(cx, out),
        }
    }
}

impl MetadataOf {
    fn of(self, info: &StreamInfo) -> Option<&Metadata> {
        match self {
            Self::Request => info.dynamic_metadata(),
            Self::Route => info.route_metadata.as_deref(),
            Self::Cluster => info.upstream.cluster.as_ref()?.metadata.as_deref(),
            Self::Host => info.upstream.host.as_ref()?.metadata.as_deref(),
        }
    }
}

/// A number with six significant digits, as `%g` of C writes it.
fn six_digits(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return number.to_string() };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        return short(&format!("{number:.*}", (5 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", short(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::six_digits;

    #[test]
    fn numbers_have_six_significant_digits() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (-2.25, "-2.25"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e+06"),
            (999_999.9, "1e+06"),
            (0.000_012, "1.2e-05"),
            (100_000.0, "100000"),
        ] {
            assert_eq!(six_digits(number), text);
        }
    }
}
