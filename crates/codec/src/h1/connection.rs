//! What the Connection header of a request does to the other headers.

use super::error::RequestError;
use crate::head::{HeaderMap, Known, Name};
use crate::scan;

/// With this many elements or more, Connection is refused.
const MAX_NOMINATED: usize = 10;
/// A nominated TE of this length or more is refused.
const MAX_TE: usize = 256;

/// Whether a comma-separated list has `token`, in any case.
pub(super) fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.eq_ignore_ascii_case(token) || scan::list(value).any(|item| item.eq_ignore_ascii_case(token))
}

/// Whether the head asks for another protocol: `upgrade` in Connection, and an Upgrade header.
pub(super) fn is_upgrade(map: &HeaderMap) -> bool {
    map.contains(Known::Upgrade) && map.get_all(Known::Connection).any(|v| has_token(v, b"upgrade"))
}

/// What is done about one element of Connection.
enum Nominated {
    /// It is an option of the connection, no header.
    Option,
    /// The header goes.
    Remove,
    /// The header stays.
    Keep,
    /// Its removal would hide where the request came from.
    Refuse,
}

fn nominated(token: &[u8], map: &HeaderMap) -> Nominated {
    let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
    if is("close") || is("keep-alive") || is("upgrade") || is("http2-settings") {
        return Nominated::Option;
    }
    if is("connection") {
        return Nominated::Keep;
    }
    if is("x-forwarded-for")
        || is("x-forwarded-host")
        || is("x-forwarded-proto")
        || token.first() == Some(&b':')
    {
        return Nominated::Refuse;
    }
    match map.get(Known::Te) {
        Some(te) if is("te") && te.len() >= MAX_TE => Nominated::Refuse,
        Some(te) if is("te") && scan::list(te).any(|item| item.eq_ignore_ascii_case(b"trailers")) => {
            Nominated::Keep
        }
        _ => Nominated::Remove,
    }
}

/// Removes the headers that Connection nominates (RFC 9110 section 7.6.1), and their names from Connection. Some
/// must not be removed, and lists of ten or more are not taken: such requests are refused.
pub(super) fn remove_nominated(map: &mut HeaderMap) -> Result<(), RequestError> {
    let Some(value) = map.get(Known::Connection) else { return Ok(()) };
    if [&b"keep-alive"[..], b"Keep-Alive", b"close", b"upgrade", b"Upgrade"].contains(&value) {
        return Ok(());
    }
    if scan::list(value).count() >= MAX_NOMINATED {
        return Err(RequestError::ConnectionHeader);
    }
    let value = value.to_vec();
    let mut kept: Vec<u8> = Vec::with_capacity(value.len());
    let mut dropped = false;
    for token in scan::list(&value) {
        match nominated(token, map) {
            Nominated::Refuse => return Err(RequestError::ConnectionHeader),
            Nominated::Keep => {
                dropped = true;
                continue;
            }
            Nominated::Remove => {
                let lower = token.to_ascii_lowercase();
                let name = if lower == b"host" { Known::Authority.into() } else { Name::new(&lower) };
                if map.remove(name) {
                    dropped = true;
                    continue;
                }
            }
            Nominated::Option => {}
        }
        if !kept.is_empty() {
            kept.push(b',');
        }
        kept.extend_from_slice(token);
    }
    if kept.is_empty() {
        map.remove(Known::Connection);
    } else if dropped {
        map.set(Known::Connection, &kept);
    }
    Ok(())
}

/// Takes those upgrades back that `is_ignored` names; where none is left, nobody has asked for any.
#[cold]
pub(super) fn remove_upgrades(map: &mut HeaderMap, is_ignored: &dyn Fn(&[u8]) -> bool) {
    let kept = |name: Known, keep: &dyn Fn(&[u8]) -> bool| {
        let tokens: Vec<&[u8]> = map.get_all(name).flat_map(scan::list).filter(|token| keep(token)).collect();
        tokens.join(&b","[..])
    };
    let upgrades = kept(Known::Upgrade, &|token| !is_ignored(token));
    if !upgrades.is_empty() {
        map.set(Known::Upgrade, &upgrades);
        return;
    }
    let connection = kept(Known::Connection, &|token| !token.eq_ignore_ascii_case(b"upgrade"));
    map.remove(Known::Upgrade);
    match connection.is_empty() {
        true => drop(map.remove(Known::Connection)),
        false => map.set(Known::Connection, &connection),
    }
}

/// Takes an offer to go on in HTTP/2 back, which is not served (RFC 9113 dropped it); whether there was one.
pub(super) fn remove_h2c(map: &mut HeaderMap) -> bool {
    if !map.get(Known::Upgrade).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"h2c")) {
        return false;
    }
    let kept: Vec<&[u8]> = map
        .get(Known::Connection)
        .into_iter()
        .flat_map(scan::list)
        .filter(|token| {
            !token.eq_ignore_ascii_case(b"upgrade") && !token.eq_ignore_ascii_case(b"http2-settings")
        })
        .collect();
    let kept = kept.join(&b","[..]);
    map.remove(Known::Upgrade);
    map.remove(Known::Http2Settings);
    if kept.is_empty() {
        map.remove(Known::Connection);
    } else {
        map.set(Known::Connection, &kept);
    }
    true
}
