//! Where fields stand, kept for explanations.

use crate::config::{CompileContext, Place};
use std::fmt;

/// A field of the configuration: its path, and the nearest place that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The path from the root.
    pub path: String,
    /// Where it stands, or what it would stand in.
    pub place: Option<Place>,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.path, self.place) {
            ("", None) => f.write_str("the configuration"),
            (path, None) => f.write_str(path),
            (path, Some(place)) => write!(f, "{path} ({place})"),
        }
    }
}

/// Where a message stands, and those of its fields that explanations name. A few bytes for each field that is set.
#[derive(Clone, Debug, Default)]
pub struct FieldPlaces {
    path: Box<str>,
    place: Option<Place>,
    names: &'static [&'static str],
    fields: Box<[Field]>,
}

/// A field that explanations name.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Among the names.
    number: u8,
    /// Whether the place is its own, and not that of a message around it.
    is_set: bool,
    place: Place,
}

impl FieldPlaces {
    /// Of the message at `cx`. The names of fields below it have `/` between them; what is not set stands where the
    /// nearest message around it does.
    pub fn new(cx: &CompileContext<'_>, names: &'static [&'static str]) -> Self {
        let whole = cx.place();
        let found = (0_u8..).zip(names).filter_map(|(number, name)| {
            let place = cx.place_below(name.split('/'))?;
            let around = name.rsplit_once('/').map_or(whole, |(around, _)| cx.place_below(around.split('/')));
            let is_set = Some(place) != around;
            (Some(place) != whole).then_some(Field { number, is_set, place })
        });
        Self { path: cx.path().into(), place: whole, names, fields: found.collect() }
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The message itself.
    pub fn whole(&self) -> Spot {
        Spot { path: self.path.to_string(), place: self.place }
    }

    /// Whether this field was named, and is set.
    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some_and(|field| field.is_set)
    }

    fn field(&self, name: &str) -> Option<&Field> {
        let number = self.names.iter().position(|known| *known == name)?;
        self.fields.iter().find(|field| usize::from(field.number) == number)
    }

    /// One of the fields that were named, or another one, whose place is then that of the nearest one around it.
    pub fn spot(&self, name: &str) -> Spot {
        let ends = name.rmatch_indices('/').map(|(at, _)| at);
        let around = std::iter::once(name.len()).chain(ends).filter_map(|end| name.get(..end));
        let place = around.filter_map(|name| self.field(name)).map(|field| field.place).next().or(self.place);
        let mut path = self.path.to_string();
        for part in name.split('/') {
            if part.contains('.') {
                path.push_str(&format!("[{part:?}]"));
            } else {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(part);
            }
        }
        Spot { path, place }
    }
}
