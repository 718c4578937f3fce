//! What a request may not bring along: hop-by-hop headers always, and headers that steer the proxy where the
//! client is not trusted.

use super::forwarded::Client;
use nuncio_codec::head::{HeaderMap, Known, KnownSet, RequestHead};

/// Removed whoever sent them.
const ALWAYS: KnownSet =
    KnownSet::of(&[Known::XEnvoyInternal, Known::KeepAlive, Known::ProxyConnection, Known::TransferEncoding]);

/// Removed unless the request asks for an upgrade.
const UPGRADE: KnownSet = KnownSet::of(&[Known::Connection, Known::Upgrade]);

/// Removed from requests of external clients.
const EXTERNAL: &[Known] = &[
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyUpstreamAltStatName,
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyExpectedRqTimeoutMs,
    Known::XEnvoyForceTrace,
    Known::XEnvoyIpTags,
    Known::XEnvoyOriginalUrl,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyUpstreamStreamDurationMs,
];

/// Removed in addition where the request enters the trusted network.
const EDGE: &[Known] = &[
    Known::XEnvoyDecoratorOperation,
    Known::XEnvoyDownstreamServiceCluster,
    Known::XEnvoyDownstreamServiceNode,
    Known::XEnvoyOriginalPath,
    Known::XEnvoyOriginalHost,
];

const EXTERNAL_SET: KnownSet = KnownSet::of(EXTERNAL);
const EDGE_SET: KnownSet = KnownSet::of(EDGE);

/// Whether a head asks for an upgrade, or grants one: `connection` lists `upgrade` and there is an `upgrade`
/// header. An offer of `h2c` is none, it is ignored.
#[inline]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let Some(upgrade) = headers.get(Known::Upgrade) else { return false };
    !upgrade.eq_ignore_ascii_case(b"h2c")
        && headers
            .get_all(Known::Connection)
            .flat_map(tokens)
            .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// The elements of a comma-separated value.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Removes what belongs to the hop that ends here, and a `referer` that is no URI reference or is repeated.
/// `te` keeps `trailers` only.
#[inline]
pub fn hop_by_hop(head: &mut RequestHead) {
    let headers = &mut head.headers;
    headers.remove_known(ALWAYS);
    if headers.contains_any(UPGRADE) && !is_upgrade(headers) {
        headers.remove_known(UPGRADE);
    }
    if headers.contains(Known::Te) {
        reduce_te(headers);
    }
    if headers.contains(Known::Referer) && !has_one_valid_referer(headers) {
        headers.remove(Known::Referer);
    }
}

fn has_one_valid_referer(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(Known::Referer);
    values.next().is_some_and(referer_is_valid) && values.next().is_none()
}

/// An upgrade request keeps its `te` as it is, and so does one with an empty `te`.
fn reduce_te(headers: &mut HeaderMap) {
    if headers.contains(Known::Upgrade) {
        return;
    }
    let Some(te) = headers.get(Known::Te).filter(|te| !te.is_empty() && *te != b"trailers") else { return };
    if tokens(te).any(|token| token == b"trailers") {
        headers.set(Known::Te, b"trailers");
    } else {
        headers.remove(Known::Te);
    }
}

/// Removes what `client` may not say.
#[inline]
pub fn steering(head: &mut RequestHead, client: Client) {
    if !client.internal {
        head.headers.remove_known(EXTERNAL_SET);
    }
    if client.edge {
        head.headers.remove_known(EDGE_SET);
    }
}

/// Whether `value` is a URI reference as a referer may be (RFC 9110 section 10.1.3): an absolute URL without user
/// information and fragment, or else a relative reference without a fragment.
pub fn referer_is_valid(value: &[u8]) -> bool {
    match absolute_url(value) {
        Some(url_is_plain) => url_is_plain,
        None => relative_reference(value),
    }
}

/// `None` when `value` is no absolute URL; else whether it is without user information and fragment.
fn absolute_url(value: &[u8]) -> Option<bool> {
    let colon = memchr::memchr(b':', value)?;
    let (scheme, rest) = value.split_at_checked(colon)?;
    let scheme_char = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(scheme_char) {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    if rest.iter().any(|b| !b.is_ascii_graphic()) {
        return None;
    }
    let at = memchr::memrchr(b'@', authority);
    let host_port = at.map_or(Some(authority), |at| authority.get(at + 1..))?;
    if !host_and_port_are_valid(host_port) {
        return None;
    }
    let fragment = memchr::memchr(b'#', rest).is_some_and(|hash| hash + 1 < rest.len());
    Some(!fragment && at.is_none_or(|at| at == 0))
}

fn host_and_port_are_valid(text: &[u8]) -> bool {
    let host_end = match text {
        [b'[', ..] => memchr::memchr(b']', text).map_or(0, |bracket| bracket + 1),
        _ => memchr::memchr(b':', text).unwrap_or(text.len()),
    };
    let Some((host, port)) = text.split_at_checked(host_end) else { return false };
    let host_ok = match host {
        [] => false,
        [b'[', inner @ .., b']'] => {
            !inner.is_empty() && inner.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        _ => host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')),
    };
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|d| d.parse::<u16>().is_ok())
        }
        _ => false,
    };
    host_ok && port_ok
}

/// Characters of RFC 3986 only, no fragment, and no colon before the first slash (it would be a scheme).
fn relative_reference(value: &[u8]) -> bool {
    let mut seen_slash = false;
    value.iter().all(|&b| match b {
        b'/' => {
            seen_slash = true;
            true
        }
        b':' => seen_slash,
        b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';'
        | b'=' | b'@' | b'%' | b'?' => true,
        _ => b.is_ascii_alphanumeric(),
    })
}

#[cfg(test)]
mod tests;
