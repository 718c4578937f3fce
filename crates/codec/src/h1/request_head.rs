//! Taking a request head in: the quick way for the common form, and the parts of the general one.

use super::error::{FieldError, RequestError};
use super::options::ServerOptions;
use super::request_line::{self, RequestLine};
use super::{body, fields};
use crate::head::{HeaderMap, Known, RequestHead};

/// Fills in `head` from a head of the common form that is there as a whole; its length, or `None`: what `head` holds
/// then means nothing, and the general way must be taken.
#[inline]
pub(super) fn plain_head(o: &ServerOptions, input: &[u8], head: &mut RequestHead) -> Option<usize> {
    let rules = o.rules();
    if input.len() > fields::PLAIN_INPUT
        || input.len() > o.limits.max_head_bytes as usize
        || !rules.are_plain()
    {
        return None;
    }
    let (line, line_len) = request_line::plain(input)?;
    if line.target.first() != Some(&b'/') || line.method == b"CONNECT" {
        return None;
    }
    request_line::check(line, o.allow_custom_methods).ok()?;
    head.clear();
    let map = &mut head.headers;
    let at = map.load(input);
    map.push_pseudo(Known::Method, at, line.method.len());
    map.push_pseudo(Known::Path, at + line.method.len() + 1, line.target.len());
    Some(line_len + fields::parse_plain(map, at + line_len, input.len() - line_len, rules)?)
}

/// The first line of `bytes`, which holds an LF; `None`: it is spoiled, but not to be judged before the whole head.
#[inline]
pub(super) fn first_line<'b>(
    o: &ServerOptions,
    bytes: &'b [u8],
) -> Result<Option<(RequestLine<'b>, usize)>, RequestError> {
    let most = o.limits.max_head_bytes as usize;
    let parsed = match request_line::plain(bytes) {
        Some(found) if found.1 <= most && request_line::check(found.0, o.allow_custom_methods).is_ok() => {
            Ok(found)
        }
        _ => request_line::parse(bytes, most, o.allow_custom_methods),
    };
    match parsed {
        Ok(found) => Ok(Some(found)),
        // Envoy looks for control characters once the head is whole.
        Err(RequestError::HeaderValue) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The one Content-Length, if there is one. `block`: where to look for what spoils the whole head.
#[inline]
pub(super) fn content_length(map: &HeaderMap, block: &[u8]) -> Result<Option<u64>, RequestError> {
    body::content_length(map).map_err(|_| match fields::worst(block, FieldError::Name) {
        FieldError::Value => RequestError::HeaderValue,
        _ => RequestError::ContentLength,
    })
}

/// Fills in `:scheme`, `:authority` and `:path` from a target that is not in origin form.
pub(super) fn take_target(
    o: &ServerOptions,
    line: RequestLine<'_>,
    map: &mut HeaderMap,
) -> Result<(), RequestError> {
    if line.method == b"CONNECT" {
        if !request_line::valid_connect_target(line.target) {
            // The log then names no host, whatever Host says.
            map.remove(Known::Authority);
            return Err(RequestError::Url);
        }
        map.set(Known::Authority, line.target);
        return Ok(());
    }
    let asterisk = line.target.first() == Some(&b'*');
    if (asterisk && line.method == b"OPTIONS") || !o.allow_absolute_url {
        map.append(Known::Path, line.target);
        return Ok(());
    }
    let target = request_line::absolute(line.target)?;
    map.append(Known::Scheme, target.scheme);
    map.set(Known::Authority, target.authority);
    map.append(Known::Path, if target.rest.is_empty() { b"/" } else { target.rest });
    Ok(())
}
