//! RE2 syntax, rewritten for the `regex` crate.
//!
//! Envoy compiles patterns with RE2 in Latin-1 mode: a byte is a character, on both sides. The two engines share
//! their model (linear time, leftmost-first), but not all of their syntax. Each pattern is read as RE2 reads it
//! and written down in a form that means the same to `regex::bytes` with Unicode off; what cannot be expressed is
//! refused by name. Source: <https://github.com/google/re2/wiki/Syntax>.

use std::fmt::Write;

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
    /// RE2 knows it, this build does not.
    #[error("not supported here: {0}")]
    Unsupported(String),
    /// Too large a program.
    #[error("pattern too large - compile failed")]
    TooLarge,
    /// What the engine says of the rest.
    #[error("{0}")]
    Engine(String),
}

/// RE2's limit on `{n,m}`.
const MAX_REPEAT: u32 = 1000;

/// Rewrites an RE2 pattern for `regex::bytes` with Unicode off. Every construct has been checked but group
/// names, which the engine checks.
pub(super) fn translate(pattern: &str) -> Result<String, RegexError> {
    let mut t = Translator {
        rest: pattern.as_bytes(),
        out: String::with_capacity(pattern.len() + 8),
        depth: 0,
        atom: Atom::None,
        fold: vec![false],
    };
    t.run(pattern)?;
    Ok(t.out)
}

/// What stands before the next operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// Nothing that could be repeated.
    None,
    /// Something that can be repeated.
    Some,
    /// A repetition.
    Repeated,
}

