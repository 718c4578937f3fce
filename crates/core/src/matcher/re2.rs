//! RE2 syntax, rewritten for the `regex` crate.
//!
//! Envoy compiles patterns with RE2 in Latin-1 mode: a byte is a character, on both sides. The two engines share
//! their model (linear time, leftmost-first), but not all of their syntax. Each pattern is read as RE2 reads it
//! and written down in a form that means the same to `regex::bytes` with Unicode off; what cannot be expressed is
//! refused by name. Source: <https://github.com/google/re2/wiki/Syntax>.

mod bytes;
mod factor;
mod simplify;
mod size;
mod tree;

use bytes::Bytes;
use std::fmt::Write;
use tree::{Assertion, Builder, DOT_NL, FOLD, Flags, Kind, LAZY, Loop, MULTI_LINE};

/// Why a pattern is refused. The words are RE2's where RE2 refuses it too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// A repetition operator with nothing before it.
    #[error("no argument for repetition operator: {0}")]
    NoArgument(String),
    /// Two repetition operators in a row.
    #[error("bad repetition operator: {0}")]
    BadRepetition(String),
    /// `{n,m}` with n > m or a count above 1000.
    #[error("invalid repetition size: {0}")]
    RepetitionSize(String),
    /// An escape that RE2 does not know.
    #[error("invalid escape sequence: {0}")]
    Escape(String),
    /// The pattern ends in a backslash.
    #[error("trailing \\")]
    TrailingBackslash,
    /// A `[` without `]`.
    #[error("missing ]: {0}")]
    MissingBracket(String),
    /// A range such as `z-a`.
    #[error("invalid character class range: {0}")]
    ClassRange(String),
    /// A `(` without `)`.
    #[error("missing ): {0}")]
    MissingParen(String),
    /// A `)` without `(`.
    #[error("unexpected ): {0}")]
    UnexpectedParen(String),
    /// A group such as `(?=…)` or a flag other than `i`, `m`, `s`, `U`.
    #[error("invalid perl operator: {0}")]
    PerlOperator(String),
    /// A group name that is malformed or used twice.
    #[error("invalid named capture group: {0}")]
    GroupName(String),
    /// Too large a program.
    #[error("pattern too large - compile failed")]
    TooLarge,
    /// What the engine says of the rest.
    #[error("{0}")]
    Engine(String),
}

/// RE2's limit on `{n,m}`, also when they stand in one another.
const MAX_REPEAT: u32 = 1000;
/// How deep groups may stand in one another; the engine's limit is lower.
const MAX_DEPTH: usize = 1000;

/// A pattern in the words of `regex::bytes` with Unicode off.
pub(super) struct Translated {
    /// The pattern.
    pub(super) pattern: String,
    /// The number of instructions of RE2's program for it.
    pub(super) program_size: usize,
}

/// Rewrites an RE2 pattern for `regex::bytes` with Unicode off. Every construct has been checked but group
/// names, which the engine checks.
pub(super) fn translate(pattern: &str) -> Result<Translated, RegexError> {
    let mut t = Translator {
        pattern: pattern.as_bytes(),
        rest: pattern.as_bytes(),
        out: String::with_capacity(pattern.len() + 8),
        depth: 0,
        atom: Atom::None,
        tree: Builder::default(),
    };
    t.run(pattern)?;
    let program_size = size::program_size(&t.tree.finish()).ok_or(RegexError::TooLarge)?;
    Ok(Translated { pattern: t.out, program_size })
}

/// What stands before the next operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// Nothing that could be repeated.
    None,
    /// Something that can be repeated.
    Some,
    /// Repetitions; how much of the pattern was left where the first one began.
    Repeated(usize),
}

struct Translator<'p> {
    pattern: &'p [u8],
    rest: &'p [u8],
    out: String,
    depth: usize,
    atom: Atom,
    /// The pattern as RE2 sees it; it knows the flags that hold.
    tree: Builder,
}

/// Bytes as RE2 prints them: a byte is a character.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

