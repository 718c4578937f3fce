//! PGV rules out of the option bytes, written out as `schema::Rule` values.
//!
//! Source: `validate/validate.proto` (protoc-gen-validate).

use crate::wire::{Malformed, Reader, Wire};

/// One rule as the Rust expression that stands in the table.
pub type Rule = String;

/// Reads one `FieldRules` message. A rule we do not know becomes `Rule::Unknown` and fails the build in `tables`.
pub fn decode(bytes: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    for field in Reader::new(bytes) {
        let (kind, Wire::Bytes(body)) = field? else { return Err(Malformed) };
        match kind {
            1 | 2 => floats(body, kind == 1, rules)?,
            3..=12 => integers(body, kind, rules)?,
            13 => each(body, &[], |number, value| {
                rules.push(if number == 1 {
                    format!("IntIn(&[{}])", integer(value, 5)?)
                } else {
                    unknown("bool", number)
                });
                Ok(())
            })?,
            14 => strings(body, rules)?,
            15 => byte_strings(body, rules)?,
            16 => enums(body, rules)?,
            17 => each(body, &[1, 2], |number, _| {
                rules.push(match number {
                    1 => "Skip".into(),
                    2 => "Required".into(),
                    _ => unknown("message", number),
                });
                Ok(())
            })?,
            18 => lists(body, rules)?,
            19 => maps(body, rules)?,
            20 => anys(body, rules)?,
            21 => durations(body, rules)?,
            _ => rules.push(unknown("field", kind)),
        }
    }
    Ok(())
}

fn unknown(kind: &str, number: u32) -> Rule {
    format!("Unknown /* {kind} {number} */")
}

