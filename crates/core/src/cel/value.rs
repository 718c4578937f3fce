//! What an expression comes to, and what values can do: be compared, asked for members, counted.

use super::attribute::{self, Activation, Node, Root};
use crate::stream_info::{FilterState, Locality, Metadata};
use nuncio_codec::head::{HeaderMap, Name};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// A value. Text is bytes, since headers may hold any.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    /// Nanoseconds.
    Duration(i128),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    List(List<'a>),
    Map(Map<'a>),
    Message(Message<'a>),
    Type(&'static str),
}

#[derive(Clone, Debug)]
pub(super) enum List<'a> {
    Made(Rc<[Value<'a>]>),
    Proto(&'a ListValue),
}

#[derive(Clone, Debug)]
pub(super) enum Map<'a> {
    Made(Rc<[(Value<'a>, Value<'a>)]>),
    Struct(&'a Struct),
    /// `filter_metadata` of metadata.
    Namespaces(Option<&'a Metadata>),
    /// One of the names that expressions begin with: it has attributes, which nobody can count.
    Attributes(Root, Activation<'a>),
    Headers(Headers<'a>),
    /// An object of the filter state that has fields.
    State(Rc<dyn FilterState>),
}

/// Headers as a map; repeated ones are one, joined by commas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers<'a> {
    pub(super) map: Option<&'a HeaderMap>,
    /// `:status`, which is no entry of a response's map.
    pub(super) status: Option<u16>,
}

/// A message of Envoy's configuration.
#[derive(Clone, Debug)]
pub(super) enum Message<'a> {
    Metadata(Option<&'a Metadata>),
    Locality(&'a Locality),
    Node(&'static Node),
}

/// An evaluation that came to nothing: what Envoy calls an error value. Nobody is told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

pub(super) type Evaluated<'a> = Result<Value<'a>, Failed>;

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }

    pub(super) fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text.into_bytes()))
    }

    /// A value of a `google.protobuf.Struct`.
    pub(super) fn of_struct(value: Option<&'a Kind>) -> Self {
        match value {
            None | Some(Kind::NullValue(_)) => Self::Null,
            Some(Kind::BoolValue(b)) => Self::Bool(*b),
            Some(Kind::NumberValue(n)) => Self::Double(*n),
            Some(Kind::StringValue(text)) => Self::text(text),
            Some(Kind::StructValue(map)) => Self::Map(Map::Struct(map)),
            Some(Kind::ListValue(list)) => Self::List(List::Proto(list)),
        }
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Message(Message::Metadata(_)) => "envoy.config.core.v3.Metadata",
            Self::Message(Message::Locality(_)) => "envoy.config.core.v3.Locality",
            Self::Message(Message::Node(_)) => "envoy.config.core.v3.Node",
            Self::Type(_) => "type",
        }
    }

    /// Whether both are equal; numbers are compared across types, and values of different types are unequal.
    pub(super) fn equals(&self, other: &Self) -> Result<bool, Failed> {
        if let Some(order) = self.compare_numbers(other) {
            return Ok(order == Some(Ordering::Equal));
        }
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) | (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) => return a.equals(b),
            (Self::Map(a), Self::Map(b)) => return a.equals(b),
            (Self::Message(Message::Metadata(a)), Self::Message(Message::Metadata(b))) => {
                a.unwrap_or(&Metadata::new()) == b.unwrap_or(&Metadata::new())
            }
            (Self::Message(Message::Locality(a)), Self::Message(Message::Locality(b))) => a == b,
            (Self::Message(Message::Node(a)), Self::Message(Message::Node(b))) => std::ptr::eq(*a, *b),
            _ => false,
        })
    }

    /// Which is the smaller one, of numbers of any type or of two values of one type.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<Ordering>, Failed> {
        if let Some(order) = self.compare_numbers(other) {
            return Ok(order);
        }
        Ok(Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Duration(a), Self::Duration(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            _ => return Err(Failed),
        }))
    }

    /// `None` where one of them is no number, `Some(None)` where one of them is not a number (IEEE 754).
    fn compare_numbers(&self, other: &Self) -> Option<Option<Ordering>> {
        let whole = |value: &Self| match value {
            Self::Int(n) => Some(i128::from(*n)),
            Self::Uint(n) => Some(i128::from(*n)),
            _ => None,
        };
        Some(match (self, other) {
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), b) => compare_double(*a, whole(b)?),
            (a, Self::Double(b)) => compare_double(*b, whole(a)?).map(Ordering::reverse),
            (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
        })
    }

    /// The member called `key`: a field, or what an index finds.
    pub(super) fn member(&self, key: &Value<'a>) -> Evaluated<'a> {
        match self {
            Self::Map(map) => map.get(key).ok_or(Failed),
            Self::List(list) => list.get(key.as_index().ok_or(Failed)?).ok_or(Failed),
            _ => Err(Failed),
        }
    }

    /// `self.name`
    pub(super) fn field(&self, name: &'a str) -> Evaluated<'a> {
        match self {
            Self::Message(message) => message.field(name).ok_or(Failed),
            Self::Map(map) => map.get(&Value::text(name)).ok_or(Failed),
            _ => Err(Failed),
        }
    }

    /// `has(self.name)`
    pub(super) fn has(&self, name: &'a str) -> Result<bool, Failed> {
        match self {
            Self::Map(map) => Ok(map.get(&Value::text(name)).is_some()),
            Self::Message(message) => message.has(name).ok_or(Failed),
            _ => Err(Failed),
        }
    }

    /// `item in self`
    pub(super) fn contains(&self, item: &Value<'a>) -> Result<bool, Failed> {
        match self {
            Self::List(list) => list.iter().try_fold(false, |found, one| Ok(found || one.equals(item)?)),
            Self::Map(map) => Ok(map.get(item).is_some()),
            _ => Err(Failed),
        }
    }

    /// Characters of text, bytes of bytes, members of lists and maps.
    pub(super) fn size(&self) -> Result<i64, Failed> {
        let size = match self {
            Self::Text(text) => String::from_utf8_lossy(text).chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            _ => return Err(Failed),
        };
        i64::try_from(size).map_err(|_| Failed)
    }

    /// The value as a list's index: a number without a fraction.
    fn as_index(&self) -> Option<usize> {
        match self {
            Self::Int(n) => usize::try_from(*n).ok(),
            Self::Uint(n) => usize::try_from(*n).ok(),
            Self::Double(n) if n.fract() == 0.0 && (0.0..1e15).contains(n) => Some(*n as usize),
            _ => None,
        }
    }
}

fn compare_double(a: f64, b: i128) -> Option<Ordering> {
    // Doubles beyond 2^65 are farther out than any whole number here.
    match a {
        _ if a.is_nan() => None,
        _ if a >= 3.7e19 => Some(Ordering::Greater),
        _ if a <= -3.7e19 => Some(Ordering::Less),
        _ => Some((a.floor() as i128).cmp(&b).then(if a.fract() == 0.0 {
            Ordering::Equal
        } else {
            Ordering::Greater
        })),
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Made(list) => list.len(),
            Self::Proto(list) => list.values.len(),
        }
    }

    fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Made(list) => list.get(index).cloned(),
            Self::Proto(list) => Some(Value::of_struct(list.values.get(index)?.kind.as_ref())),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    fn equals(&self, other: &Self) -> Result<bool, Failed> {
        if self.len() != other.len() {
            return Ok(false);
        }
        self.iter().zip(other.iter()).try_fold(true, |equal, (a, b)| Ok(equal && a.equals(&b)?))
    }
}

