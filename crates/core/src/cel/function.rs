//! The functions that expressions may call: CEL's standard ones as Envoy has them, and those on strings that
//! `CelExpressionConfig` adds.

use super::Features;
use super::print;
use super::value::{Evaluated, Failed, List, Value};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// A function of evaluated arguments; the receiver is the first of them.
pub(super) type Function = for<'a> fn(&[Value<'a>]) -> Evaluated<'a>;

/// When a function is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// `enable_string_conversion`
    Conversion,
    /// `enable_string_functions`
    Strings,
}

/// How a function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// `f(x)`
    Global,
    /// `x.f()`
    Receiver,
    Either,
}

/// Name, how and with how many arguments, the receiver among them, it is called, and what it does.
type Row = (&'static str, How, usize, When, Function);

/// The function of that name which is called so with `args` arguments, the receiver among them.
pub(super) fn find(name: &str, receiver: bool, args: usize, features: Features) -> Option<Function> {
    let row = FUNCTIONS.iter().find(|(n, how, count, when, _)| {
        let called = match how {
            How::Global => !receiver,
            How::Receiver => receiver,
            How::Either => true,
        };
        let there = match when {
            When::Always => true,
            When::Conversion => features.string_conversion,
            When::Strings => features.string_functions,
        };
        *n == name && called && there && *count == args
    })?;
    if name == "_+_" && features.string_concat {
        return Some(add_or_join);
    }
    Some(row.4)
}

const FUNCTIONS: &[Row] = &[
    ("_==_", How::Global, 2, When::Always, |a| two(a).and_then(|(a, b)| Ok(Value::Bool(a.equals(b)?)))),
    ("_!=_", How::Global, 2, When::Always, |a| two(a).and_then(|(a, b)| Ok(Value::Bool(!a.equals(b)?)))),
    ("_<_", How::Global, 2, When::Always, |a| compared(a, |o| o == Ordering::Less)),
    ("_<=_", How::Global, 2, When::Always, |a| compared(a, |o| o != Ordering::Greater)),
    ("_>_", How::Global, 2, When::Always, |a| compared(a, |o| o == Ordering::Greater)),
    ("_>=_", How::Global, 2, When::Always, |a| compared(a, |o| o != Ordering::Less)),
    ("@in", How::Global, 2, When::Always, is_in),
    // What messages may call it, too.
    ("_in_", How::Global, 2, When::Always, is_in),
    ("in", How::Global, 2, When::Always, is_in),
    ("_[_]", How::Global, 2, When::Always, |a| two(a).and_then(|(a, b)| a.member(b))),
    ("!_", How::Global, 1, When::Always, |a| match one(a)? {
        Value::Bool(b) => Ok(Value::Bool(!b)),
        _ => Err(Failed),
    }),
    ("-_", How::Global, 1, When::Always, |a| match one(a)? {
        Value::Int(n) => n.checked_neg().map(Value::Int).ok_or(Failed),
        Value::Double(n) => Ok(Value::Double(-n)),
        _ => Err(Failed),
    }),
    ("_+_", How::Global, 2, When::Always, add),
    ("_-_", How::Global, 2, When::Always, subtract),
    ("_*_", How::Global, 2, When::Always, |a| {
        arithmetic(a, i64::checked_mul, u64::checked_mul, |a, b| Some(a * b))
    }),
    ("_/_", How::Global, 2, When::Always, |a| {
        arithmetic(a, i64::checked_div, u64::checked_div, |a, b| Some(a / b))
    }),
    ("_%_", How::Global, 2, When::Always, |a| arithmetic(a, i64::checked_rem, u64::checked_rem, |_, _| None)),
    ("size", How::Either, 1, When::Always, |a| one(a)?.size().map(Value::Int)),
    ("contains", How::Either, 2, When::Always, |a| {
        texts(a).map(|(a, b)| Value::Bool(position(a, b).is_some()))
    }),
    ("startsWith", How::Either, 2, When::Always, |a| texts(a).map(|(a, b)| Value::Bool(a.starts_with(b)))),
    ("endsWith", How::Either, 2, When::Always, |a| texts(a).map(|(a, b)| Value::Bool(a.ends_with(b)))),
    ("type", How::Global, 1, When::Always, |a| Ok(Value::Type(one(a)?.type_name()))),
    ("dyn", How::Global, 1, When::Always, |a| one(a).cloned()),
    ("int", How::Global, 1, When::Always, |a| to_int(one(a)?).map(Value::Int)),
    ("uint", How::Global, 1, When::Always, |a| to_uint(one(a)?).map(Value::Uint)),
    ("double", How::Global, 1, When::Always, |a| to_double(one(a)?).map(Value::Double)),
    ("bool", How::Global, 1, When::Always, |a| to_bool(one(a)?).map(Value::Bool)),
    ("bytes", How::Global, 1, When::Always, |a| match one(a)? {
        Value::Text(text) | Value::Bytes(text) => Ok(Value::Bytes(text.clone())),
        _ => Err(Failed),
    }),
    ("string", How::Global, 1, When::Conversion, |a| to_text(one(a)?)),
    ("timestamp", How::Global, 1, When::Always, |a| to_timestamp(one(a)?).map(Value::Timestamp)),
    ("duration", How::Global, 1, When::Always, |a| match one(a)? {
        Value::Text(text) => duration_of(text).map(Value::Duration).ok_or(Failed),
        Value::Duration(d) => Ok(Value::Duration(*d)),
        _ => Err(Failed),
    }),
    ("getFullYear", How::Receiver, 1, When::Always, |a| civil(a, |t| t.year().into())),
    ("getFullYear", How::Receiver, 2, When::Always, |a| civil(a, |t| t.year().into())),
    ("getMonth", How::Receiver, 1, When::Always, |a| civil(a, |t| i64::from(t.month()) - 1)),
    ("getMonth", How::Receiver, 2, When::Always, |a| civil(a, |t| i64::from(t.month()) - 1)),
    ("getDayOfYear", How::Receiver, 1, When::Always, |a| civil(a, |t| i64::from(t.day_of_year()) - 1)),
    ("getDayOfYear", How::Receiver, 2, When::Always, |a| civil(a, |t| i64::from(t.day_of_year()) - 1)),
    ("getDayOfMonth", How::Receiver, 1, When::Always, |a| civil(a, |t| i64::from(t.day()) - 1)),
    ("getDayOfMonth", How::Receiver, 2, When::Always, |a| civil(a, |t| i64::from(t.day()) - 1)),
    ("getDate", How::Receiver, 1, When::Always, |a| civil(a, |t| t.day().into())),
    ("getDate", How::Receiver, 2, When::Always, |a| civil(a, |t| t.day().into())),
    ("getDayOfWeek", How::Receiver, 1, When::Always, |a| civil(a, day_of_week)),
    ("getDayOfWeek", How::Receiver, 2, When::Always, |a| civil(a, day_of_week)),
    ("getHours", How::Receiver, 1, When::Always, |a| part(a, 3_600_000_000_000, |t| t.hour().into())),
    ("getHours", How::Receiver, 2, When::Always, |a| civil(a, |t| t.hour().into())),
    ("getMinutes", How::Receiver, 1, When::Always, |a| part(a, 60_000_000_000, |t| t.minute().into())),
    ("getMinutes", How::Receiver, 2, When::Always, |a| civil(a, |t| t.minute().into())),
    ("getSeconds", How::Receiver, 1, When::Always, |a| part(a, 1_000_000_000, |t| t.second().into())),
    ("getSeconds", How::Receiver, 2, When::Always, |a| civil(a, |t| t.second().into())),
    ("getMilliseconds", How::Receiver, 1, When::Always, |a| match one(a)? {
        // Those of the second alone, unlike the larger units.
        Value::Duration(d) => Ok(Value::Int((d / 1_000_000 % 1000) as i64)),
        _ => civil(a, |t| t.millisecond().into()),
    }),
    ("getMilliseconds", How::Receiver, 2, When::Always, |a| civil(a, |t| t.millisecond().into())),
    ("lowerAscii", How::Receiver, 1, When::Strings, |a| {
        Ok(Value::Text(Cow::Owned(text(one(a)?)?.to_ascii_lowercase())))
    }),
    ("upperAscii", How::Receiver, 1, When::Strings, |a| {
        Ok(Value::Text(Cow::Owned(text(one(a)?)?.to_ascii_uppercase())))
    }),
    ("replace", How::Receiver, 3, When::Strings, replace),
    ("replace", How::Receiver, 4, When::Strings, replace),
    ("split", How::Receiver, 2, When::Strings, split),
    ("split", How::Receiver, 3, When::Strings, split),
    ("join", How::Receiver, 1, When::Strings, join),
    ("join", How::Receiver, 2, When::Strings, join),
];

fn one<'s, 'a>(args: &'s [Value<'a>]) -> Result<&'s Value<'a>, Failed> {
    args.first().ok_or(Failed)
}

