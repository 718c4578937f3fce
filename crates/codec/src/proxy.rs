//! The PROXY protocol, versions 1 and 2: what a load balancer says of a client before the client's own bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What stands before everything in version 1.
const V1: &[u8] = b"PROXY ";
/// Bytes of a line of version 1 at most, its end included.
const V1_MAX: usize = 108;
/// What stands before everything in version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const V2_FIXED: usize = 16;

/// Versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary, with further fields behind the addresses.
    V2,
}

/// Which versions are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Version 1.
    pub v1: bool,
    /// Version 2.
    pub v2: bool,
}

/// A field of version 2: its type and its value.
pub type Tlv = (u8, Box<[u8]>);

/// What was said of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The client, and what it connected to; none where nothing is known of them (`UNKNOWN`, `LOCAL`).
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Further fields in their order.
    pub tlvs: Vec<Tlv>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Too few bytes to tell.
    Incomplete,
    /// No version that is looked for.
    None,
    /// A head of so many bytes.
    Found(Version, Said, usize),
    /// It begins as one and is none.
    Bad(Version),
}

/// Looks for a head at the beginning of `bytes`.
pub fn parse(bytes: &[u8], wanted: Wanted) -> Head {
    for (version, mark, wanted) in [(Version::V2, V2, wanted.v2), (Version::V1, V1, wanted.v1)] {
        if !wanted {
            continue;
        }
        if bytes.len() < mark.len() && mark.starts_with(bytes) {
            return Head::Incomplete;
        }
        if bytes.starts_with(mark) {
            let parsed = match version {
                Version::V1 => text(bytes),
                Version::V2 => binary(bytes),
            };
            return match parsed {
                Ok(Some((said, length))) => Head::Found(version, said, length),
                Ok(None) => Head::Incomplete,
                Err(Malformed) => Head::Bad(version),
            };
        }
    }
    Head::None
}

/// It is no head after all.
struct Malformed;

/// A head and its length; `None`: it is not all there yet.
type Parsed = Result<Option<(Said, usize)>, Malformed>;

fn text(bytes: &[u8]) -> Parsed {
    let window = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < V1_MAX { Ok(None) } else { Err(Malformed) };
    };
    let line = window.get(V1.len()..end).and_then(|l| std::str::from_utf8(l).ok()).ok_or(Malformed)?;
    let fields: Vec<&str> = line.split(' ').collect();
    let addresses = match fields.as_slice() {
        ["UNKNOWN", ..] => None,
        [family, source, destination, source_port, destination_port] => {
            let ip = |text: &str| -> Result<IpAddr, Malformed> {
                match *family {
                    "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Malformed),
                    "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Malformed),
                    _ => Err(Malformed),
                }
            };
            let port = |text: &str| -> Result<u16, Malformed> {
                // As in Envoy, it may have a sign.
                text.parse().map_err(|_| Malformed)
            };
            let source = SocketAddr::new(ip(source)?, port(source_port)?);
            Some((source, SocketAddr::new(ip(destination)?, port(destination_port)?)))
        }
        _ => return Err(Malformed),
    };
    let said = Said { addresses: checked(addresses)?, tlvs: Vec::new() };
    Ok(Some((said, end + 2)))
}

fn binary(bytes: &[u8]) -> Parsed {
    let Some(&[command, family, high, low]) = bytes.get(V2.len()..V2_FIXED).and_then(|b| b.first_chunk())
    else {
        return Ok(None);
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed),
    };
    // What is wrong is told before the rest has come.
    if !local && (!matches!(family, 0x11 | 0x12 | 0x21 | 0x22) || length < V2_FIXED + addresses_of(family)) {
        return Err(Malformed);
    }
    let Some(body) = bytes.get(V2_FIXED..length) else { return Ok(None) };
    if local {
        return Ok(Some((Said::default(), length)));
    }
    let (addresses, rest) = body.split_at_checked(addresses_of(family)).ok_or(Malformed)?;
    let addresses = checked(pair(addresses))?;
    Ok(Some((Said { addresses, tlvs: tlvs(rest)? }, length)))
}

/// Bytes that the addresses of a family take.
fn addresses_of(family: u8) -> usize {
    if family >> 4 == 1 { 12 } else { 36 }
}

fn pair(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ips, ports) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let (source, destination) = ips.split_at_checked(ips.len() / 2)?;
    let ip = |bytes: &[u8]| -> Option<IpAddr> {
        match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
            _ => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        }
    };
    let &[a, b, c, d] = ports.first_chunk()?;
    let source = SocketAddr::new(ip(source)?, u16::from_be_bytes([a, b]));
    Some((source, SocketAddr::new(ip(destination)?, u16::from_be_bytes([c, d]))))
}

/// Both must be addresses that one peer can have.
#[allow(clippy::type_complexity, reason = "the type of `Said::addresses`")]
fn checked(
    addresses: Option<(SocketAddr, SocketAddr)>,
) -> Result<Option<(SocketAddr, SocketAddr)>, Malformed> {
    let unicast = |a: &SocketAddr| match a.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    match &addresses {
        Some((source, destination)) if !unicast(source) || !unicast(destination) => Err(Malformed),
        _ => Ok(addresses),
    }
}

/// The fields behind the addresses: they must end where the head does (CVE-2026-47692).
fn tlvs(mut bytes: &[u8]) -> Result<Vec<Tlv>, Malformed> {
    let mut list = Vec::new();
    while !bytes.is_empty() {
        let (&[kind, high, low], rest) = bytes.split_first_chunk().ok_or(Malformed)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        list.push((kind, value.into()));
        bytes = rest;
    }
    Ok(list)
}

/// Writes a head. Where there are no addresses, or not of one family, it says that nothing is known. Version 1 has no
/// room for fields, version 2 for 65,535 bytes of them: those that do not fit are left out.
pub fn write(version: Version, said: &Said, out: &mut Vec<u8>) {
    let addresses = said.addresses.filter(|(source, destination)| source.is_ipv4() == destination.is_ipv4());
    match (version, addresses) {
        (Version::V1, None) => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        (Version::V1, Some((source, destination))) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            let line = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
            out.extend_from_slice(line.as_bytes());
        }
        (Version::V2, None) => {
            out.extend_from_slice(V2);
            out.extend_from_slice(&[0x20, 0, 0, 0]);
        }
        (Version::V2, Some((source, destination))) => {
            let mut body = Vec::new();
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
                }
            }
            body.extend_from_slice(&source.port().to_be_bytes());
            body.extend_from_slice(&destination.port().to_be_bytes());
            for (kind, value) in &said.tlvs {
                let Ok(length) = u16::try_from(value.len()) else { continue };
                if body.len() + 3 + value.len() > usize::from(u16::MAX) {
                    continue;
                }
                body.push(*kind);
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(value);
            }
            out.extend_from_slice(V2);
            out.extend_from_slice(&[0x21, if source.is_ipv4() { 0x11 } else { 0x21 }]);
            // Not more than fits, as was seen to above.
            out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&body);
        }
    }
}

#[cfg(test)]
mod tests;
