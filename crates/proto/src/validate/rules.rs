//! The constraints of one value.

use super::forms;
use crate::context::CompileContext;
use crate::error::ErrorKind;
use crate::schema::{Enum, Kind, Rule};
use crate::wire::{Reader, Wire};

/// A scalar out of the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Str(&'a str),
    Bytes(&'a [u8]),
    Int(i128),
    Float(f64),
}

impl<'a> Value<'a> {
    /// None where the wire has another type than the field.
    #[allow(clippy::cast_possible_truncation)] // 32-bit values stand in wider wire types.
    pub(super) fn of(kind: Kind, wire: Wire<'a>) -> Option<Self> {
        Some(match (kind, wire) {
            (Kind::String, Wire::Bytes(bytes)) => Value::Str(std::str::from_utf8(bytes).ok()?),
            (Kind::Bytes, Wire::Bytes(bytes)) => Value::Bytes(bytes),
            (Kind::Bool | Kind::Uint32 | Kind::Uint64, Wire::Varint(value)) => Value::Int(i128::from(value)),
            (Kind::Int32 | Kind::Enum, Wire::Varint(value)) => Value::Int(i128::from(value as i32)),
            (Kind::Int64, Wire::Varint(value)) => Value::Int(i128::from(value.cast_signed())),
            (Kind::Sint32 | Kind::Sint64, Wire::Varint(value)) => {
                Value::Int(i128::from((value >> 1).cast_signed() ^ -(value & 1).cast_signed()))
            }
            (Kind::Fixed32, Wire::Fixed32(value)) => Value::Int(i128::from(value)),
            (Kind::Sfixed32, Wire::Fixed32(value)) => Value::Int(i128::from(value.cast_signed())),
            (Kind::Fixed64, Wire::Fixed64(value)) => Value::Int(i128::from(value)),
            (Kind::Sfixed64, Wire::Fixed64(value)) => Value::Int(i128::from(value.cast_signed())),
            (Kind::Float, Wire::Fixed32(bits)) => Value::Float(f64::from(f32::from_bits(bits))),
            (Kind::Double, Wire::Fixed64(bits)) => Value::Float(f64::from_bits(bits)),
            // The default of a float in a wrapper.
            (Kind::Float | Kind::Double, Wire::Varint(0)) => Value::Float(0.0),
            _ => return None,
        })
    }

    fn is_empty(self) -> bool {
        match self {
            Value::Str(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Int(value) => value == 0,
            Value::Float(value) => value == 0.0,
        }
    }

    fn len(self) -> u64 {
        match self {
            Value::Str(text) => text.len() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::Int(_) | Value::Float(_) => 0,
        }
    }

    fn chars(self) -> u64 {
        if let Value::Str(text) = self { text.chars().count() as u64 } else { self.len() }
    }

    fn text(self) -> &'a str {
        if let Value::Str(text) = self { text } else { "" }
    }

    fn int(self) -> i128 {
        if let Value::Int(value) = self { value } else { 0 }
    }

    fn float(self) -> f64 {
        if let Value::Float(value) = self { value } else { 0.0 }
    }
}

/// Checks a scalar against the rules of its field.
pub(super) fn scalar(rules: &[Rule], value: Value<'_>, definition: Option<Enum>, here: &CompileContext<'_>) {
    if value.is_empty() && rules.contains(&Rule::IgnoreEmpty) {
        return;
    }
    for rule in rules {
        if let Some(problem) = broken(rule, value, definition) {
            here.report(ErrorKind::Constraint, problem, None);
        }
    }
}

