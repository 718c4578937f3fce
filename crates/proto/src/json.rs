//! Wire bytes as JSON by schema, in the way of Envoy's admin port (`/config_dump`): names in snake case, unset fields
//! left out, enums by name, durations as `1.500s`, an `Any` with its content and `@type`, secrets as `[redacted]`.

use crate::context::type_name;
use crate::schema::{Class, Field, Kind, Message};
use crate::text::AS_WRITTEN;
use crate::wire::{Reader, Wire, varint};
use std::fmt::Write;

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// One line without blanks instead of a field a line, indented by one blank a level.
    pub compact: bool,
    /// Only these paths (`name`, `filter_chains.filters`), as in a field mask; all where there is none.
    pub mask: &'a [&'a str],
}

/// Prints a message. Bytes that do not fit the schema are left out.
pub fn print(message: Message, bytes: &[u8], style: Style<'_>) -> String {
    let mut out = String::new();
    append(&mut out, message, bytes, style, 0);
    out
}

/// Prints a message at the end of a text that is `depth` levels deep, for one piece of a larger document.
pub fn append(out: &mut String, message: Message, bytes: &[u8], style: Style<'_>, depth: usize) {
    let mut printer = Printer { out, compact: style.compact, depth, redact: false };
    printer.message(message, bytes, style.mask);
}

/// Appends a JSON string with its quotes.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // As protobuf's printer does, so that the text may stand in HTML.
            '<' | '>' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Printer<'o> {
    out: &'o mut String,
    compact: bool,
    depth: usize,
    /// Within a field that holds a secret.
    redact: bool,
}

const REDACTED: &str = "[redacted]";

