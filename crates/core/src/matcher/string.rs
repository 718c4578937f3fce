//! `envoy.type.matcher.v3.StringMatcher`.

use super::{Regex, program_fits};
use crate::config::CompileContext;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
use std::fmt;

/// A compiled `StringMatcher`: one pattern over bytes.
#[derive(Clone, Debug)]
pub struct StringMatcher {
    pattern: Pattern,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    Regex(Box<Regex>),
}

impl StringMatcher {
    /// Compiles the message. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &pb::StringMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        use pb::string_matcher::MatchPattern;
        let pb::StringMatcher { match_pattern, ignore_case } = message;
        // Without case, both sides are folded once: the pattern here, the subject where it is compared.
        let text = |s: &str| -> Box<[u8]> {
            if *ignore_case { s.to_ascii_lowercase().into_bytes().into() } else { s.as_bytes().into() }
        };
        let pattern = match match_pattern {
            Some(MatchPattern::Exact(s)) => Pattern::Exact(text(s)),
            Some(MatchPattern::Prefix(s)) => Pattern::Prefix(text(s)),
            Some(MatchPattern::Suffix(s)) => Pattern::Suffix(text(s)),
            Some(MatchPattern::Contains(s)) => Pattern::Contains(text(s)),
            Some(MatchPattern::SafeRegex(_)) if *ignore_case => {
                cx.field("ignore_case").error("ignore_case has no effect for safe_regex.");
                return None;
            }
            Some(MatchPattern::SafeRegex(r)) => {
                Pattern::Regex(Box::new(compile_regex(r, &cx.field("safe_regex"))?))
            }
            None => {
                cx.error("match_pattern: value is required");
                return None;
            }
        };
        Some(Self { pattern, ignore_case: *ignore_case })
    }

    /// Equality with `text`.
    pub fn exact(text: &str) -> Self {
        Self { pattern: Pattern::Exact(text.as_bytes().into()), ignore_case: false }
    }

    /// The pattern of a regular expression, matched against the whole subject.
    pub fn regex(regex: Regex) -> Self {
        Self { pattern: Pattern::Regex(Box::new(regex)), ignore_case: false }
    }

    pub(super) fn prefix(text: &str) -> Self {
        Self { pattern: Pattern::Prefix(text.as_bytes().into()), ignore_case: false }
    }

    pub(super) fn suffix(text: &str) -> Self {
        Self { pattern: Pattern::Suffix(text.as_bytes().into()), ignore_case: false }
    }

    pub(super) fn contains(text: &str) -> Self {
        Self { pattern: Pattern::Contains(text.as_bytes().into()), ignore_case: false }
    }

    /// Whether `subject` matches.
    #[inline]
    pub fn matches(&self, subject: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| if self.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
        match &self.pattern {
            Pattern::Exact(p) => same(subject, p),
            Pattern::Prefix(p) => subject.get(..p.len()).is_some_and(|head| same(head, p)),
            Pattern::Suffix(p) => subject
                .len()
                .checked_sub(p.len())
                .and_then(|at| subject.get(at..))
                .is_some_and(|tail| same(tail, p)),
            Pattern::Contains(p) => p.is_empty() || subject.windows(p.len()).any(|w| same(w, p)),
            Pattern::Regex(r) => r.is_full_match(subject),
        }
    }

    /// The literal that a subject must equal, byte for byte, where the matcher is that.
    pub fn as_exact(&self) -> Option<&[u8]> {
        match &self.pattern {
            Pattern::Exact(p) if !self.ignore_case => Some(p),
            _ => None,
        }
    }
}

impl fmt::Display for StringMatcher {
    /// Its field and text, as in `prefix "/v1"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text): (_, &[u8]) = match &self.pattern {
            Pattern::Exact(p) => ("exact", p),
            Pattern::Prefix(p) => ("prefix", p),
            Pattern::Suffix(p) => ("suffix", p),
            Pattern::Contains(p) => ("contains", p),
            Pattern::Regex(r) => ("safe_regex", r.pattern().as_bytes()),
        };
        write!(f, "{kind} \"{}\"", text.escape_ascii())?;
        if self.ignore_case { f.write_str(" (ignore_case)") } else { Ok(()) }
    }
}

/// Compiles a `RegexMatcher`; a pattern that RE2 refuses is refused in its words.
pub fn compile_regex(message: &pb::RegexMatcher, cx: &CompileContext<'_>) -> Option<Regex> {
    let pb::RegexMatcher { regex } = message;
    match Regex::new(regex) {
        Ok(regex) => program_fits(regex.pattern(), regex.program_size(), &cx.field("regex")).then_some(regex),
        Err(error) => {
            cx.field("regex").error(error.to_string());
            None
        }
    }
}
