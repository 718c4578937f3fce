//! The schema as static arrays of integers: no pointers to relocate, nothing to build at start-up.

use crate::descriptors::{ENUM, Field, MESSAGE, Message, Schema};
use crate::ledger::{Ledger, State};
use crate::rules;
use std::collections::HashMap;
use std::fmt::Write;

/// One text with every name in it once; a name is its offset and length packed into a `u32`.
#[derive(Default)]
struct Pool {
    text: String,
    seen: HashMap<String, u32>,
}

/// Fields whose rules Envoy does not ask, for it unpacks their messages without a check.
const UNCHECKED: &[&str] =
    &["envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.trust_domains"];

const LENGTH_BITS: u32 = 10;

impl Pool {
    fn add(&mut self, name: &str) -> Result<u32, String> {
        if let Some(known) = self.seen.get(name) {
            return Ok(*known);
        }
        let at = u32::try_from(self.text.len()).ok().filter(|at| at >> (32 - LENGTH_BITS) == 0);
        let at = at.ok_or("the names fill the pool")?;
        if name.len() >> LENGTH_BITS != 0 {
            return Err(format!("a name or reason of more than {} bytes: {name}", (1 << LENGTH_BITS) - 1));
        }
        let packed = at << LENGTH_BITS | name.len() as u32;
        self.text.push_str(name);
        self.seen.insert(name.to_owned(), packed);
        Ok(packed)
    }
}

struct Tables<'a> {
    schema: &'a Schema,
    ledger: &'a Ledger,
    pool: Pool,
    message_index: HashMap<&'a str, usize>,
    enum_index: HashMap<&'a str, usize>,
    rule_sets: Vec<String>,
    messages: String,
    fields: (String, usize),
    spellings: (String, usize),
    oneofs: (String, usize),
    enums: String,
    values: (String, usize),
}

pub fn emit(schema: &Schema, ledger: &Ledger) -> Result<String, String> {
    let mut tables = Tables {
        schema,
        ledger,
        pool: Pool::default(),
        message_index: schema.messages.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect(),
        enum_index: schema.enums.keys().enumerate().map(|(i, name)| (name.as_str(), i)).collect(),
        rule_sets: vec!["&[]".into()],
        messages: String::new(),
        fields: Default::default(),
        spellings: Default::default(),
        oneofs: Default::default(),
        enums: String::new(),
        values: Default::default(),
    };
    for (full, message) in &schema.messages {
        tables.message(full, message)?;
    }
    for full in schema.enums.keys() {
        tables.enumeration(full)?;
    }
    tables.text()
}

