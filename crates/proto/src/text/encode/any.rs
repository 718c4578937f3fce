//! `google.protobuf.Any` with its `@type`, which may stand anywhere in the mapping, and `TypedStruct`.
//!
//! A `TypedStruct` becomes an `Any` of the message that it stands for, which is all that anybody reads, and keeps the
//! types that were written, for whoever shows it.

use super::{Encoder, Read, Step};
use crate::context::type_name;
use crate::error::ErrorKind;
use crate::near::nearest;
use crate::place::Mark;
use crate::schema::{Class, Message};
use crate::text::token::{Token, shorten};
use crate::text::write::{insert_length, put_bytes, put_tag};
use std::borrow::Cow;

/// The field of an `Any` that says that a `TypedStruct` was written in its place: `@type` and `type_url` of that, as
/// fields 1 and 2. The number is one that protobuf keeps from everybody, and decoding passes it over.
pub(crate) const AS_WRITTEN: u32 = 19_000;

impl<'a> Encoder<'a, '_> {
    pub(super) fn any(&mut self, token: Token<'a>, mark: Mark) -> Read<bool> {
        if token != Token::Map {
            let fine = self.wrong(&token, mark, "a mapping with @type");
            self.tokens.skip(&token)?;
            return Ok(fine);
        }
        let (url, url_mark) = match self.find_key(&["@type"])? {
            Found::Str(url, mark) => (url, mark),
            // An empty mapping is an Any without content.
            Found::Nothing { empty: true } => return Ok(true),
            Found::Nothing { empty: false } => return Ok(self.bad(mark, "@type is missing".into())),
            Found::Other(mark) => {
                self.tokens.skip(&Token::Map)?;
                return Ok(self.bad(mark, "@type must be a string".into()));
            }
        };
        let host = url.rsplit_once('/').map(|(host, _)| host);
        if host.is_none_or(str::is_empty) {
            self.tokens.skip(&Token::Map)?;
            let text = format!("@type '{}' has no '/' behind a host name", shorten(&url));
            return Ok(self.bad(url_mark, text));
        }
        match Message::find(type_name(&url)) {
            None => {
                self.tokens.skip(&Token::Map)?;
                Ok(self.unknown_type(&url, url_mark))
            }
            Some(message) if message.class() == Class::TypedStruct => self.typed_struct(&url, mark),
            Some(message) => {
                put_bytes(&mut self.out, 1, url.as_bytes());
                put_tag(&mut self.out, 2, 2);
                let start = self.out.len();
                let fine = if message.class() == Class::Plain {
                    self.body(message, true)?;
                    true
                } else {
                    self.well_known(message)?
                };
                insert_length(&mut self.out, start);
                Ok(fine)
            }
        }
    }

    fn unknown_type(&mut self, url: &str, mark: Mark) -> bool {
        let name = type_name(url);
        let message = format!("no message has the @type '{}'", shorten(name));
        // A search through all types: for the first errors only, so that a hostile text stays cheap.
        let names = Message::all().map(Message::name).filter(|_| self.errors.len() < 50);
        let hint = nearest(name, names);
        let fault = self.fault(mark, ErrorKind::UnknownType, message, hint);
        self.errors.push(fault);
        false
    }

    /// Reads on in a mapping for one of these keys with a string value. What stands before it is given back, so that
    /// the rest of the mapping reads as if the key were not there.
    fn find_key(&mut self, names: &[&str]) -> Read<Found<'a>> {
        let mut held = Vec::new();
        loop {
            let (token, mark) = self.tokens.next()?;
            let Token::Str(key) = token else {
                let empty = held.is_empty();
                if !empty {
                    held.push((token, mark));
                }
                return Ok(Found::Nothing { empty });
            };
            if !names.contains(&&*key) {
                held.push((Token::Str(key), mark));
                self.tokens.copy(&mut held)?;
                continue;
            }
            let (value, mark) = self.tokens.next()?;
            let found = match value {
                Token::Str(text) => Found::Str(text, mark),
                other => {
                    self.tokens.skip(&other)?;
                    Found::Other(mark)
                }
            };
            self.tokens.give_back_all(held);
            return Ok(found);
        }
    }

    /// A well-known type in an `Any`: its text form stands under the key `value`.
    fn well_known(&mut self, message: Message) -> Read<bool> {
        let mut fine = true;
        loop {
            let (token, key_mark) = self.tokens.next()?;
            let Token::Str(key) = token else { return Ok(fine) };
            let (value, mark) = self.tokens.next()?;
            match &*key {
                "@type" => self.tokens.skip(&value)?,
                "value" if value != Token::Null || message.class() == Class::Value => {
                    self.path.push(Step::Field("value"));
                    fine &= self.message(message, value, mark)?;
                    self.path.pop();
                }
                "value" => {}
                _ => {
                    fine = self.bad(
                        key_mark,
                        format!("beside @type only 'value' may stand here, not '{}'", shorten(&key)),
                    );
                    self.tokens.skip(&value)?;
                }
            }
        }
    }

    /// The content of a `TypedStruct`, written as an `Any` of the type that it names.
    fn typed_struct(&mut self, written: &str, mark: Mark) -> Read<bool> {
        let (url, url_mark) = match self.find_key(&["type_url", "typeUrl"])? {
            Found::Str(url, mark) => (url, mark),
            Found::Nothing { .. } => return Ok(self.bad(mark, "type_url is missing".into())),
            Found::Other(mark) => {
                self.tokens.skip(&Token::Map)?;
                return Ok(self.bad(mark, "type_url must be a string".into()));
            }
        };
        let Some(message) = Message::find(type_name(&url)) else {
            self.tokens.skip(&Token::Map)?;
            if !self.may_be_passed_over() {
                return Ok(self.unknown_type(&url, url_mark));
            }
            put_bytes(&mut self.out, 1, url.as_bytes());
            self.as_written(written, &url);
            return Ok(true);
        };
        put_bytes(&mut self.out, 1, format!("type.googleapis.com/{}", message.name()).as_bytes());
        put_tag(&mut self.out, 2, 2);
        let start = self.out.len();
        let mut fine = true;
        loop {
            let (token, key_mark) = self.tokens.next()?;
            let Token::Str(key) = token else { break };
            let (value, mark) = self.tokens.next()?;
            match (&*key, &value) {
                ("@type", _) | ("value", Token::Null) => self.tokens.skip(&value)?,
                ("value", Token::Map) => {
                    self.path.push(Step::Field("value"));
                    fine &= self.message(message, value, mark)?;
                    self.path.pop();
                }
                ("value", _) => {
                    fine = self.wrong(&value, mark, "a mapping");
                    self.tokens.skip(&value)?;
                }
                _ => {
                    self.unknown(Message::find("xds.type.v3.TypedStruct").unwrap_or(message), &key, key_mark);
                    self.tokens.skip(&value)?;
                }
            }
        }
        insert_length(&mut self.out, start);
        self.as_written(written, &url);
        Ok(fine)
    }

    fn as_written(&mut self, written: &str, url: &str) {
        put_tag(&mut self.out, AS_WRITTEN, 2);
        let start = self.out.len();
        put_bytes(&mut self.out, 1, written.as_bytes());
        put_bytes(&mut self.out, 2, url.as_bytes());
        insert_length(&mut self.out, start);
    }

    /// Whether this is one of a list of which the first is taken that is known (`LoadBalancingPolicy.policies`).
    fn may_be_passed_over(&self) -> bool {
        let [.., list, Step::Index(_), extension, config] = self.path.as_slice() else { return false };
        let names = [list, extension, config].map(|step| match step {
            Step::Field(name) => *name,
            Step::Index(_) | Step::Key(_) => "",
        });
        names == ["policies", "typed_extension_config", "typed_config"]
    }
}

/// What the search for a key in a mapping came to.
enum Found<'a> {
    Str(Cow<'a, str>, Mark),
    /// The key is there with no string as its value.
    Other(Mark),
    /// The whole mapping is read and the key is not in it.
    Nothing {
        empty: bool,
    },
}
