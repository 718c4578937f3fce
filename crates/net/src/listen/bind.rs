//! Making sockets that listen.

use super::options::{Keepalive, OptionState, SocketOption, apply_options};
use crate::sys;
use nuncio_core::address::Address;
use nuncio_core::config::{self, CompileContext};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;

/// How to listen at one address.
#[derive(Clone, Debug)]
pub struct ListenSpec {
    /// Where; port 0 lets the kernel choose one, the same for all workers.
    pub address: Address,
    /// A socket per worker with SO_REUSEPORT; otherwise the workers share one.
    pub reuse_port: bool,
    /// `tcp_backlog_size`; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// An IPv6 socket takes IPv4 peers too (`ipv4_compat`).
    pub ipv4_compat: bool,
    /// `freebind`: the address need not exist yet.
    pub freebind: bool,
    /// `transparent`: the address need not be ours.
    pub transparent: bool,
    /// `tcp_fast_open_queue_length`.
    pub fast_open: Option<u32>,
    /// TCP keepalive of accepted connections.
    pub keepalive: Option<Keepalive>,
    /// `enable_mptcp`: a Multipath TCP socket, which takes plain TCP connections too.
    pub mptcp: bool,
    /// Options by number.
    pub options: Vec<SocketOption>,
    /// Access bits of a Unix socket's path; 0 leaves what the process's mask gives.
    pub mode: u32,
}

impl ListenSpec {
    /// Compiles the address of a listener; its other fields are still to be set. `None`: refused, and the reason is
    /// recorded in `cx`.
    pub fn compile(address: &pb::Address, cx: &CompileContext<'_>) -> Option<Self> {
        let compat = config::ipv4_compat(address);
        let (mode, address) = (config::pipe_mode(address), config::address(address, cx)?);
        if let (true, Address::Ip(ip)) = (compat, &address)
            && !takes_ipv4(ip.ip())
        {
            cx.error(format!(
                "Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat: {ip}"
            ));
            return None;
        }
        Some(Self { ipv4_compat: compat, mode, ..Self::new(address) })
    }

    /// What a listener without further fields has.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            reuse_port: true,
            backlog: 4096,
            ipv4_compat: false,
            freebind: false,
            transparent: false,
            fast_open: None,
            keepalive: None,
            mptcp: false,
            options: Vec::new(),
            mode: 0,
        }
    }
}

/// Whether an IPv6 socket at this address can have IPv4 peers: `::`, or an IPv4 address mapped.
fn takes_ipv4(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unspecified() || v6.to_ipv4_mapped().is_some())
}

/// An address that could not be bound: `cannot bind '127.0.0.1:80': Address already in use`.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What the kernel said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind '{}': {}", self.address, crate::stream::error_text(&self.error))
    }
}

impl std::error::Error for BindError {}

/// A listening socket that is not yet part of any worker's runtime.
#[derive(Debug)]
pub struct BoundSocket {
    pub(super) socket: Socket,
    pub(super) address: Address,
    /// Whether this socket made the path that must go when the listener ends.
    pub(super) unix: bool,
}

impl BoundSocket {
    /// Where it listens; the port is the true one.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// One listening socket for each of `workers` (at least one).
///
/// # Errors
/// The address, and what the kernel said.
pub fn bind(spec: &ListenSpec, workers: usize) -> Result<Vec<BoundSocket>, BindError> {
    let fail = |error| BindError { address: spec.address.clone(), error };
    match &spec.address {
        Address::Ip(address) => bind_tcp(spec, *address, workers).map_err(fail),
        Address::Pipe(path) => bind_unix(spec, path, workers).map_err(fail),
        // It has no socket.
        Address::Internal(_) => Ok(Vec::new()),
    }
}

fn bind_tcp(spec: &ListenSpec, mut address: SocketAddr, workers: usize) -> io::Result<Vec<BoundSocket>> {
    let mut sockets: Vec<BoundSocket> = Vec::with_capacity(workers.max(1));
    while sockets.len() < workers.max(1) {
        let socket = match sockets.first() {
            Some(first) if !spec.reuse_port => first.socket.try_clone()?,
            _ => tcp_socket(spec, address)?,
        };
        if let Some(bound) = socket.local_addr()?.as_socket() {
            address = bound;
        }
        sockets.push(BoundSocket { socket, address: address.into(), unix: false });
    }
    Ok(sockets)
}

fn tcp_socket(spec: &ListenSpec, address: SocketAddr) -> io::Result<Socket> {
    let protocol = if spec.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if let Some(keepalive) = &spec.keepalive {
        // Accepted sockets inherit it. Options by number come later and win.
        keepalive.apply(&SockRef::from(&socket))?;
    }
    if spec.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!spec.ipv4_compat)?;
    }
    match address {
        SocketAddr::V4(_) => {
            if spec.freebind {
                socket.set_freebind_v4(true)?;
            }
            if spec.transparent {
                socket.set_ip_transparent_v4(true)?;
            }
        }
        SocketAddr::V6(_) => {
            if spec.freebind {
                socket.set_freebind_v6(true)?;
            }
            if spec.transparent {
                let on = 1_i32.to_ne_bytes();
                sys::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, &on)?;
            }
        }
    }
    apply_options(&socket, &spec.options, OptionState::Prebind)?;
    socket.bind(&address.into())?;
    apply_options(&socket, &spec.options, OptionState::Bound)?;
    if let Some(queue) = spec.fast_open {
        let queue = i32::try_from(queue).unwrap_or(i32::MAX).to_ne_bytes();
        sys::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &queue)?;
    }
    socket.listen(i32::try_from(spec.backlog).unwrap_or(i32::MAX))?;
    apply_options(&socket, &spec.options, OptionState::Listening)?;
    Ok(socket)
}

fn bind_unix(spec: &ListenSpec, path: &str, workers: usize) -> io::Result<Vec<BoundSocket>> {
    use std::os::unix::fs::PermissionsExt as _;
    let is_path = !path.starts_with('@');
    if is_path && Path::new(path).exists() {
        // A socket that nobody serves any more stands in the way of its successor.
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    apply_options(&socket, &spec.options, OptionState::Prebind)?;
    socket.bind(&unix_sock_addr(path)?)?;
    if is_path && spec.mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(spec.mode))?;
    }
    apply_options(&socket, &spec.options, OptionState::Bound)?;
    socket.listen(i32::try_from(spec.backlog).unwrap_or(i32::MAX))?;
    apply_options(&socket, &spec.options, OptionState::Listening)?;
    let mut sockets = Vec::with_capacity(workers.max(1));
    for _ in 1..workers.max(1) {
        let socket = socket.try_clone()?;
        sockets.push(BoundSocket { socket, address: spec.address.clone(), unix: true });
    }
    sockets.push(BoundSocket { socket, address: spec.address.clone(), unix: true });
    Ok(sockets)
}

/// The socket address of a path, or of an abstract name after `@`.
pub(crate) fn unix_sock_addr(path: &str) -> io::Result<SockAddr> {
    match path.strip_prefix('@') {
        Some(name) => SockAddr::unix(Path::new(&format!("\0{name}"))),
        None => SockAddr::unix(Path::new(path)),
    }
}
