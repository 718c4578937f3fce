//! Values of scalar fields and of the well-known types that have a text form of their own.
//!
//! Source: protobuf's JSON mapping, with the leniency of its C++ reader, which Envoy uses: numbers may be quoted,
//! whole floats stand for integers, hexadecimal is read inside of quotes.

/// A signed integer of up to 64 bits in text, quoted or not.
pub(crate) fn signed(text: &str) -> Result<i64, String> {
    if text.bytes().any(|b| b.is_ascii_whitespace()) {
        return Err("has blanks in it".into());
    }
    if let Ok(value) = text.parse::<i64>() {
        return Ok(value);
    }
    let value = whole(text, -9_007_199_254_740_992.0, 9_007_199_254_740_992.0)?;
    #[allow(clippy::cast_possible_truncation)] // Whole and within 2^53.
    Ok(value as i64)
}

/// An unsigned integer of up to 64 bits in text, quoted or not.
pub(crate) fn unsigned(text: &str) -> Result<u64, String> {
    if text.bytes().any(|b| b.is_ascii_whitespace()) {
        return Err("has blanks in it".into());
    }
    if let Ok(value) = text.parse::<u64>() {
        return Ok(value);
    }
    let value = whole(text, 0.0, 18_014_398_509_481_984.0)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Whole and within 2^54.
    Ok(value as u64)
}

fn whole(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value = float(text).filter(|value| value.is_finite()).ok_or("is no number")?;
    if value < low || value > high {
        return Err("is out of range".into());
    }
    if value.fract() != 0.0 {
        return Err("is no whole number".into());
    }
    Ok(value)
}

/// A floating-point number as C reads it: blanks around it, `inf`, `nan`, hexadecimal.
pub(crate) fn float(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, text.get(1..)?),
        b'+' => (1.0, text.get(1..)?),
        _ => (1.0, text),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return hexadecimal(hex).map(|value| sign * value);
    }
    digits.parse::<f64>().ok().map(|value| sign * value)
}

fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['p', 'P']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars() {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let mut weight = 1.0 / 16.0;
    for digit in fraction.chars() {
        value += f64::from(digit.to_digit(16)?) * weight;
        weight /= 16.0;
    }
    Some(value * f64::from(exponent).exp2())
}

/// A boolean in quotes.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    const WORDS: [(&str, bool); 10] = [
        ("true", true),
        ("t", true),
        ("yes", true),
        ("y", true),
        ("1", true),
        ("false", false),
        ("f", false),
        ("no", false),
        ("n", false),
        ("0", false),
    ];
    WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}

/// An enum number in quotes; blanks around it are permitted.
pub(crate) fn enum_number(text: &str) -> Option<i32> {
    text.trim_matches(|c: char| c.is_ascii_whitespace()).parse().ok()
}

/// Base64 in the standard or the URL alphabet, padding optional.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let padding = match bytes {
        [.., b'=', b'='] if bytes.len().is_multiple_of(4) => 2,
        [.., b'='] if bytes.len().is_multiple_of(4) => 1,
        _ => 0,
    };
    let mut out = Vec::with_capacity(bytes.len() / 4 * 3 + 2);
    for chunk in bytes.get(..bytes.len() - padding)?.chunks(4) {
        let mut group = 0u32;
        for byte in chunk {
            group = group << 6 | sextet(*byte)?;
        }
        match chunk.len() {
            4 => out.extend_from_slice(group.to_be_bytes().get(1..)?),
            3 => out.extend_from_slice((group >> 2).to_be_bytes().get(2..)?),
            2 => out.extend_from_slice((group >> 4).to_be_bytes().get(3..)?),
            _ => return None,
        }
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// Seconds and nanoseconds of a duration such as `1.5s`.
pub(crate) fn duration(text: &str) -> Result<(i64, i32), &'static str> {
    const MAX_SECONDS: i64 = 3_652_500 * 86_400;
    let end = text.bytes().position(|b| !b.is_ascii_digit() && b != b'-').unwrap_or(text.len());
    let (whole, rest) = text.split_at(end);
    if whole.is_empty() {
        return Err("a duration starts with a number and ends with 's'");
    }
    let seconds: i64 = whole.parse().map_err(|_| "the seconds are no number")?;
    if seconds.abs() > MAX_SECONDS {
        return Err("the duration is out of range");
    }
    let (nanos, rest) = fraction(rest).ok_or("a duration has 1 to 9 digits behind the point")?;
    if rest != "s" {
        return Err("a duration is in seconds and ends with 's', for example 0.25s");
    }
    Ok((seconds, if whole.starts_with('-') { -nanos } else { nanos }))
}

/// `.25` in front of `text` as nanoseconds, and what follows.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, text)) };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 || len > 9 {
        return None;
    }
    let (digits, rest) = digits.split_at(len);
    let scale = 10i32.pow(u32::try_from(9 - len).ok()?);
    Some((digits.parse::<i32>().ok()? * scale, rest))
}

/// Seconds since 1970 and nanoseconds of an RFC 3339 timestamp.
pub(crate) fn timestamp(text: &str) -> Option<(i64, i32)> {
    let mut rest = text;
    let mut number = |digits: usize, end: &str| {
        let (head, tail) = rest.split_at_checked(digits)?;
        rest = tail.strip_prefix(end)?;
        if head.bytes().all(|b| b.is_ascii_digit()) { head.parse::<i64>().ok() } else { None }
    };
    let (year, month, day) = (number(4, "-")?, number(2, "-")?, number(2, "T")?);
    let (hour, minute, second) = (number(2, ":")?, number(2, ":")?, number(2, "")?);
    if year == 0
        || month == 0
        || month > 12
        || day == 0
        || day > 31
        || hour > 24
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since the epoch with the year starting in March, so that the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leap + (shifted_month * 153 + 2) / 5 + day - 1 - 719_468;
    let (nanos, zone) = fraction(rest)?;
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let (hours, minutes) =
                zone.get(1..)?.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
            let seconds = (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset, nanos))
}

/// A path of a field mask in snake case.
pub(crate) fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 8);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests;
