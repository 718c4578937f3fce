//! Request lines (RFC 9112 section 3) and the forms of their targets.

use super::error::RequestError;
use crate::scan::{self, Window};

/// The parts of a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub version: LineVersion,
}

/// The version of a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineVersion {
    /// HTTP/1.1.
    Http11,
    /// Any other `HTTP/` digit `.` digit, which counts as HTTP/1.0.
    Other,
    /// None (HTTP/0.9): the line is the whole request.
    Absent,
}

/// Parses the line at the beginning of `bytes`, which holds at least one LF. The answer's second part is the
/// length of the line with its end, at most `most`.
pub(super) fn parse(
    bytes: &[u8],
    most: usize,
    custom_methods: bool,
) -> Result<(RequestLine<'_>, usize), RequestError> {
    let (line, len) = any(bytes, most)?;
    check(line, custom_methods)?;
    Ok((line, len))
}

/// Whether the method is known and the target has a form that targets have.
#[inline]
pub(super) fn check(line: RequestLine<'_>, custom_methods: bool) -> Result<(), RequestError> {
    if !valid_method(line.method, custom_methods) {
        return Err(RequestError::Method);
    }
    if line.target.first() != Some(&b'/') && !valid_target(line.target, line.method == b"CONNECT") {
        return Err(RequestError::Target);
    }
    Ok(())
}

/// The line at the beginning of `bytes` if it has the common form, `method SP target SP HTTP/1.1 CR LF`; a method
/// that [`check`] does not pass may have anything in it, line ends too.
#[inline(always)]
pub(super) fn plain(bytes: &[u8]) -> Option<(RequestLine<'_>, usize)> {
    let method_len = Window::load(bytes.first_chunk()?).equal(b' ').first();
    let (method, rest) = bytes.split_at_checked(method_len)?;
    let [b' ', rest @ ..] = rest else { return None };
    let (target, rest) = rest.split_at_checked(scan::graphic_end(rest))?;
    const REST: &[u8; 11] = b" HTTP/1.1\r\n";
    let version = rest.first_chunk::<{ REST.len() }>()?;
    let plain = version == REST && !method.is_empty() && !target.is_empty();
    plain.then_some((
        RequestLine { method, target, version: LineVersion::Http11 },
        method.len() + 1 + target.len() + REST.len(),
    ))
}

/// Any line: the parts stand apart by blanks, tabs and bare CRs.
#[cold]
fn any(bytes: &[u8], most: usize) -> Result<(RequestLine<'_>, usize), RequestError> {
    let len = bytes.iter().position(|&b| b == b'\n').ok_or(RequestError::RequestLine)? + 1;
    if len > most {
        return Err(RequestError::HeadersTooLarge);
    }
    let line = bytes.get(..len).unwrap_or_default();
    if scan::has_stray_controls(line) {
        return Err(RequestError::HeaderValue);
    }
    let (method, rest) = island(scan::trim(line));
    let (target, rest) = island(rest);
    if method.is_empty() || target.is_empty() {
        return Err(RequestError::RequestLine);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(RequestError::Target);
    }
    let version = match scan::trim(rest) {
        b"" => LineVersion::Absent,
        b"HTTP/1.1" => LineVersion::Http11,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            LineVersion::Other
        }
        _ => return Err(RequestError::Version),
    };
    Ok((RequestLine { method, target, version }, len))
}

/// The bytes up to white space, and what follows that.
pub(super) fn island(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|&b| b <= b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    (word, scan::trim(rest))
}

#[inline]
fn valid_method(method: &[u8], custom_methods: bool) -> bool {
    match method {
        b"GET" | b"HEAD" | b"POST" => true,
        b"ACL" | b"BIND" | b"CHECKOUT" | b"CONNECT" | b"COPY" | b"DELETE" | b"LINK" | b"LOCK" | b"MERGE"
        | b"MKACTIVITY" | b"MKCALENDAR" | b"MKCOL" | b"MOVE" | b"MSEARCH" | b"NOTIFY" | b"OPTIONS"
        | b"PATCH" | b"PROPFIND" | b"PROPPATCH" | b"PURGE" | b"PUT" | b"QUERY" | b"REBIND" | b"REPORT"
        | b"SEARCH" | b"SOURCE" | b"SUBSCRIBE" | b"TRACE" | b"UNBIND" | b"UNLINK" | b"UNLOCK"
        | b"UNSUBSCRIBE" => true,
        other => custom_methods && other.iter().copied().all(scan::is_token),
    }
}

/// Whether a target that does not begin with `/` has a form that targets have.
fn valid_target(target: &[u8], connect: bool) -> bool {
    if target.first() == Some(&b'*') {
        return true;
    }
    let rest = if connect {
        target
    } else {
        let Some(at) = target.windows(3).position(|w| w == b"://") else { return false };
        let (scheme, rest) = target.split_at_checked(at).unwrap_or_default();
        let scheme_char = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(scheme_char) {
            return false;
        }
        rest.get(3..).unwrap_or_default()
    };
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default();
    scan::is_authority(host) && !host.windows(2).any(|w| w == b"@@")
}

/// An absolute-form target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AbsoluteTarget<'a> {
    pub scheme: &'a [u8],
    pub authority: &'a [u8],
    /// What follows the authority; it may be empty.
    pub rest: &'a [u8],
}

/// Takes an absolute target apart. User information is left out, as it names nobody here.
pub(super) fn absolute(target: &[u8]) -> Result<AbsoluteTarget<'_>, RequestError> {
    let at = target.windows(3).position(|w| w == b"://").ok_or(RequestError::Url)?;
    let (scheme, rest) = target.split_at_checked(at).ok_or(RequestError::Url)?;
    let rest = rest.get(3..).unwrap_or_default();
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).ok_or(RequestError::Url)?;
    let authority = authority.rsplit(|&b| b == b'@').next().unwrap_or(authority);
    if !valid_host_and_port(authority, false) {
        return Err(RequestError::Url);
    }
    let scheme: &[u8] = match scheme {
        _ if scheme.eq_ignore_ascii_case(b"http") => b"http",
        _ if scheme.eq_ignore_ascii_case(b"https") => b"https",
        _ => return Err(RequestError::Scheme),
    };
    Ok(AbsoluteTarget { scheme, authority, rest })
}

/// Whether the target of a CONNECT is `host:port`.
pub(super) fn valid_connect_target(target: &[u8]) -> bool {
    valid_host_and_port(target, true)
}

/// A host name, an IPv4 address, or an IPv6 address in brackets, and a port up to 65535.
fn valid_host_and_port(authority: &[u8], port_needed: bool) -> bool {
    let bracket = authority.iter().position(|&b| b == b']').map_or(0, |at| at + 1);
    let colon = authority.iter().skip(bracket).position(|&b| b == b':').map(|at| at + bracket);
    let (host, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((host, port)) => (host, port.get(1..)),
        None => (authority, None),
    };
    let valid_host = match host {
        [b'[', address @ .., b']'] => {
            address.contains(&b':')
                && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        name => {
            !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        }
    };
    valid_host && port.map_or(!port_needed, valid_port)
}

fn valid_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0_u32, |n, b| {
        b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u32::from(b - b'0')))
    });
    !port.is_empty() && number.is_some_and(|n| n <= 65_535)
}
