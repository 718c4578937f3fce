//! Network addresses as configuration, logs and balancers name them.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Where a socket is bound or connected (`envoy.config.core.v3.Address`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port; `Display` as `1.2.3.4:80` and `[::1]:80`.
    Ip(SocketAddr),
    /// A Unix domain socket; `Display` is its path (abstract ones with a leading `@`).
    Pipe(Arc<str>),
    /// A listener of this process; `Display` as `envoy://NAME/ID`.
    Internal(Arc<InternalAddress>),
}

/// Where there is no socket (`envoy.config.core.v3.EnvoyInternalAddress`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InternalAddress {
    /// `server_listener_name`
    pub listener: Box<str>,
    /// `endpoint_id`: tells apart what one listener serves; empty without one.
    pub endpoint: Box<str>,
}

impl InternalAddress {
    /// The address of whoever connects to an internal listener.
    pub const CLIENT: &'static str = "internal_client_address";
}

impl fmt::Display for InternalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "envoy://{}/{}", self.listener, self.endpoint)
    }
}

impl Address {
    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(a) => Some(a.ip()),
            Self::Pipe(_) | Self::Internal(_) => None,
        }
    }

    /// Appends what `Display` prints.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ip(SocketAddr::V4(a)) => {
                write_v4(*a.ip(), Some(a.port()), out);
            }
            Self::Ip(SocketAddr::V6(_)) | Self::Internal(_) => {
                let _ = write!(out, "{self}");
            }
            Self::Pipe(p) => out.extend_from_slice(p.as_bytes()),
        }
    }

    /// Appends the address without its port; what has none whole.
    pub fn write_ip_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ip(SocketAddr::V4(a)) => write_v4(*a.ip(), None, out),
            Self::Ip(SocketAddr::V6(a)) => {
                let _ = write!(out, "{}", a.ip());
            }
            Self::Pipe(p) => out.extend_from_slice(p.as_bytes()),
            Self::Internal(a) => {
                let _ = write!(out, "{a}");
            }
        }
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(a) => Some(a.port()),
            Self::Pipe(_) | Self::Internal(_) => None,
        }
    }
}

fn write_v4(ip: Ipv4Addr, port: Option<u16>, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let end = put_v4(ip, &mut text, 0);
    out.extend_from_slice(text.get(..end).unwrap_or_default());
    if let Some(port) = port {
        out.push(b':');
        push_port(port, out);
    }
}

/// Writes dotted decimals at `at`, where there must be room for 16 bytes; where they end. The general formatter costs
/// several hundred instructions, and a request may need an address in four places.
#[inline]
pub fn put_v4<const N: usize>(ip: Ipv4Addr, text: &mut [u8; N], at: usize) -> usize {
    let mut at = at;
    for octet in ip.octets() {
        let (digits, len) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
        // Up to two bytes too many, which the next octet overwrites.
        if let Some(place) = text.get_mut(at..at + digits.len()) {
            place.copy_from_slice(&digits);
        }
        at += usize::from(len);
    }
    at - 1
}

/// Each octet's digits with a dot behind them, and how many bytes that is.
static OCTETS: [([u8; 4], u8); 256] = octets();

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn octets() -> [([u8; 4], u8); 256] {
    let mut all = [([0; 4], 0); 256];
    let mut n = 0;
    while n < 256 {
        let [hundreds, tens, ones] = [n / 100, n / 10 % 10, n % 10];
        let [a, b, c] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        all[n] = match n {
            0..10 => ([c, b'.', 0, 0], 2),
            10..100 => ([b, c, b'.', 0], 3),
            _ => ([a, b, c, b'.'], 4),
        };
        n += 1;
    }
    all
}

fn push_port(n: u16, out: &mut Vec<u8>) {
    let [a, b, c, d, e] =
        [n / 10_000, n / 1000 % 10, n / 100 % 10, n / 10 % 10, n % 10].map(|d| b'0' + d as u8);
    match n {
        10_000.. => out.extend_from_slice(&[a, b, c, d, e]),
        1000.. => out.extend_from_slice(&[b, c, d, e]),
        100.. => out.extend_from_slice(&[c, d, e]),
        10.. => out.extend_from_slice(&[d, e]),
        _ => out.push(e),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(a) => a.fmt(f),
            Self::Pipe(p) => f.write_str(p),
            Self::Internal(a) => a.fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(a: SocketAddr) -> Self {
        Self::Ip(a)
    }
}
