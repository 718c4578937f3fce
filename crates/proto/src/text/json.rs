//! JSON as Envoy reads it, protobuf's reader in its legacy mode: keys may be bare words, strings may stand in single
//! quotes, a comma may trail; comments, `+5`, `010` and `.5` are no JSON here either.

use super::token::{Next, Source, SyntaxError, Token};
use super::yaml::MAX_DEPTH;
use crate::place::Mark;
use std::borrow::Cow;

pub(crate) struct Json<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    open: Vec<Open>,
    done: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    /// A list, before its first item or behind a comma.
    Item,
    /// A list, behind an item.
    AfterItem,
    /// A map, before a key.
    Key,
    /// A map, behind a key and its colon.
    Value,
    /// A map, behind a value.
    AfterValue,
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Json { text, at: 0, line: 1, line_start: 0, open: Vec::new(), done: false }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.at;
            }
        }
    }

    fn mark(&self) -> Mark {
        let before = self.text.get(self.line_start..self.at).unwrap_or_default();
        let col = if before.len() > usize::from(u16::MAX) { usize::MAX } else { before.chars().count() };
        Mark { line: self.line, col: u16::try_from(col.saturating_add(1)).unwrap_or(u16::MAX) }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { mark: self.mark(), message: format!("no JSON: {}", message.into()) })
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, SyntaxError> {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => self.error(format!("found '{}' where {wanted} should be", found.escape_default())),
            None => self.error(format!("the text ends where {wanted} should be")),
        }
    }

    fn value(&mut self) -> Next<'a> {
        let mark = self.mark();
        let token = match self.peek() {
            Some(b'{') => self.enter(Open::Key, Token::Map)?,
            Some(b'[') => self.enter(Open::Item, Token::List)?,
            Some(quote @ (b'"' | b'\'')) => Token::Str(self.string(quote)?),
            Some(b'-' | b'0'..=b'9') => Token::Number(self.number()?.into()),
            Some(b'a'..=b'z') => match self.word() {
                "null" => Token::Null,
                "true" => Token::Bool(true),
                "false" => Token::Bool(false),
                word => {
                    self.at -= word.len();
                    return self.unexpected("a value");
                }
            },
            _ => return self.unexpected("a value"),
        };
        Ok((token, mark))
    }

    fn enter(&mut self, open: Open, token: Token<'a>) -> Result<Token<'a>, SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.at += 1;
        self.open.push(open);
        Ok(token)
    }

    fn word(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')).count();
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || zero && whole > 1 {
            return self.unexpected("a number without leading zeros");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.unexpected("a digit");
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.unexpected("a digit");
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Ok(text);
        }
        self.error(format!("the number {} is out of range", super::token::shorten(text)))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let plain = rest.iter().position(|b| *b == quote || *b == b'\\');
        if let Some(len) = plain
            && rest.get(len) == Some(&quote)
        {
            self.pass(start + len);
            self.at += 1;
            return Ok(Cow::Borrowed(self.text.get(start..start + len).unwrap_or_default()));
        }
        let mut out = String::new();
        loop {
            let from = self.at;
            let rest = self.text.as_bytes().get(from..).unwrap_or_default();
            let Some(len) = rest.iter().position(|b| *b == quote || *b == b'\\') else {
                self.at = self.text.len();
                return self.unexpected("the end of a string");
            };
            out.push_str(self.text.get(from..from + len).unwrap_or_default());
            self.pass(from + len);
            if rest.get(len) == Some(&quote) {
                self.at += 1;
                return Ok(Cow::Owned(out));
            }
            out.push(self.escape()?);
        }
    }

    /// Moves on to a byte offset, counting the lines on the way.
    fn pass(&mut self, to: usize) {
        let passed = self.text.as_bytes().get(self.at..to).unwrap_or_default();
        if let Some(last) = passed.iter().rposition(|b| *b == b'\n') {
            let lines = passed.iter().filter(|b| **b == b'\n').count();
            self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            self.line_start = self.at + last + 1;
        }
        self.at = to;
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let escaped = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match escaped {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\'' | b'\\' | b'/')) => char::from(c),
            Some(b'u') => return self.unicode(),
            _ => return self.error("unknown escape in a string"),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u32::from_str_radix(digits, 16).ok()
        };
        let Some(first) = unit(self.at + 2) else { return self.error("\\u needs four hex digits") };
        let (code, len) = match first {
            0xd800..=0xdbff => {
                let low = self.text.get(self.at + 6..self.at + 8).filter(|next| *next == "\\u");
                match low.and_then(|_| unit(self.at + 8)) {
                    Some(second @ 0xdc00..=0xdfff) => {
                        (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
                    }
                    _ => return self.error("half of a surrogate pair"),
                }
            }
            code => (code, 6),
        };
        let Some(c) = char::from_u32(code) else { return self.error("half of a surrogate pair") };
        self.at += len;
        Ok(c)
    }

    fn key(&mut self) -> Next<'a> {
        let mark = self.mark();
        let key = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => match self.word() {
                "null" | "true" | "false" => return self.error("a bare key must not be null, true or false"),
                word => word.into(),
            },
            _ => return self.unexpected("a key"),
        };
        self.space();
        if self.peek() != Some(b':') {
            return self.unexpected("':'");
        }
        self.at += 1;
        Ok((Token::Str(key), mark))
    }

    fn set(&mut self, open: Open) {
        if let Some(last) = self.open.last_mut() {
            *last = open;
        }
    }

    fn leave(&mut self, token: Token<'a>) -> Next<'a> {
        let mark = self.mark();
        self.at += 1;
        self.open.pop();
        Ok((token, mark))
    }
}

impl<'a> Source<'a> for Json<'a> {
    fn next(&mut self) -> Next<'a> {
        self.space();
        let Some(open) = self.open.last().copied() else {
            if self.done {
                if self.at < self.text.len() {
                    return self.error("something stands behind the document");
                }
                return Ok((Token::End, self.mark()));
            }
            self.done = true;
            return self.value();
        };
        match (open, self.peek()) {
            (Open::AfterItem, Some(b',')) => {
                self.at += 1;
                self.set(Open::Item);
                self.next()
            }
            (Open::AfterValue, Some(b',')) => {
                self.at += 1;
                self.set(Open::Key);
                self.space();
                if self.peek() == Some(b',') { self.unexpected("a key") } else { self.next() }
            }
            (Open::Item | Open::AfterItem, Some(b']')) => self.leave(Token::EndList),
            (Open::Key | Open::AfterValue, Some(b'}')) => self.leave(Token::EndMap),
            (Open::Item, _) => {
                self.set(Open::AfterItem);
                self.value()
            }
            (Open::Key, _) => {
                let key = self.key()?;
                self.set(Open::Value);
                Ok(key)
            }
            (Open::Value, _) => {
                self.set(Open::AfterValue);
                self.value()
            }
            (Open::AfterItem, _) => self.unexpected("',' or ']'"),
            (Open::AfterValue, _) => self.unexpected("',' or '}'"),
        }
    }

    fn last_key_replaces(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
