//! What is wrong with a configuration, and where.

use crate::place::Place;
use std::collections::HashSet;
use std::fmt;

/// What kind of fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is no YAML or JSON.
    Syntax,
    /// The message has no such field.
    UnknownField,
    /// An `@type` that nobody knows.
    UnknownType,
    /// A value that does not fit its field.
    Value,
    /// A constraint of the proto file is broken.
    Constraint,
    /// Envoy knows it, nuncio does not yet.
    Unbuilt,
    /// Deprecated: a warning.
    Deprecated,
    /// Everything a compile step finds: references, combinations, files.
    Compile,
}

/// One fault of a configuration. Prints as `FILE:LINE:COL: path: message (did you mean 'x'?)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where; `None` where the source has no positions.
    pub place: Option<Place>,
    /// The field path from the bootstrap or the resource; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The nearest name, for a near miss.
    pub hint: Option<String>,
    /// What kind of fault.
    pub kind: ErrorKind,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (did you mean '{hint}'?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// All faults of a configuration, by position. Prints one a line.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Errors(Vec<ConfigError>);

impl Errors {
    /// Sorts the faults by position, those without one last; what is told twice stays once.
    pub fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| (error.place.is_none(), error.place));
        let mut told = HashSet::new();
        let mut place = None;
        errors.retain(|error| {
            if error.place != place {
                place = error.place;
                told.clear();
            }
            told.insert((error.path.clone(), error.message.clone()))
        });
        Errors(errors)
    }

    /// The faults by position.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<ConfigError> for Errors {
    fn from(error: ConfigError) -> Self {
        Errors(vec![error])
    }
}

impl IntoIterator for Errors {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
