//! Tokens to wire bytes by schema, one pass, without a document tree.
//!
//! The rules are those of protobuf's C++ JSON reader in its legacy mode, which Envoy uses: one value where a list is
//! expected, nested lists flattened, a well-known type as a plain mapping. Errors do not stop the reading: what is
//! wrong is noted, its node in the [`PlaceTree`] marked as broken, and the next value read.

pub(super) mod any;
mod scalars;

use super::scalar;
use super::token::{SyntaxError, Token, Tokens};
use super::write::{insert_length, put_tag, put_varint};
use crate::error::{ConfigError, ErrorKind};
use crate::load::Resource;
use crate::near::nearest;
use crate::place::{FileId, Mark, Place, PlaceTreeBuilder, key};
use crate::schema::{Class, Field, Message};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

pub(super) type Read<T> = Result<T, SyntaxError>;

/// One step of the path to what is being read.
pub(super) enum Step<'a> {
    Field(&'static str),
    Index(usize),
    Key(Cow<'a, str>),
}

/// How many items the lists of `static_resources` have already, by the items' type.
#[derive(Debug, Default)]
pub(super) struct Counts(Vec<(&'static str, usize)>);

impl Counts {
    pub(super) fn of(resources: &[Resource]) -> Self {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for resource in resources {
            match counts.iter_mut().find(|(name, _)| *name == resource.type_name()) {
                Some((_, count)) => *count += 1,
                None => counts.push((resource.type_name(), 1)),
            }
        }
        Counts(counts)
    }

    fn get(&self, message: Message) -> usize {
        self.0.iter().find(|(name, _)| *name == message.name()).map_or(0, |(_, count)| *count)
    }
}

pub(super) struct Encoder<'a, 's> {
    pub(super) tokens: Tokens<'a, 's>,
    pub(super) out: Vec<u8>,
    pub(super) places: PlaceTreeBuilder,
    pub(super) file: FileId,
    pub(super) path: Vec<Step<'a>>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<ConfigError>,
    pub(super) allow_unknown: bool,
    /// The items of `static_resources`, each on its own.
    pub(super) resources: Vec<Resource>,
    /// Those of the documents that this one is merged over.
    pub(super) before: &'s Counts,
}

/// A field of the message being read that has a value already.
struct Seen {
    number: u32,
    spelling: u32,
    oneof: Option<usize>,
    out: Range<usize>,
    errors: Range<usize>,
    resources: Range<usize>,
}

impl<'a> Encoder<'a, '_> {
    /// Reads a whole document.
    pub(super) fn document(&mut self, message: Message) -> Read<Mark> {
        let (token, mark) = self.tokens.next()?;
        if token != Token::Map {
            let found = if token == Token::End { "nothing".into() } else { token.describe() };
            return Err(SyntaxError {
                mark,
                message: format!("the document must be a mapping, found {found}"),
            });
        }
        self.body(message, false)?;
        let (rest, mark_of_rest) = self.tokens.next()?;
        if rest != Token::End {
            return Err(SyntaxError {
                mark: mark_of_rest,
                message: "something stands behind the document".into(),
            });
        }
        Ok(mark)
    }

    /// Reads the fields of a message up to the end of the mapping. `in_any`: a key `@type` is no field.
    pub(super) fn body(&mut self, message: Message, in_any: bool) -> Read<()> {
        let mut seen: Vec<Seen> = Vec::new();
        loop {
            let (token, key_mark) = self.tokens.next()?;
            let Token::Str(name) = token else { return Ok(()) };
            let (value, mark) = self.tokens.next()?;
            if in_any && name == "@type" {
                self.tokens.skip(&value)?;
                continue;
            }
            match message.field_named(&name) {
                Some(field) => self.field(message, field, key(&name), (value, mark), key_mark, &mut seen)?,
                None => {
                    let meant = self.unknown(message, &name, key_mark);
                    let unset = |meant: &Field| seen.iter().all(|other| other.number != meant.number());
                    if let Some(meant) = meant.filter(unset) {
                        let open = self.places.open();
                        self.places.close(open, key(meant.name()), key_mark, false);
                    }
                    self.tokens.skip(&value)?;
                }
            }
        }
    }

    fn field(
        &mut self,
        message: Message,
        field: Field,
        spelling: u32,
        (token, mark): (Token<'a>, Mark),
        key_mark: Mark,
        seen: &mut Vec<Seen>,
    ) -> Read<()> {
        self.repeated_key(field, spelling, seen);
        let is_value = field.message().is_some_and(|m| m.class() == Class::Value) && !field.repeated();
        if token == Token::Null && !is_value {
            return Ok(());
        }
        self.path.push(Step::Field(field.name()));
        let (out, errors, resources) = (self.out.len(), self.errors.len(), self.resources.len());
        let open = self.places.open();
        let taken = field.oneof().is_some_and(|oneof| seen.iter().any(|other| other.oneof == Some(oneof)));
        let fine = if taken {
            self.tokens.skip(&token)?;
            let oneof =
                field.oneof().and_then(|index| message.oneofs().nth(index)).map_or("", |oneof| oneof.name());
            self.bad(key_mark, format!("'{oneof}' is set twice: only one of its fields may be set"))
        } else if field.is_map() {
            self.map(field, token, mark)?
        } else if field.repeated() {
            self.list(message, field, token, mark)?
        } else {
            let always = field.oneof().is_some() || field.optional();
            let fine = self.value(field, (token, mark), always)?;
            if !fine {
                self.out.truncate(out);
            }
            fine
        };
        self.places.close(open, key(field.name()), key_mark, fine);
        self.path.pop();
        seen.push(Seen {
            number: field.number(),
            spelling,
            oneof: field.oneof().filter(|_| !taken),
            out: out..self.out.len(),
            errors: errors..self.errors.len(),
            resources: resources..self.resources.len(),
        });
        Ok(())
    }

    /// In YAML the last of equal keys counts: forgets what the earlier one gave. In JSON it adds to it, so that only
    /// a bare value is replaced.
    fn repeated_key(&mut self, field: Field, spelling: u32, seen: &mut Vec<Seen>) {
        let replaces = self.tokens.last_key_replaces();
        let bare = !field.repeated() && field.oneof().is_none() && is_bare(field);
        if !replaces && !bare {
            return;
        }
        let same = |old: &Seen| old.number == field.number() && (old.spelling == spelling || !replaces);
        let Some(index) = seen.iter().position(same) else { return };
        let old = seen.remove(index);
        self.out.drain(old.out.clone());
        if replaces {
            self.errors.drain(old.errors.clone());
            self.resources.drain(old.resources.clone());
        }
        let shift = |range: &mut Range<usize>, gone: &Range<usize>| {
            range.start -= gone.len();
            range.end -= gone.len();
        };
        for later in seen.iter_mut().skip(index) {
            shift(&mut later.out, &old.out);
            if replaces {
                shift(&mut later.errors, &old.errors);
                shift(&mut later.resources, &old.resources);
            }
        }
    }

    fn map(&mut self, field: Field, token: Token<'a>, mark: Mark) -> Read<bool> {
        let Some((key_field, value_field)) = field.message().and_then(Message::entry) else {
            return Ok(true);
        };
        if token != Token::Map {
            let fine = self.wrong(&token, mark, "a mapping");
            self.tokens.skip(&token)?;
            return Ok(fine);
        }
        let mut names = HashSet::new();
        loop {
            let (token, key_mark) = self.tokens.next()?;
            let Token::Str(name) = token else { return Ok(true) };
            let (value, value_mark) = self.tokens.next()?;
            let (open, node) = (self.places.open(), key(&name));
            self.path.push(Step::Key(name.clone()));
            put_tag(&mut self.out, field.number(), 2);
            let start = self.out.len();
            let mut fine = true;
            if !self.tokens.last_key_replaces() && !names.insert(name.clone()) {
                fine = self.bad(key_mark, "the key stands here twice".into());
            }
            fine &= self.scalar(key_field, &Token::Str(name), key_mark, true);
            // A null value is the default; a Value has a null of its own.
            let is_value = value_field.message().is_some_and(|m| m.class() == Class::Value);
            if value != Token::Null || is_value {
                fine &= self.value(value_field, (value, value_mark), true)?;
            }
            insert_length(&mut self.out, start);
            self.path.pop();
            self.places.close(open, node, key_mark, fine);
        }
    }

    fn list(&mut self, message: Message, field: Field, token: Token<'a>, mark: Mark) -> Read<bool> {
        if token != Token::List {
            self.item(message, field, (token, mark), 0)?;
            return Ok(true);
        }
        let class = field.message().map(Message::class);
        let flatten = !matches!(class, Some(Class::Value | Class::ListValue));
        let (mut index, mut nested) = (0, 0usize);
        loop {
            let (token, mark) = self.tokens.next()?;
            match token {
                Token::EndList if nested == 0 => return Ok(true),
                Token::EndList => nested -= 1,
                Token::List if flatten => nested += 1,
                Token::End => return Ok(true),
                token => {
                    self.item(message, field, (token, mark), index)?;
                    index += 1;
                }
            }
        }
    }

    /// One item of a list. An item that cannot be read stays as an empty one, so that the others keep their index.
    fn item(
        &mut self,
        message: Message,
        field: Field,
        (token, mark): (Token<'a>, Mark),
        index: usize,
    ) -> Read<()> {
        let separate = message.name() == "envoy.config.bootstrap.v3.Bootstrap.StaticResources";
        let before = field.message().filter(|_| separate).map_or(0, |kind| self.before.get(kind));
        self.path.push(Step::Index(before + index));
        if let (true, Some(kind)) = (separate, field.message()) {
            self.resource(kind, token, mark)?;
            self.path.pop();
            return Ok(());
        }
        let (open, start) = (self.places.open(), self.out.len());
        let is_value = field.message().is_some_and(|m| m.class() == Class::Value);
        let fine = if token == Token::Null && !is_value {
            super::write::put_empty(&mut self.out, field);
            true
        } else {
            self.value(field, (token, mark), true)?
        };
        if self.out.len() == start {
            super::write::put_empty(&mut self.out, field);
        }
        self.places.close(open, u32::try_from(index).unwrap_or(u32::MAX), mark, fine);
        self.path.pop();
        Ok(())
    }

    /// A listener, cluster or secret of the bootstrap: bytes and positions of its own.
    fn resource(&mut self, message: Message, token: Token<'a>, mark: Mark) -> Read<()> {
        let out = std::mem::take(&mut self.out);
        let places = std::mem::replace(&mut self.places, PlaceTreeBuilder::new(self.file));
        let open = self.places.open();
        if token != Token::Null {
            self.message(message, token, mark)?;
        }
        let bytes = std::mem::replace(&mut self.out, out);
        let places = std::mem::replace(&mut self.places, places).finish(open, mark);
        let path = self.path_text();
        self.resources.push(Resource::new(message, path, bytes, Some(places)));
        Ok(())
    }

    /// A single value with its tag. `always` writes a scalar that has the default value too. False: it cannot be
    /// read, which is noted, and at most an empty value was written.
    pub(super) fn value(
        &mut self,
        field: Field,
        (token, mark): (Token<'a>, Mark),
        always: bool,
    ) -> Read<bool> {
        let Some(message) = field.message() else {
            let fine = self.scalar(field, &token, mark, always);
            self.tokens.skip(&token)?;
            return Ok(fine);
        };
        put_tag(&mut self.out, field.number(), 2);
        let start = self.out.len();
        let fine = self.message(message, token, mark)?;
        insert_length(&mut self.out, start);
        Ok(fine)
    }

    /// The content of a message, in the form that its type has in text.
    pub(super) fn message(&mut self, message: Message, token: Token<'a>, mark: Mark) -> Read<bool> {
        let map = token == Token::Map;
        match message.class() {
            Class::Any => return self.any(token, mark),
            Class::Value => return self.any_value(token),
            Class::Struct => {
                return match message.field(1) {
                    Some(fields) => self.map(fields, token, mark),
                    None => Ok(true),
                };
            }
            Class::ListValue if token == Token::List => {
                return match message.field(1) {
                    Some(values) => self.list(message, values, token, mark),
                    None => Ok(true),
                };
            }
            Class::Wrapper if !map => {
                return match message.field(1) {
                    Some(_) if token == Token::Null => Ok(true),
                    Some(value) => self.value(value, (token, mark), false),
                    None => Ok(true),
                };
            }
            Class::Duration | Class::Timestamp | Class::FieldMask if !map => {
                return self.text_form(message, token, mark);
            }
            _ => {}
        }
        if map {
            self.body(message, false)?;
            return Ok(true);
        }
        let fine = self.wrong(&token, mark, &format!("a mapping with the fields of {}", message.name()));
        self.tokens.skip(&token)?;
        Ok(fine)
    }

    fn text_form(&mut self, message: Message, token: Token<'a>, mark: Mark) -> Read<bool> {
        let Token::Str(text) = &token else {
            let wanted = match message.class() {
                Class::Duration => "a duration such as 0.25s",
                Class::Timestamp => "a timestamp such as 2024-01-01T00:00:00Z",
                _ => "a list of paths with commas",
            };
            let fine = self.wrong(&token, mark, wanted);
            self.tokens.skip(&token)?;
            return Ok(fine);
        };
        if message.class() == Class::FieldMask {
            for path in text.split(',').filter(|_| !text.is_empty()) {
                super::write::put_bytes(&mut self.out, 1, scalar::snake_case(path).as_bytes());
            }
            return Ok(true);
        }
        let parts = match message.class() {
            Class::Duration => scalar::duration(text),
            _ => scalar::timestamp(text).ok_or("a timestamp looks like 2024-01-01T00:00:00Z"),
        };
        Ok(match parts {
            Ok((seconds, nanos)) => {
                super::write::put_int(&mut self.out, 1, seconds);
                super::write::put_int(&mut self.out, 2, i64::from(nanos));
                true
            }
            Err(problem) => self.bad(mark, format!("'{}': {problem}", super::token::shorten(text))),
        })
    }

    /// `google.protobuf.Value`: anything.
    fn any_value(&mut self, token: Token<'a>) -> Read<bool> {
        match token {
            Token::Null => {
                put_tag(&mut self.out, 1, 0);
                put_varint(&mut self.out, 0);
            }
            Token::Number(text) => {
                put_tag(&mut self.out, 2, 1);
                self.out.extend_from_slice(&scalar::float(&text).unwrap_or_default().to_le_bytes());
            }
            Token::Str(text) => super::write::put_bytes(&mut self.out, 3, text.as_bytes()),
            Token::Bool(value) => {
                put_tag(&mut self.out, 4, 0);
                put_varint(&mut self.out, u64::from(value));
            }
            Token::Map => return self.inner_value(5, "google.protobuf.Struct", token),
            Token::List => return self.inner_value(6, "google.protobuf.ListValue", token),
            Token::EndMap | Token::EndList | Token::End => {}
        }
        Ok(true)
    }

    fn inner_value(&mut self, number: u32, name: &str, token: Token<'a>) -> Read<bool> {
        let Some(message) = Message::find(name) else { return Ok(true) };
        put_tag(&mut self.out, number, 2);
        let start = self.out.len();
        let fine = self.message(message, token, Mark::default())?;
        insert_length(&mut self.out, start);
        Ok(fine)
    }

    /// Notes an unknown field. Where it is an error and a slip of another field's name: that field, which then is not
    /// missing as well.
    fn unknown(&mut self, message: Message, name: &str, mark: Mark) -> Option<Field> {
        let camel = name.bytes().any(|b| b.is_ascii_uppercase());
        let names = message.fields().map(|field| if camel { field.json_name() } else { field.name() });
        let hint = nearest(name, names);
        let meant = hint.as_deref().and_then(|hint| message.field_named(hint));
        let text = match name {
            "<<" => {
                "'<<' is no merge key: Envoy reads it as a field, and there is none of this name".to_owned()
            }
            _ => format!("{} has no field '{}'", message.name(), super::token::shorten(name)),
        };
        let fault = self.fault(mark, ErrorKind::UnknownField, text, hint);
        if self.allow_unknown {
            self.warnings.push(fault);
            return None;
        }
        self.errors.push(fault);
        meant
    }

    /// Notes an error at the current path; always false.
    pub(super) fn bad(&mut self, mark: Mark, message: String) -> bool {
        let fault = self.fault(mark, ErrorKind::Value, message, None);
        self.errors.push(fault);
        false
    }

    pub(super) fn wrong(&mut self, found: &Token<'a>, mark: Mark, wanted: &str) -> bool {
        self.bad(mark, format!("found {} where {wanted} is expected", found.describe()))
    }

    pub(super) fn fault(
        &self,
        mark: Mark,
        kind: ErrorKind,
        message: String,
        hint: Option<String>,
    ) -> ConfigError {
        let place = Some(Place { file: self.file, line: mark.line, col: mark.col });
        ConfigError { place, path: self.path_text(), message, hint, kind }
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Field(name) if text.is_empty() => write!(text, "{name}"),
                Step::Field(name) => write!(text, ".{name}"),
                Step::Index(index) => write!(text, "[{index}]"),
                Step::Key(key) => write!(text, "[{key:?}]"),
            };
        }
        text
    }
}

/// A field whose text is one bare value.
fn is_bare(field: Field) -> bool {
    field.message().is_none_or(|m| matches!(m.class(), Class::Wrapper | Class::Duration | Class::Timestamp))
}

#[cfg(test)]
mod tests;
