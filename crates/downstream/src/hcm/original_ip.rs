//! Where a request came from, when a proxy in front of this one says so
//! (`HttpConnectionManager.original_ip_detection_extensions`, `xff_num_trusted_hops`).

use nuncio_codec::head::{HeaderMap, Known, Name};
use nuncio_core::address::Address;
use nuncio_core::matcher::CidrList;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// Whether an address is one of the private networks of RFC 1918 and RFC 4193 or this machine itself.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4 == Ipv4Addr::LOCALHOST,
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
    }
}

/// An address without brackets and port; an IPv6 scope has to be a number. Its port is 0.
pub fn parse_ip(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 0));
    }
    let (ip, scope) = text.split_once('%')?;
    Some(SocketAddrV6::new(ip.parse().ok()?, 0, 0, scope.parse().ok()?).into())
}

/// An address found in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The address; its port is 0.
    pub address: SocketAddr,
    /// Whether it may count as internal.
    pub trusted: bool,
}

/// The address in X-Forwarded-For that has `skip` others behind it. It is trusted to be internal when it is
/// the only one. An empty last element spoils the value, as it does in Envoy.
pub fn from_xff(headers: &HeaderMap, skip: u32) -> Option<Found> {
    let mut rest = headers.get(Known::XForwardedFor)?;
    for _ in 0..skip {
        rest = rest.get(..memchr::memrchr(b',', rest)?)?;
    }
    let comma = memchr::memrchr(b',', rest);
    if let Some(comma) = comma
        && let Some(last) = rest.get(comma + 1..)
        && !last.is_empty()
    {
        rest = last;
    }
    let address = parse_ip(rest.trim_ascii())?;
    Some(Found { address, trusted: comma.is_none() && skip == 0 })
}

/// The last address in X-Forwarded-For that is not one of `proxies`; the first one where all are. Nothing
/// when what stands behind it is no address.
fn behind_proxies(headers: &HeaderMap, proxies: &CidrList) -> Option<Found> {
    let mut last = None;
    for element in headers.get(Known::XForwardedFor)?.rsplit(|&b| b == b',') {
        let address = parse_ip(element.trim_ascii())?;
        last = Some(Found { address, trusted: false });
        if !proxies.contains(address.ip()) {
            break;
        }
    }
    last
}

fn is_in(proxies: &CidrList, peer: &Address) -> bool {
    peer.ip().is_some_and(|ip| proxies.contains(ip))
}

/// One way to find the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// `envoy.extensions.http.original_ip_detection.xff.v3.XffConfig`.
    Xff {
        /// Which of the addresses counts.
        trust: XffTrust,
        /// The peer's address is not appended.
        skip_append: bool,
    },
    /// `envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig`.
    CustomHeader {
        /// The header, in lower case.
        name: Box<str>,
        /// Its address may count as internal.
        trusted: bool,
        /// The status of the answer to a request without the header, if there is to be one.
        reject: Option<u16>,
    },
}

/// Which address of X-Forwarded-For the XFF detection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XffTrust {
    /// `xff_num_trusted_hops`: so many proxies stand between the client and the peer.
    Hops(u32),
    /// `xff_trusted_cidrs`: the addresses of the proxies.
    Proxies(CidrList),
}

/// What one detection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// The client's address.
    Address(Found),
    /// Nothing; the next detection is asked.
    Nothing,
    /// Nothing, and the request is to be answered with this status.
    Reject(u16),
}

impl Detection {
    /// Looks for the client's address. `peer` is who sent the request.
    pub fn detect(&self, headers: &HeaderMap, peer: &Address) -> Detected {
        let found = match self {
            Self::Xff { trust: XffTrust::Hops(hops), .. } => from_xff(headers, *hops),
            Self::Xff { trust: XffTrust::Proxies(proxies), .. } if is_in(proxies, peer) => {
                behind_proxies(headers, proxies)
            }
            Self::Xff { trust: XffTrust::Proxies(_), .. } => None,
            Self::CustomHeader { name, trusted, .. } => headers
                .get(Name::new(name.as_bytes()))
                .and_then(|value| parse_ip(value.trim_ascii()))
                .map(|address| Found { address, trusted: *trusted }),
        };
        match (found, self) {
            (Some(found), _) => Detected::Address(found),
            (None, Self::CustomHeader { reject: Some(status), .. }) => Detected::Reject(*status),
            (None, _) => Detected::Nothing,
        }
    }

    /// Whether the peer's address is appended to X-Forwarded-For when this detection was asked, whatever it
    /// found. A peer that is no trusted proxy is appended even where that is switched off, as Envoy does.
    pub fn appends(&self, peer: &Address) -> bool {
        match self {
            Self::Xff { skip_append: false, .. } => true,
            Self::Xff { trust: XffTrust::Proxies(proxies), .. } => !is_in(proxies, peer),
            Self::Xff { trust: XffTrust::Hops(_), .. } | Self::CustomHeader { .. } => false,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