impl Printer<'_> {
    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.depth += 1;
    }

    fn close(&mut self, bracket: char, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.out.push(bracket);
    }

    /// Begins the next item of an object or list.
    fn next(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(',');
        }
        self.line();
    }

    fn line(&mut self) {
        if !self.compact {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', self.depth));
        }
    }

    fn name(&mut self, name: &str) {
        quote(self.out, name);
        self.out.push_str(if self.compact { ":" } else { ": " });
    }

    fn message(&mut self, message: Message, bytes: &[u8], mask: &[&str]) {
        match message.class() {
            Class::Any => self.any(bytes, mask),
            Class::Struct => match message.field(1) {
                Some(fields) => self.map(fields, &bodies(bytes, 1)),
                None => self.out.push_str("{}"),
            },
            Class::ListValue => match message.field(1) {
                Some(values) => self.list(values, &values_of(bytes, 1), &[]),
                None => self.out.push_str("[]"),
            },
            Class::Value => self.value(message, bytes),
            Class::Wrapper => {
                let Some(value) = message.field(1) else { return };
                let set = Reader::new(bytes).flatten().filter(|(number, _)| *number == 1).last();
                match set {
                    Some((_, wire)) => self.scalar(value, wire),
                    None => self.scalar(value, default_of(value.kind())),
                }
            }
            Class::Duration => {
                let text = duration(bytes);
                quote(self.out, if self.redact { REDACTED } else { &text });
            }
            Class::Timestamp => quote(self.out, &timestamp(bytes)),
            Class::FieldMask => {
                let paths: Vec<String> =
                    bodies(bytes, 1).iter().map(|p| camel(&String::from_utf8_lossy(p))).collect();
                quote(self.out, &paths.join(","));
            }
            Class::Plain | Class::TypedStruct | Class::MapEntry => {
                self.open('{');
                let mut first = true;
                self.fields(message, bytes, mask, &mut first);
                self.close('}', first);
            }
        }
    }

    fn fields(&mut self, message: Message, bytes: &[u8], mask: &[&str], first: &mut bool) {
        let mut items: Vec<(u32, Wire<'_>)> = Reader::new(bytes).flatten().collect();
        items.sort_by_key(|(number, _)| *number);
        for group in items.chunk_by(|a, b| a.0 == b.0) {
            let Some(field) = group.first().and_then(|(number, _)| message.field(*number)) else { continue };
            let Some(below) = masked(mask, field.name()) else { continue };
            let wires: Vec<Wire<'_>> = group.iter().map(|(_, wire)| *wire).collect();
            let before = self.redact;
            self.redact |= field.sensitive();
            self.next(first);
            self.name(field.name());
            if field.is_map() {
                let entries: Vec<&[u8]> = wires.iter().map(body).collect();
                self.map(field, &entries);
            } else if field.repeated() {
                self.list(field, &wires, &below);
            } else if let Some(kind) = field.message() {
                let joined: Vec<u8>;
                let content = match wires.as_slice() {
                    [wire] => body(wire),
                    _ => {
                        joined = wires.iter().flat_map(body).copied().collect();
                        &joined
                    }
                };
                self.message(kind, content, &below);
            } else if let Some(wire) = wires.last() {
                self.scalar(field, *wire);
            }
            self.redact = before;
        }
    }

    /// An `Any`. One that was written as a `TypedStruct` prints as that, with the message's own words in it, as Envoy
    /// prints it after it has looked for secrets.
    fn any(&mut self, bytes: &[u8], mask: &[&str]) {
        let text = |bytes: &[u8], number| {
            bodies(bytes, number)
                .last()
                .map(|url| String::from_utf8_lossy(url).into_owned())
                .unwrap_or_default()
        };
        let url = text(bytes, 1);
        let value = bodies(bytes, 2).last().copied().unwrap_or_default();
        let message = Message::find(type_name(&url));
        let mut first = true;
        self.open('{');
        if let (Some(written), Some(message)) = (bodies(bytes, AS_WRITTEN).last(), message) {
            for (name, text) in [("@type", text(written, 1)), ("type_url", text(written, 2))] {
                self.next(&mut first);
                self.name(name);
                quote(self.out, &text);
            }
            self.next(&mut first);
            self.name("value");
            self.message(message, value, mask);
            self.close('}', first);
            return;
        }
        if !url.is_empty() {
            self.next(&mut first);
            self.name("@type");
            quote(self.out, &url);
        }
        match message {
            Some(message) if message.class() == Class::Plain || message.class() == Class::TypedStruct => {
                self.fields(message, value, mask, &mut first);
            }
            Some(message) => {
                self.next(&mut first);
                self.name("value");
                self.message(message, value, &[]);
            }
            None => {}
        }
        self.close('}', first);
    }

    fn map(&mut self, field: Field, entries: &[&[u8]]) {
        let Some((key_field, value_field)) = field.message().and_then(Message::entry) else { return };
        self.open('{');
        let mut first = true;
        for entry in entries {
            let (mut key, mut value) = (default_of(key_field.kind()), default_of(value_field.kind()));
            for (number, wire) in Reader::new(entry).flatten() {
                if number == 1 { key = wire } else { value = wire }
            }
            self.next(&mut first);
            let key = match key {
                Wire::Varint(number) if key_field.kind() == Kind::Bool => (number != 0).to_string(),
                Wire::Varint(number) => number.to_string(),
                wire => String::from_utf8_lossy(body(&wire)).into_owned(),
            };
            self.name(&key);
            match value_field.message() {
                Some(message) => self.message(message, body(&value), &[]),
                None => self.scalar(value_field, value),
            }
        }
        self.close('}', first);
    }

    fn list(&mut self, field: Field, wires: &[Wire<'_>], mask: &[&str]) {
        self.open('[');
        let mut first = true;
        for wire in wires {
            if let Some(message) = field.message() {
                self.next(&mut first);
                self.message(message, body(wire), mask);
                continue;
            }
            for value in unpack(field.kind(), *wire) {
                self.next(&mut first);
                self.scalar(field, value);
            }
        }
        self.close(']', first);
    }

    fn value(&mut self, message: Message, bytes: &[u8]) {
        let Some((number, wire)) = Reader::new(bytes).flatten().last() else {
            self.out.push_str("null");
            return;
        };
        let Some(field) = message.field(number) else { return };
        match (number, field.message()) {
            (1, _) => self.out.push_str("null"),
            (_, Some(inner)) => self.message(inner, body(&wire), &[]),
            (_, None) => self.scalar(field, wire),
        }
    }

    fn scalar(&mut self, field: Field, wire: Wire<'_>) {
        if self.redact {
            let redacted =
                if field.kind() == Kind::Bytes { base64(REDACTED.as_bytes()) } else { REDACTED.into() };
            quote(self.out, &redacted);
            return;
        }
        // Writing to a string cannot fail.
        let _ = match (field.kind(), wire) {
            (Kind::String, Wire::Bytes(text)) => {
                quote(self.out, &String::from_utf8_lossy(text));
                Ok(())
            }
            (Kind::Bytes, Wire::Bytes(bytes)) => {
                quote(self.out, &base64(bytes));
                Ok(())
            }
            (Kind::Bool, Wire::Varint(value)) => write!(self.out, "{}", value != 0),
            (Kind::Enum, Wire::Varint(number)) => self.enum_name(field, number),
            #[allow(clippy::cast_possible_truncation)] // 32 bits, sign-extended on the wire.
            (Kind::Int32, Wire::Varint(value)) => write!(self.out, "{}", value as i32),
            (Kind::Uint32, Wire::Varint(value)) => write!(self.out, "{value}"),
            (Kind::Sint32, Wire::Varint(value)) => write!(self.out, "{}", unzigzag(value)),
            (Kind::Int64, Wire::Varint(value)) => write!(self.out, "\"{}\"", value.cast_signed()),
            (Kind::Uint64, Wire::Varint(value)) => write!(self.out, "\"{value}\""),
            (Kind::Sint64, Wire::Varint(value)) => write!(self.out, "\"{}\"", unzigzag(value)),
            (Kind::Fixed32, Wire::Fixed32(value)) => write!(self.out, "{value}"),
            (Kind::Sfixed32, Wire::Fixed32(value)) => write!(self.out, "{}", value.cast_signed()),
            (Kind::Fixed64, Wire::Fixed64(value)) => write!(self.out, "\"{value}\""),
            (Kind::Sfixed64, Wire::Fixed64(value)) => write!(self.out, "\"{}\"", value.cast_signed()),
            (Kind::Float, Wire::Fixed32(bits)) => {
                self.float(f64::from(f32::from_bits(bits)), f32::from_bits(bits))
            }
            (Kind::Double, Wire::Fixed64(bits)) => self.float(f64::from_bits(bits), f64::from_bits(bits)),
            _ => write!(self.out, "null"),
        };
    }

    fn float(&mut self, value: f64, shown: impl std::fmt::Display) -> std::fmt::Result {
        if value.is_nan() {
            write!(self.out, "\"NaN\"")
        } else if value.is_infinite() {
            write!(self.out, "\"{}Infinity\"", if value < 0.0 { "-" } else { "" })
        } else {
            write!(self.out, "{shown}")
        }
    }

    fn enum_name(&mut self, field: Field, number: u64) -> std::fmt::Result {
        #[allow(clippy::cast_possible_truncation)] // 32 bits, sign-extended on the wire.
        let number = number as i32;
        match field.enumeration().and_then(|definition| definition.value(number)) {
            Some(value) if value.name() == "NULL_VALUE" => write!(self.out, "null"),
            Some(value) => write!(self.out, "\"{}\"", value.name()),
            None => write!(self.out, "{number}"),
        }
    }
}

/// The rest of the mask below a field; none where the mask leaves the field out.
fn masked<'m>(mask: &[&'m str], name: &str) -> Option<Vec<&'m str>> {
    if mask.is_empty() {
        return Some(Vec::new());
    }
    let mut below = Vec::new();
    let mut found = false;
    for path in mask {
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        if head == name {
            if rest.is_empty() {
                return Some(Vec::new());
            }
            found = true;
            below.push(rest);
        }
    }
    found.then_some(below)
}