impl Tables<'_> {
    fn message(&mut self, full: &str, message: &Message) -> Result<(), String> {
        let (fields, oneofs, spellings) = (self.fields.1, self.oneofs.1, self.spellings.1);
        let mut spelled: Vec<(&str, usize)> = Vec::new();
        for (index, field) in message.fields.iter().enumerate() {
            self.field(full, field)?;
            spelled.push((&field.name, index * 2));
            if field.json != field.name {
                spelled.push((&field.json, index * 2 + 1));
            }
        }
        spelled.sort_unstable();
        for (_, packed) in &spelled {
            let _ = write!(self.spellings.0, "{packed},");
        }
        self.spellings.1 += spelled.len();
        for oneof in &message.oneofs {
            let name = self.pool.add(&oneof.name)?;
            let _ = write!(self.oneofs.0, "OneofRec{{name:Text({name}),required:{}}},", oneof.required);
            self.oneofs.1 += 1;
        }
        let name = self.pool.add(full)?;
        let _ = writeln!(
            self.messages,
            "MessageRec{{name:Text({name}),fields:({fields},{}),spellings:({spellings},{}),oneofs:({oneofs},{}),class:Class::{},flags:{}}},",
            message.fields.len(),
            spelled.len(),
            message.oneofs.len(),
            class(full, message),
            u8::from(self.ledger.names(full))
                | u8::from(message.deprecated) << 1
                | u8::from(message.unchecked) << 2
                | u8::from(SLOTS.contains(&full)) << 3,
        );
        Ok(())
    }

    fn field(&mut self, full: &str, field: &Field) -> Result<(), String> {
        let (name, json) = (self.pool.add(&field.name)?, self.pool.add(&field.json)?);
        let target = match field.kind {
            MESSAGE => self.message_index.get(field.target.as_str()).copied(),
            ENUM => self.enum_index.get(field.target.as_str()).copied(),
            _ => Some(0),
        };
        let (state, reason) = self.ledger.state(full, &field.name);
        let reason = self.pool.add(reason)?;
        let checked = !UNCHECKED.contains(&format!("{full}.{}", field.name).as_str());
        let rules = rules::expressions(if checked { &field.rules } else { &[] });
        if rules.contains("Unknown") {
            return Err(format!("{full}.{}: a rule that the walker does not know: {rules}", field.name));
        }
        let rules = self.rule_sets.iter().position(|set| *set == rules).unwrap_or_else(|| {
            self.rule_sets.push(rules);
            self.rule_sets.len() - 1
        });
        let flags = u8::from(field.repeated)
            | u8::from(self.schema.is_map(field)) << 1
            | u8::from(field.optional) << 2
            | u8::from(field.deprecated) << 3
            | u8::from(field.disallowed) << 4
            | u8::from(field.sensitive) << 5;
        let _ = writeln!(
            self.fields.0,
            "FieldRec{{name:Text({name}),json:Text({json}),number:{},kind:Kind::{},flags:{flags},target:{},oneof:{},rules:{rules},state:{},reason:Text({reason})}},",
            field.number,
            kind(field.kind)?,
            target.unwrap_or(0),
            field.oneof.map_or(255, |index| index),
            state_code(state),
        );
        self.fields.1 += 1;
        Ok(())
    }

    fn enumeration(&mut self, full: &str) -> Result<(), String> {
        let Some(definition) = self.schema.enums.get(full) else { return Ok(()) };
        let (first, name) = (self.values.1, self.pool.add(full)?);
        for value in &definition.values {
            let (state, reason) = self.ledger.state(full, &value.name);
            let (name, reason) = (self.pool.add(&value.name)?, self.pool.add(reason)?);
            let flags = u8::from(value.deprecated) | u8::from(value.disallowed) << 1;
            let _ = write!(
                self.values.0,
                "ValueRec{{name:Text({name}),number:{},flags:{flags},state:{},reason:Text({reason})}},",
                value.number,
                state_code(state)
            );
            self.values.1 += 1;
        }
        let named = self.ledger.names(full);
        let _ = writeln!(
            self.enums,
            "EnumRec{{name:Text({name}),values:({first},{}),named:{named}}},",
            definition.values.len()
        );
        Ok(())
    }

    fn text(self) -> Result<String, String> {
        let mut out = String::new();
        let mut table = |name: &str, kind: &str, rows: &str, len: usize| {
            u16::try_from(len).map_err(|_| format!("{name} has more than 65535 rows"))?;
            let _ = writeln!(out, "static {name}: [{kind}; {len}] = [{rows}];");
            Ok::<(), String>(())
        };
        table("MESSAGES", "MessageRec", &self.messages, self.schema.messages.len())?;
        table("FIELDS", "FieldRec", &self.fields.0, self.fields.1)?;
        table("SPELLINGS", "u16", &self.spellings.0, self.spellings.1)?;
        table("ONEOFS", "OneofRec", &self.oneofs.0, self.oneofs.1)?;
        table("ENUMS", "EnumRec", &self.enums, self.schema.enums.len())?;
        table("VALUES", "ValueRec", &self.values.0, self.values.1)?;
        table("RULES", "&[Rule]", &self.rule_sets.join(",\n"), self.rule_sets.len())?;
        let _ = writeln!(out, "static POOL: &str = {:?};", self.pool.text);
        Ok(out)
    }
}

/// The messages that hold an extension as a `typed_config` that Envoy insists on, though no constraint says so.
const SLOTS: &[&str] = &[
    "envoy.config.accesslog.v3.AccessLog",
    "envoy.config.cluster.v3.Filter",
    "envoy.config.core.v3.TransportSocket",
    "envoy.config.listener.v3.Filter",
    "envoy.config.listener.v3.ListenerFilter",
    "envoy.config.metrics.v3.StatsSink",
    "envoy.config.overload.v3.ResourceMonitor",
    "envoy.config.route.v3.RetryPolicy.RetryHostPredicate",
    "envoy.config.route.v3.RetryPolicy.RetryPriority",
    "envoy.config.trace.v3.Tracing.Http",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
];

fn state_code(state: State) -> &'static str {
    match state {
        State::Unbuilt => "State::Unbuilt",
        State::Inert => "State::Inert",
        State::Built => "State::Built",
    }
}

fn class(full: &str, message: &Message) -> &'static str {
    match full {
        _ if message.map_entry => "MapEntry",
        "google.protobuf.Any" => "Any",
        "google.protobuf.Struct" => "Struct",
        "google.protobuf.Value" => "Value",
        "google.protobuf.ListValue" => "ListValue",
        "google.protobuf.Duration" => "Duration",
        "google.protobuf.Timestamp" => "Timestamp",
        "google.protobuf.FieldMask" => "FieldMask",
        "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct" => "TypedStruct",
        name if name.starts_with("google.protobuf.") && name.ends_with("Value") => "Wrapper",
        _ => "Plain",
    }
}

fn kind(code: u8) -> Result<&'static str, String> {
    const KINDS: [&str; 19] = [
        "", "Double", "Float", "Int64", "Uint64", "Int32", "Fixed64", "Fixed32", "Bool", "String", "",
        "Message", "Bytes", "Uint32", "Enum", "Sfixed32", "Sfixed64", "Sint32", "Sint64",
    ];
    match KINDS.get(usize::from(code)) {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(format!("protobuf type {code} is not supported")),
    }
}
