//! Datagrams to one receiver, over UDP or a Unix socket.

use crate::listen::unix_sock_addr;
use nuncio_core::address::Address;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;

/// Sends datagrams to one receiver and never waits.
#[derive(Debug)]
pub struct DatagramSender {
    socket: Socket,
    to: SockAddr,
}

impl DatagramSender {
    /// A sender to this address; nobody has to listen there yet.
    ///
    /// # Errors
    /// No socket can be made, or the path is too long.
    pub fn to(address: &Address) -> io::Result<Self> {
        let (domain, to) = match address {
            Address::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Address::Pipe(path) => (Domain::UNIX, unix_sock_addr(path)?),
            Address::Internal(_) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends a datagram; one that cannot go at once is lost, as it may be on its way.
    pub fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, &self.to);
    }
}
