//! The machine's own address, which stands for a loopback peer in `x-forwarded-for` as in Envoy.

use crate::cli::IpVersion;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The address that connections to other machines leave from, of the version that `--local-address-ip-version` names;
/// loopback on a machine without one.
pub fn own_address(version: IpVersion) -> IpAddr {
    // Destinations that are never answered (RFC 5737, RFC 3849); nothing is sent to them.
    let (unspecified, anywhere, loopback): (IpAddr, IpAddr, IpAddr) = match version {
        IpVersion::V4 => {
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::LOCALHOST.into())
        }
        IpVersion::V6 => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            Ipv6Addr::LOCALHOST.into(),
        ),
    };
    let route = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        // Connecting a datagram socket chooses a route and sends nothing.
        socket.connect((anywhere, 9))?;
        socket.local_addr()
    };
    route().map_or(loopback, |address| address.ip())
}
