//! The machine's own address, which stands for a loopback peer in `x-forwarded-for` as in Envoy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// A destination that is never answered (RFC 5737); nothing is sent to it.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The IPv4 address that connections to other machines leave from; loopback on a machine without one.
pub fn own_address() -> IpAddr {
    let route = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Connecting a datagram socket chooses a route and sends nothing.
        socket.connect(ANYWHERE)?;
        socket.local_addr()
    };
    route().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