fn two<'s, 'a>(args: &'s [Value<'a>]) -> Result<(&'s Value<'a>, &'s Value<'a>), Failed> {
    match args {
        [a, b] => Ok((a, b)),
        _ => Err(Failed),
    }
}

fn is_in<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    let (item, of) = two(args)?;
    Ok(Value::Bool(of.contains(item)?))
}

fn text<'s>(value: &'s Value<'_>) -> Result<&'s [u8], Failed> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(Failed),
    }
}

fn utf8<'s>(value: &'s Value<'_>) -> Result<&'s str, Failed> {
    std::str::from_utf8(text(value)?).map_err(|_| Failed)
}

fn texts<'s>(args: &'s [Value<'_>]) -> Result<(&'s [u8], &'s [u8]), Failed> {
    let (a, b) = two(args)?;
    Ok((text(a)?, text(b)?))
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

fn compared<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Evaluated<'a> {
    let (a, b) = two(args)?;
    Ok(Value::Bool(a.compare(b)?.is_some_and(holds)))
}

fn arithmetic<'a>(
    args: &[Value<'a>],
    ints: fn(i64, i64) -> Option<i64>,
    uints: fn(u64, u64) -> Option<u64>,
    doubles: fn(f64, f64) -> Option<f64>,
) -> Evaluated<'a> {
    match two(args)? {
        (Value::Int(a), Value::Int(b)) => ints(*a, *b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => uints(*a, *b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => doubles(*a, *b).map(Value::Double),
        _ => None,
    }
    .ok_or(Failed)
}

/// The longest duration that protobuf knows, in nanoseconds.
const LONGEST: i128 = 315_576_000_000 * 1_000_000_000;

fn duration<'a>(nanos: i128) -> Evaluated<'a> {
    if nanos.abs() <= LONGEST { Ok(Value::Duration(nanos)) } else { Err(Failed) }
}

fn timestamp(nanos: i128) -> Result<i128, Failed> {
    Timestamp::from_nanosecond(nanos).map(|_| nanos).map_err(|_| Failed)
}

fn add<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    match two(args)? {
        (Value::Duration(a), Value::Duration(b)) => duration(a + b),
        (Value::Timestamp(a), Value::Duration(b)) | (Value::Duration(b), Value::Timestamp(a)) => {
            timestamp(a + b).map(Value::Timestamp)
        }
        _ => arithmetic(args, i64::checked_add, u64::checked_add, |a, b| Some(a + b)),
    }
}

