//! One walk over the wire bytes of a resource: constraints, support states, unknown and deprecated fields.
//!
//! The same walk serves text and xDS; positions come from the [`CompileContext`] where there are any. With
//! [`Unsupported::Warn`] it takes out of the bytes what is not built, so that it counts as absent; an entry whose
//! `typed_config` is of an unbuilt type goes as a whole.

mod forms;
mod rules;

use crate::context::{CompileContext, Unsupported, type_name};
use crate::error::ErrorKind;
use crate::json::unpack;
use crate::schema::{Class, Enum, Field, Kind, Message, Rule, State};
use crate::text::AS_WRITTEN;
use crate::text::write::{put_bytes, put_tag, put_varint};
use crate::wire::{Reader, Wire};
use rules::Value;
use std::collections::HashSet;

/// What the walk makes of a message's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They stay as they are.
    Keep,
    /// Unbuilt parts were taken out.
    Replace(Vec<u8>),
    /// The whole is unbuilt and counts as absent.
    Drop,
}

/// Checks a message. Errors and warnings go to the context's sink.
pub fn check(message: Message, bytes: &[u8], cx: &CompileContext<'_>) -> Outcome {
    walk(message, bytes, cx, true)
}

/// A field's value where it stands in the bytes.
#[derive(Clone, Copy)]
struct Item<'a> {
    number: u32,
    wire: Wire<'a>,
    start: usize,
    end: usize,
}

/// What is taken out of the bytes, or put in place of it.
type Edits = Vec<(usize, usize, Option<Vec<u8>>)>;

/// `built`: within something that is honoured. Else only the constraints are looked at, as Envoy would.
fn walk(message: Message, bytes: &[u8], cx: &CompileContext<'_>, built: bool) -> Outcome {
    if cx.broken() || message.unchecked() && !built {
        return Outcome::Keep;
    }
    let Some(items) = items(bytes) else {
        cx.report(ErrorKind::Value, format!("the bytes are no {}", message.name()), None);
        return Outcome::Keep;
    };
    let (mut edits, mut rest, mut drop) = (Edits::new(), items.as_slice(), false);
    for field in message.fields() {
        while let Some((first, behind)) = rest.split_first()
            && first.number < field.number()
        {
            unknown(message, first.number, cx);
            rest = behind;
        }
        let count = rest.iter().take_while(|item| item.number == field.number()).count();
        let (group, behind) = rest.split_at(count);
        rest = behind;
        if group.is_empty() {
            absent(field, cx);
        } else {
            drop |= present(field, group, cx, built, &mut edits);
        }
    }
    for item in rest {
        unknown(message, item.number, cx);
    }
    if message.extension_slot() {
        extension(message, &items, cx);
    }
    for (index, oneof) in message.oneofs().enumerate() {
        if oneof.required() {
            one_arm(message, index, &items, cx);
        }
    }
    match (drop, edits.is_empty()) {
        (true, _) => Outcome::Drop,
        (false, true) => Outcome::Keep,
        (false, false) => Outcome::Replace(edit(bytes, edits)),
    }
}

/// The fields sorted by number, in their order within one number.
fn items(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut reader = Reader::new(bytes);
    let mut items = Vec::with_capacity(8);
    let mut start = 0;
    while let Some(field) = reader.next() {
        let (number, wire) = field.ok()?;
        let end = bytes.len() - reader.rest().len();
        items.push(Item { number, wire, start, end });
        start = end;
    }
    items.sort_by_key(|item| item.number);
    Some(items)
}