impl<'a> Map<'a> {
    pub(super) fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        if let Self::Made(entries) = self {
            let found = entries.iter().find(|(k, _)| k.equals(key) == Ok(true))?;
            return Some(found.1.clone());
        }
        let Value::Text(key) = key else { return None };
        if let Self::Headers(headers) = self {
            return headers.get(key);
        }
        let key = std::str::from_utf8(key).ok()?;
        match self {
            Self::Made(_) | Self::Headers(_) => None,
            Self::Struct(map) => Some(Value::of_struct(map.fields.get(key)?.kind.as_ref())),
            Self::Namespaces(metadata) => Some(Value::Map(Map::Struct((*metadata)?.get(key)?))),
            Self::Attributes(root, activation) => attribute::get(*root, key, activation),
            Self::State(object) => object.field(key).map(Value::owned),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Made(entries) => entries.len(),
            Self::Struct(map) => map.fields.len(),
            Self::Namespaces(metadata) => metadata.map_or(0, Metadata::len),
            Self::Headers(headers) => headers.names().len(),
            Self::Attributes(..) | Self::State(_) => 0,
        }
    }

    /// Its entries, sorted by key where it is not written in the expression; `None` where nobody can tell them.
    pub(super) fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        Some(match self {
            Self::Made(entries) => entries.to_vec(),
            Self::Struct(map) => {
                let entries = map.fields.iter();
                entries.map(|(k, v)| (Value::text(k), Value::of_struct(v.kind.as_ref()))).collect()
            }
            Self::Namespaces(metadata) => {
                let entries = metadata.iter().flat_map(|m| m.iter());
                entries.map(|(k, v)| (Value::text(k), Value::Map(Map::Struct(v)))).collect()
            }
            Self::Headers(headers) => {
                let names = headers.names().into_iter();
                names
                    .filter_map(|name| Some((Value::Text(Cow::Borrowed(name)), headers.get(name)?)))
                    .collect()
            }
            Self::Attributes(..) | Self::State(_) => return None,
        })
    }

    fn equals(&self, other: &Self) -> Result<bool, Failed> {
        let (Some(a), Some(b)) = (self.entries(), other.entries()) else { return Err(Failed) };
        if a.len() != b.len() {
            return Ok(false);
        }
        a.iter().try_fold(true, |equal, (key, value)| match other.get(key) {
            Some(found) if equal => value.equals(&found),
            _ => Ok(false),
        })
    }
}