/// What a value breaks of one rule.
fn broken(rule: &Rule, value: Value<'_>, definition: Option<Enum>) -> Option<String> {
    let (fine, problem) = match *rule {
        Rule::Chars(n) => (value.chars() == n, format!("value length must be {n} characters")),
        Rule::MinChars(n) => (value.chars() >= n, format!("value length must be at least {n} characters")),
        Rule::MaxChars(n) => (value.chars() <= n, format!("value length must be at most {n} characters")),
        Rule::Bytes(n) => (value.len() == n, format!("value length must be {n} bytes")),
        Rule::MinBytes(n) => (value.len() >= n, format!("value length must be at least {n} bytes")),
        Rule::MaxBytes(n) => (value.len() <= n, format!("value length must be at most {n} bytes")),
        Rule::Pattern(pattern) => {
            (forms::matches(pattern, value.text()), format!("value does not match the pattern \"{pattern}\""))
        }
        Rule::Prefix(part) => (value.text().starts_with(part), format!("value must start with \"{part}\"")),
        Rule::Suffix(part) => (value.text().ends_with(part), format!("value must end with \"{part}\"")),
        Rule::Contains(part) => (value.text().contains(part), format!("value must contain \"{part}\"")),
        Rule::NotContains(part) => {
            (!value.text().contains(part), format!("value must not contain \"{part}\""))
        }
        Rule::StrIn(list) => (list.contains(&value.text()), format!("value must be one of {list:?}")),
        Rule::StrNotIn(list) => (!list.contains(&value.text()), format!("value must be none of {list:?}")),
        Rule::Form(form) => {
            (forms::holds(form, value.text()), format!("value must be {}", forms::name(form)))
        }
        Rule::IntLt(n) => (value.int() < n, format!("value must be less than {n}")),
        Rule::IntLte(n) => (value.int() <= n, format!("value must be at most {n}")),
        Rule::IntGt(n) => (value.int() > n, format!("value must be greater than {n}")),
        Rule::IntGte(n) => (value.int() >= n, format!("value must be at least {n}")),
        Rule::IntIn(list) => (list.contains(&value.int()), format!("value must be one of {list:?}")),
        Rule::IntNotIn(list) => (!list.contains(&value.int()), format!("value must be none of {list:?}")),
        Rule::FloatLt(n) => (value.float() < n, format!("value must be less than {n}")),
        Rule::FloatLte(n) => (value.float() <= n, format!("value must be at most {n}")),
        Rule::FloatGt(n) => (value.float() > n, format!("value must be greater than {n}")),
        Rule::FloatGte(n) => (value.float() >= n, format!("value must be at least {n}")),
        Rule::DefinedOnly => {
            let known = definition.is_none_or(|definition| {
                i32::try_from(value.int()).is_ok_and(|number| definition.value(number).is_some())
            });
            (known, format!("{} is no value of {}", value.int(), definition.map_or("", Enum::name)))
        }
        // These speak of lists, maps and messages.
        Rule::Required
        | Rule::Skip
        | Rule::IgnoreEmpty
        | Rule::DurationLt(_)
        | Rule::DurationLte(_)
        | Rule::DurationGt(_)
        | Rule::DurationGte(_)
        | Rule::TypeIn(_)
        | Rule::MinItems(_)
        | Rule::MaxItems(_)
        | Rule::Unique
        | Rule::Items(_)
        | Rule::MinPairs(_)
        | Rule::MaxPairs(_)
        | Rule::Keys(_)
        | Rule::Values(_) => return None,
    };
    if fine { None } else { Some(problem) }
}

/// Checks how many items or entries there are.
pub(super) fn count(rules: &[Rule], count: u64, here: &CompileContext<'_>) {
    if count == 0 && rules.contains(&Rule::IgnoreEmpty) {
        return;
    }
    for rule in rules {
        let problem = match *rule {
            Rule::MinItems(n) | Rule::MinPairs(n) if count < n => {
                format!("must contain at least {n} item(s)")
            }
            Rule::MaxItems(n) | Rule::MaxPairs(n) if count > n => {
                format!("must contain no more than {n} item(s)")
            }
            _ => continue,
        };
        here.report(ErrorKind::Constraint, problem, None);
    }
}

/// The longest duration that Envoy takes, in seconds: its nanoseconds have to fit 63 bits.
const LONGEST: i128 = 9_223_372_035;

/// Checks a duration, and that it is one.
pub(super) fn duration(rules: &[Rule], body: &[u8], here: &CompileContext<'_>) {
    let (mut seconds, mut nanos) = (0i128, 0i128);
    for part in Reader::new(body) {
        match part {
            Ok((1, Wire::Varint(value))) => seconds = i128::from(value.cast_signed()),
            Ok((2, Wire::Varint(value))) => nanos = i128::from(value.cast_signed()),
            _ => {}
        }
    }
    if nanos.abs() > 999_999_999 || seconds.signum() * nanos.signum() < 0 {
        here.report(ErrorKind::Constraint, "is no valid duration".into(), None);
        return;
    }
    if seconds.abs() > LONGEST {
        here.report(ErrorKind::Constraint, "Invalid duration: Duration out-of-range".into(), None);
        return;
    }
    let total = seconds * 1_000_000_000 + nanos;
    for rule in rules {
        let problem = match *rule {
            Rule::DurationLt(n) if total >= n => format!("value must be less than {}", print(n)),
            Rule::DurationLte(n) if total > n => format!("value must be at most {}", print(n)),
            Rule::DurationGt(n) if total <= n => format!("value must be greater than {}", print(n)),
            Rule::DurationGte(n) if total < n => format!("value must be at least {}", print(n)),
            _ => continue,
        };
        here.report(ErrorKind::Constraint, problem, None);
    }
}

/// Nanoseconds as `0.001s`.
fn print(nanos: i128) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Checks the type that an `Any` holds.
pub(super) fn any_type(rules: &[Rule], url: &str, here: &CompileContext<'_>) {
    for rule in rules {
        if let Rule::TypeIn(urls) = rule
            && !urls.contains(&url)
        {
            here.report(ErrorKind::Constraint, format!("@type must be one of {urls:?}"), None);
        }
    }
}
