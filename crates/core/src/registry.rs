//! Tables of extension factories, found by the full name of their configuration message.

/// The factories of one kind of extension, sorted by the full protobuf name of the message that configures
/// them (what stands after the last `/` of a type URL).
pub struct Table<F: ?Sized> {
    entries: Vec<(&'static str, Box<F>)>,
}

/// Two factories claim one configuration message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two factories for '{0}'")]
pub struct DuplicateFactory(pub &'static str);

impl<F: ?Sized> Default for Table<F> {
    /// A table without factories.
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<F: ?Sized> Table<F> {
    /// A table of `entries`, in any order. A name that occurs twice is a fault of the program, which the
    /// test of the table finds.
    pub fn new(mut entries: Vec<(&'static str, Box<F>)>) -> Result<Self, DuplicateFactory> {
        entries.sort_by_key(|(name, _)| *name);
        let twice = entries.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(*a),
            _ => None,
        });
        twice.map_or(Ok(Self { entries }), |name| Err(DuplicateFactory(name)))
    }

    /// The factory for `type_url`, or for a bare message name.
    pub fn get(&self, type_url: &str) -> Option<&F> {
        let name = type_url.rsplit_once('/').map_or(type_url, |(_, name)| name);
        let at = self.entries.binary_search_by_key(&name, |(n, _)| n).ok()?;
        self.entries.get(at).map(|(_, factory)| &**factory)
    }

    /// The message names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.iter().map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&'static str]) -> Result<Table<str>, DuplicateFactory> {
        Table::new(names.iter().map(|n| (*n, Box::from(*n))).collect())
    }

    #[test]
    fn factories_are_found_by_type_url_and_listed_in_order() {
        let t = table(&["b.v3.B", "a.v3.A"]).unwrap();
        assert_eq!(t.names().collect::<Vec<_>>(), ["a.v3.A", "b.v3.B"]);
        assert_eq!(t.get("type.googleapis.com/b.v3.B"), Some("b.v3.B"));
        assert_eq!(t.get("a.v3.A"), Some("a.v3.A"));
        assert_eq!(t.get("type.googleapis.com/c.v3.C"), None);
    }

    #[test]
    fn a_name_that_occurs_twice_is_an_error() {
        assert_eq!(table(&["b", "a", "b"]).err(), Some(DuplicateFactory("b")));
    }
}
