//! Commands that read what configuration and filters attach to a stream: metadata and filter state.

use super::FormatContext;
use super::command::Op;
use super::json::{write_json_string, write_json_value};
use super::parse::FormatError;
use prost_types::value::Kind as ValueKind;

/// Whose metadata a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetadataSource {
    Dynamic,
    Cluster,
    Host,
    Route,
    VirtualHost,
    Listener,
    FilterChain,
}

/// A value found in metadata: a whole namespace, or something in it.
pub(super) enum Found<'a> {
    Struct(&'a prost_types::Struct),
    Value(&'a ValueKind),
}

impl Found<'_> {
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Struct(s) => super::json::write_json_struct(s, out),
            Self::Value(kind) => write_json_value(Some(kind), out),
        }
    }
}

pub(super) fn metadata_value<'a>(
    cx: &FormatContext<'a>,
    source: MetadataSource,
    path: &[Box<str>],
) -> Option<Found<'a>> {
    let metadata = match source {
        MetadataSource::Dynamic => cx.info.dynamic_metadata(),
        MetadataSource::Cluster => cx.info.upstream.cluster.as_ref()?.metadata.as_deref(),
        MetadataSource::Host => cx.info.upstream.host.as_ref()?.metadata.as_deref(),
        MetadataSource::Route => cx.info.route_metadata.as_deref(),
        MetadataSource::Listener => cx.info.connection.listener_metadata.as_deref(),
        MetadataSource::FilterChain => cx.info.connection.filter_chain_metadata.as_deref(),
        MetadataSource::VirtualHost => cx.info.virtual_host_metadata.as_deref(),
    }?;
    let (namespace, keys) = path.split_first()?;
    let namespace = metadata.get(&**namespace)?;
    let Some((first, rest)) = keys.split_first() else { return Some(Found::Struct(namespace)) };
    let mut value = namespace.fields.get(&**first)?.kind.as_ref()?;
    for key in rest {
        let ValueKind::StructValue(s) = value else { return None };
        value = s.fields.get(&**key)?.kind.as_ref()?;
    }
    Some(Found::Value(value))
}

/// Strings as they are, everything else as JSON.
pub(super) fn write_metadata(
    cx: &FormatContext<'_>,
    source: MetadataSource,
    path: &[Box<str>],
    out: &mut Vec<u8>,
) -> bool {
    match metadata_value(cx, source, path) {
        None | Some(Found::Value(ValueKind::NullValue(_))) => false,
        Some(Found::Value(ValueKind::StringValue(s))) => {
            out.extend_from_slice(s.as_bytes());
            true
        }
        Some(found) => {
            found.write_json(out);
            true
        }
    }
}

/// How an object of the filter state is written.
#[derive(Debug)]
pub(super) enum StateForm {
    /// Its text as it is.
    Plain,
    /// Its text as JSON writes a string.
    Typed,
    /// One of its fields.
    Field(Box<str>),
}

/// `KEY[:PLAIN|:TYPED|:FIELD:NAME]`; typed by default.
pub(super) fn filter_state(argument: &str) -> Result<Op, FormatError> {
    let mut parts = argument.split(':');
    let key = parts.next().filter(|k| !k.is_empty()).ok_or(FormatError::FilterStateKey)?;
    let (kind, field) = (parts.next().unwrap_or("TYPED"), parts.next());
    let form = match (kind, field) {
        ("PLAIN", None) => StateForm::Plain,
        ("TYPED", None) => StateForm::Typed,
        ("FIELD", Some(name)) => StateForm::Field(name.into()),
        ("PLAIN" | "TYPED" | "FIELD", _) => return Err(FormatError::FilterStateField),
        _ => return Err(FormatError::FilterStateKind),
    };
    Ok(Op::FilterState { key: key.into(), form })
}

/// Appends an object of the filter state; `false` where it is not there or has no such text.
pub(super) fn write_filter_state(
    cx: &FormatContext<'_>,
    key: &str,
    form: &StateForm,
    out: &mut Vec<u8>,
) -> bool {
    let Some(object) = cx.info.filter_state(key) else { return false };
    if let (StateForm::Typed, Some(json)) = (form, object.json()) {
        out.extend_from_slice(json.as_bytes());
        return true;
    }
    let text = match form {
        StateForm::Plain | StateForm::Typed => object.serialize(),
        StateForm::Field(name) => object.field(name),
    };
    let Some(text) = text else { return false };
    match form {
        StateForm::Typed => write_json_string(text.as_bytes(), out),
        StateForm::Plain | StateForm::Field(_) => out.extend_from_slice(text.as_bytes()),
    }
    true
}
