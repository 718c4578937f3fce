//! JSON log lines, and JSON text in general: compact, keys in byte order, as Envoy writes it.

use super::command::Command;
use super::parse::{self, Commands, FormatError};
use super::{FormatContext, Piece};
use crate::number;
use prost_types::value::Kind as ValueKind;
use std::io::Write;

/// A compiled `json_format`.
#[derive(Debug)]
pub struct JsonFormat(Shape);

#[derive(Debug)]
enum Shape {
    /// Every member is written whatever its value, so that only values are left to find: what stands between them
    /// is one text each.
    Flat(Box<[Step]>),
    /// Members without a value are left out, and objects that have none with them (`omit_empty_values`).
    Sparse(Members),
}

/// A step of writing a [`Shape::Flat`].
#[derive(Debug)]
enum Step {
    /// JSON text as it stands.
    Literal(Box<[u8]>),
    /// A value of its own type, or `null`.
    Value(Command),
    /// A piece of a string that has others; `-` where it is missing.
    Part(Command),
}

#[derive(Debug)]
enum Node {
    /// JSON text as it stands.
    Literal(Box<[u8]>),
    Null,
    /// A single command, which keeps its type.
    Value(Command),
    /// A string of several pieces.
    Mixture(Vec<Piece>),
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
        let root = members(root, commands, &mut Vec::new())?;
        if omit_empty_values {
            return Ok(Self(Shape::Sparse(root)));
        }
        let mut steps = Steps::default();
        steps.members(root);
        Ok(Self(Shape::Flat(steps.finish())))
    }

    /// Appends one object, without a line end.
    pub fn render(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        match &self.0 {
            Shape::Flat(steps) => {
                for step in steps {
                    match step {
                        Step::Literal(text) => out.extend_from_slice(text),
                        Step::Value(command) => {
                            if !command.write_json(cx, out) {
                                out.extend_from_slice(b"null");
                            }
                        }
                        Step::Part(command) => write_part(command, cx, b"-", out),
                    }
                }
            }
            Shape::Sparse(root) => {
                write_members(root, cx, out);
            }
        }
    }
}

/// Lays a tree out flat.
#[derive(Default)]
struct Steps {
    done: Vec<Step>,
    literal: Vec<u8>,
}

impl Steps {
    fn members(&mut self, members: Members) {
        self.literal.push(b'{');
        for (i, (key, node)) in members.into_iter().enumerate() {
            if i > 0 {
                self.literal.push(b',');
            }
            self.literal.extend_from_slice(&key);
            self.node(node);
        }
        self.literal.push(b'}');
    }

    fn node(&mut self, node: Node) {
        match node {
            Node::Literal(json) => self.literal.extend_from_slice(&json),
            Node::Null => self.literal.extend_from_slice(b"null"),
            Node::Map(members) => self.members(members),
            Node::List(nodes) => {
                self.literal.push(b'[');
                for (i, node) in nodes.into_iter().enumerate() {
                    if i > 0 {
                        self.literal.push(b',');
                    }
                    self.node(node);
                }
                self.literal.push(b']');
            }
            Node::Value(command) => self.command(Step::Value(command)),
            Node::Mixture(pieces) => {
                self.literal.push(b'"');
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => write_escaped(&text, &mut self.literal),
                        Piece::Command(command) => self.command(Step::Part(command)),
                    }
                }
                self.literal.push(b'"');
            }
        }
    }

    fn command(&mut self, step: Step) {
        self.end_literal();
        self.done.push(step);
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.done.push(Step::Literal(std::mem::take(&mut self.literal).into()));
        }
    }

    fn finish(mut self) -> Box<[Step]> {
        self.end_literal();
        self.done.into()
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
            let refused = |error| JsonFormatError { path: path.clone(), error };
            let mut pieces = parse::pieces(text, commands).map_err(refused)?;
            let json = |text: &[u8]| {
                let mut json = Vec::new();
                write_json_string(text, &mut json);
                Node::Literal(json.into())
            };
            match (pieces.pop(), pieces.is_empty()) {
                (None, _) => json(b""),
                (Some(Piece::Text(text)), true) => json(&text),
                (Some(Piece::Command(command)), true) => Node::Value(command),
                (Some(last), false) => {
                    pieces.push(last);
                    Node::Mixture(pieces)
                }
            }
        }
        Some(value) => {
            let mut json = Vec::new();
            write_json_value(Some(value), &mut json);
            Node::Literal(json.into())
        }
    })
}

