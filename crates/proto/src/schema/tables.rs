//! The records that the build script fills, and the handles on them.

use super::{Form, Rule};
use std::fmt;

/// A name in the pool: offset and length.
#[derive(Clone, Copy)]
struct Text(u32);

impl Text {
    fn get(self) -> &'static str {
        let at = (self.0 >> 10) as usize;
        POOL.get(at..at + (self.0 & 0x3ff) as usize).unwrap_or_default()
    }
}

struct MessageRec {
    name: Text,
    fields: (u16, u16),
    spellings: (u16, u16),
    oneofs: (u16, u16),
    class: Class,
    flags: u8,
}

struct FieldRec {
    name: Text,
    json: Text,
    number: u32,
    kind: Kind,
    flags: u8,
    target: u16,
    oneof: u8,
    rules: u16,
    state: State,
    reason: Text,
}

struct OneofRec {
    name: Text,
    required: bool,
}

struct EnumRec {
    name: Text,
    values: (u16, u16),
    named: bool,
}

struct ValueRec {
    name: Text,
    number: i32,
    flags: u8,
    state: State,
    reason: Text,
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

fn part<T>(table: &'static [T], (start, len): (u16, u16)) -> &'static [T] {
    let start = usize::from(start);
    table.get(start..start + usize::from(len)).unwrap_or_default()
}

/// What nuncio makes of a field or an enum value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Known to Envoy, not to us: refused with its place.
    Unbuilt,
    /// Accepted; has no effect in Envoy either.
    Inert,
    /// Honoured.
    Built,
}

/// Protobuf's scalar types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are protobuf's own.
pub enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Message,
    Bytes,
    Uint32,
    Enum,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
}

/// How text stands for a message: most are mappings, some well-known types have a form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are those of google/protobuf/*.proto.
pub enum Class {
    Plain,
    MapEntry,
    Any,
    Struct,
    Value,
    ListValue,
    /// `BoolValue`, `UInt32Value` and so on: the bare value.
    Wrapper,
    Duration,
    Timestamp,
    FieldMask,
    /// `xds.type.v3.TypedStruct`, `udpa.type.v1.TypedStruct`.
    TypedStruct,
}

/// A message type.
#[derive(Clone, Copy)]
pub struct Message(&'static MessageRec);

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Message {
    /// The type of this full name, without a leading dot.
    pub fn find(full_name: &str) -> Option<Message> {
        let found = MESSAGES.binary_search_by(|rec| rec.name.get().cmp(full_name)).ok()?;
        MESSAGES.get(found).map(Message)
    }

    /// Every message type, sorted by name.
    pub fn all() -> impl Iterator<Item = Message> {
        MESSAGES.iter().map(Message)
    }

    /// The full name, for example `envoy.config.route.v3.Route`.
    pub fn name(self) -> &'static str {
        self.0.name.get()
    }

    /// How text stands for it.
    pub fn class(self) -> Class {
        self.0.class
    }

    /// True when the ledger has a block for it: only then may an `Any` hold it.
    pub fn in_ledger(self) -> bool {
        self.0.flags & 1 != 0
    }

    /// Marked deprecated in the proto file.
    pub fn deprecated(self) -> bool {
        self.0.flags & 2 != 0
    }

    /// True when Envoy does not check this message's rules.
    pub fn unchecked(self) -> bool {
        self.0.flags & 4 != 0
    }

    /// True when it names an extension by its `typed_config`, without which Envoy finds none.
    pub fn extension_slot(self) -> bool {
        self.0.flags & 8 != 0
    }

    /// The fields by ascending number.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field> {
        part(&FIELDS, self.0.fields).iter().map(Field)
    }

    /// The field of this number.
    pub fn field(self, number: u32) -> Option<Field> {
        let fields = part(&FIELDS, self.0.fields);
        let found = fields.binary_search_by_key(&number, |rec| rec.number).ok()?;
        fields.get(found).map(Field)
    }

    /// The field of this name, in either spelling: `connect_timeout` or `connectTimeout`.
    pub fn field_named(self, name: &str) -> Option<Field> {
        let fields = part(&FIELDS, self.0.fields);
        let spelled = |packed: u16| {
            let rec = fields.get(usize::from(packed >> 1))?;
            Some((if packed & 1 == 0 { rec.name } else { rec.json }, rec))
        };
        let spellings = part(&SPELLINGS, self.0.spellings);
        let order = |packed: &u16| spelled(*packed).map_or("", |(text, _)| text.get()).cmp(name);
        let found = spellings.binary_search_by(order).ok()?;
        spelled(*spellings.get(found)?).map(|(_, rec)| Field(rec))
    }

    /// The oneofs in the order of the proto file.
    pub fn oneofs(self) -> impl ExactSizeIterator<Item = Oneof> {
        part(&ONEOFS, self.0.oneofs).iter().map(Oneof)
    }

    /// The key and value fields of a map's entry type.
    pub fn entry(self) -> Option<(Field, Field)> {
        match part(&FIELDS, self.0.fields) {
            [key, value] if self.0.class == Class::MapEntry => Some((Field(key), Field(value))),
            _ => None,
        }
    }
}

