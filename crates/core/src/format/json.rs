//! JSON log lines, and JSON text in general: compact, keys in byte order, as Envoy writes it.

use super::parse::{Commands, FormatError};
use super::{Format, FormatContext, Piece};
use prost_types::value::Kind as ValueKind;
use std::io::Write;

/// A compiled `json_format`.
#[derive(Debug)]
pub struct JsonFormat {
    root: Members,
    omit_empty_values: bool,
}

#[derive(Debug)]
enum Node {
    /// JSON text as it stands.
    Literal(Box<[u8]>),
    Null,
    Format(Format),
    List(Vec<Node>),
    Map(Members),
}

/// Members by key, the key written out as `"key":`.
type Members = Vec<(Box<[u8]>, Node)>;

/// Where in the tree a string was refused, by keys and indexes, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct JsonFormatError {
    /// Keys from the root, indexes as `[0]`.
    pub path: Vec<String>,
    /// What is wrong with the string there.
    pub error: FormatError,
}

impl JsonFormat {
    /// Compiles a tree whose strings are formats. With `omit_empty_values`, members without a value are left
    /// out, and objects that have none with them.
    pub fn new(
        root: &prost_types::Struct,
        commands: &Commands,
        omit_empty_values: bool,
    ) -> Result<Self, JsonFormatError> {
        Ok(Self { root: members(root, commands, &mut Vec::new())?, omit_empty_values })
    }

    /// Appends one object, without a line end.
    pub fn render(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        write_members(&self.root, cx, self.omit_empty_values, out);
    }
}

fn members(
    map: &prost_types::Struct,
    commands: &Commands,
    path: &mut Vec<String>,
) -> Result<Members, JsonFormatError> {
    // The map is ordered by key, in bytes.
    map.fields
        .iter()
        .map(|(key, value)| {
            path.push(key.clone());
            let mut text = Vec::new();
            write_json_string(key.as_bytes(), &mut text);
            text.push(b':');
            let member = (text.into(), node(value.kind.as_ref(), commands, path)?);
            path.pop();
            Ok(member)
        })
        .collect()
}

fn node(
    value: Option<&ValueKind>,
    commands: &Commands,
    path: &mut Vec<String>,
) -> Result<Node, JsonFormatError> {
    Ok(match value {
        None | Some(ValueKind::NullValue(_)) => Node::Null,
        Some(ValueKind::StructValue(map)) => Node::Map(members(map, commands, path)?),
        Some(ValueKind::ListValue(list)) => {
            let mut nodes = Vec::with_capacity(list.values.len());
            for (i, value) in list.values.iter().enumerate() {
                path.push(format!("[{i}]"));
                nodes.push(node(value.kind.as_ref(), commands, path)?);
                path.pop();
            }
            Node::List(nodes)
        }
        Some(ValueKind::StringValue(text)) => {
            let format = Format::with(text, commands, false)
                .map_err(|error| JsonFormatError { path: path.clone(), error })?;
            match format.as_literal() {
                Some(text) => {
                    let mut json = Vec::new();
                    write_json_string(text, &mut json);
                    Node::Literal(json.into())
                }
                None => Node::Format(format),
            }
        }
        Some(value) => {
            let mut json = Vec::new();
            write_json_value(Some(value), &mut json);
            Node::Literal(json.into())
        }
    })
}

/// Writes an object; `false` when it has no member.
fn write_members(
    members: &[(Box<[u8]>, Node)],
    cx: &FormatContext<'_>,
    omit: bool,
    out: &mut Vec<u8>,
) -> bool {
    out.push(b'{');
    let mut any = false;
    for (key, node) in members {
        let before = out.len();
        if any {
            out.push(b',');
        }
        out.extend_from_slice(key);
        if write_node(node, cx, omit, out) {
            any = true;
        } else {
            out.truncate(before);
        }
    }
    out.push(b'}');
    any
}

