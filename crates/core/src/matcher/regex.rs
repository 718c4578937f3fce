//! Regular expressions as Envoy's configuration writes them (RE2), matched in linear time.

use super::re2::{RegexError, Translated, translate};
use crate::config::CompileContext;
use ::regex::bytes::{self, RegexBuilder};
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;

/// The largest compiled program, in bytes.
const SIZE_LIMIT: usize = 8 << 20;

/// A compiled RE2 pattern over bytes: a byte is a character (Envoy's Latin-1 mode).
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: Box<str>,
    full: bytes::Regex,
    program_size: usize,
}

fn build(pattern: &str) -> Result<bytes::Regex, RegexError> {
    RegexBuilder::new(pattern).unicode(false).size_limit(SIZE_LIMIT).build().map_err(|e| match e {
        ::regex::Error::CompiledTooBig(_) => RegexError::TooLarge,
        e => RegexError::Engine(e.to_string().lines().last().unwrap_or_default().to_owned()),
    })
}

impl Regex {
    /// Compiles `pattern`. Syntax that RE2 refuses is refused in RE2's words.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let Translated { pattern: translated, program_size } = translate(pattern)?;
        let full = build(&format!("\\A(?:{translated})\\z"))?;
        Ok(Self { pattern: pattern.into(), full, program_size })
    }

    /// Whether the whole of `subject` matches.
    #[inline]
    pub fn is_full_match(&self, subject: &[u8]) -> bool {
        self.full.is_match(subject)
    }

    /// The number of instructions of RE2's program for the pattern.
    pub fn program_size(&self) -> usize {
        self.program_size
    }

    /// The pattern as configured.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

/// A compiled RE2 pattern that is looked for anywhere in a text.
#[derive(Clone, Debug)]
pub struct RegexSearch {
    regex: bytes::Regex,
    program_size: usize,
}

impl RegexSearch {
    /// Compiles `pattern`. Syntax that RE2 refuses is refused in RE2's words.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let Translated { pattern, program_size } = translate(pattern)?;
        Ok(Self { regex: build(&pattern)?, program_size })
    }

    /// Whether the pattern matches a part of `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The number of instructions of RE2's program for the pattern.
    pub fn program_size(&self) -> usize {
        self.program_size
    }
}

/// Whether a program of RE2 is within `re2.max_program_size.error_level`; the error is recorded, and so is a warning
/// above `re2.max_program_size.warn_level`. The words are Envoy's.
pub fn program_fits(pattern: &str, size: usize, cx: &CompileContext<'_>) -> bool {
    let limits = cx.regex_limits();
    let said = |most: u64, level: &str| {
        format!(
            "regex '{pattern}' RE2 program size of {size} > max program size of {most} set for the {level} level \
             threshold. Increase configured max program size if necessary."
        )
    };
    let size = size as u64;
    if size > limits.error {
        cx.error(said(limits.error, "error"));
        return false;
    }
    if size > limits.warn {
        cx.warn(said(limits.warn, "warn"));
    }
    true
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for Regex {}

/// A pattern and what its matches become (`envoy.type.matcher.v3.RegexMatchAndSubstitute`).
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    regex: bytes::Regex,
    program_size: usize,
    /// Literal texts and group numbers in turn; `None` when the substitution names a group that the pattern does
    /// not have: then, as in Envoy, nothing is replaced.
    substitution: Option<Vec<Piece>>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<[u8]>),
    Group(usize),
}

/// Why a substitution is refused, in RE2's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubstitutionError {
    /// The pattern.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// A backslash with neither a digit nor a backslash behind it.
    #[error("Rewrite schema error: '\\' must be followed by a digit or '\\'.")]
    Escape,
    /// A backslash at the end.
    #[error("Rewrite schema error: '\\' not allowed at end.")]
    Trailing,
}

impl RegexRewrite {
    /// The message, compiled. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: pb::RegexMatchAndSubstitute, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::RegexMatchAndSubstitute { pattern, substitution } = message;
        let pb::RegexMatcher { regex } = pattern.unwrap_or_default();
        match Self::new(&regex, &substitution) {
            Ok(rewrite) => {
                let cx = cx.field("pattern");
                program_fits(&regex, rewrite.program_size(), &cx.field("regex")).then_some(rewrite)
            }
            Err(error) => {
                cx.error(error.to_string());
                None
            }
        }
    }

    /// Compiles both; `\0` to `\9` in `substitution` stand for the whole match and the groups.
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, SubstitutionError> {
        let Translated { pattern, program_size } = translate(pattern)?;
        let regex = build(&pattern)?;
        let (mut pieces, mut text, mut known) = (Vec::new(), Vec::new(), true);
        let mut bytes = substitution.bytes();
        while let Some(b) = bytes.next() {
            if b != b'\\' {
                text.push(b);
                continue;
            }
            match bytes.next() {
                Some(b'\\') => text.push(b'\\'),
                Some(d @ b'0'..=b'9') => {
                    let group = usize::from(d - b'0');
                    known &= group < regex.captures_len();
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                    pieces.push(Piece::Group(group));
                }
                Some(_) => return Err(SubstitutionError::Escape),
                None => return Err(SubstitutionError::Trailing),
            }
        }
        pieces.push(Piece::Text(text.into()));
        Ok(Self { regex, program_size, substitution: known.then_some(pieces) })
    }

    /// The number of instructions of RE2's program for the pattern.
    pub fn program_size(&self) -> usize {
        self.program_size
    }

    /// Writes `subject` to `out` with every match replaced; whether there was one.
    pub fn replace_all(&self, subject: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(pieces) = &self.substitution else {
            out.extend_from_slice(subject);
            return false;
        };
        let (mut at, mut replaced) = (0, false);
        for captures in self.regex.captures_iter(subject) {
            let Some(whole) = captures.get(0) else { continue };
            out.extend_from_slice(subject.get(at..whole.start()).unwrap_or_default());
            (at, replaced) = (whole.end(), true);
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Group(n) => out.extend_from_slice(captures.get(*n).map_or(&[], |m| m.as_bytes())),
                }
            }
        }
        out.extend_from_slice(subject.get(at..).unwrap_or_default());
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_match_is_replaced_and_groups_are_filled_in() {
        for (pattern, substitution, subject, want) in [
            ("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            ("a", r"[\0\\]", "bab", r"b[a\]b"),
            ("(a)|(b)", r"<\1\2>", "ab", "<a><b>"),
            ("a", r"\3", "bab", "bab"),
        ] {
            let mut out = Vec::new();
            RegexRewrite::new(pattern, substitution).unwrap().replace_all(subject.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{pattern}");
        }
        assert_eq!(RegexRewrite::new("a", r"\x").err(), Some(SubstitutionError::Escape));
        assert_eq!(RegexRewrite::new("a", r"x\").err(), Some(SubstitutionError::Trailing));
    }
}