/// A oneof of a message.
#[derive(Clone, Copy)]
pub struct Oneof(&'static OneofRec);

impl Oneof {
    /// Its name in the proto file.
    pub fn name(self) -> &'static str {
        self.0.name.get()
    }

    /// One arm must be set.
    pub fn required(self) -> bool {
        self.0.required
    }
}

/// A field of a message.
#[derive(Clone, Copy)]
pub struct Field(&'static FieldRec);

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Field {}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Field {
    /// The name in the proto file, snake case.
    pub fn name(self) -> &'static str {
        self.0.name.get()
    }

    /// The lowerCamelCase name.
    pub fn json_name(self) -> &'static str {
        self.0.json.get()
    }

    /// The field number.
    pub fn number(self) -> u32 {
        self.0.number
    }

    /// Its scalar type.
    pub fn kind(self) -> Kind {
        self.0.kind
    }

    /// A list or a map.
    pub fn repeated(self) -> bool {
        self.0.flags & 1 != 0
    }

    /// A map: repeated messages of [`Class::MapEntry`].
    pub fn is_map(self) -> bool {
        self.0.flags & 2 != 0
    }

    /// A scalar that knows whether it is set (`optional`).
    pub fn optional(self) -> bool {
        self.0.flags & 4 != 0
    }

    /// Marked deprecated in the proto file.
    pub fn deprecated(self) -> bool {
        self.0.flags & 8 != 0
    }

    /// Deprecated and refused by Envoy unless a runtime flag permits it.
    pub fn disallowed(self) -> bool {
        self.0.flags & 16 != 0
    }

    /// Holds a secret: printed as `[redacted]`.
    pub fn sensitive(self) -> bool {
        self.0.flags & 32 != 0
    }

    /// The message type of a message field.
    pub fn message(self) -> Option<Message> {
        if self.0.kind != Kind::Message {
            None
        } else {
            MESSAGES.get(usize::from(self.0.target)).map(Message)
        }
    }

    /// The enum type of an enum field.
    pub fn enumeration(self) -> Option<Enum> {
        if self.0.kind != Kind::Enum { None } else { ENUMS.get(usize::from(self.0.target)).map(Enum) }
    }

    /// The index of its oneof in [`Message::oneofs`].
    pub fn oneof(self) -> Option<usize> {
        (self.0.oneof != u8::MAX).then_some(usize::from(self.0.oneof))
    }

    /// Its constraints.
    pub fn rules(self) -> &'static [Rule] {
        RULES.get(usize::from(self.0.rules)).copied().unwrap_or_default()
    }

    /// What the ledger says of it.
    pub fn state(self) -> State {
        self.0.state
    }

    /// Why it is inert or unbuilt; empty where the ledger gives no reason.
    pub fn reason(self) -> &'static str {
        self.0.reason.get()
    }
}

/// An enum type.
#[derive(Clone, Copy)]
pub struct Enum(&'static EnumRec);

impl fmt::Debug for Enum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Enum {
    /// Every enum type, sorted by name.
    pub fn all() -> impl Iterator<Item = Enum> {
        ENUMS.iter().map(Enum)
    }

    /// The full name.
    pub fn name(self) -> &'static str {
        self.0.name.get()
    }

    /// True when the ledger has a block for it.
    pub fn in_ledger(self) -> bool {
        self.0.named
    }

    /// The values in the order of the proto file.
    pub fn values(self) -> impl ExactSizeIterator<Item = EnumValue> {
        part(&VALUES, self.0.values).iter().map(EnumValue)
    }

    /// The first value of this number.
    pub fn value(self, number: i32) -> Option<EnumValue> {
        self.values().find(|value| value.number() == number)
    }

    /// The value of this name, in any letter case.
    pub fn value_named(self, name: &str) -> Option<EnumValue> {
        self.values().find(|value| value.name().eq_ignore_ascii_case(name))
    }
}

/// A value of an enum.
#[derive(Clone, Copy)]
pub struct EnumValue(&'static ValueRec);

impl EnumValue {
    /// Its name in the proto file.
    pub fn name(self) -> &'static str {
        self.0.name.get()
    }

    /// Its number on the wire.
    pub fn number(self) -> i32 {
        self.0.number
    }

    /// Marked deprecated in the proto file.
    pub fn deprecated(self) -> bool {
        self.0.flags & 1 != 0
    }

    /// Deprecated and refused by Envoy unless a runtime flag permits it.
    pub fn disallowed(self) -> bool {
        self.0.flags & 2 != 0
    }

    /// What the ledger says of it.
    pub fn state(self) -> State {
        self.0.state
    }

    /// Why it is inert or unbuilt; empty where the ledger gives no reason.
    pub fn reason(self) -> &'static str {
        self.0.reason.get()
    }
}