struct Translator<'p> {
    rest: &'p [u8],
    out: String,
    depth: usize,
    atom: Atom,
    /// Whether case is ignored, per open group.
    fold: Vec<bool>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
                    self.fold.pop();
                    self.out.push(')');
                    self.atom = Atom::Some;
                }
                b'|' => {
                    self.out.push('|');
                    self.atom = Atom::None;
                }
                b'^' | b'$' | b'.' => {
                    self.out.push(char::from(b));
                    self.atom = Atom::Some;
                }
                b'*' | b'+' | b'?' => self.repeat(before, 1)?,
                b'{' => match repetition(before)? {
                    Some(len) => self.repeat(before, len)?,
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
    fn repeat(&mut self, before: &'p [u8], len: usize) -> Result<(), RegexError> {
        let operator = text(before.get(..len).unwrap_or_default());
        match self.atom {
            Atom::None => return Err(RegexError::NoArgument(operator)),
            Atom::Repeated => return Err(RegexError::BadRepetition(operator)),
            Atom::Some => {}
        }
        self.out.push_str(&operator);
        self.rest = before.get(len..).unwrap_or_default();
        if self.peek() == Some(b'?') {
            self.bump();
            self.out.push('?');
        }
        self.atom = Atom::Repeated;
        Ok(())
    }

    /// Whether letters of both cases match where the translator stands.
    fn folds(&self) -> bool {
        self.fold.last().copied().unwrap_or_default()
    }

    fn literal(&mut self, b: u8) -> Result<(), RegexError> {
        if b >= 0x80 && self.folds() {
            return Err(RegexError::Unsupported("a byte above 0x7f below (?i)".to_owned()));
        }
        push_byte(&mut self.out, b);
        self.atom = Atom::Some;
        Ok(())
    }

    fn group(&mut self, before: &[u8]) -> Result<(), RegexError> {
        self.atom = Atom::None;
        let folds = self.folds();
        if self.peek() != Some(b'?') {
            self.out.push('(');
            self.fold.push(folds);
            self.depth += 1;
            return Ok(());
        }
        self.bump();
        if self.rest.starts_with(b"P<")
            || (self.peek() == Some(b'<') && !matches!(self.rest.get(1), Some(b'=' | b'!')))
        {
            return self.named_group(before);
        }
        let (mut flags, mut negated, mut fold) = (String::new(), false, folds);
        loop {
            let Some(b) = self.bump() else { return Err(RegexError::MissingParen(text(before))) };
            match b {
                b'i' | b'm' | b's' | b'U' => {
                    if b == b'i' {
                        fold = !negated;
                    }
                    flags.push(char::from(b));
                }
                b'-' if !negated => {
                    negated = true;
                    flags.push('-');
                }
                b':' | b')' if !flags.ends_with('-') && (b == b':' || !flags.is_empty()) => {
                    let _ = write!(self.out, "(?{flags}{}", char::from(b));
                    if b == b':' {
                        self.fold.push(fold);
                        self.depth += 1;
                    } else if let Some(f) = self.fold.last_mut() {
                        *f = fold;
                    }
                    return Ok(());
                }
                _ => {
                    let len = before.len() - self.rest.len();
                    return Err(RegexError::PerlOperator(text(before.get(..len).unwrap_or_default())));
                }
            }
        }
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
        // A name that begins with a digit is good for RE2 only; nothing here reads names, so it gets a letter.
        let _ = write!(self.out, "(?P<g{}>", text(name));
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        let folds = self.folds();
        self.fold.push(folds);
        self.depth += 1;
        Ok(())
    }

    /// An escape outside a class; the backslash is taken.
    fn escape(&mut self, before: &[u8]) -> Result<(), RegexError> {
        self.atom = Atom::Some;
        match self.peek() {
            None => return Err(RegexError::TrailingBackslash),
            Some(b'Q') => {
                self.bump();
                while !self.rest.is_empty() && !self.rest.starts_with(b"\\E") {
                    if let Some(b) = self.bump() {
                        self.literal(b)?;
                    }
                }
                self.rest = self.rest.strip_prefix(b"\\E").unwrap_or(self.rest);
            }
            Some(b'E') => {
                self.bump();
            }
            Some(b @ (b'A' | b'b' | b'B' | b'z')) => {
                self.bump();
                self.out.push('\\');
                self.out.push(char::from(b));
            }
            Some(b'C') => {
                self.bump();
                self.out.push_str(r"[\x00-\xff]");
            }
            Some(b'd' | b'D' | b's' | b'S' | b'w' | b'W' | b'p' | b'P') => {
                let mut set = Bytes::default();
                self.named_class(&mut set, before)?;
                set.write(&mut self.out);
            }
            Some(_) => {
                let b = self.escaped_byte(before)?;
                self.literal(b)?;
            }
        }
        Ok(())
    }

    /// One byte written as an escape; the backslash is taken.
    fn escaped_byte(&mut self, before: &[u8]) -> Result<u8, RegexError> {
        let bad = || RegexError::Escape(text(before.get(..2).unwrap_or(before)));
        let Some(b) = self.bump() else { return Err(RegexError::TrailingBackslash) };
        Ok(match b {
            b'1'..=b'7' if !matches!(self.peek(), Some(b'0'..=b'7')) => return Err(bad()),
            b'0'..=b'7' => {
                let mut n = u32::from(b - b'0');
                for _ in 0..2 {
                    if let Some(d @ b'0'..=b'7') = self.peek() {
                        self.bump();
                        n = n * 8 + u32::from(d - b'0');
                    }
                }
                u8::try_from(n).map_err(|_| bad())?
            }
            b'x' => self.hex().ok_or_else(bad)?,
            b'a' => 7,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            _ if b < 0x80 && !b.is_ascii_alphanumeric() && b != b'_' => b,
            _ => return Err(bad()),
        })
    }

    fn hex(&mut self) -> Option<u8> {
        let digits = if self.peek() == Some(b'{') {
            let end = self.rest.iter().position(|&b| b == b'}')?;
            let digits = self.rest.get(1..end)?;
            self.rest = self.rest.get(end + 1..)?;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2)?;
            self.rest = rest;
            digits
        };
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
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
                            .ok_or_else(|| RegexError::Escape(text(before)))?;
                        let name = text(self.rest.get(..end).unwrap_or_default());
                        self.rest = self.rest.get(end + 1..).unwrap_or_default();
                        name
                    }
                    Some(b) => text(&[b]),
                    None => return Err(RegexError::Escape(text(before))),
                };
                let negated = name.starts_with('^');
                if negated {
                    name.remove(0);
                }
                class.add_unicode(&name)?;
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
            set.fold()?;
        }
        if negated {
            set.invert();
        }
        set.write(&mut self.out);
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

