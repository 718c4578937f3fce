//! URI templates: `envoy.path.match.uri_template` and `envoy.path.rewrite.uri_template`.
//!
//! A template is `/`-separated segments: a literal, `*` (one segment), `**` (any rest), or a variable
//! `{name}`, `{name=match}` with literals on both sides. As in Envoy it becomes a regular expression in which
//! a `*` inside a literal keeps its meaning there; a template whose expression does not compile matches
//! nothing.

use nuncio_core::matcher::{Regex, RegexRewrite};
use std::fmt::Write;

/// What a path may consist of besides `/`, as the inside of a character class.
const PCHAR: &str = "a-zA-Z0-9\\-._~%!$&'()+,;:@=*";

/// Most variables of one template.
const MAX_VARIABLES: usize = 5;
/// Longest name of a variable.
const MAX_NAME: usize = 16;

/// Why a template is refused, in Envoy's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("Invalid pattern: \"{0}\"")]
    Pattern(String),
    #[error("Invalid literal: \"{0}\"")]
    Literal(String),
    #[error("Invalid suffix literal: \"{0}\"")]
    Suffix(String),
    #[error("Unmatched variable bracket in mixed pattern: \"{0}\"")]
    Bracket(String),
    #[error("Invalid variable name: \"{0}\"")]
    Name(String),
    #[error(
        "Invalid variable name length (length of \"{0}\" should be at least 1 and no more than {MAX_NAME})"
    )]
    NameLength(String),
    #[error("Repeated variable name: \"{0}\"")]
    Repeated(String),
    #[error("Empty variable match")]
    EmptyMatch,
    #[error("Invalid variable match: \"{0}\"")]
    Match(String),
    #[error("Exceeded variable count limit ({MAX_VARIABLES})")]
    Count,
    #[error("Glob after text glob.")]
    GlobAfterText,
    #[error("Implicit variable path glob after text glob.")]
    VariableAfterText,
    #[error("Prefix match not supported.")]
    PrefixMatch,
}

/// A template that paths are matched against.
#[derive(Debug)]
pub(super) struct TemplateMatch {
    text: Box<str>,
    regex: Option<Regex>,
    expression: Box<str>,
    variables: Box<[Box<str>]>,
}

impl TemplateMatch {
    /// Compiles `text`.
    pub(super) fn new(text: &str) -> Result<Self, TemplateError> {
        let bytes_ok = text.bytes().all(|b| b.is_ascii_graphic());
        let Some(mut rest) = text.strip_prefix('/').filter(|_| bytes_ok) else {
            return Err(TemplateError::Pattern(text.into()));
        };
        let mut parser = Parser { expression: String::from("/"), variables: Vec::new(), after_text: false };
        while !rest.is_empty() {
            let (segment, tail) = split_segment(rest);
            parser.segment(segment, tail.is_some())?;
            if tail.is_some() {
                parser.expression.push('/');
            }
            rest = tail.unwrap_or_default();
        }
        let Parser { expression, variables, after_text: _ } = parser;
        Ok(Self {
            text: text.into(),
            regex: Regex::new(&expression).ok(),
            expression: expression.into(),
            variables: variables.into(),
        })
    }

    /// Whether `path` (without its query) fits.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.regex.as_ref().is_some_and(|r| r.is_full_match(path))
    }

    /// What every matching path begins with.
    pub(super) fn literal_prefix(&self) -> Vec<u8> {
        super::affix::affixes(&self.expression).prefix
    }

    /// The template as configured.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The first segment of `rest`, and what stands behind its `/` (none at the end). Braces hold segments together.
