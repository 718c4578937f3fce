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
}

impl Address {
    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(a) => Some(a.ip()),
            Self::Pipe(_) => None,
        }
    }

    /// Appends what `Display` prints.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ip(SocketAddr::V4(a)) => {
                write_v4(*a.ip(), Some(a.port()), out);
            }
            Self::Ip(SocketAddr::V6(_)) => {
                let _ = write!(out, "{self}");
            }
            Self::Pipe(p) => out.extend_from_slice(p.as_bytes()),
        }
    }

    /// Appends the address without its port; a pipe's path.
    pub fn write_ip_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ip(SocketAddr::V4(a)) => write_v4(*a.ip(), None, out),
            Self::Ip(SocketAddr::V6(a)) => {
                let _ = write!(out, "{}", a.ip());
            }
            Self::Pipe(p) => out.extend_from_slice(p.as_bytes()),
        }
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(a) => Some(a.port()),
            Self::Pipe(_) => None,
        }
    }
}

/// The general formatter costs several hundred instructions; a log line has two addresses.
fn write_v4(ip: Ipv4Addr, port: Option<u16>, out: &mut Vec<u8>) {
    let [a, b, c, d] = ip.octets();
    for octet in [a, b, c] {
        push_octet(octet, b'.', out);
    }
    push_octet(d, b':', out);
    match port {
        Some(port) => push_port(port, out),
        None => drop(out.pop()),
    }
}

/// Appends an octet and what stands behind it.
#[inline]
fn push_octet(n: u8, then: u8, out: &mut Vec<u8>) {
    let [hundreds, tens, ones] = [n / 100, n / 10 % 10, n % 10].map(|d| b'0' + d);
    match n {
        100.. => out.extend_from_slice(&[hundreds, tens, ones, then]),
        10.. => out.extend_from_slice(&[tens, ones, then]),
        _ => out.extend_from_slice(&[ones, then]),
    }
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
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(a: SocketAddr) -> Self {
        Self::Ip(a)
    }
}
