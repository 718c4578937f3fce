//! Scalars and enums.

use super::Encoder;
use crate::error::ErrorKind;
use crate::near::nearest;
use crate::place::Mark;
use crate::schema::{Enum, Field, Kind};
use crate::text::scalar;
use crate::text::token::{Token, shorten};
use crate::text::write::{put_bytes, put_tag, put_varint};

/// A scalar as it goes on the wire.
enum Scalar {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
}

impl<'a> Encoder<'a, '_> {
    /// A scalar with its tag; false where it cannot be read, which is noted, and nothing is written.
    pub(super) fn scalar(&mut self, field: Field, token: &Token<'a>, mark: Mark, always: bool) -> bool {
        let number = field.number();
        let scalar = match (field.kind(), token) {
            (Kind::String, Token::Str(text)) => {
                if always || !text.is_empty() {
                    put_bytes(&mut self.out, number, text.as_bytes());
                }
                return true;
            }
            (Kind::String, Token::Number(_) | Token::Bool(_)) => {
                let found = token.describe();
                return self.bad(mark, format!("found {found} where a string is expected: put it in quotes"));
            }
            (Kind::Bytes, Token::Str(text)) => {
                let Some(bytes) = scalar::base64(text) else { return self.bad(mark, "no base64".into()) };
                if always || !bytes.is_empty() {
                    put_bytes(&mut self.out, number, &bytes);
                }
                return true;
            }
            (Kind::String | Kind::Bytes, _) => return self.wrong(token, mark, "a string"),
            (Kind::Bool, _) => match token {
                Token::Bool(value) => Ok(Scalar::Varint(u64::from(*value))),
                Token::Str(text) if scalar::boolean(text).is_some() => {
                    Ok(Scalar::Varint(u64::from(scalar::boolean(text) == Some(true))))
                }
                _ => return self.wrong(token, mark, "true or false"),
            },
            (Kind::Enum, _) => {
                match field.enumeration().map(|definition| self.enum_value(definition, token, mark)) {
                    Some(Some(value)) => Ok(Scalar::Varint(i64::from(value).cast_unsigned())),
                    _ => return false,
                }
            }
            (kind, Token::Number(text) | Token::Str(text)) => number_of(kind, text),
            _ => return self.wrong(token, mark, "a number"),
        };
        match scalar {
            Ok(value) => self.put(number, &value, always),
            Err(problem) => {
                let text = if let Token::Number(text) | Token::Str(text) = token { text } else { "" };
                return self.bad(mark, format!("'{}' {problem}", shorten(text)));
            }
        }
        true
    }

    fn put(&mut self, number: u32, value: &Scalar, always: bool) {
        match *value {
            Scalar::Varint(0) | Scalar::Fixed64(0) | Scalar::Fixed32(0) if !always => {}
            Scalar::Varint(value) => {
                put_tag(&mut self.out, number, 0);
                put_varint(&mut self.out, value);
            }
            Scalar::Fixed64(bits) => {
                put_tag(&mut self.out, number, 1);
                self.out.extend_from_slice(&bits.to_le_bytes());
            }
            Scalar::Fixed32(bits) => {
                put_tag(&mut self.out, number, 5);
                self.out.extend_from_slice(&bits.to_le_bytes());
            }
        }
    }

    fn enum_value(&mut self, definition: Enum, token: &Token<'a>, mark: Mark) -> Option<i32> {
        let (text, quoted) = match token {
            Token::Str(text) => (text, true),
            Token::Number(text) => (text, false),
            _ => {
                self.wrong(token, mark, &format!("a value of {}", definition.name()));
                return None;
            }
        };
        let value = if quoted {
            definition.value_named(text).map(|value| value.number()).or_else(|| scalar::enum_number(text))
        } else {
            scalar::signed(text).ok().and_then(|value| i32::try_from(value).ok())
        };
        if value.is_none() {
            let message = format!("{} has no value '{}'", definition.name(), shorten(text));
            let hint = nearest(text, definition.values().map(|value| value.name()));
            let fault = self.fault(mark, ErrorKind::Value, message, hint);
            // An unknown enum name is an unknown field to Envoy, and permitted with them.
            if self.allow_unknown {
                self.warnings.push(fault);
                return Some(0);
            }
            self.errors.push(fault);
        }
        value
    }
}

fn number_of(kind: Kind, text: &str) -> Result<Scalar, String> {
    let narrow = |_| "is out of range".to_owned();
    Ok(match kind {
        Kind::Int64 => Scalar::Varint(scalar::signed(text)?.cast_unsigned()),
        Kind::Sint64 => Scalar::Varint(zigzag(scalar::signed(text)?)),
        Kind::Sfixed64 => Scalar::Fixed64(scalar::signed(text)?.cast_unsigned()),
        Kind::Uint64 => Scalar::Varint(scalar::unsigned(text)?),
        Kind::Fixed64 => Scalar::Fixed64(scalar::unsigned(text)?),
        Kind::Uint32 => Scalar::Varint(u64::from(u32::try_from(scalar::unsigned(text)?).map_err(narrow)?)),
        Kind::Fixed32 => Scalar::Fixed32(u32::try_from(scalar::unsigned(text)?).map_err(narrow)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            let value = i32::try_from(scalar::signed(text)?).map_err(narrow)?;
            match kind {
                Kind::Sfixed32 => Scalar::Fixed32(value.cast_unsigned()),
                Kind::Sint32 => Scalar::Varint(zigzag(i64::from(value))),
                _ => Scalar::Varint(i64::from(value).cast_unsigned()),
            }
        }
        Kind::Double => Scalar::Fixed64(real(text)?.to_bits()),
        Kind::Float => {
            let value = real(text)?;
            #[allow(clippy::cast_possible_truncation)] // Rounding is meant; overflow is checked behind it.
            let single = value as f32;
            if value.is_finite() && !single.is_finite() {
                return Err("is out of range".into());
            }
            Scalar::Fixed32(single.to_bits())
        }
        Kind::Bool | Kind::Enum | Kind::String | Kind::Bytes | Kind::Message => {
            return Err("is no number".into());
        }
    })
}

fn real(text: &str) -> Result<f64, String> {
    scalar::float(text).ok_or_else(|| "is no number".into())
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}