fn edit(bytes: &[u8], mut edits: Edits) -> Vec<u8> {
    edits.sort_by_key(|(start, ..)| *start);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for (start, end, replacement) in edits {
        out.extend_from_slice(bytes.get(at..start).unwrap_or_default());
        out.extend_from_slice(&replacement.unwrap_or_default());
        at = end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
}

fn unknown(message: Message, number: u32, cx: &CompileContext<'_>) {
    cx.report(ErrorKind::UnknownField, format!("{} has no field number {number}", message.name()), None);
}

/// Envoy finds an extension by the type of its configuration alone: an entry without one is refused, unless it is
/// optional or its configuration comes by discovery.
fn extension(message: Message, items: &[Item<'_>], cx: &CompileContext<'_>) {
    let wire = |name: &str| {
        let number = message.field_named(name)?.number();
        items.iter().rev().find(|item| item.number == number).map(|item| item.wire)
    };
    let configured = wire("typed_config").is_some_and(|wire| !body_of(wire).is_empty());
    let excused = wire("config_discovery").is_some() || wire("is_optional") == Some(Wire::Varint(1));
    if !configured && !excused && !cx.field("typed_config").broken() {
        let text = "typed_config is missing: an extension is found by the type of its configuration alone";
        cx.report(ErrorKind::Constraint, text.into(), None);
    }
}

fn one_arm(message: Message, oneof: usize, items: &[Item<'_>], cx: &CompileContext<'_>) {
    let arms = || message.fields().filter(|field| field.oneof() == Some(oneof));
    let set = arms()
        .any(|arm| items.iter().any(|item| item.number == arm.number()) || cx.field(arm.name()).broken());
    if !set {
        let names: Vec<&str> = arms().map(Field::name).collect();
        cx.report(ErrorKind::Constraint, format!("one of {} must be set", names.join(", ")), None);
    }
}

/// The constraints of a field that is not set.
fn absent(field: Field, cx: &CompileContext<'_>) {
    let rules = field.rules();
    if rules.is_empty() || field.oneof().is_some() || field.optional() {
        return;
    }
    let here = cx.field(field.name());
    if here.broken() {
        return;
    }
    if field.repeated() {
        rules::count(rules, 0, &here);
    } else if field.kind() == Kind::Message {
        if rules.contains(&Rule::Required) {
            here.report(ErrorKind::Constraint, "is required".into(), None);
        }
    } else if !rules.contains(&Rule::IgnoreEmpty) {
        let default = match field.kind() {
            Kind::String => Value::Str(""),
            Kind::Bytes => Value::Bytes(&[]),
            Kind::Double | Kind::Float => Value::Float(0.0),
            _ => Value::Int(0),
        };
        rules::scalar(rules, default, field.enumeration(), &here);
    }
}

/// A field that is set. True when the message that holds it counts as absent with it.
fn present(
    field: Field,
    group: &[Item<'_>],
    cx: &CompileContext<'_>,
    built: bool,
    edits: &mut Edits,
) -> bool {
    let here = cx.field(field.name());
    if here.broken() && !field.repeated() {
        return false;
    }
    let honoured = built && supported(field, &here);
    let remove = built && !honoured && field.state() == State::Unbuilt;
    if remove && cx.sink().unsupported() == Unsupported::Warn {
        edits.extend(group.iter().map(|item| (item.start, item.end, None)));
    }
    // What goes as a whole needs no edits within; its constraints hold all the same.
    let mut unused = Edits::new();
    let edits = if honoured { edits } else { &mut unused };
    if field.is_map() {
        pairs(field, group, &here, honoured, edits);
        false
    } else if field.repeated() {
        list(field, group, cx, honoured, edits);
        false
    } else {
        single(field, group, &here, honoured, edits)
    }
}

/// Reports what the ledger and the annotations say of a field that is set. True when it is honoured.
fn supported(field: Field, here: &CompileContext<'_>) -> bool {
    if field.disallowed() {
        here.report(ErrorKind::Constraint, "is deprecated, and Envoy refuses it by default".into(), None);
    }
    match field.state() {
        State::Unbuilt => {
            let reason = if field.reason().is_empty() { "" } else { ": " };
            here.unsupported(format!("is not supported yet{reason}{}", field.reason()));
        }
        State::Built if field.deprecated() && !field.disallowed() => {
            here.sink().warning(here.fault(ErrorKind::Deprecated, "is deprecated".into(), None));
        }
        State::Inert | State::Built => {}
    }
    field.state() == State::Built
}

fn single(
    field: Field,
    group: &[Item<'_>],
    here: &CompileContext<'_>,
    built: bool,
    edits: &mut Edits,
) -> bool {
    let Some((last, earlier)) = group.split_last() else { return false };
    let Some(message) = field.message() else {
        if !enum_built(field, last.wire, here, built) {
            edits.extend(group.iter().map(|item| (item.start, item.end, None)));
        }
        check_scalar(field, field.rules(), last.wire, here);
        return false;
    };
    let joined: Vec<u8>;
    let body = if earlier.is_empty() {
        body_of(last.wire)
    } else {
        // A message given twice is the one merged with the other: their bytes behind each other.
        joined = group.iter().flat_map(|item| body_of(item.wire)).copied().collect();
        &joined
    };
    match content(message, body, field.rules(), here, built) {
        Outcome::Keep => false,
        Outcome::Replace(new) => {
            edits.extend(earlier.iter().map(|item| (item.start, item.end, None)));
            edits.push((last.start, last.end, Some(tagged(field.number(), &new))));
            false
        }
        Outcome::Drop => {
            edits.extend(group.iter().map(|item| (item.start, item.end, None)));
            message.class() == Class::Any && field.name() == "typed_config"
        }
    }
}

fn list(field: Field, group: &[Item<'_>], cx: &CompileContext<'_>, built: bool, edits: &mut Edits) {
    let rules = field.rules();
    let inner = rules.iter().find_map(|rule| if let Rule::Items(inner) = rule { Some(*inner) } else { None });
    let inner = inner.unwrap_or_default();
    let mut index = 0;
    for item in group {
        if let Some(message) = field.message() {
            let here = cx.item(field.name(), index);
            index += 1;
            if here.broken() {
                continue;
            }
            match content(message, body_of(item.wire), inner, &here, built) {
                Outcome::Keep => {}
                Outcome::Replace(new) => {
                    edits.push((item.start, item.end, Some(tagged(field.number(), &new))))
                }
                Outcome::Drop => edits.push((item.start, item.end, None)),
            }
            continue;
        }
        for wire in unpack(field.kind(), item.wire) {
            let here = cx.item(field.name(), index);
            index += 1;
            if here.broken() {
                continue;
            }
            if !enum_built(field, wire, &here, built) {
                edits.push((item.start, item.end, None));
            }
            check_scalar(field, inner, wire, &here);
        }
    }
    if !rules.is_empty() {
        let here = cx.field(field.name());
        rules::count(rules, index as u64, &here);
        if rules.contains(&Rule::Unique) {
            let mut values = HashSet::new();
            if !group
                .iter()
                .flat_map(|item| unpack(field.kind(), item.wire))
                .all(|value| values.insert(value))
            {
                here.report(ErrorKind::Constraint, "the items must be unique".into(), None);
            }
        }
    }
}

fn pairs(field: Field, group: &[Item<'_>], here: &CompileContext<'_>, built: bool, edits: &mut Edits) {
    let Some((key_field, value_field)) = field.message().and_then(Message::entry) else { return };
    rules::count(field.rules(), group.len() as u64, here);
    let (mut key_rules, mut value_rules): (&[Rule], &[Rule]) = (&[], &[]);
    for rule in field.rules() {
        match rule {
            Rule::Keys(rules) => key_rules = rules,
            Rule::Values(rules) => value_rules = rules,
            _ => {}
        }
    }
    for item in group {
        let (mut key, mut value) = (None, None);
        for part in Reader::new(body_of(item.wire)) {
            match part {
                Ok((1, wire)) => key = Some(wire),
                Ok((2, wire)) => value = Some(wire),
                _ => {}
            }
        }
        let key_text = match key {
            Some(Wire::Bytes(text)) => String::from_utf8_lossy(text).into_owned(),
            Some(Wire::Varint(number)) => number.to_string(),
            _ => String::new(),
        };
        let entry = here.key(&key_text);
        if entry.broken() {
            continue;
        }
        if let Some(key) = key {
            check_scalar(key_field, key_rules, key, &entry);
        }
        let outcome = match (value_field.message(), value) {
            (Some(message), value) => {
                content(message, value.map_or(&[][..], body_of), value_rules, &entry, built)
            }
            (None, Some(value)) if !enum_built(value_field, value, &entry, built) => Outcome::Drop,
            (None, Some(value)) => {
                check_scalar(value_field, value_rules, value, &entry);
                Outcome::Keep
            }
            (None, None) => Outcome::Keep,
        };
        match outcome {
            Outcome::Keep => {}
            Outcome::Drop => edits.push((item.start, item.end, None)),
            Outcome::Replace(new) => {
                let mut pair = Vec::new();
                match key {
                    Some(Wire::Bytes(text)) => put_bytes(&mut pair, 1, text),
                    Some(Wire::Varint(number)) => {
                        put_tag(&mut pair, 1, 0);
                        put_varint(&mut pair, number);
                    }
                    _ => {}
                }
                put_bytes(&mut pair, 2, &new);
                edits.push((item.start, item.end, Some(tagged(field.number(), &pair))));
            }
        }
    }
}

/// The body of a message that is set, with the rules of the field that holds it.
fn content(message: Message, body: &[u8], rules: &[Rule], here: &CompileContext<'_>, built: bool) -> Outcome {
    if rules.contains(&Rule::Skip) {
        return Outcome::Keep;
    }
    match message.class() {
        Class::Any => return any(body, rules, here, built),
        Class::Wrapper => {
            if let Some(value) = message.field(1) {
                let set = Reader::new(body).flatten().filter(|(number, _)| *number == 1).last();
                let default = if matches!(value.kind(), Kind::String | Kind::Bytes) {
                    Wire::Bytes(&[])
                } else if value.kind() == Kind::Double {
                    Wire::Fixed64(0)
                } else {
                    Wire::Varint(0)
                };
                check_scalar(value, rules, set.map_or(default, |(_, wire)| wire), here);
            }
        }
        Class::Duration => rules::duration(rules, body, here),
        Class::Plain | Class::TypedStruct => return walk(message, body, here, built),
        Class::Struct
        | Class::Value
        | Class::ListValue
        | Class::Timestamp
        | Class::FieldMask
        | Class::MapEntry => {}
    }
    Outcome::Keep
}

fn any(body: &[u8], rules: &[Rule], here: &CompileContext<'_>, built: bool) -> Outcome {
    let (mut url, mut value, mut written) = ("", &[][..], None);
    for part in Reader::new(body) {
        match part {
            Ok((1, Wire::Bytes(bytes))) => url = std::str::from_utf8(bytes).unwrap_or_default(),
            Ok((2, Wire::Bytes(bytes))) => value = bytes,
            Ok((AS_WRITTEN, Wire::Bytes(bytes))) => written = Some(bytes),
            _ => {}
        }
    }
    rules::any_type(rules, url, here);
    if url.is_empty() {
        return Outcome::Keep;
    }
    let Some(message) = Message::find(type_name(url)) else {
        // A `TypedStruct` got here only where what is unknown may be passed over.
        if written.is_none() {
            here.report(ErrorKind::UnknownType, format!("no message has the @type '{url}'"), None);
        }
        return Outcome::Keep;
    };
    let honoured = built && (message.in_ledger() || message.class() != Class::Plain);
    let inner = content(message, value, &[], here, honoured);
    if built && !honoured {
        here.unsupported(format!("the type {} is not supported yet", message.name()));
        let warn = here.sink().unsupported() == Unsupported::Warn;
        return if warn { Outcome::Drop } else { Outcome::Keep };
    }
    match inner {
        Outcome::Replace(new) => {
            let mut out = Vec::with_capacity(new.len() + url.len() + 8);
            put_bytes(&mut out, 1, url.as_bytes());
            put_bytes(&mut out, 2, &new);
            if let Some(written) = written {
                put_bytes(&mut out, AS_WRITTEN, written);
            }
            Outcome::Replace(out)
        }
        other => other,
    }
}

/// Checks that an enum's value is built. False, with the report made, when it counts as absent.
fn enum_built(field: Field, wire: Wire<'_>, here: &CompileContext<'_>, built: bool) -> bool {
    let (Some(definition), Wire::Varint(number), true) = (field.enumeration(), wire, built) else {
        return true;
    };
    #[allow(clippy::cast_possible_truncation)] // An enum is 32 bits, sign-extended on the wire.
    let number = number as i32;
    let Some(value) = definition.value(number) else {
        if !field.rules().contains(&Rule::DefinedOnly) {
            here.report(ErrorKind::Value, format!("{} has no value {number}", definition.name()), None);
        }
        return true;
    };
    if value.disallowed() {
        let text = format!("{} is deprecated, and Envoy refuses it by default", value.name());
        here.report(ErrorKind::Constraint, text, None);
    }
    if value.state() != State::Unbuilt || definition.name().starts_with("google.protobuf.") {
        return true;
    }
    let reason = if value.reason().is_empty() { "" } else { ": " };
    here.unsupported(format!("{} is not supported yet{reason}{}", value.name(), value.reason()));
    here.sink().unsupported() == Unsupported::Refuse
}

fn check_scalar(field: Field, rules: &[Rule], wire: Wire<'_>, here: &CompileContext<'_>) {
    if rules.is_empty() {
        return;
    }
    let definition: Option<Enum> = field.enumeration();
    match rules::Value::of(field.kind(), wire) {
        Some(value) => rules::scalar(rules, value, definition, here),
        None => {
            here.report(ErrorKind::Value, "the bytes have another type than the field".into(), None);
        }
    }
}

fn body_of(wire: Wire<'_>) -> &[u8] {
    if let Wire::Bytes(bytes) = wire { bytes } else { &[] }
}

fn tagged(number: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 8);
    put_bytes(&mut out, number, body);
    out
}

#[cfg(test)]
mod tests;
