//! Where a request may carry a token.

use super::super::query;
use nuncio_codec::head::RequestHead;
use nuncio_core::header::cookie;
use nuncio_core::matcher::query_value;
use std::collections::BTreeMap;

/// Places, in the order in which they are looked at.
#[derive(Debug)]
pub(super) struct Places(Box<[Place]>);

/// A place, and whose tokens may be there.
#[derive(Debug)]
pub(super) struct Place {
    at: At,
    /// One of them empty: anybody's.
    issuers: Vec<Box<str>>,
}

/// The derived order is that in which places are looked at, those of a kind by their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// A header, and what stands before the token in it.
    Header(Box<str>, Box<str>),
    /// A parameter of the query.
    Parameter(Box<str>),
    Cookie(Box<str>),
}

/// Text that should be a token.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) text: String,
    /// The number of its place.
    place: usize,
}

impl Places {
    /// Places, each with the issuer of a provider that looks there.
    pub(super) fn new(of: impl Iterator<Item = (Box<str>, At)>) -> Self {
        let mut places: BTreeMap<At, Vec<Box<str>>> = BTreeMap::new();
        of.for_each(|(issuer, at)| places.entry(at).or_default().push(issuer));
        Self(places.into_iter().map(|(at, issuers)| Place { at, issuers }).collect())
    }

    /// All of them, as [`new`](Self::new) takes them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Box<str>, At)> {
        self.0.iter().flat_map(|place| place.issuers.iter().map(|issuer| (issuer.clone(), place.at.clone())))
    }

    /// What stands at them.
    pub(super) fn find(&self, head: &RequestHead) -> Vec<Found> {
        let mut found = Vec::new();
        for (place, Place { at, .. }) in self.0.iter().enumerate() {
            let mut push = |text: &[u8]| {
                found.push(Found { text: String::from_utf8_lossy(text).into_owned(), place });
            };
            match at {
                At::Header(name, prefix) => {
                    for value in head.headers.get_all(&**name) {
                        if let Some(at) = memchr::memmem::find(value, prefix.as_bytes()) {
                            push(value.get(at + prefix.len()..).unwrap_or_default().trim_ascii_start());
                        }
                    }
                }
                At::Parameter(name) => {
                    let mut value = Vec::new();
                    let path = head.path();
                    let query = memchr::memchr(b'?', path).and_then(|at| path.get(at + 1..));
                    if query.is_some_and(|query| query_value(query, name.as_bytes(), &mut value)) {
                        push(&value);
                    }
                }
                At::Cookie(name) => {
                    if let Some(value) = cookie(&head.headers, name.as_bytes()) {
                        push(value);
                    }
                }
            }
        }
        found
    }

    /// Whether a token of this issuer may be where it was found.
    pub(super) fn allow(&self, found: &Found, issuer: &str) -> bool {
        let place = self.0.get(found.place);
        place.is_some_and(|place| place.issuers.iter().any(|own| own.is_empty() || &**own == issuer))
    }

    /// Takes a token out of its request; cookies stay.
    pub(super) fn remove(&self, found: &Found, head: &mut RequestHead) {
        match self.0.get(found.place).map(|place| &place.at) {
            Some(At::Header(name, _)) => {
                head.headers.remove(&**name);
            }
            Some(At::Parameter(name)) => query::change(head, |parameters, _| {
                parameters.remove(name.as_bytes());
            }),
            Some(At::Cookie(_)) | None => {}
        }
    }
}