/// Writes a value; `false` when it is to be left out (what was written is then the caller's to take back).
fn write_node(node: &Node, cx: &FormatContext<'_>, omit: bool, out: &mut Vec<u8>) -> bool {
    match node {
        Node::Literal(json) => out.extend_from_slice(json),
        Node::Null => return write_null(omit, out),
        Node::Map(members) => return write_members(members, cx, omit, out) || !omit,
        Node::List(nodes) => {
            out.push(b'[');
            let mut any = false;
            for node in nodes {
                let before = out.len();
                if any {
                    out.push(b',');
                }
                if write_node(node, cx, omit, out) {
                    any = true;
                } else {
                    out.truncate(before);
                }
            }
            out.push(b']');
        }
        Node::Format(format) => return write_format(format, cx, omit, out),
    }
    true
}

fn write_null(omit: bool, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(b"null");
    !omit
}

/// A single command keeps its type; a mixture is a string, in which `-` stands for what is missing.
fn write_format(format: &Format, cx: &FormatContext<'_>, omit: bool, out: &mut Vec<u8>) -> bool {
    if let [Piece::Command(command)] = &*format.pieces {
        return command.write_json(cx, out) || write_null(omit, out);
    }
    out.push(b'"');
    for piece in &format.pieces {
        let from = out.len();
        match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Command(command) => {
                if !command.write_text(cx, out) && !omit {
                    out.push(b'-');
                }
            }
        }
        escape_from(from, out);
    }
    out.push(b'"');
    true
}

/// Whether JSON text can hold the byte as it is, whatever stands beside it.
fn is_plain(b: u8) -> bool {
    (0x20..0x80).contains(&b) & (b != b'"') & (b != b'\\')
}

/// Escapes what stands in `out` behind `from`.
pub(super) fn escape_from(from: usize, out: &mut Vec<u8>) {
    // Almost nothing needs escaping, and a walk without a way out is done many bytes at a time.
    let text = out.get(from..).unwrap_or_default();
    if text.iter().fold(true, |plain, b| plain & is_plain(*b)) {
        return;
    }
    let rest = out.split_off(from);
    let whole_is_utf8 = std::str::from_utf8(&rest).is_ok();
    escape(&rest, whole_is_utf8, out);
}

/// Escapes `text`. Text that is no UTF-8 is written byte by byte, each that is not plain as `\u00XX`.
fn escape(text: &[u8], is_utf8: bool, out: &mut Vec<u8>) {
    for &b in text {
        match b {
            _ if is_plain(b) || (is_utf8 && b >= 0x80) => out.push(b),
            b'"' | b'\\' if is_utf8 => out.extend_from_slice(&[b'\\', b]),
            b'\n' if is_utf8 => out.extend_from_slice(b"\\n"),
            b'\r' if is_utf8 => out.extend_from_slice(b"\\r"),
            b'\t' if is_utf8 => out.extend_from_slice(b"\\t"),
            8 if is_utf8 => out.extend_from_slice(b"\\b"),
            12 if is_utf8 => out.extend_from_slice(b"\\f"),
            _ => drop(write!(out, "\\u{b:04x}")),
        }
    }
}

/// Appends `text` as a JSON string, quotes and all.
pub fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let from = out.len();
    out.extend_from_slice(text);
    escape_from(from, out);
    out.push(b'"');
}

/// Appends a value; `None` is `null`. Numbers without a fraction are written as integers.
pub fn write_json_value(value: Option<&ValueKind>, out: &mut Vec<u8>) {
    match value {
        None | Some(ValueKind::NullValue(_)) => out.extend_from_slice(b"null"),
        Some(ValueKind::BoolValue(b)) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Some(ValueKind::StringValue(s)) => write_json_string(s.as_bytes(), out),
        Some(ValueKind::NumberValue(n)) if !n.is_finite() => out.extend_from_slice(b"null"),
        Some(ValueKind::NumberValue(n)) => drop(write!(out, "{n}")),
        Some(ValueKind::StructValue(map)) => write_json_struct(map, out),
        Some(ValueKind::ListValue(list)) => {
            out.push(b'[');
            for (i, value) in list.values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json_value(value.kind.as_ref(), out);
            }
            out.push(b']');
        }
    }
}

/// Appends an object.
pub(super) fn write_json_struct(map: &prost_types::Struct, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, value)) in map.fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_json_string(key.as_bytes(), out);
        out.push(b':');
        write_json_value(value.kind.as_ref(), out);
    }
    out.push(b'}');
}
