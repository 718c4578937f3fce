//! Doubles as text: as C prints them with a number of digits, and as short as they can be.

use std::io::Write;

/// Appends `n` as C's `%g` writes it with `digits` significant digits, at least one.
pub fn write_general(n: f64, digits: usize, out: &mut Vec<u8>) {
    if !n.is_finite() {
        return write_odd(n, out);
    }
    let (mantissa, exponent) = scientific(&format!("{n:.*e}", digits.saturating_sub(1)));
    if exponent < -4 || exponent >= digits as i32 {
        write_exponent(trimmed(&mantissa), exponent, out);
    } else {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        out.extend_from_slice(trimmed(&format!("{n:.decimals$}")).as_bytes());
    }
}

/// Appends `n` in the shorter one of its plain and its scientific form, plain where they tie, with as many digits as
/// give it back, as C++'s `std::to_chars` does.
pub fn write_shortest(n: f64, out: &mut Vec<u8>) {
    if !n.is_finite() {
        return write_odd(n, out);
    }
    let from = out.len();
    // Whole numbers in plain form are exact.
    let _ = match n {
        _ if n.fract() == 0.0 && n != 0.0 && n.abs() < 1e38 => write!(out, "{}", n as i128),
        _ => write!(out, "{n}"),
    };
    let (mantissa, exponent) = scientific(&format!("{n:e}"));
    let mut short = Vec::new();
    write_exponent(&mantissa, exponent, &mut short);
    if short.len() < out.len() - from {
        out.truncate(from);
        out.extend_from_slice(&short);
    }
}

fn write_odd(n: f64, out: &mut Vec<u8>) {
    let word = if n.is_nan() {
        "nan"
    } else if n > 0.0 {
        "inf"
    } else {
        "-inf"
    };
    out.extend_from_slice(word.as_bytes());
}

/// Takes Rust's scientific notation apart.
fn scientific(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or_default())
}

/// The exponent has its sign and at least two digits.
fn write_exponent(mantissa: &str, exponent: i32, out: &mut Vec<u8>) {
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_shorter_form_is_taken_and_the_plain_one_where_they_tie() {
        for (n, wanted) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (100.0, "100"),
            (100_000.0, "1e+05"),
            (0.001, "0.001"),
            (0.0001, "1e-04"),
            (1.5e-7, "1.5e-07"),
            (123_456_789.0, "123456789"),
            (123_456_789_012_345_680_000.0, "123456789012345683968"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(|out| write_shortest(n, out)), wanted, "{n}");
        }
    }

    #[test]
    fn digits_are_rounded_and_trailing_zeros_left_out() {
        for (n, digits, wanted) in [
            (0.1 + 0.2, 6, "0.3"),
            (1_000_000.0, 6, "1e+06"),
            (999_999.5, 6, "1e+06"),
            (123_456.0, 6, "123456"),
            (0.000_01, 6, "1e-05"),
            (0.1 + 0.2, 17, "0.30000000000000004"),
            (3_600_000.0, 32, "3600000"),
            (2.5, 1, "2"),
        ] {
            assert_eq!(text(|out| write_general(n, digits, out)), wanted, "{n} {digits}");
        }
    }
}
