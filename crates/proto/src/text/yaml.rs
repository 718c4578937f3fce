//! YAML as Envoy reads it: yaml-cpp's view of YAML 1.1 scalars on top of an event parser.
//!
//! - Plain scalars resolve to null, boolean (`yes`, `Off`, …), integer (decimal, `0x`, leading `0` for octal), else
//!   string: `1.5` and `1e3` are strings, and so are integers beyond 32 bits. Fields of number type read them all.
//! - Quoted and block scalars, and those tagged `!`, are strings. Every other tag is without effect.
//! - Of equal keys the last one counts. `<<` is an ordinary key. A key tagged `!ignore` goes with its value.
//! - Only the first document counts; what stands behind it is not read.

use super::token::{Next, Source, SyntaxError, Token};
use crate::place::Mark;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// How deep containers may nest: the limit of Envoy's JSON reader, which its YAML passes too.
pub(crate) const MAX_DEPTH: usize = 100;

/// Tokens that aliases may bring in beyond what the text itself holds, so that a small text cannot become a huge one.
const ALIAS_BUDGET: usize = 1_000_000;

pub(crate) struct Yaml<'a> {
    parser: Parser<'a, StrInput<'a>>,
    finished: bool,
    /// The open containers.
    open: Vec<Container>,
    /// Everything read while an anchored node was open, to be read again at its aliases.
    log: Vec<(Logged<'a>, Mark)>,
    /// Anchored containers that are open: anchor, depth, start in the log.
    recording: Vec<(usize, usize, usize)>,
    anchors: HashMap<usize, Range<usize>>,
    /// Ranges of the log that are being read again, innermost last.
    replay: Vec<Range<usize>>,
    budget: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Container {
    List,
    /// Whether the next node is a key.
    Map {
        key: bool,
    },
}

#[derive(Clone)]
enum Logged<'a> {
    Token(Token<'a>),
    Alias(usize),
}

/// A node or the end of one, before aliases are followed.
enum Raw<'a> {
    Token(Token<'a>),
    /// A scalar with the text that it has as a key.
    Scalar(Token<'a>, Cow<'a, str>),
    Alias(usize),
}

/// Takes newlines off a quoted scalar as yaml-cpp does: of several at its end one stays, and none where there is
/// nothing else. (PyYAML writes `"\n"` as such a scalar.)
fn clip(text: Cow<'_, str>) -> Cow<'_, str> {
    let kept = text.trim_end_matches('\n').len();
    let kept = if kept == 0 { 0 } else { text.len().min(kept + 1) };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..kept).unwrap_or(text)),
        Cow::Owned(mut text) => {
            text.truncate(kept);
            Cow::Owned(text)
        }
    }
}

