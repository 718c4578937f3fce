//! The descriptor set, flattened: every message and enum under its full name.
//!
//! Source: `google/protobuf/descriptor.proto`. Options that are extensions (the PGV rules, Envoy's annotations) keep
//! their bytes; their numbers come from the extension declarations in the set itself.

use crate::Problems;
use crate::rules::{self, Rule};
use crate::wire::{Malformed, Reader, Wire};
use std::collections::{BTreeMap, HashMap};

/// Protobuf type codes, as in `FieldDescriptorProto.Type`.
pub const MESSAGE: u8 = 11;
pub const ENUM: u8 = 14;

#[derive(Default)]
pub struct Schema {
    pub messages: BTreeMap<String, Message>,
    pub enums: BTreeMap<String, Enum>,
    options: Options,
}

/// Extension numbers of the options we read.
#[derive(Default)]
struct Options(HashMap<String, u32>);

#[derive(Default, Clone)]
pub struct Message {
    pub package: String,
    pub fields: Vec<Field>,
    pub oneofs: Vec<Oneof>,
    pub map_entry: bool,
    pub deprecated: bool,
    /// PGV does not look at this message.
    pub unchecked: bool,
}

#[derive(Default, Clone)]
pub struct Field {
    pub name: String,
    pub json: String,
    pub number: u32,
    pub kind: u8,
    /// Full name of the message or enum.
    pub target: String,
    pub repeated: bool,
    pub optional: bool,
    pub oneof: Option<usize>,
    pub rules: Vec<Rule>,
    pub deprecated: bool,
    /// Hidden by default: Envoy refuses it unless a runtime flag permits deprecated features.
    pub disallowed: bool,
    pub sensitive: bool,
}

#[derive(Default, Clone)]
pub struct Oneof {
    pub name: String,
    pub required: bool,
}

#[derive(Default, Clone)]
pub struct Enum {
    pub package: String,
    pub values: Vec<EnumValue>,
}

#[derive(Default, Clone)]
pub struct EnumValue {
    pub name: String,
    pub number: i32,
    pub deprecated: bool,
    pub disallowed: bool,
}

impl Schema {
    pub fn decode(set: &[u8]) -> Result<Schema, String> {
        let mut schema = Schema::default();
        let broken = |_: Malformed| "no FileDescriptorSet".to_owned();
        let mut files = Vec::new();
        for field in Reader::new(set) {
            if let (1, Wire::Bytes(file)) = field.map_err(broken)? {
                files.push(file);
            }
        }
        for file in &files {
            schema.options.collect(file).map_err(broken)?;
        }
        for file in &files {
            schema.file(file).map_err(broken)?;
        }
        // The language of the descriptors themselves is never configuration.
        let keep = |name: &String| !name.starts_with("validate.") && !is_descriptor(name);
        schema.messages.retain(|name, _| keep(name));
        schema.enums.retain(|name, _| keep(name));
        Ok(schema)
    }