fn split_segment(rest: &str) -> (&str, Option<&str>) {
    let mut depth = 0_usize;
    let end = rest.bytes().position(|b| {
        match b {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        b == b'/' && depth == 0
    });
    match end {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
        None => (rest, None),
    }
}

struct Parser {
    expression: String,
    variables: Vec<Box<str>>,
    /// A `**` stands before.
    after_text: bool,
}

impl Parser {
    fn segment(&mut self, segment: &str, more: bool) -> Result<(), TemplateError> {
        if let Some(suffix) = segment.strip_prefix("**") {
            self.text_glob()?;
            if !suffix.is_empty() && more {
                return Err(TemplateError::PrefixMatch);
            }
            return self.optional_literal(suffix);
        }
        if let Some(suffix) = segment.strip_prefix('*') {
            self.path_glob(TemplateError::GlobAfterText)?;
            return self.optional_literal(suffix);
        }
        let Some((prefix, rest)) = segment.split_once('{') else {
            return self.literal(segment);
        };
        self.optional_literal(prefix)?;
        let Some((inside, suffix)) = rest.split_once('}') else {
            return Err(TemplateError::Bracket(segment.into()));
        };
        if !suffix.bytes().all(is_pchar) {
            return Err(TemplateError::Suffix(suffix.into()));
        }
        self.variable(inside)?;
        self.optional_literal(suffix)
    }

    fn optional_literal(&mut self, text: &str) -> Result<(), TemplateError> {
        if text.is_empty() { Ok(()) } else { self.literal(text) }
    }

    fn literal(&mut self, text: &str) -> Result<(), TemplateError> {
        if text.is_empty() || !text.bytes().all(is_pchar) {
            return Err(TemplateError::Literal(text.into()));
        }
        for c in text.chars() {
            if matches!(c, '$' | '(' | ')' | '+' | '.') {
                self.expression.push('\\');
            }
            self.expression.push(c);
        }
        Ok(())
    }

    fn path_glob(&mut self, after_text: TemplateError) -> Result<(), TemplateError> {
        if self.after_text {
            return Err(after_text);
        }
        self.expression.push('[');
        self.expression.push_str(PCHAR);
        self.expression.push_str("]+");
        Ok(())
    }

    fn text_glob(&mut self) -> Result<(), TemplateError> {
        if self.after_text {
            return Err(TemplateError::GlobAfterText);
        }
        self.after_text = true;
        self.expression.push('[');
        self.expression.push_str(PCHAR);
        self.expression.push_str("/]*");
        Ok(())
    }

    fn variable(&mut self, inside: &str) -> Result<(), TemplateError> {
        let (name, pattern) = match inside.split_once('=') {
            Some((name, pattern)) => (name, Some(pattern)),
            None => (inside, None),
        };
        self.name(name)?;
        self.expression.push('(');
        match pattern {
            None => self.path_glob(TemplateError::VariableAfterText)?,
            Some("") => return Err(TemplateError::EmptyMatch),
            Some(pattern) => self.variable_match(pattern)?,
        }
        self.expression.push(')');
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), TemplateError> {
        let mut bytes = name.bytes();
        let ok = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !ok {
            return Err(TemplateError::Name(name.into()));
        }
        if name.len() > MAX_NAME {
            return Err(TemplateError::NameLength(name.into()));
        }
        if self.variables.iter().any(|v| **v == *name) {
            return Err(TemplateError::Repeated(name.into()));
        }
        if self.variables.len() == MAX_VARIABLES {
            return Err(TemplateError::Count);
        }
        self.variables.push(name.into());
        Ok(())
    }

    fn variable_match(&mut self, pattern: &str) -> Result<(), TemplateError> {
        let mut rest = pattern;
        loop {
            let (segment, tail) = match rest.split_once('/') {
                Some((segment, tail)) => (segment, Some(tail)),
                None => (rest, None),
            };
            match segment {
                "*" => self.path_glob(TemplateError::GlobAfterText)?,
                "**" => self.text_glob()?,
                glob if glob.starts_with('*') => {
                    return Err(TemplateError::Match(glob.trim_start_matches('*').into()));
                }
                literal => self.literal(literal)?,
            }
            match tail {
                None => return Ok(()),
                Some("") => return Err(TemplateError::Match("/".into())),
                Some(tail) => {
                    self.expression.push('/');
                    rest = tail;
                }
            }
        }
    }
}

fn is_pchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=*".contains(&b)
}

/// Why a rewrite template is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemplateRewriteError {
    /// It is no path with `{name}`s.
    Invalid,
    /// It names a variable that the match template does not have.
    Mismatch,
}

/// What a matched path becomes.
#[derive(Debug)]
pub(super) struct TemplateRewrite(RegexRewrite);

impl TemplateRewrite {
    /// Compiles `rewrite` for paths that `matched` takes; `Ok(None)` where `matched` takes none.
    pub(super) fn new(rewrite: &str, matched: &TemplateMatch) -> Result<Option<Self>, TemplateRewriteError> {
        let invalid = TemplateRewriteError::Invalid;
        if !rewrite.starts_with('/') || rewrite.contains("//") {
            return Err(invalid);
        }
        let mut substitution = String::new();
        let mut rest = rewrite;
        while let Some(c) = rest.chars().next() {
            if let Some(tail) = rest.strip_prefix('{') {
                let (name, tail) = tail.split_once('}').ok_or(invalid)?;
                let shape = name.bytes().enumerate().all(|(i, b)| {
                    if i == 0 { b.is_ascii_alphabetic() } else { b.is_ascii_alphanumeric() || b == b'_' }
                });
                if name.is_empty() || !shape {
                    return Err(invalid);
                }
                let at = matched.variables.iter().position(|v| **v == *name);
                let group = at.ok_or(TemplateRewriteError::Mismatch)? + 1;
                // Writing to a String cannot fail.
                let _ = write!(substitution, "\\{group}");
                rest = tail;
            } else {
                if !c.is_ascii() || !(is_pchar(c as u8) || c == '/') {
                    return Err(invalid);
                }
                substitution.push(c);
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        if matched.regex.is_none() {
            return Ok(None);
        }
        let whole = format!("^(?:{})$", matched.expression);
        RegexRewrite::new(&whole, &substitution).map(|r| Some(Self(r))).map_err(|_| invalid)
    }

    /// Appends what `path` (without its query) becomes; whether it fits.
    pub(super) fn write(&self, path: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.replace_all(path, out)
    }
}

#[cfg(test)]
mod tests;