/// `enable_string_concat`
fn add_or_join<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    match two(args)? {
        (Value::Text(a), Value::Text(b)) => Ok(Value::Text(Cow::Owned([&**a, b].concat()))),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes(Cow::Owned([&**a, b].concat()))),
        _ => add(args),
    }
}

fn subtract<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    match two(args)? {
        (Value::Duration(a), Value::Duration(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => {
            duration(a - b)
        }
        (Value::Timestamp(a), Value::Duration(b)) => timestamp(a - b).map(Value::Timestamp),
        _ => arithmetic(args, i64::checked_sub, u64::checked_sub, |a, b| Some(a - b)),
    }
}

fn to_int(value: &Value<'_>) -> Result<i64, Failed> {
    let found = match value {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::Int(n) => Some(*n),
        Value::Uint(n) => i64::try_from(*n).ok(),
        // The bounds themselves are no doubles below 2^63.
        Value::Double(n) => {
            (*n > -9.223_372_036_854_776e18 && *n < 9.223_372_036_854_776e18).then_some(*n as i64)
        }
        Value::Text(_) => utf8(value)?.parse().ok(),
        Value::Timestamp(t) => i64::try_from(t.div_euclid(1_000_000_000)).ok(),
        _ => None,
    };
    found.ok_or(Failed)
}

fn to_uint(value: &Value<'_>) -> Result<u64, Failed> {
    let found = match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Uint(n) => Some(*n),
        Value::Double(n) => (*n >= 0.0 && *n < 1.844_674_407_370_955_2e19).then_some(*n as u64),
        Value::Text(_) => utf8(value)?.parse().ok(),
        _ => None,
    };
    found.ok_or(Failed)
}

fn to_double(value: &Value<'_>) -> Result<f64, Failed> {
    let found = match value {
        Value::Double(n) => Some(*n),
        Value::Int(n) => Some(*n as f64),
        Value::Uint(n) => Some(*n as f64),
        Value::Text(_) => utf8(value)?.parse().ok(),
        _ => None,
    };
    found.ok_or(Failed)
}

fn to_bool(value: &Value<'_>) -> Result<bool, Failed> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::Text(text) => match &**text {
            b"1" | b"t" | b"true" | b"TRUE" | b"True" => Ok(true),
            b"0" | b"f" | b"false" | b"FALSE" | b"False" => Ok(false),
            _ => Err(Failed),
        },
        _ => Err(Failed),
    }
}