impl<'a> Headers<'a> {
    /// All values of a header, joined by commas.
    fn get(&self, name: &[u8]) -> Option<Value<'a>> {
        let map = self.map?;
        let lower = match name.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        if let (b":status", Some(status)) = (&*lower, self.status) {
            return Some(Value::owned(status.to_string()));
        }
        let name: &[u8] =
            if &*lower == b"host" && map.contains(Name::new(b":authority")) { b":authority" } else { &lower };
        let mut values = values(map, name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Value::Text(Cow::Borrowed(first))) };
        let mut joined = [first, b",", second].concat();
        for value in values {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        Some(Value::Text(Cow::Owned(joined)))
    }

    /// The names, each once, sorted.
    fn names(&self) -> Vec<&'a [u8]> {
        let mut names: Vec<&[u8]> =
            self.map.iter().flat_map(|map| map.iter()).map(|(n, _)| n.as_bytes()).collect();
        names.extend(self.status.filter(|_| self.map.is_some()).map(|_| &b":status"[..]));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The values of a header in their order.
fn values<'a, 'n>(map: &'a HeaderMap, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    map.iter().filter(move |(n, _)| n.as_bytes() == name).map(|(_, value)| value)
}

impl<'a> Message<'a> {
    fn field(&self, name: &str) -> Option<Value<'a>> {
        let of_metadata = |m: &Option<&'a Metadata>| Value::Map(Map::Namespaces(*m));
        Some(match (self, name) {
            (Self::Metadata(metadata), "filter_metadata") => of_metadata(metadata),
            (Self::Locality(locality), "region") => Value::text(&locality.region),
            (Self::Locality(locality), "zone") => Value::text(&locality.zone),
            (Self::Locality(locality), "sub_zone") => Value::text(&locality.sub_zone),
            (Self::Node(node), name) => return node.field(name),
            _ => return None,
        })
    }

    /// Whether the field is set; `None` where there is no such field.
    fn has(&self, name: &str) -> Option<bool> {
        Some(match self.field(name)? {
            Value::Text(text) => !text.is_empty(),
            Value::Map(map) => map.len() > 0,
            _ => true,
        })
    }
}