impl<'p> Translator<'p> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn run(&mut self, pattern: &str) -> Result<(), RegexError> {
        while let Some(b) = self.peek() {
            let before = self.rest;
            self.rest = before.get(1..).unwrap_or_default();
            match b {
                b'(' => self.group(before)?,
                b')' => {
                    self.depth = self
                        .depth
                        .checked_sub(1)
                        .ok_or_else(|| RegexError::UnexpectedParen(pattern.to_owned()))?;
                    self.tree.close();
                    self.out.push(')');
                    self.atom = Atom::Some;
                }
                b'|' => {
                    self.tree.bar();
                    self.out.push('|');
                    self.atom = Atom::None;
                }
                b'^' | b'$' | b'.' => {
                    let by_line = self.tree.flags & MULTI_LINE != 0;
                    match (b, by_line) {
                        (b'^', false) => self.assertion(Assertion::BeginText),
                        (b'^', true) => self.assertion(Assertion::BeginLine),
                        (b'$', false) => self.assertion(Assertion::Dollar),
                        (b'$', true) => self.assertion(Assertion::EndLine),
                        _ => self.tree.dot(),
                    }
                    self.out.push(char::from(b));
                    self.atom = Atom::Some;
                }
                b'*' => self.repeat(before, 1, Times::Loop(Loop::Star))?,
                b'+' => self.repeat(before, 1, Times::Loop(Loop::Plus))?,
                b'?' => self.repeat(before, 1, Times::Loop(Loop::Quest))?,
                b'{' => match repetition(before)? {
                    Some((len, min, max)) => self.repeat(before, len, Times::Count(min, max))?,
                    None => self.literal(b'{')?,
                },
                b'[' => self.class(before)?,
                b'\\' => self.escape(before)?,
                _ => self.literal(b)?,
            }
        }
        if self.depth > 0 {
            return Err(RegexError::MissingParen(pattern.to_owned()));
        }
        Ok(())
    }

    /// A repetition operator of `len` bytes, and the `?` behind it.
    fn repeat(&mut self, before: &'p [u8], len: usize, times: Times) -> Result<(), RegexError> {
        let lazy = before.get(len) == Some(&b'?');
        let len = len + usize::from(lazy);
        let (operator, rest) = before.split_at_checked(len).unwrap_or((before, &[]));
        let began = match self.atom {
            Atom::None => return Err(RegexError::NoArgument(text(operator))),
            Atom::Repeated(from) => {
                let all = self.pattern.get(self.pattern.len() - from..).unwrap_or_default();
                return Err(RegexError::BadRepetition(text(all.get(..from - rest.len()).unwrap_or(all))));
            }
            Atom::Some => before.len(),
        };
        self.out.push_str(&text(operator));
        self.rest = rest;
        match times {
            Times::Loop(how) => self.tree.repeat(how, lazy),
            Times::Count(min, max) if !self.tree.count(min, max, lazy, MAX_REPEAT) => {
                return Err(RegexError::RepetitionSize(text(operator)));
            }
            Times::Count(..) => {}
        }
        self.atom = Atom::Repeated(began);
        Ok(())
    }

    /// Whether letters of both cases match where the translator stands.
    fn folds(&self) -> bool {
        self.tree.flags & FOLD != 0
    }

    fn assertion(&mut self, assertion: Assertion) {
        self.tree.simple(Kind::Assertion(assertion));
    }

    fn literal(&mut self, b: u8) -> Result<(), RegexError> {
        self.tree.literal(b);
        push_byte(&mut self.out, b);
        self.atom = Atom::Some;
        Ok(())
    }

    fn group(&mut self, before: &[u8]) -> Result<(), RegexError> {
        self.atom = Atom::None;
        if self.peek() != Some(b'?') {
            self.out.push('(');
            self.open(true, self.tree.flags)?;
            return Ok(());
        }
        self.bump();
        for look in [&b"="[..], b"!", b"<=", b"<!"] {
            if self.rest.starts_with(look) {
                let len = 2 + look.len();
                return Err(RegexError::PerlOperator(text(before.get(..len).unwrap_or(before))));
            }
        }
        if self.rest.starts_with(b"P<") || self.peek() == Some(b'<') {
            return self.named_group(before);
        }
        self.flags(before)
    }

    /// `i`, `m`, `s`, `U`, a `-` before those that are switched off, and the `)` or `:` behind them.
    fn flags(&mut self, before: &[u8]) -> Result<(), RegexError> {
        let (mut on, mut off, mut negated, mut any) = (0, 0, false, true);
        loop {
            let bit = match self.bump() {
                Some(b'i') => FOLD,
                Some(b'm') => MULTI_LINE,
                Some(b's') => DOT_NL,
                Some(b'U') => LAZY,
                Some(b'-') if !negated => {
                    (negated, any) = (true, false);
                    continue;
                }
                Some(end @ (b':' | b')')) if any => {
                    return self.flagged(on, off, end);
                }
                _ => {
                    let len = before.len() - self.rest.len();
                    return Err(RegexError::PerlOperator(text(before.get(..len).unwrap_or_default())));
                }
            };
            any = true;
            if negated {
                (on, off) = (on & !bit, off | bit);
            } else {
                on |= bit;
            }
        }
    }

    /// Flags hold from here on, or in a group that begins here.
    fn flagged(&mut self, on: Flags, off: Flags, end: u8) -> Result<(), RegexError> {
        let letters = |bits: Flags| {
            let all = [(FOLD, 'i'), (MULTI_LINE, 'm'), (DOT_NL, 's'), (LAZY, 'U')];
            all.into_iter()
                .filter(move |(bit, _)| bits & bit != 0)
                .map(|(_, letter)| letter)
                .collect::<String>()
        };
        let dash = if off == 0 { "" } else { "-" };
        let flags = (self.tree.flags | on) & !off;
        if end == b':' {
            let _ = write!(self.out, "(?{}{dash}{}:", letters(on), letters(off));
            return self.open(false, flags);
        }
        if on | off != 0 {
            let _ = write!(self.out, "(?{}{dash}{})", letters(on), letters(off));
        }
        self.tree.flags = flags;
        Ok(())
    }

    fn named_group(&mut self, before: &[u8]) -> Result<(), RegexError> {
        let start = self.rest.iter().position(|&b| b == b'<').map_or(0, |at| at + 1);
        let end =
            self.rest.iter().position(|&b| b == b'>').ok_or_else(|| RegexError::GroupName(text(before)))?;
        let name = self.rest.get(start..end).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
            return Err(RegexError::GroupName(text(
                before.get(..before.len() - self.rest.len() + end + 1).unwrap_or_default(),
            )));
        }
        // Nothing here reads names, and RE2 does not mind two groups of one name.
        self.out.push('(');
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.open(true, self.tree.flags)
    }

    /// A group begins; `flags` hold in it.
    fn open(&mut self, captures: bool, flags: Flags) -> Result<(), RegexError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RegexError::TooLarge);
        }
        self.tree.open(captures, flags);
        Ok(())
    }

    /// An escape outside a class; the backslash is taken.
    fn escape(&mut self, before: &'p [u8]) -> Result<(), RegexError> {
        if self.peek() == Some(b'Q') {
            self.bump();
            // Even an empty quotation stands between two operators.
            if self.atom != Atom::None {
                self.atom = Atom::Some;
            }
            return self.quotation();
        }
        self.atom = Atom::Some;
        match self.peek() {
            None => return Err(RegexError::TrailingBackslash),
            Some(b @ (b'A' | b'b' | b'B' | b'z')) => {
                self.bump();
                self.assertion(match b {
                    b'A' => Assertion::BeginText,
                    b'z' => Assertion::EndText,
                    b'b' => Assertion::WordBoundary,
                    _ => Assertion::NoWordBoundary,
                });
                self.out.push('\\');
                self.out.push(char::from(b));
            }
            Some(b'C') => {
                self.bump();
                self.tree.simple(Kind::AnyByte);
                self.out.push_str(r"[\x00-\xff]");
            }
            Some(b'd' | b'D' | b's' | b'S' | b'w' | b'W' | b'p' | b'P') => {
                let mut set = Bytes::default();
                self.named_class(&mut set, before)?;
                set.write(&mut self.out);
                self.tree.class(set);
            }
            Some(_) => {
                let b = self.escaped_byte(before)?;
                self.literal(b)?;
            }
        }
        Ok(())
    }

    /// Bytes that mean themselves, up to `\E` or the end.
    fn quotation(&mut self) -> Result<(), RegexError> {
        while !self.rest.is_empty() && !self.rest.starts_with(b"\\E") {
            if let Some(b) = self.bump() {
                self.literal(b)?;
            }
        }
        self.rest = self.rest.strip_prefix(b"\\E").unwrap_or(self.rest);
        Ok(())
    }

    /// One byte written as an escape; the backslash is taken.
    fn escaped_byte(&mut self, before: &'p [u8]) -> Result<u8, RegexError> {
        match self.escaped(before) {
            Some(b) => Ok(b),
            None if before.len() < 2 => Err(RegexError::TrailingBackslash),
            // What was read till it was wrong.
            None => {
                let len = (before.len() - self.rest.len()).max(2);
                Err(RegexError::Escape(text(before.get(..len).unwrap_or(before))))
            }
        }
    }

    fn escaped(&mut self, before: &'p [u8]) -> Option<u8> {
        Some(match self.bump()? {
            b'1'..=b'7' if !matches!(self.peek(), Some(b'0'..=b'7')) => return None,
            b @ b'0'..=b'7' => {
                let mut n = u32::from(b - b'0');
                for _ in 0..2 {
                    if let Some(d @ b'0'..=b'7') = self.peek() {
                        self.bump();
                        n = n * 8 + u32::from(d - b'0');
                    }
                }
                u8::try_from(n).ok()?
            }
            b'x' => self.hex()?,
            b'a' => 7,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b if b < 0x80 && !b.is_ascii_alphanumeric() => b,
            _ => {
                self.rest = before.get(2..).unwrap_or_default();
                return None;
            }
        })
    }

    /// Two digits, or any number of them in braces.
    fn hex(&mut self) -> Option<u8> {
        let digit = |b: u8| char::from(b).to_digit(16);
        if self.peek() != Some(b'{') {
            let (first, second) = (self.bump()?, self.bump()?);
            return u8::try_from(digit(first)? * 16 + digit(second)?).ok();
        }
        self.bump();
        let mut n = digit(self.bump()?)?;
        loop {
            match self.bump()? {
                b'}' => return u8::try_from(n).ok(),
                b => n = n * 16 + digit(b)?,
            }
            u8::try_from(n).ok()?;
        }
    }

    /// `\d`, `\pL` and such into `set`; the backslash is taken.
    fn named_class(&mut self, set: &mut Bytes, before: &[u8]) -> Result<(), RegexError> {
        let Some(letter) = self.bump() else { return Err(RegexError::TrailingBackslash) };
        let mut class = Bytes::default();
        match letter.to_ascii_lowercase() {
            b'd' => class.add_where(|b| b.is_ascii_digit()),
            b's' => class.add_where(|b| matches!(b, b'\t' | b'\n' | 12 | b'\r' | b' ')),
            b'w' => class.add_where(|b| b.is_ascii_alphanumeric() || b == b'_'),
            _ => {
                let mut name = match self.bump() {
                    Some(b'{') => {
                        let end = self
                            .rest
                            .iter()
                            .position(|&b| b == b'}')
                            .ok_or_else(|| RegexError::ClassRange(text(before)))?;
                        let name = text(self.rest.get(..end).unwrap_or_default());
                        self.rest = self.rest.get(end + 1..).unwrap_or_default();
                        name
                    }
                    Some(b) => text(&[b]),
                    None => return Err(RegexError::ClassRange(text(before))),
                };
                let written = before.get(..before.len() - self.rest.len()).unwrap_or(before);
                let negated = name.starts_with('^');
                if negated {
                    name.remove(0);
                }
                class.add_unicode(&name).ok_or_else(|| RegexError::ClassRange(text(written)))?;
                if self.folds() {
                    class.fold();
                }
                if negated {
                    class.invert();
                }
            }
        }
        if letter.is_ascii_uppercase() {
            class.invert();
        }
        set.add_all(&class);
        Ok(())
    }

    /// A bracket expression; the `[` is taken.
    fn class(&mut self, before: &[u8]) -> Result<(), RegexError> {
        let missing = || RegexError::MissingBracket(text(before));
        let negated = self.peek() == Some(b'^');
        if negated {
            self.bump();
        }
        let mut set = Bytes::default();
        let mut first = true;
        loop {
            match self.peek() {
                None => return Err(missing()),
                Some(b']') if !first => break,
                _ => {}
            }
            first = false;
            if self.rest.starts_with(b"[:") && self.posix(&mut set)? {
                continue;
            }
            if let [b'\\', b'd' | b'D' | b's' | b'S' | b'w' | b'W' | b'p' | b'P', ..] = self.rest {
                let at = self.rest;
                self.bump();
                self.named_class(&mut set, at)?;
                continue;
            }
            let at = self.rest;
            let from = self.class_byte().ok_or_else(missing)??;
            let to = match self.rest {
                [b'-', next, ..] if *next != b']' => {
                    self.bump();
                    self.class_byte().ok_or_else(missing)??
                }
                _ => from,
            };
            if to < from {
                return Err(RegexError::ClassRange(text(
                    at.get(..at.len() - self.rest.len()).unwrap_or_default(),
                )));
            }
            set.add_range(from, to);
        }
        self.bump();
        if self.folds() {
            set.fold();
        }
        if negated {
            set.invert();
        }
        set.write(&mut self.out);
        self.tree.class(set);
        self.atom = Atom::Some;
        Ok(())
    }

    fn class_byte(&mut self) -> Option<Result<u8, RegexError>> {
        let before = self.rest;
        Some(match self.bump()? {
            b'\\' => self.escaped_byte(before),
            b => Ok(b),
        })
    }

    /// `[:alpha:]` inside a class; `false` when it is not one, and nothing is taken.
    fn posix(&mut self, set: &mut Bytes) -> Result<bool, RegexError> {
        let Some(end) = self.rest.windows(2).position(|w| w == b":]") else { return Ok(false) };
        let name = self.rest.get(2..end).unwrap_or_default();
        let (name, negated) = name.strip_prefix(b"^").map_or((name, false), |n| (n, true));
        let holds: fn(u8) -> bool = match name {
            b"alnum" => |b| b.is_ascii_alphanumeric(),
            b"alpha" => |b| b.is_ascii_alphabetic(),
            b"ascii" => |b| b.is_ascii(),
            b"blank" => |b| matches!(b, b' ' | b'\t'),
            b"cntrl" => |b| b.is_ascii_control(),
            b"digit" => |b| b.is_ascii_digit(),
            b"graph" => |b| b.is_ascii_graphic(),
            b"lower" => |b| b.is_ascii_lowercase(),
            b"print" => |b| b.is_ascii_graphic() || b == b' ',
            b"punct" => |b| b.is_ascii_punctuation(),
            b"space" => |b| b.is_ascii_whitespace() || b == 11,
            b"upper" => |b| b.is_ascii_uppercase(),
            b"word" => |b| b.is_ascii_alphanumeric() || b == b'_',
            b"xdigit" => |b| b.is_ascii_hexdigit(),
            _ => return Err(RegexError::ClassRange(text(self.rest.get(..end + 2).unwrap_or_default()))),
        };
        set.add_where(|b| holds(b) != negated);
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        Ok(true)
    }
}