    /// Checks that every type that a field names is there.
    pub fn finish(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (name, message) in &self.messages {
            for field in &message.fields {
                let known = match field.kind {
                    MESSAGE => self.messages.contains_key(&field.target),
                    ENUM => self.enums.contains_key(&field.target),
                    _ => true,
                };
                if !known && !is_descriptor(&field.target) {
                    problems.push(format!("{name}.{}: unknown type {}", field.name, field.target));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    pub fn is_map(&self, field: &Field) -> bool {
        field.kind == MESSAGE
            && field.repeated
            && self.messages.get(&field.target).is_some_and(|m| m.map_entry)
    }

    fn file(&mut self, file: &[u8]) -> Result<(), Malformed> {
        let mut package = String::new();
        for field in Reader::new(file) {
            if let (2, Wire::Bytes(name)) = field? {
                package = text(name);
            }
        }
        for field in Reader::new(file) {
            match field? {
                (4, Wire::Bytes(message)) => self.message(&package, &package, message)?,
                (5, Wire::Bytes(definition)) => self.enumeration(&package, &package, definition)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, package: &str, scope: &str, bytes: &[u8]) -> Result<(), Malformed> {
        let mut message = Message { package: package.to_owned(), ..Message::default() };
        let full = format!("{scope}.{}", name_of(bytes)?);
        for field in Reader::new(bytes) {
            match field? {
                (2, Wire::Bytes(field)) => message.fields.push(self.field(field)?),
                (3, Wire::Bytes(nested)) => self.message(package, &full, nested)?,
                (4, Wire::Bytes(definition)) => self.enumeration(package, &full, definition)?,
                (7, Wire::Bytes(options)) => {
                    message.deprecated = flag(options, Some(3))?;
                    message.map_entry = flag(options, Some(7))?;
                    message.unchecked = flag(options, self.options.number("validate.disabled"))?
                        || flag(options, self.options.number("validate.ignored"))?;
                }
                (8, Wire::Bytes(oneof)) => message.oneofs.push(self.oneof(oneof)?),
                _ => {}
            }
        }
        // A proto3 optional field stands in a oneof of its own, which is no oneof to anybody.
        for field in &mut message.fields {
            if field.optional {
                field.oneof = None;
            }
        }
        let used = message.fields.iter().filter_map(|f| f.oneof).max().map_or(0, |last| last + 1);
        message.oneofs.truncate(used);
        message.fields.sort_by_key(|field| field.number);
        self.messages.insert(full, message);
        Ok(())
    }

    fn field(&self, bytes: &[u8]) -> Result<Field, Malformed> {
        let mut field = Field::default();
        for item in Reader::new(bytes) {
            match item? {
                (1, Wire::Bytes(name)) => field.name = text(name),
                (3, Wire::Varint(number)) => field.number = number as u32,
                (4, Wire::Varint(label)) => field.repeated = label == 3,
                (5, Wire::Varint(kind)) => field.kind = kind as u8,
                (6, Wire::Bytes(target)) => field.target = text(target).trim_start_matches('.').to_owned(),
                (8, Wire::Bytes(options)) => self.field_options(&mut field, options)?,
                (9, Wire::Varint(oneof)) => field.oneof = Some(oneof as usize),
                (10, Wire::Bytes(json)) => field.json = text(json),
                (17, Wire::Varint(optional)) => field.optional = optional != 0,
                _ => {}
            }
        }
        if field.json.is_empty() {
            field.json = crate::names::json(&field.name);
        }
        Ok(field)
    }

    fn field_options(&self, field: &mut Field, options: &[u8]) -> Result<(), Malformed> {
        field.deprecated = flag(options, Some(3))?;
        field.disallowed = flag(options, self.options.number("envoy.annotations.disallowed_by_default"))?;
        field.sensitive = flag(options, self.options.number("udpa.annotations.sensitive"))?;
        let rules = self.options.number("validate.rules");
        for option in Reader::new(options) {
            if let (number, Wire::Bytes(bytes)) = option?
                && Some(number) == rules
            {
                rules::decode(bytes, &mut field.rules)?;
            }
        }
        Ok(())
    }

    fn oneof(&self, bytes: &[u8]) -> Result<Oneof, Malformed> {
        let mut oneof = Oneof { name: name_of(bytes)?, required: false };
        for field in Reader::new(bytes) {
            if let (2, Wire::Bytes(options)) = field? {
                oneof.required = flag(options, self.options.number("validate.required"))?;
            }
        }
        Ok(oneof)
    }

    fn enumeration(&mut self, package: &str, scope: &str, bytes: &[u8]) -> Result<(), Malformed> {
        let full = format!("{scope}.{}", name_of(bytes)?);
        let mut values = Vec::new();
        for field in Reader::new(bytes) {
            if let (2, Wire::Bytes(value)) = field? {
                values.push(self.enum_value(value)?);
            }
        }
        self.enums.insert(full, Enum { package: package.to_owned(), values });
        Ok(())
    }

    fn enum_value(&self, bytes: &[u8]) -> Result<EnumValue, Malformed> {
        let mut value = EnumValue { name: name_of(bytes)?, ..EnumValue::default() };
        for field in Reader::new(bytes) {
            match field? {
                (2, Wire::Varint(number)) => value.number = number as i32,
                (3, Wire::Bytes(options)) => {
                    value.deprecated = flag(options, Some(1))?;
                    value.disallowed =
                        flag(options, self.options.number("envoy.annotations.disallowed_by_default_enum"))?;
                }
                _ => {}
            }
        }
        Ok(value)
    }
}

impl Options {
    fn number(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }

    fn collect(&mut self, file: &[u8]) -> Result<(), Malformed> {
        let (mut package, mut extensions) = (String::new(), Vec::new());
        for field in Reader::new(file) {
            match field? {
                (2, Wire::Bytes(name)) => package = text(name),
                (7, Wire::Bytes(extension)) => extensions.push(extension),
                _ => {}
            }
        }
        for extension in extensions {
            for field in Reader::new(extension) {
                if let (3, Wire::Varint(number)) = field? {
                    self.0.insert(format!("{package}.{}", name_of(extension)?), number as u32);
                }
            }
        }
        Ok(())
    }
}

/// True for the messages of `descriptor.proto`.
fn is_descriptor(name: &str) -> bool {
    name.strip_prefix("google.protobuf.").is_some_and(|rest| {
        let top = rest.split('.').next().unwrap_or(rest);
        top.contains("Descriptor")
            || top.ends_with("Options")
            || top == "FeatureSet"
            || top.contains("Feature")
            || top == "UninterpretedOption"
            || top == "SourceCodeInfo"
            || top == "Edition"
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Field 1 of a descriptor is always its name.
fn name_of(bytes: &[u8]) -> Result<String, Malformed> {
    for field in Reader::new(bytes) {
        if let (1, Wire::Bytes(name)) = field? {
            return Ok(text(name));
        }
    }
    Err(Malformed)
}

fn flag(options: &[u8], number: Option<u32>) -> Result<bool, Malformed> {
    let mut set = false;
    for option in Reader::new(options) {
        if let (n, Wire::Varint(value)) = option?
            && Some(n) == number
        {
            set = value != 0;
        }
    }
    Ok(set)
}
