//! How values are written: as text, as Envoy's `%CEL()%` does, and as JSON, as `%TYPED_CEL()%` does.

use super::value::{Map, Message, Value};
use crate::format::{write_json_number, write_json_string};
use crate::number::write_general;
use crate::stream_info::{Locality, Metadata};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost_types::Struct;
use prost_types::value::Kind;
use std::io::Write;

/// Appends a value as text. Lists, maps and types are named, not written.
pub(super) fn text(value: &Value<'_>, out: &mut Vec<u8>) {
    let word: &[u8] = match value {
        Value::Null => b"NULL",
        Value::Bool(true) => b"true",
        Value::Bool(false) => b"false",
        Value::Int(n) => return drop(write!(out, "{n}")),
        Value::Uint(n) => return drop(write!(out, "{n}")),
        Value::Double(n) => return write_general(*n, 6, out),
        Value::Text(text) | Value::Bytes(text) => text,
        Value::Duration(d) => return duration(*d, out),
        Value::Timestamp(t) => return timestamp(*t, Fraction::Trimmed, "+00:00", out),
        Value::List(_) => b"CelList value",
        Value::Map(_) => b"CelMap value",
        Value::Type(_) => b"CelType value",
        Value::Message(Message::Metadata(metadata)) => return metadata_text(*metadata, out),
        Value::Message(Message::Locality(locality)) => return locality_text(locality, out),
        // Refused where expressions are read.
        Value::Message(Message::Node(_)) => b"",
    };
    out.extend_from_slice(word);
}

/// Appends a value as JSON, text cut to `limit` bytes; `false`, and perhaps something appended, where it has no form
/// in JSON.
pub(super) fn json(value: &Value<'_>, limit: usize, out: &mut Vec<u8>) -> bool {
    let cut = |text: &[u8], out: &mut Vec<u8>| write_json_string(text.get(..limit).unwrap_or(text), out);
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(_) => text(value, out),
        // Protobuf's numbers are doubles.
        Value::Int(n) => write_json_number(*n as f64, out),
        Value::Uint(n) => write_json_number(*n as f64, out),
        Value::Double(n) => write_json_number(*n, out),
        Value::Text(text) => cut(text, out),
        Value::Bytes(bytes) => cut(STANDARD.encode(bytes).as_bytes(), out),
        Value::Duration(d) => {
            let mut text = Vec::new();
            proto_duration(*d, &mut text);
            cut(&text, out);
        }
        Value::Timestamp(t) => {
            let mut text = Vec::new();
            timestamp(*t, Fraction::InThrees, "Z", &mut text);
            cut(&text, out);
        }
        Value::List(list) => {
            out.push(b'[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                if !json(&item, usize::MAX, out) {
                    return false;
                }
            }
            out.push(b']');
        }
        Value::Map(map) => return map_json(map, out),
        Value::Message(Message::Metadata(metadata)) => return metadata_json(*metadata, out),
        Value::Message(Message::Locality(locality)) => locality_json(locality, out),
        Value::Message(Message::Node(_)) | Value::Type(_) => return false,
    }
    true
}

fn map_json(map: &Map<'_>, out: &mut Vec<u8>) -> bool {
    let Some(entries) = map.entries() else { return false };
    let mut members = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let mut name = Vec::new();
        match &key {
            Value::Text(_) | Value::Int(_) | Value::Uint(_) => text(&key, &mut name),
            _ => return false,
        }
        members.push((name, value));
    }
    // Envoy's JSON is sorted by key.
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    out.push(b'{');
    for (i, (key, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_json_string(key, out);
        out.push(b':');
        if !json(value, usize::MAX, out) {
            return false;
        }
    }
    out.push(b'}');
    true
}

fn metadata_json(metadata: Option<&Metadata>, out: &mut Vec<u8>) -> bool {
    if metadata.is_none_or(Metadata::is_empty) {
        out.extend_from_slice(b"{}");
        return true;
    }
    out.extend_from_slice(b"{\"filter_metadata\":");
    let written = map_json(&Map::Namespaces(metadata), out);
    out.push(b'}');
    written
}

/// The fields of a locality that are set.
fn locality_fields(locality: &Locality) -> impl Iterator<Item = (&'static str, &str)> {
    let fields =
        [("region", &*locality.region), ("sub_zone", &*locality.sub_zone), ("zone", &*locality.zone)];
    fields.into_iter().filter(|(_, text)| !text.is_empty())
}

fn locality_json(locality: &Locality, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (name, text)) in locality_fields(locality).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let _ = write!(out, "\"{name}\":");
        write_json_string(text.as_bytes(), out);
    }
    out.push(b'}');
}

/// In protobuf's text form, on one line, a blank behind each field.
fn locality_text(locality: &Locality, out: &mut Vec<u8>) {
    let mut fields: Vec<_> = locality_fields(locality).collect();
    // By number: region, zone, sub_zone.
    fields.sort_by_key(|(name, _)| name.len() == "sub_zone".len());
    for (name, text) in fields {
        let _ = write!(out, "{name}: ");
        quoted(text, out);
        out.push(b' ');
    }
}

fn metadata_text(metadata: Option<&Metadata>, out: &mut Vec<u8>) {
    for (namespace, fields) in metadata.iter().flat_map(|m| m.iter()) {
        out.extend_from_slice(b"filter_metadata { key: ");
        quoted(namespace, out);
        out.extend_from_slice(b" value { ");
        struct_text(fields, out);
        out.extend_from_slice(b"} } ");
    }
}