/// Runs over the rules of one body. `flags` are the numbers of its boolean rules: written out as false they are none.
fn each(
    body: &[u8],
    flags: &[u32],
    mut rule: impl FnMut(u32, Wire<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for field in Reader::new(body) {
        let (number, value) = field?;
        if !(flags.contains(&number) && value == Wire::Varint(0)) {
            rule(number, value)?;
        }
    }
    Ok(())
}

fn push_list(rules: &mut Vec<Rule>, name: &str, items: &[String]) {
    if !items.is_empty() {
        rules.push(format!("{name}(&[{}])", items.join(", ")));
    }
}

fn floats(body: &[u8], single: bool, rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    each(body, &[8], |number, value| {
        let bound = match value {
            Wire::Fixed32(bits) if single => f64::from(f32::from_bits(bits)),
            Wire::Fixed64(bits) => f64::from_bits(bits),
            Wire::Varint(_) if number == 8 => 0.0,
            _ => return Err(Malformed),
        };
        rules.push(match number {
            2 => format!("FloatLt({bound:?})"),
            3 => format!("FloatLte({bound:?})"),
            4 => format!("FloatGt({bound:?})"),
            5 => format!("FloatGte({bound:?})"),
            8 => "IgnoreEmpty".into(),
            _ => unknown("float", number),
        });
        Ok(())
    })
}

/// The rule message of each integer type has the encoding of that type; `kind` is the number in `FieldRules`.
fn integer(value: Wire<'_>, kind: u32) -> Result<i128, Malformed> {
    Ok(match (value, kind) {
        (Wire::Varint(v), 3 | 4) => i128::from(v as i64),
        (Wire::Varint(v), 5 | 6) => i128::from(v),
        (Wire::Varint(v), 7 | 8) => i128::from((v >> 1) as i64 ^ -((v & 1) as i64)),
        (Wire::Fixed32(v), 9) => i128::from(v),
        (Wire::Fixed32(v), 11) => i128::from(v as i32),
        (Wire::Fixed64(v), 10) => i128::from(v),
        (Wire::Fixed64(v), 12) => i128::from(v as i64),
        _ => return Err(Malformed),
    })
}

fn integers(body: &[u8], kind: u32, rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    let (mut allowed, mut forbidden) = (Vec::new(), Vec::new());
    each(body, &[8], |number, value| {
        if number == 8 {
            rules.push("IgnoreEmpty".into());
            return Ok(());
        }
        let bound = integer(value, kind)?;
        match number {
            1 => allowed.push(bound.to_string()),
            2 => rules.push(format!("IntLt({bound})")),
            3 => rules.push(format!("IntLte({bound})")),
            4 => rules.push(format!("IntGt({bound})")),
            5 => rules.push(format!("IntGte({bound})")),
            6 => allowed.push(bound.to_string()),
            7 => forbidden.push(bound.to_string()),
            _ => rules.push(unknown("integer", number)),
        }
        Ok(())
    })?;
    push_list(rules, "IntIn", &allowed);
    push_list(rules, "IntNotIn", &forbidden);
    Ok(())
}

fn quoted(value: Wire<'_>) -> Result<String, Malformed> {
    let Wire::Bytes(bytes) = value else { return Err(Malformed) };
    Ok(format!("{:?}", std::str::from_utf8(bytes).map_err(|_| Malformed)?))
}

fn count(value: Wire<'_>) -> Result<u64, Malformed> {
    let Wire::Varint(n) = value else { return Err(Malformed) };
    Ok(n)
}

fn strings(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    let (mut allowed, mut forbidden) = (Vec::new(), Vec::new());
    let (mut regex, mut strict) = (0, true);
    each(body, &[12, 13, 14, 15, 16, 17, 18, 21, 22, 26], |number, value| {
        match number {
            1 | 10 => allowed.push(quoted(value)?),
            2 => rules.push(format!("MinChars({})", count(value)?)),
            3 => rules.push(format!("MaxChars({})", count(value)?)),
            4 => rules.push(format!("MinBytes({})", count(value)?)),
            5 => rules.push(format!("MaxBytes({})", count(value)?)),
            6 => rules.push(format!("Pattern({})", quoted(value)?)),
            7 => rules.push(format!("Prefix({})", quoted(value)?)),
            8 => rules.push(format!("Suffix({})", quoted(value)?)),
            9 => rules.push(format!("Contains({})", quoted(value)?)),
            11 => forbidden.push(quoted(value)?),
            12 => rules.push("Form(Form::Email)".into()),
            13 => rules.push("Form(Form::Hostname)".into()),
            14 => rules.push("Form(Form::Ip)".into()),
            15 => rules.push("Form(Form::Ipv4)".into()),
            16 => rules.push("Form(Form::Ipv6)".into()),
            17 => rules.push("Form(Form::Uri)".into()),
            18 => rules.push("Form(Form::UriRef)".into()),
            19 => rules.push(format!("Chars({})", count(value)?)),
            20 => rules.push(format!("Bytes({})", count(value)?)),
            21 => rules.push("Form(Form::Address)".into()),
            22 => rules.push("Form(Form::Uuid)".into()),
            23 => rules.push(format!("NotContains({})", quoted(value)?)),
            24 => regex = count(value)?,
            25 => strict = count(value)? != 0,
            26 => rules.push("IgnoreEmpty".into()),
            _ => rules.push(unknown("string", number)),
        }
        Ok(())
    })?;
    match (regex, strict) {
        (0, _) => {}
        (1, true) => rules.push("Form(Form::HeaderName)".into()),
        (2, true) => rules.push("Form(Form::HeaderValue)".into()),
        (_, false) => rules.push("Form(Form::HeaderLoose)".into()),
        (other, _) => rules.push(unknown("well_known_regex", other as u32)),
    }
    push_list(rules, "StrIn", &allowed);
    push_list(rules, "StrNotIn", &forbidden);
    Ok(())
}

fn byte_strings(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    each(body, &[14], |number, value| {
        rules.push(match number {
            2 => format!("MinBytes({})", count(value)?),
            3 => format!("MaxBytes({})", count(value)?),
            13 => format!("Bytes({})", count(value)?),
            14 => "IgnoreEmpty".into(),
            _ => unknown("bytes", number),
        });
        Ok(())
    })
}

fn enums(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    let (mut allowed, mut forbidden) = (Vec::new(), Vec::new());
    each(body, &[2], |number, value| {
        match number {
            1 | 3 => allowed.push((count(value)? as i64).to_string()),
            2 => rules.push("DefinedOnly".into()),
            4 => forbidden.push((count(value)? as i64).to_string()),
            _ => rules.push(unknown("enum", number)),
        }
        Ok(())
    })?;
    push_list(rules, "IntIn", &allowed);
    push_list(rules, "IntNotIn", &forbidden);
    Ok(())
}

fn nested(value: Wire<'_>) -> Result<String, Malformed> {
    let Wire::Bytes(body) = value else { return Err(Malformed) };
    let mut inner = Vec::new();
    decode(body, &mut inner)?;
    Ok(expressions(&inner))
}

/// A slice of rules as it stands in the table.
pub fn expressions(rules: &[Rule]) -> String {
    let items: Vec<String> = rules.iter().map(|rule| format!("Rule::{rule}")).collect();
    format!("&[{}]", items.join(", "))
}

fn lists(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    each(body, &[3, 5], |number, value| {
        rules.push(match number {
            1 => format!("MinItems({})", count(value)?),
            2 => format!("MaxItems({})", count(value)?),
            3 => "Unique".into(),
            4 => format!("Items({})", nested(value)?),
            5 => "IgnoreEmpty".into(),
            _ => unknown("repeated", number),
        });
        Ok(())
    })
}

fn maps(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    each(body, &[3, 6], |number, value| {
        rules.push(match number {
            1 => format!("MinPairs({})", count(value)?),
            2 => format!("MaxPairs({})", count(value)?),
            // No message map has null values in our hands: the rule cannot fail.
            3 => return Ok(()),
            4 => format!("Keys({})", nested(value)?),
            5 => format!("Values({})", nested(value)?),
            6 => "IgnoreEmpty".into(),
            _ => unknown("map", number),
        });
        Ok(())
    })
}

fn anys(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    let mut allowed = Vec::new();
    each(body, &[1], |number, value| {
        match number {
            1 => rules.push("Required".into()),
            2 => allowed.push(quoted(value)?),
            _ => rules.push(unknown("any", number)),
        }
        Ok(())
    })?;
    push_list(rules, "TypeIn", &allowed);
    Ok(())
}

fn durations(body: &[u8], rules: &mut Vec<Rule>) -> Result<(), Malformed> {
    each(body, &[1], |number, value| {
        let nanos = match value {
            Wire::Bytes(duration) => nanos(duration)?,
            Wire::Varint(_) if number == 1 => 0,
            _ => return Err(Malformed),
        };
        rules.push(match number {
            1 => "Required".into(),
            3 => format!("DurationLt({nanos})"),
            4 => format!("DurationLte({nanos})"),
            5 => format!("DurationGt({nanos})"),
            6 => format!("DurationGte({nanos})"),
            _ => unknown("duration", number),
        });
        Ok(())
    })
}

fn nanos(duration: &[u8]) -> Result<i128, Malformed> {
    let mut total = 0;
    for field in Reader::new(duration) {
        match field? {
            (1, Wire::Varint(seconds)) => total += i128::from(seconds as i64) * 1_000_000_000,
            (2, Wire::Varint(nanos)) => total += i128::from(nanos as i32),
            _ => {}
        }
    }
    Ok(total)
}