/// How often an operator repeats.
#[derive(Clone, Copy)]
enum Times {
    Loop(Loop),
    Count(u32, Option<u32>),
}

/// The length and bounds of a `{n}`, `{n,}` or `{n,m}` that `text` begins with; `None` when the brace is a plain
/// character.
fn repetition(pattern: &[u8]) -> Result<Option<(usize, u32, Option<u32>)>, RegexError> {
    let Some(end) = pattern.iter().position(|&b| b == b'}') else { return Ok(None) };
    let Some(inner) = pattern.get(1..end).and_then(|i| std::str::from_utf8(i).ok()) else { return Ok(None) };
    let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
    // RE2 reads no number with a leading zero, nor one of ten digits: the brace is a plain one then.
    let number = |s: &str| {
        let reads =
            s.len() < 10 && s.bytes().all(|b| b.is_ascii_digit()) && (s.len() < 2 || !s.starts_with('0'));
        s.parse::<u32>().ok().filter(|_| reads)
    };
    let Some(low) = number(low) else { return Ok(None) };
    let high = match high {
        "" => None,
        high => match number(high) {
            Some(high) => Some(high),
            None => return Ok(None),
        },
    };
    if low > MAX_REPEAT || high.is_some_and(|h| h > MAX_REPEAT || h < low) {
        return Err(RegexError::RepetitionSize(format!("{{{inner}}}")));
    }
    Ok(Some((end + 1, low, high)))
}

fn push_byte(out: &mut String, b: u8) {
    match b {
        _ if b.is_ascii_alphanumeric() => out.push(char::from(b)),
        b' '..=b'~' => {
            if b"\\.+*?()|[]{}^$#&-~/".contains(&b) {
                out.push('\\');
            }
            out.push(char::from(b));
        }
        _ => {
            let _ = write!(out, "\\x{b:02x}");
        }
    }
}

#[cfg(test)]
mod tests;