fn to_text<'a>(value: &Value<'a>) -> Evaluated<'a> {
    let mut out = Vec::new();
    match value {
        Value::Text(_) => return Ok(value.clone()),
        Value::Bytes(bytes) if std::str::from_utf8(bytes).is_ok() => return Ok(Value::Text(bytes.clone())),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) => print::text(value, &mut out),
        Value::Duration(d) => print::proto_duration(*d, &mut out),
        Value::Timestamp(t) => print::timestamp(*t, print::Fraction::InThrees, "Z", &mut out),
        _ => return Err(Failed),
    }
    Ok(Value::Text(Cow::Owned(out)))
}

fn to_timestamp(value: &Value<'_>) -> Result<i128, Failed> {
    match value {
        Value::Timestamp(t) => Ok(*t),
        Value::Int(seconds) => timestamp(i128::from(*seconds) * 1_000_000_000),
        Value::Text(_) => utf8(value)?.parse().map(|t: Timestamp| t.as_nanosecond()).map_err(|_| Failed),
        _ => Err(Failed),
    }
}

/// A duration such as `1h30m` or `-1.5s`, in nanoseconds.
fn duration_of(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
        let (unit, each) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(i128::from(whole) * each)?;
        let mut scale = *each;
        for digit in fraction.chars() {
            scale /= 10;
            nanos += i128::from(digit.to_digit(10)?) * scale;
        }
        rest = behind.get(unit.len()..)?;
    }
    let nanos = if negative { -nanos } else { nanos };
    (nanos.abs() <= LONGEST).then_some(nanos)
}

/// Units and their nanoseconds, those first that others begin with.
const UNITS: [(&str, i128); 6] = [
    ("ns", 1),
    ("us", 1000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

fn day_of_week(time: jiff::civil::DateTime) -> i64 {
    time.weekday().to_sunday_zero_offset().into()
}

/// A part of a timestamp, in the time zone that the second argument names or in UTC.
fn civil<'a>(args: &[Value<'a>], part: fn(jiff::civil::DateTime) -> i64) -> Evaluated<'a> {
    let (time, zone) = match args {
        [Value::Timestamp(time)] => (time, TimeZone::UTC),
        [Value::Timestamp(time), zone] => (time, zone_of(utf8(zone)?).ok_or(Failed)?),
        _ => return Err(Failed),
    };
    let time = Timestamp::from_nanosecond(*time).map_err(|_| Failed)?;
    Ok(Value::Int(part(zone.to_datetime(time))))
}

/// A time zone by name, or as `+01:00`.
fn zone_of(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else { return TimeZone::get(name).ok() };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minutes = if name.starts_with('-') { -minutes } else { minutes };
    Offset::from_seconds(hours * 3600 + minutes * 60).ok().map(TimeZone::fixed)
}

/// How many whole units of `nanos` a duration has, or a part of a timestamp.
fn part<'a>(args: &[Value<'a>], nanos: i128, of_time: fn(jiff::civil::DateTime) -> i64) -> Evaluated<'a> {
    match one(args)? {
        Value::Duration(d) => Ok(Value::Int((d / nanos) as i64)),
        _ => civil(args, of_time),
    }
}

/// How often something is done at most; a negative number is no limit.
fn limit(value: Option<&Value<'_>>) -> Result<usize, Failed> {
    match value {
        None => Ok(usize::MAX),
        Some(Value::Int(n)) => Ok(usize::try_from(*n).unwrap_or(usize::MAX)),
        Some(_) => Err(Failed),
    }
}

fn replace<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    let [text, old, new, most @ ..] = args else { return Err(Failed) };
    Ok(Value::owned(utf8(text)?.replacen(utf8(old)?, utf8(new)?, limit(most.first())?)))
}

fn split<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    let [text, separator, most @ ..] = args else { return Err(Failed) };
    let (text, separator) = (utf8(text)?, utf8(separator)?);
    let most = limit(most.first())?;
    let parts: Rc<[Value<'a>]> = match separator {
        _ if most == 0 => Rc::default(),
        "" => text.chars().map(|c| Value::owned(c.to_string())).collect(),
        _ => text.splitn(most, separator).map(|part| Value::owned(part.to_owned())).collect(),
    };
    Ok(Value::List(List::Made(parts)))
}

fn join<'a>(args: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list), separator @ ..] = args else { return Err(Failed) };
    let separator = separator.first().map_or(Ok(&b""[..]), text)?;
    let mut out = Vec::new();
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(text(&item)?);
    }
    Ok(Value::Text(Cow::Owned(out)))
}
