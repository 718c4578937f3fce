//! `envoy.config.core.v3.SubstitutionFormatString`, compiled.

use super::{Commands, Format, FormatContext, JsonFormat, JsonFormatError};
use crate::config::{CompileContext, data_source, type_name};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::extensions::formatter::cel::v3::Cel;
use pb::substitution_format_string::Format as Specifier;

/// A format of either kind: text, or one JSON object and a line end.
#[derive(Debug)]
pub enum LineFormat {
    /// Text, which brings its own line end.
    Text(Format),
    /// A JSON object; the line end is added.
    Json(JsonFormat),
}

impl LineFormat {
    /// Appends the line.
    pub fn render(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(format) => format.render(cx, out),
            Self::Json(format) => {
                format.render(cx, out);
                out.push(b'\n');
            }
        }
    }

    /// Compiles a text that stands at `cx`.
    pub fn text(
        text: &str,
        commands: &Commands,
        omit_empty_values: bool,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let format = Format::with(text, commands, omit_empty_values);
        format.map(Self::Text).map_err(|e| cx.error(e.to_string())).ok()
    }

    /// Compiles a JSON tree that stands at `cx`.
    pub fn json(
        tree: &prost_types::Struct,
        commands: &Commands,
        omit_empty_values: bool,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let report =
            |JsonFormatError { path, error }: JsonFormatError| report_at(cx, &path, &error.to_string());
        JsonFormat::new(tree, commands, omit_empty_values).map(Self::Json).map_err(report).ok()
    }

    /// Compiles the message. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &pb::SubstitutionFormatString, cx: &CompileContext<'_>) -> Option<Self> {
        // `content_type` is for whoever sends the line as a body. Envoy sorts properties either way.
        let pb::SubstitutionFormatString {
            omit_empty_values,
            content_type: _,
            formatters,
            json_format_options: None | Some(pb::JsonFormatOptions { sort_properties: _ }),
            format,
        } = message;
        let commands = Commands::compile(formatters, cx)?;
        match format {
            Some(Specifier::TextFormat(text)) => {
                Self::text(text, &commands, *omit_empty_values, &cx.field("text_format"))
            }
            Some(Specifier::TextFormatSource(source)) => {
                let cx = cx.field("text_format_source");
                let text = data_source(source, &cx).unwrap_or_default();
                let Ok(text) = String::from_utf8(text) else {
                    cx.unsupported("a format that is not UTF-8 is not built");
                    return None;
                };
                Self::text(&text, &commands, *omit_empty_values, &cx)
            }
            Some(Specifier::JsonFormat(tree)) => {
                Self::json(tree, &commands, *omit_empty_values, &cx.field("json_format"))
            }
            None => {
                cx.error("a format is required");
                None
            }
        }
    }
}

impl Commands {
    /// What the extensions in the list `formatters` of `cx` add. `None`: refused, and every reason is recorded.
    pub fn compile(list: &[pb::TypedExtensionConfig], cx: &CompileContext<'_>) -> Option<Self> {
        let (mut commands, mut good) = (Self::default(), true);
        for (i, pb::TypedExtensionConfig { name, typed_config }) in list.iter().enumerate() {
            let url = typed_config.as_ref().map(|c| c.type_url.as_str()).unwrap_or_default();
            match type_name(url) {
                "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery" => {
                    commands.req_without_query = true
                }
                "envoy.extensions.formatter.file_content.v3.FileContent" => commands.file_content = true,
                "envoy.extensions.formatter.cel.v3.Cel" => {
                    let cx = cx.item("formatters", i);
                    match typed_config.as_ref().and_then(|any| cx.field("typed_config").unpack(any)) {
                        Some(Cel { cel_config }) => commands.cel = cel_config.into(),
                        None => good = false,
                    }
                }
                // `%METADATA%` is known to every format by now.
                "envoy.extensions.formatter.metadata.v3.Metadata" => {}
                _ => {
                    let text = format!(
                        "Didn't find a registered implementation for '{name}' with type URL: '{url}'"
                    );
                    cx.item("formatters", i).error(text);
                    good = false;
                }
            }
        }
        good.then_some(commands)
    }
}

/// Records an error below `cx`, at the end of a path through a struct.
fn report_at(cx: &CompileContext<'_>, path: &[String], error: &str) {
    let Some((step, rest)) = path.split_first() else {
        cx.error(error);
        return;
    };
    let index = step.strip_prefix('[').and_then(|s| s.strip_suffix(']')).and_then(|s| s.parse().ok());
    match index {
        Some(index) => report_at(&cx.index(index), rest, error),
        None => report_at(&cx.key(step), rest, error),
    }
}