fn body<'a>(wire: &Wire<'a>) -> &'a [u8] {
    if let Wire::Bytes(bytes) = wire { bytes } else { &[] }
}

fn values_of(bytes: &[u8], number: u32) -> Vec<Wire<'_>> {
    Reader::new(bytes).flatten().filter(|(n, _)| *n == number).map(|(_, wire)| wire).collect()
}

fn bodies(bytes: &[u8], number: u32) -> Vec<&[u8]> {
    values_of(bytes, number).iter().map(body).collect()
}

fn default_of(kind: Kind) -> Wire<'static> {
    match kind {
        Kind::String | Kind::Bytes | Kind::Message => Wire::Bytes(&[]),
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64(0),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32(0),
        _ => Wire::Varint(0),
    }
}

/// The values of a list item: one, or those of a packed run.
pub(crate) fn unpack(kind: Kind, wire: Wire<'_>) -> Vec<Wire<'_>> {
    let Wire::Bytes(mut bytes) = wire else { return vec![wire] };
    let mut values = Vec::new();
    match default_of(kind) {
        Wire::Bytes(_) => return vec![wire],
        Wire::Fixed64(_) => {
            while let Some((chunk, rest)) = bytes.split_first_chunk::<8>() {
                values.push(Wire::Fixed64(u64::from_le_bytes(*chunk)));
                bytes = rest;
            }
        }
        Wire::Fixed32(_) => {
            while let Some((chunk, rest)) = bytes.split_first_chunk::<4>() {
                values.push(Wire::Fixed32(u32::from_le_bytes(*chunk)));
                bytes = rest;
            }
        }
        Wire::Varint(_) => {
            while let (false, Ok(value)) = (bytes.is_empty(), varint(&mut bytes)) {
                values.push(Wire::Varint(value));
            }
        }
    }
    values
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Seconds and nanoseconds of a `Duration` or `Timestamp`.
fn seconds_and_nanos(bytes: &[u8]) -> (i64, i64) {
    let (mut seconds, mut nanos) = (0, 0);
    for (number, wire) in Reader::new(bytes).flatten() {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    (seconds, nanos)
}

/// `.5` seconds are `.500`: three, six or nine digits, none for whole seconds.
fn fraction(nanos: i64) -> String {
    let nanos = nanos.unsigned_abs();
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    }
}

fn duration(bytes: &[u8]) -> String {
    let (seconds, nanos) = seconds_and_nanos(bytes);
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos))
}

fn timestamp(bytes: &[u8]) -> String {
    let (seconds, nanos) = seconds_and_nanos(bytes);
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The civil date of a day count, years starting in March.
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era.saturating_mul(400) + year_of_era + next;
    let (hour, minute, second) = (time / 3_600, time % 3_600 / 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}Z", fraction(nanos))
}

fn camel(path: &str) -> String {
    let mut out = String::new();
    let mut raise = false;
    for c in path.chars() {
        if c == '_' {
            raise = true;
        } else {
            out.push(if raise { c.to_ascii_uppercase() } else { c });
            raise = false;
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (group >> (18 - 6 * index) & 63) as usize;
            let letter = ALPHABET.get(sextet).copied().unwrap_or(b'=');
            out.push(if index > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

#[cfg(test)]
mod tests;
