//! Queries of paths, changed by name.

use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use std::collections::BTreeMap;

/// A query's values by name, in their order.
pub(super) type Parameters = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Changes the parameters of a request's path; `change` sees its headers too. A query that is changed leaves, as in
/// Envoy, sorted by its names and with its escapes undone; unlike there, blanks and control characters stay escaped, so
/// that no one writes a second request into the first.
pub(super) fn change(head: &mut RequestHead, change: impl FnOnce(&mut Parameters, &HeaderMap)) {
    with_parameters(head, decoded, change);
}

fn with_parameters(
    head: &mut RequestHead,
    read: fn(&[u8]) -> Vec<u8>,
    change: impl FnOnce(&mut Parameters, &HeaderMap),
) {
    let path = head.path();
    let (before, query) = match memchr::memchr(b'?', path).and_then(|at| path.split_at_checked(at)) {
        Some((before, query)) => (before, query.get(1..).unwrap_or_default()),
        None => (path, &[][..]),
    };
    let mut parameters = parse(query, read);
    change(&mut parameters, &head.headers);
    let mut out = before.to_vec();
    let mut separator = b'?';
    for (key, values) in &parameters {
        for value in values {
            out.push(separator);
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(value);
            separator = b'&';
        }
    }
    head.headers.set(Known::Path, &out);
}

/// Sets and removes parameters of a request's path; the others stay as they are, escapes too. The query leaves sorted
/// by its names; what may not stand in a request's target is escaped.
pub(super) fn rewrite(head: &mut RequestHead, set: &[(Vec<u8>, Vec<u8>)], remove: &[Vec<u8>]) {
    let clean = |text: &[u8]| escape_controls(text.iter().copied());
    with_parameters(
        head,
        |text| text.to_vec(),
        |parameters, _| {
            for (key, value) in set {
                parameters.insert(clean(key), vec![clean(value)]);
            }
            for key in remove {
                parameters.remove(key);
            }
        },
    );
}

fn parse(query: &[u8], decoded: fn(&[u8]) -> Vec<u8>) -> Parameters {
    let mut parameters = Parameters::new();
    for pair in query.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        let (key, value) = match memchr::memchr(b'=', pair).and_then(|at| pair.split_at_checked(at)) {
            Some((key, value)) => (key, value.get(1..).unwrap_or_default()),
            None => (pair, &[][..]),
        };
        parameters.entry(decoded(key)).or_default().push(decoded(value));
    }
    parameters
}

/// Escapes undone, except those of what may not stand in a request's target.
fn decoded(text: &[u8]) -> Vec<u8> {
    escape_controls(percent_encoding::percent_decode(text))
}

/// Blanks and control characters as escapes.
fn escape_controls(text: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text {
        if byte == b' ' || byte.is_ascii_control() {
            out.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}