fn struct_text(map: &Struct, out: &mut Vec<u8>) {
    for (key, value) in &map.fields {
        out.extend_from_slice(b"fields { key: ");
        quoted(key, out);
        out.extend_from_slice(b" value { ");
        kind_text(value.kind.as_ref(), out);
        out.extend_from_slice(b"} } ");
    }
}

fn kind_text(kind: Option<&Kind>, out: &mut Vec<u8>) {
    match kind {
        None => {}
        Some(Kind::NullValue(_)) => out.extend_from_slice(b"null_value: NULL_VALUE "),
        Some(Kind::BoolValue(b)) => drop(write!(out, "bool_value: {b} ")),
        Some(Kind::NumberValue(n)) => {
            out.extend_from_slice(b"number_value: ");
            shortest(*n, out);
            out.push(b' ');
        }
        Some(Kind::StringValue(text)) => {
            out.extend_from_slice(b"string_value: ");
            quoted(text, out);
            out.push(b' ');
        }
        Some(Kind::StructValue(map)) => {
            out.extend_from_slice(b"struct_value { ");
            struct_text(map, out);
            out.extend_from_slice(b"} ");
        }
        Some(Kind::ListValue(list)) => {
            out.extend_from_slice(b"list_value { ");
            for value in &list.values {
                out.extend_from_slice(b"values { ");
                kind_text(value.kind.as_ref(), out);
                out.extend_from_slice(b"} ");
            }
            out.extend_from_slice(b"} ");
        }
    }
}

/// Text in quotes, with C's escapes for all that is not visible ASCII.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for b in text.bytes() {
        match b {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\'' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0x20..0x7f => out.push(b),
            _ => drop(write!(out, "\\{b:03o}")),
        }
    }
    out.push(b'"');
}

/// A double with as many digits as give it back: 15, else 17 (protobuf's text form).
fn shortest(n: f64, out: &mut Vec<u8>) {
    let from = out.len();
    write_general(n, 15, out);
    let back = out.get(from..).and_then(|text| std::str::from_utf8(text).ok()?.parse::<f64>().ok());
    if back != Some(n) && !n.is_nan() {
        out.truncate(from);
        write_general(n, 17, out);
    }
}

/// How the fraction of a second is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fraction {
    /// Without trailing zeros.
    Trimmed,
    /// With none, three, six or nine digits.
    InThrees,
}

fn fraction(nanos: u32, how: Fraction, out: &mut Vec<u8>) {
    if nanos == 0 {
        return;
    }
    let digits = format!("{nanos:09}");
    let shown = match how {
        Fraction::Trimmed => digits.trim_end_matches('0'),
        Fraction::InThrees if nanos.is_multiple_of(1_000_000) => digits.get(..3).unwrap_or_default(),
        Fraction::InThrees if nanos.is_multiple_of(1000) => digits.get(..6).unwrap_or_default(),
        Fraction::InThrees => &digits,
    };
    let _ = write!(out, ".{shown}");
}

/// A moment as RFC 3339 has it, in UTC; `zone` is how that is named.
pub(super) fn timestamp(nanos: i128, how: Fraction, zone: &str, out: &mut Vec<u8>) {
    let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as u32);
    let Ok(whole) = Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()) else { return };
    let time = jiff::tz::TimeZone::UTC.to_datetime(whole);
    let (y, mo, d, h, mi, s) =
        (time.year(), time.month(), time.day(), time.hour(), time.minute(), time.second());
    let _ = write!(out, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}");
    fraction(rest, how, out);
    out.extend_from_slice(zone.as_bytes());
}

/// A duration as protobuf's JSON has it.
pub(super) fn proto_duration(nanos: i128, out: &mut Vec<u8>) {
    if nanos < 0 {
        out.push(b'-');
    }
    let nanos = nanos.unsigned_abs();
    let _ = write!(out, "{}", nanos / 1_000_000_000);
    fraction((nanos % 1_000_000_000) as u32, Fraction::InThrees, out);
    out.push(b's');
}

/// A duration in hours, minutes and seconds, or in the largest unit that it has one of.
fn duration(nanos: i128, out: &mut Vec<u8>) {
    if nanos < 0 {
        out.push(b'-');
    }
    let nanos = nanos.unsigned_abs();
    let small = |unit: u128, name: &str, out: &mut Vec<u8>| {
        let _ = write!(out, "{}", nanos / unit);
        fraction((nanos % unit * (1_000_000_000 / unit)) as u32, Fraction::Trimmed, out);
        out.extend_from_slice(name.as_bytes());
    };
    match nanos {
        0 => out.push(b'0'),
        1..1000 => small(1, "ns", out),
        1000..1_000_000 => small(1000, "us", out),
        1_000_000..1_000_000_000 => small(1_000_000, "ms", out),
        _ => {
            let (hours, rest) = (nanos / 3_600_000_000_000, nanos % 3_600_000_000_000);
            let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if minutes > 0 {
                let _ = write!(out, "{minutes}m");
            }
            if rest > 0 {
                let _ = write!(out, "{}", rest / 1_000_000_000);
                fraction((rest % 1_000_000_000) as u32, Fraction::Trimmed, out);
                out.push(b's');
            }
        }
    }
}