impl<'a> Yaml<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Yaml {
            parser: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
            finished: false,
            open: Vec::new(),
            log: Vec::new(),
            recording: Vec::new(),
            anchors: HashMap::new(),
            replay: Vec::new(),
            budget: ALIAS_BUDGET,
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Mark), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, mark(&span.start))),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    /// Reads on in the log if an alias is being followed.
    fn replayed(&mut self) -> Result<Option<(Token<'a>, Mark)>, SyntaxError> {
        while let Some(range) = self.replay.last_mut() {
            let Some(at) = range.next() else {
                self.replay.pop();
                continue;
            };
            let Some((logged, mark)) = self.log.get(at).cloned() else { continue };
            match logged {
                Logged::Token(token) => {
                    self.budget = self.budget.checked_sub(1).ok_or_else(|| SyntaxError {
                        mark,
                        message: format!("the aliases stand for more than {ALIAS_BUDGET} nodes"),
                    })?;
                    return Ok(Some((token, mark)));
                }
                Logged::Alias(anchor) => self.follow(anchor, mark)?,
            }
        }
        Ok(None)
    }

    fn follow(&mut self, anchor: usize, mark: Mark) -> Result<(), SyntaxError> {
        let range = self.anchors.get(&anchor).cloned();
        let range = range.ok_or_else(|| SyntaxError {
            mark,
            message: "the alias stands inside of what it names".into(),
        })?;
        if self.replay.len() > MAX_DEPTH {
            return Err(too_deep(mark));
        }
        self.replay.push(range);
        Ok(())
    }

    /// The next node of the text itself, keys included, logged where an anchor is open.
    fn read(&mut self) -> Result<(Raw<'a>, Mark), SyntaxError> {
        let (event, mark) = self.event()?;
        let (raw, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = if style == ScalarStyle::SingleQuoted { clip(text) } else { text };
                let strict = match &tag {
                    None => style != ScalarStyle::Plain,
                    Some(tag) => tag.suffix.is_empty() && tag.handle == "!" || is_bare(tag),
                };
                let token =
                    if strict { Token::Str(text.clone()) } else { resolve(text.clone(), tag.is_none()) };
                let ignored = tag.is_some_and(|tag| tag.handle == "!" && tag.suffix == "ignore");
                if ignored && self.open.last() == Some(&Container::Map { key: true }) {
                    self.register(anchor, &token, mark);
                    self.skip_value()?;
                    return self.read();
                }
                let key = match token {
                    Token::Null => Cow::Borrowed("null"),
                    _ => text,
                };
                (Raw::Scalar(token, key), anchor)
            }
            Event::MappingStart(anchor, _) => (Raw::Token(Token::Map), anchor),
            Event::SequenceStart(anchor, _) => (Raw::Token(Token::List), anchor),
            Event::MappingEnd => (Raw::Token(Token::EndMap), 0),
            Event::SequenceEnd => (Raw::Token(Token::EndList), 0),
            Event::Alias(anchor) => (Raw::Alias(anchor), 0),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => return self.read(),
            Event::DocumentEnd | Event::StreamEnd => (Raw::Token(Token::End), 0),
        };
        self.record(&raw, anchor, mark);
        Ok((raw, mark))
    }

    /// A scalar's anchor names a log entry of its own.
    fn register(&mut self, anchor: usize, token: &Token<'a>, mark: Mark) {
        if anchor != 0 {
            let at = self.log.len();
            self.log.push((Logged::Token(token.clone()), mark));
            self.anchors.insert(anchor, at..at + 1);
        }
    }

    fn record(&mut self, raw: &Raw<'a>, anchor: usize, mark: Mark) {
        let opens = matches!(raw, Raw::Token(Token::Map | Token::List));
        if anchor != 0 && opens {
            self.recording.push((anchor, self.open.len(), self.log.len()));
        }
        if !self.recording.is_empty() || anchor != 0 {
            let is_key = self.open.last() == Some(&Container::Map { key: true });
            let at = self.log.len();
            self.log.push(match raw {
                Raw::Scalar(_, key) if is_key => (Logged::Token(Token::Str(key.clone())), mark),
                Raw::Token(token) | Raw::Scalar(token, _) => (Logged::Token(token.clone()), mark),
                Raw::Alias(id) => (Logged::Alias(*id), mark),
            });
            if anchor != 0 && !opens {
                self.anchors.insert(anchor, at..at + 1);
            }
        }
    }

    /// Follows the containers; an anchored one that ends here can be named from now on.
    fn track(&mut self, token: &Token<'a>, mark: Mark) -> Result<(), SyntaxError> {
        match token {
            Token::Map | Token::List => {
                self.flip();
                if self.open.len() >= MAX_DEPTH {
                    return Err(too_deep(mark));
                }
                self.open.push(if *token == Token::Map {
                    Container::Map { key: true }
                } else {
                    Container::List
                });
            }
            Token::EndMap | Token::EndList => {
                self.open.pop();
                if let Some((anchor, depth, start)) = self.recording.last().copied()
                    && depth == self.open.len()
                    && self.replay.is_empty()
                {
                    self.recording.pop();
                    self.anchors.insert(anchor, start..self.log.len());
                }
            }
            _ => self.flip(),
        }
        Ok(())
    }

    fn flip(&mut self) {
        if let Some(Container::Map { key }) = self.open.last_mut() {
            *key = !*key;
        }
    }

    /// Reads over the value of an ignored key; anchors in it stay known.
    fn skip_value(&mut self) -> Result<(), SyntaxError> {
        self.flip();
        let depth = self.open.len();
        loop {
            let (token, _) = self.node()?;
            let closed = self.open.len() == depth && !matches!(token, Token::Map | Token::List);
            if closed || token == Token::End {
                return Ok(());
            }
        }
    }

    fn node(&mut self) -> Next<'a> {
        let is_key = self.open.last() == Some(&Container::Map { key: true });
        let (token, mark) = match self.replayed()? {
            Some(replayed) => replayed,
            None => match self.read()? {
                (Raw::Token(token), mark) => (token, mark),
                (Raw::Scalar(_, key), mark) if is_key => (Token::Str(key), mark),
                (Raw::Scalar(token, _), mark) => (token, mark),
                (Raw::Alias(anchor), mark) => {
                    self.follow(anchor, mark)?;
                    return self.node();
                }
            },
        };
        let token = if is_key { as_key(token, mark)? } else { token };
        self.track(&token, mark)?;
        Ok((token, mark))
    }
}

