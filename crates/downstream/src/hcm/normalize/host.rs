//! The host's form: trailing dot and port.

use super::Normalization;

/// What is done to the port of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostPort {
    /// It stays.
    #[default]
    Keep,
    /// `strip_matching_host_port`: it goes if it is the port that the connection came to.
    StripMatching,
    /// `strip_any_host_port`.
    StripAny,
}

/// Where the port of `host` begins (at its colon), and the port, if it is a number. The colons of an IPv6
/// address in brackets are not looked at; those of one without are, as Envoy does.
fn port(host: &[u8]) -> Option<(usize, u32)> {
    let colon = memchr::memrchr(b':', host)?;
    if memchr::memrchr(b']', host).is_some_and(|bracket| bracket > colon) {
        return None;
    }
    let digits = std::str::from_utf8(host.get(colon + 1..)?).ok()?;
    Some((colon, digits.parse().ok()?))
}

/// What is left of a host, and the port that was taken from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stripped {
    pub host: Vec<u8>,
    pub port: Option<u32>,
}

/// `host` without what `how` strips; `None` when that is nothing. The dot goes first: at the end or before a
/// colon, whatever follows that.
pub(super) fn strip(host: &[u8], how: &Normalization, local_port: Option<u16>) -> Option<Stripped> {
    let dot = memchr::memrchr(b'.', host)
        .filter(|&dot| how.strip_trailing_host_dot && matches!(host.get(dot + 1), None | Some(b':')));
    let port = port(host).filter(|&(_, port)| match how.host_port {
        HostPort::Keep => false,
        HostPort::StripMatching => local_port.is_some_and(|local| u32::from(local) == port),
        HostPort::StripAny => true,
    });
    if dot.is_none() && port.is_none() {
        return None;
    }
    let end = port.map_or(host.len(), |(colon, _)| colon);
    let host = match dot {
        Some(dot) => [host.get(..dot)?, host.get(dot + 1..end)?].concat(),
        None => host.get(..end)?.to_vec(),
    };
    Some(Stripped { host, port: port.map(|(_, port)| port) })
}

/// Whether every byte of `host` may stand in an authority (RFC 3986 section 3.2, percent signs included).
pub fn authority_is_valid(host: &[u8]) -> bool {
    host.iter().all(|&b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'['
                    | b']'
                    | b'@'
                    | b'%'
            )
    })
}
