//! Filters by regular expression, as query parameters give them: found anywhere in a name.

use nuncio_core::matcher::{Regex, RegexError};

/// A compiled filter.
#[derive(Clone, Debug)]
pub(super) struct Search(Regex);

impl Search {
    /// Compiles RE2 syntax.
    pub(super) fn new(pattern: &str) -> Result<Self, RegexError> {
        // On its own first, so that the error names the pattern that was given.
        Regex::new(pattern)?;
        Regex::new(&format!("(?s:.*)(?:{pattern})(?s:.*)")).map(Self)
    }

    /// Whether it is found in `name`.
    pub(super) fn is_match(&self, name: &str) -> bool {
        self.0.is_full_match(name.as_bytes())
    }
}
