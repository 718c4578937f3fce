//! What YAML and JSON have in common: a stream of tokens with positions.

use crate::place::Mark;
use std::borrow::Cow;

/// One token. Within a map the tokens alternate between a key, which is always [`Token::Str`], and a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Map,
    EndMap,
    List,
    EndList,
    Null,
    Bool(bool),
    /// A bare number, as written or as YAML resolves it.
    Number(Cow<'a, str>),
    Str(Cow<'a, str>),
    End,
}

impl Token<'_> {
    /// The token in words, for errors.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Map => "a mapping".into(),
            Token::List => "a list".into(),
            Token::Null => "null".into(),
            Token::Bool(value) => format!("the boolean {value}"),
            Token::Number(text) => format!("the number {text}"),
            Token::Str(text) => format!("the string '{}'", shorten(text)),
            Token::EndMap | Token::EndList | Token::End => "the end".into(),
        }
    }
}

/// At most 120 characters of a value for an error.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(120) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// The text cannot be read on: no YAML or JSON from here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyntaxError {
    pub(crate) mark: Mark,
    pub(crate) message: String,
}

pub(crate) type Next<'a> = Result<(Token<'a>, Mark), SyntaxError>;

/// A reader of one text form.
pub(crate) trait Source<'a> {
    /// The next token; after the document's value [`Token::End`].
    fn next(&mut self) -> Next<'a>;

    /// True where a repeated key replaces what the first one gave (YAML); else it adds to it (JSON).
    fn last_key_replaces(&self) -> bool;
}

/// A source that tokens can be given back to.
pub(crate) struct Tokens<'a, 's> {
    source: &'s mut dyn Source<'a>,
    /// Given back, the next one last.
    back: Vec<(Token<'a>, Mark)>,
}

impl<'a, 's> Tokens<'a, 's> {
    pub(crate) fn new(source: &'s mut dyn Source<'a>) -> Self {
        Tokens { source, back: Vec::new() }
    }

    pub(crate) fn last_key_replaces(&self) -> bool {
        self.source.last_key_replaces()
    }

    pub(crate) fn next(&mut self) -> Next<'a> {
        match self.back.pop() {
            Some(token) => Ok(token),
            None => self.source.next(),
        }
    }

    /// Gives back a run of tokens in the order in which they were read.
    pub(crate) fn give_back_all(&mut self, tokens: Vec<(Token<'a>, Mark)>) {
        self.back.extend(tokens.into_iter().rev());
    }

    /// Reads the rest of a value whose first token is `first`.
    pub(crate) fn skip(&mut self, first: &Token<'a>) -> Result<(), SyntaxError> {
        let mut depth = depth_of(first);
        while depth > 0 {
            depth = depth.saturating_add_signed(step_of(&self.next()?.0));
        }
        Ok(())
    }

    /// Reads one value, its first token included, into `into`.
    pub(crate) fn copy(&mut self, into: &mut Vec<(Token<'a>, Mark)>) -> Result<(), SyntaxError> {
        let mut depth = 0usize;
        loop {
            let (token, mark) = self.next()?;
            depth = depth.saturating_add_signed(step_of(&token));
            into.push((token, mark));
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

fn depth_of(first: &Token<'_>) -> usize {
    usize::from(matches!(first, Token::Map | Token::List))
}

fn step_of(token: &Token<'_>) -> isize {
    match token {
        Token::Map | Token::List => 1,
        Token::EndMap | Token::EndList => -1,
        _ => 0,
    }
}