/// Writes those members of an object that have a value; `false` when none has.
fn write_members(members: &[(Box<[u8]>, Node)], cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    out.push(b'{');
    let any = write_present(
        members,
        |(key, node), out| {
            out.extend_from_slice(key);
            write_node(node, cx, out)
        },
        out,
    );
    out.push(b'}');
    any
}

/// Writes those items that `write` says to have a value, with commas between; `false` when none has.
fn write_present<T>(items: &[T], write: impl Fn(&T, &mut Vec<u8>) -> bool, out: &mut Vec<u8>) -> bool {
    let mut any = false;
    for item in items {
        let before = out.len();
        if any {
            out.push(b',');
        }
        if write(item, out) {
            any = true;
        } else {
            out.truncate(before);
        }
    }
    any
}

/// Writes a value; `false` when it is to be left out (what was written is then the caller's to take back).
fn write_node(node: &Node, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    match node {
        Node::Literal(json) => out.extend_from_slice(json),
        Node::Null => return false,
        Node::Map(members) => return write_members(members, cx, out),
        Node::List(nodes) => {
            out.push(b'[');
            write_present(nodes, |node, out| write_node(node, cx, out), out);
            out.push(b']');
        }
        Node::Value(command) => return command.write_json(cx, out),
        Node::Mixture(pieces) => {
            out.push(b'"');
            for piece in pieces {
                match piece {
                    Piece::Text(text) => write_escaped(text, out),
                    Piece::Command(command) => write_part(command, cx, b"", out),
                }
            }
            out.push(b'"');
        }
    }
    true
}

/// A command within a string.
fn write_part(command: &Command, cx: &FormatContext<'_>, missing: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    if command.write_text(cx, out) {
        escape_from(from, out);
    } else {
        out.extend_from_slice(missing);
    }
}

/// Whether JSON text can hold the byte as it is, whatever stands beside it.
fn is_plain(b: u8) -> bool {
    (0x20..0x80).contains(&b) & (b != b'"') & (b != b'\\')
}

/// Whether JSON can hold all of `text` as it is. Eight bytes at a time, without a way out: almost nothing needs
/// escaping.
#[inline]
fn all_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    /// The high bit of the first byte of `word` that is below `n`, if any is, and of no byte before it.
    #[inline]
    fn below(word: u64, n: u8) -> u64 {
        word.wrapping_sub(ONES * u64::from(n)) & !word
    }
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().fold(true, |plain, b| plain & is_plain(*b));
    };
    let odd = |chunk: [u8; 8]| {
        let word = u64::from_le_bytes(chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        word | below(word, 0x20) | below(quote, 1) | below(backslash, 1)
    };
    let (chunks, _) = text.as_chunks::<8>();
    chunks.iter().fold(odd(*last), |all, chunk| all | odd(*chunk)) & HIGH == 0
}

/// Appends `text` escaped.
#[inline]
fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    if all_plain(text) {
        out.extend_from_slice(text);
    } else {
        escape(text, std::str::from_utf8(text).is_ok(), out);
    }
}

/// Escapes what stands in `out` behind `from`.
#[inline]
pub(super) fn escape_from(from: usize, out: &mut Vec<u8>) {
    if !all_plain(out.get(from..).unwrap_or_default()) {
        let rest = out.split_off(from);
        escape(&rest, std::str::from_utf8(&rest).is_ok(), out);
    }
}

/// Appends `text` escaped. Text that is no UTF-8 is written byte by byte, each that is not plain as `\u00XX`.
#[cold]
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
#[inline]
pub fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Appends a number. Infinity is `inf`, which is no JSON; what is not a number is `null`: Envoy writes both so.
pub fn write_json_number(n: f64, out: &mut Vec<u8>) {
    if n.is_nan() {
        out.extend_from_slice(b"null");
    } else {
        number::write_shortest(n, out);
    }
}

/// Appends a value; `None` is `null`.
pub fn write_json_value(value: Option<&ValueKind>, out: &mut Vec<u8>) {
    match value {
        None | Some(ValueKind::NullValue(_)) => out.extend_from_slice(b"null"),
        Some(ValueKind::BoolValue(b)) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Some(ValueKind::StringValue(s)) => write_json_string(s.as_bytes(), out),
        Some(ValueKind::NumberValue(n)) => write_json_number(*n, out),
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
