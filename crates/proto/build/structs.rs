//! Slim prost structs: every message of the ledger with its built fields only, in modules as prost lays them.
//!
//! What differs from prost-build: enum fields are plain `i32` and the enums carry the built values only; maps are
//! `BTreeMap`, so that order is fixed; fields that are not built do not exist; the items of [`APART`] stay bytes.

use crate::descriptors::{ENUM, Field, MESSAGE, Message, Schema};
use crate::ledger::Ledger;
use crate::names;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Lists whose items stay wire bytes in the struct: of these there may be tens of thousands in one message, each many
/// times larger once decoded, and whoever compiles them wants one at a time.
const APART: [(&str, &str); 1] = [("envoy.config.route.v3.VirtualHost", "routes")];

#[derive(Default)]
struct Module {
    items: String,
    children: BTreeMap<String, Module>,
}

pub fn emit(schema: &Schema, ledger: &Ledger) -> String {
    let mut root = Module::default();
    let writer = Writer { schema, ledger, reach: reach(schema, ledger) };
    for (full, message) in schema.messages.iter().filter(|(full, _)| ledger.names(full)) {
        let local = names::local(&message.package, full);
        let Some((name, nesting)) = local.split_last() else { continue };
        let item = writer.message(full, name, message);
        root.at(&names::module(&message.package, nesting)).items += &item;
        for (index, oneof) in message.oneofs.iter().enumerate() {
            let arms: Vec<&Field> = message
                .fields
                .iter()
                .filter(|f| f.oneof == Some(index) && ledger.built(full, &f.name))
                .collect();
            if !arms.is_empty() {
                let item = writer.oneof(full, &oneof.name, &arms);
                root.at(&names::module(&message.package, &local)).items += &item;
            }
        }
    }
    for (full, definition) in schema.enums.iter().filter(|(full, _)| ledger.names(full)) {
        let local = names::local(&definition.package, full);
        let Some((name, nesting)) = local.split_last() else { continue };
        let mut values: Vec<(&str, i32)> = Vec::new();
        for value in definition.values.iter().filter(|v| ledger.built(full, &v.name)) {
            if values.iter().all(|(_, number)| *number != value.number) {
                values.push((&value.name, value.number));
            }
        }
        if !values.is_empty() {
            root.at(&names::module(&definition.package, nesting)).items += &enumeration(full, name, &values);
        }
    }
    let mut out = String::new();
    root.write(&mut out);
    out
}

impl Module {
    fn at(&mut self, path: &[String]) -> &mut Module {
        path.iter().fold(self, |module, name| module.children.entry(name.clone()).or_default())
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.items);
        for (name, child) in &self.children {
            let _ = writeln!(out, "pub mod {name} {{");
            child.write(out);
            out.push_str("}\n");
        }
    }
}

/// For each message the messages that a value of it holds directly in itself, by built singular fields.
fn reach(schema: &Schema, ledger: &Ledger) -> BTreeMap<String, BTreeSet<String>> {
    let mut reach: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (full, message) in schema.messages.iter().filter(|(full, _)| ledger.names(full)) {
        let direct =
            message.fields.iter().filter(|f| f.kind == MESSAGE && !f.repeated && ledger.built(full, &f.name));
        reach.insert(full.clone(), direct.map(|f| f.target.clone()).collect());
    }
    loop {
        let mut grown = false;
        let names: Vec<String> = reach.keys().cloned().collect();
        for name in names {
            let further: BTreeSet<String> = reach
                .get(&name)
                .into_iter()
                .flatten()
                .filter_map(|target| reach.get(target))
                .flatten()
                .cloned()
                .collect();
            if let Some(set) = reach.get_mut(&name) {
                let before = set.len();
                set.extend(further);
                grown |= set.len() > before;
            }
        }
        if !grown {
            return reach;
        }
    }
}

struct Writer<'a> {
    schema: &'a Schema,
    ledger: &'a Ledger,
    reach: BTreeMap<String, BTreeSet<String>>,
}