impl<'a> Source<'a> for Yaml<'a> {
    fn next(&mut self) -> Next<'a> {
        if self.finished {
            return Ok((Token::End, Mark { line: 1, col: 1 }));
        }
        let (token, mark) = self.node()?;
        self.finished = token == Token::End || self.open.is_empty();
        Ok((token, mark))
    }

    fn last_key_replaces(&self) -> bool {
        true
    }
}

/// What an alias in a key's place may stand for: a scalar.
fn as_key(token: Token<'_>, mark: Mark) -> Result<Token<'_>, SyntaxError> {
    Ok(match token {
        Token::Map | Token::List => {
            return Err(SyntaxError { mark, message: "a key must be a scalar".into() });
        }
        Token::Null => Token::Str("null".into()),
        Token::Bool(value) => Token::Str(value.to_string().into()),
        Token::Number(text) => Token::Str(text),
        other => other,
    })
}

/// The tag `!` alone.
fn is_bare(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

fn mark(marker: &Marker) -> Mark {
    Mark {
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
        col: u16::try_from(marker.col() + 1).unwrap_or(u16::MAX),
    }
}

fn syntax(error: &ScanError) -> SyntaxError {
    SyntaxError { mark: mark(error.marker()), message: format!("no YAML: {}", error.info()) }
}

fn too_deep(mark: Mark) -> SyntaxError {
    SyntaxError { mark, message: format!("nested deeper than {MAX_DEPTH} levels") }
}

/// What a plain scalar is.
fn resolve(text: Cow<'_, str>, untagged: bool) -> Token<'_> {
    if untagged && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
        return Token::Null;
    }
    if let Some(value) = boolean(&text) {
        return Token::Bool(value);
    }
    match integer(&text) {
        Some(value) if i32::try_from(value).is_ok() => {
            let decimal = value.to_string();
            Token::Number(if decimal == *text { text } else { decimal.into() })
        }
        Some(value) => Token::Str(value.to_string().into()),
        None => Token::Str(text),
    }
}

/// A boolean of YAML 1.1: all lower case, all upper case, or a capital in front.
fn boolean(text: &str) -> Option<bool> {
    if text.len() > 5 {
        return None;
    }
    let (first, rest) = text.split_at_checked(1)?;
    let lower = |s: &str| s.bytes().all(|b| b.is_ascii_lowercase());
    let upper = |s: &str| s.bytes().all(|b| b.is_ascii_uppercase());
    if !(lower(text) || upper(first) && (lower(rest) || upper(rest))) {
        return None;
    }
    const WORDS: [(&str, bool); 8] = [
        ("y", true),
        ("yes", true),
        ("true", true),
        ("on", true),
        ("n", false),
        ("no", false),
        ("false", false),
        ("off", false),
    ];
    WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}

/// An integer as a C stream with automatic base reads it, within 64 bits.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        b'0'..=b'9' => (false, text),
        _ => return None,
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests;