/// The length of a `{n}`, `{n,}` or `{n,m}` that `text` begins with; `None` when the brace is a plain character.
fn repetition(pattern: &[u8]) -> Result<Option<usize>, RegexError> {
    let Some(end) = pattern.iter().position(|&b| b == b'}') else { return Ok(None) };
    let Some(inner) = pattern.get(1..end).and_then(|i| std::str::from_utf8(i).ok()) else { return Ok(None) };
    let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(low) || !(high.is_empty() || digits(high)) || inner == "," {
        return Ok(None);
    }
    let number = |s: &str| s.parse::<u32>().unwrap_or(u32::MAX);
    let (low, high) = (number(low), if high.is_empty() { None } else { Some(number(high)) });
    if low > MAX_REPEAT || high.is_some_and(|h| h > MAX_REPEAT || h < low) {
        return Err(RegexError::RepetitionSize(format!("{{{inner}}}")));
    }
    Ok(Some(end + 1))
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

/// A set of bytes.
#[derive(Default)]
struct Bytes([u128; 2]);

impl Bytes {
    fn contains(&self, b: u8) -> bool {
        let [low, high] = self.0;
        let half = if b < 128 { low } else { high };
        half >> (b & 127) & 1 != 0
    }

    fn add(&mut self, b: u8) {
        let [low, high] = &mut self.0;
        *(if b < 128 { low } else { high }) |= 1 << (b & 127);
    }

    fn add_range(&mut self, from: u8, to: u8) {
        (from..=to).for_each(|b| self.add(b));
    }

    fn add_where(&mut self, holds: impl Fn(u8) -> bool) {
        (0..=255).filter(|&b| holds(b)).for_each(|b| self.add(b));
    }

    fn add_all(&mut self, other: &Bytes) {
        self.add_where(|b| other.contains(b));
    }

    fn invert(&mut self) {
        let [low, high] = self.0;
        self.0 = [!low, !high];
    }

    /// The Latin-1 characters of a Unicode general category or script.
    fn add_unicode(&mut self, name: &str) -> Result<(), RegexError> {
        let named = name == "Any"
            || name.len() <= 2
            || matches!(name, "Latin" | "Common" | "Greek" | "Cyrillic" | "Han");
        let class = named.then(|| regex::Regex::new(&format!("^\\p{{{name}}}$")).ok()).flatten();
        let Some(class) = class else {
            return Err(RegexError::Unsupported(format!("the character class {name}")));
        };
        self.add_where(|b| class.is_match(char::from(b).encode_utf8(&mut [0; 4])) || (name == "Any"));
        Ok(())
    }

    /// Adds the other case of each letter.
    fn fold(&mut self) -> Result<(), RegexError> {
        if (0x80..=0xff).any(|b| self.contains(b)) && !(0x80..=0xff).all(|b| self.contains(b)) {
            return Err(RegexError::Unsupported("a byte above 0x7f below (?i)".to_owned()));
        }
        for b in b'a'..=b'z' {
            if self.contains(b) || self.contains(b.to_ascii_uppercase()) {
                self.add(b);
                self.add(b.to_ascii_uppercase());
            }
        }
        Ok(())
    }

    /// Writes the set as a bracket expression that folds nothing.
    fn write(&self, out: &mut String) {
        let mut ranges = Vec::new();
        let mut b = 0_u16;
        while b < 256 {
            let from = b;
            while b < 256 && self.contains(b as u8) {
                b += 1;
            }
            if b > from {
                ranges.push((from, b - 1));
            }
            b += 1;
        }
        out.push_str("(?-i:[");
        if ranges.is_empty() {
            out.push_str("^\\x00-\\xff");
        }
        for (from, to) in ranges {
            let _ = write!(out, "\\x{from:02x}-\\x{to:02x}");
        }
        out.push_str("])");
    }
}

#[cfg(test)]
mod tests;
