//! Connecting to a peer.

use super::{ByteStream, HappyEyeballs, TcpByteStream, UnixByteStream, error_text};
use crate::listen::{Keepalive, OptionState, SocketOption, apply_options, unix_sock_addr};
use crate::sys;
use nuncio_core::address::Address;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use tokio::net::{TcpStream, UnixStream};

/// How to leave the machine (`upstream_bind_config`, `upstream_connection_options`).
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Where connections may come from: the address of the peer's family is taken, else the first. None: the kernel
    /// chooses.
    pub sources: Vec<LocalAddress>,
    /// `freebind`: the source address need not exist.
    pub freebind: bool,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// Options by number, of connections whose source has none of its own.
    pub options: Vec<SocketOption>,
    /// Which of a peer's addresses is tried when.
    pub eyeballs: HappyEyeballs,
}

/// An address that connections come from.
#[derive(Clone, Debug)]
pub struct LocalAddress {
    /// The address; port 0 lets the kernel choose one at connect.
    pub address: SocketAddr,
    /// Options by number, in the place of those that all connections have.
    pub options: Option<Vec<SocketOption>>,
}

impl ConnectOptions {
    /// The source of a connection to `peer`, and the options that go with it.
    fn source_for(&self, peer: SocketAddr) -> (Option<SocketAddr>, &[SocketOption]) {
        let of_family = self.sources.iter().find(|s| s.address.is_ipv4() == peer.is_ipv4());
        let source = of_family.or(self.sources.first());
        let own = source.and_then(|s| s.options.as_deref());
        (source.map(|s| s.address), own.unwrap_or(&self.options))
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Our side could not even try: no descriptor, or the source address cannot be bound.
    Local(io::Error),
    /// The system refused an option of the socket.
    Refused,
    /// The attempt failed at once, as for a Unix socket that does not exist.
    Immediate(io::Error),
    /// The peer or the network refused later.
    Delayed(io::Error),
}

impl ConnectError {
    /// There is no internal listener of that name.
    pub fn no_listener() -> Self {
        Self::Immediate(io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Envoy's words: `delayed connect error: Connection refused`, and for a failure at once
    /// `immediate connect error: No such file or directory|remote address:/path`.
    pub fn transport_failure(&self, peer: &Address) -> String {
        match self {
            Self::Local(e) => error_text(e),
            Self::Refused => String::new(),
            Self::Immediate(e) => {
                format!("immediate connect error: {}|remote address:{peer}", error_text(e))
            }
            Self::Delayed(e) => format!("delayed connect error: {}", error_text(e)),
        }
    }

    /// Whether it is this side's fault.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Refused)
    }
}

/// Connects to `peer`; Nagle's algorithm is off. There is no time limit in here.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(peer: &Address, options: &ConnectOptions) -> Result<Box<dyn ByteStream>, ConnectError> {
    match peer {
        Address::Ip(address) => connect_tcp(*address, options).await,
        Address::Pipe(path) => connect_unix(peer, path, options).await,
        // Only a worker has internal listeners, and it asks them itself.
        Address::Internal(_) => Err(ConnectError::no_listener()),
    }
}

/// Starts a non-blocking connect; that it goes on is no error.
fn start(socket: &Socket, peer: &socket2::SockAddr) -> Result<(), ConnectError> {
    match socket.connect(peer) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        Err(e) => Err(ConnectError::Immediate(e)),
        Ok(()) => Ok(()),
    }
}

async fn connect_tcp(
    peer: SocketAddr,
    options: &ConnectOptions,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    let socket = tcp_socket(peer, options)?;
    start(&socket, &peer.into())?;
    let socket = TcpStream::from_std(socket.into()).map_err(ConnectError::Local)?;
    socket.writable().await.map_err(ConnectError::Delayed)?;
    if let Some(error) = socket.take_error().map_err(ConnectError::Delayed)? {
        return Err(ConnectError::Delayed(error));
    }
    let stream = TcpByteStream::with_peer(socket, peer.into()).map_err(ConnectError::Delayed)?;
    Ok(Box::new(stream))
}

fn tcp_socket(peer: SocketAddr, options: &ConnectOptions) -> Result<Socket, ConnectError> {
    let refused = |_: io::Error| ConnectError::Refused;
    let (source, by_number) = options.source_for(peer);
    let socket = plain_socket(peer).map_err(ConnectError::Local)?;
    if let Some(keepalive) = &options.keepalive {
        keepalive.apply(&SockRef::from(&socket)).map_err(refused)?;
    }
    apply_options(&socket, by_number, OptionState::Prebind).map_err(refused)?;
    bind(&socket, source, options.freebind).map_err(ConnectError::Local)?;
    apply_options(&socket, by_number, OptionState::Bound).map_err(refused)?;
    Ok(socket)
}

fn plain_socket(peer: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Binds a socket to where its connections are to come from, where that is said.
fn bind(socket: &Socket, source: Option<SocketAddr>, freebind: bool) -> io::Result<()> {
    if let Some(source) = source {
        match source {
            SocketAddr::V4(_) if freebind => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) if freebind => socket.set_freebind_v6(true)?,
            _ => {}
        }
        if source.port() == 0 {
            // The port is chosen at connect, so that one is shared between different peers.
            let on = 1_i32.to_ne_bytes();
            sys::set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &on)?;
        } else {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&source.into())?;
    }
    Ok(())
}

async fn connect_unix(
    peer: &Address,
    path: &str,
    options: &ConnectOptions,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    let to = unix_sock_addr(path).map_err(ConnectError::Immediate)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(ConnectError::Local)?;
    socket.set_nonblocking(true).map_err(ConnectError::Local)?;
    apply_options(&socket, &options.options, OptionState::Prebind).map_err(|_| ConnectError::Refused)?;
    start(&socket, &to)?;
    let socket = UnixStream::from_std(socket.into()).map_err(ConnectError::Local)?;
    socket.writable().await.map_err(ConnectError::Delayed)?;
    if let Some(error) = socket.take_error().map_err(ConnectError::Delayed)? {
        return Err(ConnectError::Delayed(error));
    }
    Ok(Box::new(UnixByteStream::new(socket, Address::Pipe("".into()), peer.clone())))
}