impl Writer<'_> {
    fn message(&self, full: &str, name: &str, message: &Message) -> String {
        let mut out =
            format!("/// The built part of `{full}`.\n#[derive(Clone, PartialEq, ::prost::Message)]\n");
        let _ = writeln!(out, "pub struct {} {{", names::camel(name));
        let mut seen_oneofs = BTreeSet::new();
        for field in message.fields.iter().filter(|f| self.ledger.built(full, &f.name)) {
            match field.oneof.and_then(|index| Some((index, message.oneofs.get(index)?))) {
                None => out += &self.field(full, field),
                Some((index, oneof)) if seen_oneofs.insert(index) => {
                    let tags: Vec<String> = message
                        .fields
                        .iter()
                        .filter(|f| f.oneof == Some(index) && self.ledger.built(full, &f.name))
                        .map(|f| f.number.to_string())
                        .collect();
                    let path = format!("{}::{}", self.module_of(full), names::camel(&oneof.name));
                    let _ = writeln!(out, "#[prost(oneof = \"{path}\", tags = \"{}\")]", tags.join(", "));
                    let _ =
                        writeln!(out, "pub {}: ::core::option::Option<{path}>,", names::snake(&oneof.name));
                }
                Some(_) => {}
            }
        }
        out.push_str("}\n");
        let local = names::local(&message.package, full).join(".");
        let _ = writeln!(
            out,
            "impl ::prost::Name for {} {{\n const NAME: &'static str = {local:?};\n const PACKAGE: &'static str = {:?};\n \
             fn full_name() -> ::std::string::String {{ {full:?}.into() }}\n \
             fn type_url() -> ::std::string::String {{ \"type.googleapis.com/{full}\".into() }}\n}}",
            names::camel(name),
            message.package
        );
        out
    }

    fn oneof(&self, full: &str, name: &str, arms: &[&Field]) -> String {
        let mut out =
            format!("/// The built arms of `{full}.{name}`.\n#[derive(Clone, PartialEq, ::prost::Oneof)]\n");
        let _ = writeln!(out, "pub enum {} {{", names::camel(name));
        for field in arms {
            let (kind, rust) = self.kind(full, field);
            let _ = writeln!(out, "#[prost({kind}, tag = \"{}\")]", field.number);
            let _ = writeln!(out, "{}({rust}),", names::camel(&field.name));
        }
        out.push_str("}\n");
        out
    }

    fn field(&self, full: &str, field: &Field) -> String {
        let name = names::snake(&field.name);
        let number = field.number;
        if self.schema.is_map(field) {
            let Some(pair) = self.schema.messages.get(&field.target) else { return String::new() };
            let [key, value] = pair.fields.as_slice() else { return String::new() };
            let (key_kind, key_rust) = self.kind(full, key);
            // The map holds its values elsewhere: they need no box, whatever they hold.
            let (value_kind, value_rust) = match value.kind {
                MESSAGE => ("message".to_owned(), self.path(&value.target)),
                _ => self.kind(full, value),
            };
            return format!(
                "#[prost(btree_map = \"{key_kind}, {value_kind}\", tag = \"{number}\")]\n\
                 pub {name}: ::std::collections::BTreeMap<{key_rust}, {value_rust}>,\n"
            );
        }
        let apart = APART.contains(&(full, field.name.as_str()));
        let (kind, rust) = if apart {
            ("bytes = \"vec\"".into(), "::std::vec::Vec<u8>".into())
        } else {
            self.kind(full, field)
        };
        if field.repeated {
            return format!(
                "#[prost({kind}, repeated, tag = \"{number}\")]\npub {name}: ::std::vec::Vec<{rust}>,\n"
            );
        }
        if field.kind == MESSAGE || field.optional {
            let kind = kind.replace("message, boxed", "message, optional, boxed");
            let kind = if kind.contains("optional") { kind } else { format!("{kind}, optional") };
            return format!(
                "#[prost({kind}, tag = \"{number}\")]\npub {name}: ::core::option::Option<{rust}>,\n"
            );
        }
        format!("#[prost({kind}, tag = \"{number}\")]\npub {name}: {rust},\n")
    }

    /// prost's word for the field's type, and the Rust type.
    fn kind(&self, full: &str, field: &Field) -> (String, String) {
        let (kind, rust) = match field.kind {
            1 => ("double", "f64"),
            2 => ("float", "f32"),
            3 => ("int64", "i64"),
            4 => ("uint64", "u64"),
            6 => ("fixed64", "u64"),
            7 => ("fixed32", "u32"),
            8 => ("bool", "bool"),
            9 => ("string", "::std::string::String"),
            12 => ("bytes = \"vec\"", "::std::vec::Vec<u8>"),
            13 => ("uint32", "u32"),
            15 => ("sfixed32", "i32"),
            16 => ("sfixed64", "i64"),
            17 => ("sint32", "i32"),
            18 => ("sint64", "i64"),
            MESSAGE => {
                let path = self.path(&field.target);
                return if self.boxed(full, field) {
                    ("message, boxed".into(), format!("::std::boxed::Box<{path}>"))
                } else {
                    ("message".into(), path)
                };
            }
            5 | ENUM => ("int32", "i32"),
            other => return (format!("unsupported_{other}"), "()".into()),
        };
        (kind.into(), rust.into())
    }

    fn boxed(&self, full: &str, field: &Field) -> bool {
        let target = &field.target;
        !field.repeated && (target == full || self.reach.get(target).is_some_and(|set| set.contains(full)))
    }

    fn path(&self, target: &str) -> String {
        if let Some(well_known) = target.strip_prefix("google.protobuf.") {
            return match well_known {
                "BoolValue" => "bool".into(),
                "UInt32Value" => "u32".into(),
                "UInt64Value" => "u64".into(),
                "Int32Value" => "i32".into(),
                "Int64Value" => "i64".into(),
                "FloatValue" => "f32".into(),
                "DoubleValue" => "f64".into(),
                "StringValue" => "::std::string::String".into(),
                "BytesValue" => "::std::vec::Vec<u8>".into(),
                "Empty" => "()".into(),
                other => format!("::prost_types::{other}"),
            };
        }
        let package = self.schema.messages.get(target).map_or("", |m| m.package.as_str());
        let local = names::local(package, target);
        let Some((name, nesting)) = local.split_last() else { return "()".into() };
        format!("crate::pb::{}::{}", names::module(package, nesting).join("::"), names::camel(name))
    }

    /// The module of what is nested in a message.
    fn module_of(&self, full: &str) -> String {
        let package = self.schema.messages.get(full).map_or("", |m| m.package.as_str());
        format!("crate::pb::{}", names::module(package, &names::local(package, full)).join("::"))
    }
}

fn enumeration(full: &str, name: &str, values: &[(&str, i32)]) -> String {
    let rust = names::camel(name);
    let mut out = format!(
        "/// The built values of `{full}`.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n\
         #[repr(i32)]\npub enum {rust} {{\n"
    );
    let (mut texts, mut numbers) = (String::new(), String::new());
    for (value, number) in values {
        let variant = names::variant(name, value);
        let _ = writeln!(out, "{variant} = {number},");
        let _ = writeln!(texts, "{rust}::{variant} => {value:?},");
        let _ = writeln!(numbers, "{number} => Ok({rust}::{variant}),");
    }
    let _ = writeln!(
        out,
        "}}\nimpl {rust} {{\n/// The name in configuration.\npub fn as_str_name(self) -> &'static str {{ match self {{ {texts} }} }}\n}}\n\
         impl TryFrom<i32> for {rust} {{\n type Error = crate::UnknownEnumValue;\n \
         fn try_from(number: i32) -> Result<Self, Self::Error> {{ match number {{ {numbers} _ => Err(crate::UnknownEnumValue(number)) }} }}\n}}\n\
         impl From<{rust}> for i32 {{ fn from(value: {rust}) -> i32 {{ value as i32 }} }}"
    );
    out
}
