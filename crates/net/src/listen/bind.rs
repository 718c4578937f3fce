//! Making sockets that listen.

use crate::sys;
use nuncio_core::address::Address;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// TCP keepalive (`envoy.config.core.v3.TcpKeepalive`); unset parts are the kernel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Probes without an answer before the connection is dropped.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

impl Keepalive {
    /// Sets it on a socket.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        let mut keepalive = socket2::TcpKeepalive::new();
        if let Some(probes) = self.probes {
            keepalive = keepalive.with_retries(probes);
        }
        if let Some(time) = self.time {
            keepalive = keepalive.with_time(time);
        }
        if let Some(interval) = self.interval {
            keepalive = keepalive.with_interval(interval);
        }
        socket.set_tcp_keepalive(&keepalive)
    }
}

/// When a socket option is set (`SocketOption.SocketState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionState {
    /// Before the socket is bound.
    Prebind,
    /// After it is bound, before it listens.
    Bound,
    /// Once it listens.
    Listening,
}

/// A socket option by number (`envoy.config.core.v3.SocketOption`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOption {
    /// `level` of setsockopt.
    pub level: i32,
    /// `optname` of setsockopt.
    pub name: i32,
    /// Its value, an `int` in native order or bytes.
    pub value: Box<[u8]>,
    /// When.
    pub state: OptionState,
}

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
    /// Options by number.
    pub options: Vec<SocketOption>,
    /// Access bits of a Unix socket's path; 0 leaves what the process's mask gives.
    pub mode: u32,
}

impl ListenSpec {
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
            options: Vec::new(),
            mode: 0,
        }
    }
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
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
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
    if let Some(keepalive) = &spec.keepalive {
        // Accepted sockets inherit it.
        keepalive.apply(&SockRef::from(&socket))?;
    }
    socket.listen(i32::try_from(spec.backlog).unwrap_or(i32::MAX))?;
    apply_options(&socket, &spec.options, OptionState::Listening)?;
    Ok(socket)
}

/// Sets those of `options` that are due in `state`.
///
/// # Errors
/// What the kernel answers to the first that fails.
pub(crate) fn apply_options(
    socket: &impl AsFd,
    options: &[SocketOption],
    state: OptionState,
) -> io::Result<()> {
    options
        .iter()
        .filter(|o| o.state == state)
        .try_for_each(|o| sys::set_option(socket.as_fd(), o.level, o.name, &o.value))
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
