//! Options of sockets, as configuration gives them and as the kernel is told.

use crate::sys;
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::socket_option::{
    SocketIpVersion, SocketState, SocketType, Value,
};
use socket2::{Domain, SockRef, Socket};
use std::io;
use std::os::fd::AsFd as _;
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
    /// Compiles the message. `None`: a part is 0, which turns keepalive off.
    pub fn compile(message: pb::TcpKeepalive) -> Option<Self> {
        let pb::TcpKeepalive { keepalive_probes: probes, keepalive_time, keepalive_interval } = message;
        if [probes, keepalive_time, keepalive_interval].contains(&Some(0)) {
            return None;
        }
        let seconds = |value: Option<u32>| value.map(|s| Duration::from_secs(s.into()));
        Some(Self { probes, time: seconds(keepalive_time), interval: seconds(keepalive_interval) })
    }

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
    level: i32,
    name: i32,
    /// An `int` in native order, or bytes.
    value: Box<[u8]>,
    state: OptionState,
    version: SocketIpVersion,
}

impl SocketOption {
    /// Those of the field `socket_options` that are meant for stream sockets. `None`: refused, with every reason
    /// recorded in `cx`.
    pub fn compile_all(messages: Vec<pb::SocketOption>, cx: &CompileContext<'_>) -> Option<Vec<Self>> {
        let count = messages.len();
        let each = |(i, message)| Self::compile(message, &cx.item("socket_options", i));
        let compiled: Vec<_> = messages.into_iter().enumerate().filter_map(each).collect();
        (compiled.len() == count).then(|| compiled.into_iter().flatten().collect())
    }

    /// `Some(None)`: not meant for stream sockets.
    fn compile(message: pb::SocketOption, cx: &CompileContext<'_>) -> Option<Option<Self>> {
        let pb::SocketOption { level, name, value, state, r#type, ip_version } = message;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the system's call takes an int; Envoy cuts to it without a word"
        )]
        let number = |value: i64| value as i32;
        let value: Box<[u8]> = match value {
            Some(Value::IntValue(value)) => Box::new(number(value).to_ne_bytes()),
            Some(Value::BufValue(bytes)) => bytes.into(),
            None => {
                cx.error("a value is required");
                return None;
            }
        };
        let option = Self {
            level: number(level),
            name: number(name),
            value,
            state: match SocketState::try_from(state) {
                Ok(SocketState::StatePrebind) | Err(_) => OptionState::Prebind,
                Ok(SocketState::StateBound) => OptionState::Bound,
                Ok(SocketState::StateListening) => OptionState::Listening,
            },
            version: SocketIpVersion::try_from(ip_version).unwrap_or(SocketIpVersion::Unspecified),
        };
        let SocketType { stream, datagram } = r#type.unwrap_or_default();
        Some((stream.is_some() || datagram.is_none()).then_some(option))
    }

    /// Whether it is meant for sockets of this family.
    fn is_for(&self, family: Domain) -> bool {
        match self.version {
            SocketIpVersion::Unspecified => true,
            SocketIpVersion::Ipv4 => family == Domain::IPV4,
            SocketIpVersion::Ipv6 => family == Domain::IPV6,
        }
    }
}

/// Sets those of `options` that are due in `state`.
///
/// # Errors
/// What the kernel answers to the first that fails.
pub(crate) fn apply_options(socket: &Socket, options: &[SocketOption], state: OptionState) -> io::Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    let family = socket.domain()?;
    let due = |o: &&SocketOption| o.state == state && o.is_for(family);
    options.iter().filter(due).try_for_each(|o| sys::set_option(socket.as_fd(), o.level, o.name, &o.value))
}
