//! The tokens of an expression (the lexical part of the CEL specification's grammar).

use super::parse::{Fault, SyntaxError};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    /// A name that is no keyword.
    Ident(&'t str),
    Int(&'t str),
    Uint(&'t str),
    Double(&'t str),
    Text(String),
    Bytes(Vec<u8>),
    True,
    False,
    Null,
    In,
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

impl Token<'_> {
    pub(super) fn is(&self, sign: &str) -> bool {
        matches!(self, Token::Sign(s) if *s == sign)
    }
}

/// A token and the character that it begins with, from 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed<'t> {
    pub(super) token: Token<'t>,
    pub(super) at: usize,
    /// As it is written.
    pub(super) text: &'t str,
}

/// Operators and brackets, those of two characters first.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "<", ">", "=",
];

/// Reads all tokens; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed<'_>>, SyntaxError> {
    let (mut rest, mut at, mut found) = (text, 0, Vec::new());
    loop {
        let (blank, behind) = rest.split_at(blank_len(rest));
        at += blank.chars().count();
        rest = behind;
        if rest.is_empty() {
            found.push(Placed { token: Token::End, at, text: "<EOF>" });
            return Ok(found);
        }
        let (token, len) = token(rest).ok_or_else(|| {
            let upto = rest.split(char::is_whitespace).next().unwrap_or(rest);
            SyntaxError::at(text, at, Fault::Token(upto.to_owned()))
        })?;
        let (written, behind) = rest.split_at(len);
        found.push(Placed { token, at, text: written });
        at += written.chars().count();
        rest = behind;
    }
}

/// Bytes of blanks and comments that `text` begins with.
fn blank_len(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']);
        match rest.strip_prefix("//") {
            Some(comment) => rest = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default(),
            None => return text.len() - rest.len(),
        }
    }
}

/// The token that `text` begins with, and its length in bytes.
fn token(text: &str) -> Option<(Token<'_>, usize)> {
    if let Some(found) = literal(text) {
        return Some(found);
    }
    let first = text.chars().next()?;
    if first.is_ascii_digit() || (first == '.' && text.get(1..)?.starts_with(|c: char| c.is_ascii_digit())) {
        return number(text);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let len = run(text, |b| b.is_ascii_alphanumeric() || b == b'_');
        let token = match text.get(..len)? {
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            "in" => Token::In,
            name => Token::Ident(name),
        };
        return Some((token, len));
    }
    let sign = SIGNS.iter().find(|sign| text.starts_with(**sign))?;
    (*sign != "=").then_some((Token::Sign(sign), sign.len()))
}

/// How many bytes at the beginning of `text` are such.
fn run(text: &str, such: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| such(*b)).count()
}

fn number(text: &str) -> Option<(Token<'_>, usize)> {
    let after = |len: usize| text.get(len..).unwrap_or_default();
    let digits = |from: usize| from + run(after(from), |b| b.is_ascii_digit());
    let unsigned = |len: usize| match after(len).starts_with(['u', 'U']) {
        true => Some((Token::Uint(text.get(..len)?), len + 1)),
        false => Some((Token::Int(text.get(..len)?), len)),
    };
    if text.starts_with("0x") {
        let hex = run(after(2), |b| b.is_ascii_hexdigit());
        if hex > 0 {
            return unsigned(2 + hex);
        }
    }
    let whole = digits(0);
    let mut end = whole;
    if after(end).starts_with('.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if after(end).starts_with(['e', 'E']) {
        let sign = end + 1 + usize::from(after(end + 1).starts_with(['+', '-']));
        if digits(sign) > sign {
            end = digits(sign);
        }
    }
    if end > whole { Some((Token::Double(text.get(..end)?), end)) } else { unsigned(whole) }
}

/// A string or bytes, with its prefixes: `b`, `r`.
fn literal(text: &str) -> Option<(Token<'_>, usize)> {
    let (mut rest, mut is_bytes, mut is_raw) = (text, false, false);
    if let Some(behind) = rest.strip_prefix(['b', 'B']) {
        (rest, is_bytes) = (behind, true);
    }
    if let Some(behind) = rest.strip_prefix(['r', 'R']) {
        (rest, is_raw) = (behind, true);
    }
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote))?;
    let body = rest.get(quote.len()..)?;
    let mut bytes = Vec::new();
    let mut at = 0;
    loop {
        let here = body.get(at..)?;
        if here.starts_with(quote) {
            let len = text.len() - here.len() + quote.len();
            let token =
                if is_bytes { Token::Bytes(bytes) } else { Token::Text(String::from_utf8(bytes).ok()?) };
            return Some((token, len));
        }
        let c = here.chars().next()?;
        if quote.len() == 1 && matches!(c, '\n' | '\r') {
            return None;
        }
        at += if c == '\\' && !is_raw {
            escape(here, is_bytes, &mut bytes)?
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            c.len_utf8()
        };
    }
}

/// Decodes the escape that `text` begins with; its length in bytes. `\x` and octal digits stand for a byte among
/// bytes, for a character in a string.
fn escape(text: &str, is_bytes: bool, out: &mut Vec<u8>) -> Option<usize> {
    let kind = text.get(1..)?.chars().next()?;
    let simple = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' | '\'' | '`' | '?' => kind as u8,
        _ => 0,
    };
    if simple != 0 {
        out.push(simple);
        return Some(2);
    }
    let (from, digits, radix) = match kind {
        'x' | 'X' => (2, 2, 16),
        'u' if !is_bytes => (2, 4, 16),
        'U' if !is_bytes => (2, 8, 16),
        '0'..='3' => (1, 3, 8),
        _ => return None,
    };
    let digits = text.get(from..from + digits)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).ok()?;
    match u8::try_from(code) {
        Ok(byte) if is_bytes => out.push(byte),
        _ => out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    Some(from + digits.len())
}
