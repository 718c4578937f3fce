//! What every compile step shares: the context, and the small messages that recur.

use crate::address::{Address, InternalAddress};
use crate::stream_info::Metadata;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::envoy_internal_address::AddressNameSpecifier;
use nuncio_proto::pb::envoy::config::core::v3::socket_address::Protocol;
use nuncio_proto::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use nuncio_proto::context::{CompileContext, RegexLimits, Reported, Sink, Unsupported, type_name};
pub use nuncio_proto::error::{ConfigError, Errors};
pub use nuncio_proto::place::Place;

/// A `google.protobuf.Duration`; a negative one is refused.
pub fn duration(value: &prost_types::Duration, cx: &CompileContext<'_>) -> Option<Duration> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(value.seconds), u32::try_from(value.nanos)) else {
        cx.error(format!(
            "Invalid duration: Expected positive duration: seconds: {} nanos: {}",
            value.seconds, value.nanos
        ));
        return None;
    };
    Some(Duration::new(seconds, nanos))
}

/// A timeout: `default` where the field is not set, `None` (off) where it is less than a millisecond.
pub fn timeout(
    value: Option<&prost_types::Duration>,
    default: Option<Duration>,
    cx: &CompileContext<'_>,
) -> Option<Duration> {
    match value {
        None => default,
        Some(value) => duration(value, cx).map(whole_millis).filter(|d| !d.is_zero()),
    }
}

/// A time as Envoy's timers count it: in whole milliseconds, what is beyond them cut off.
pub fn whole_millis(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000)
}

/// A fraction with the denominator that was configured: Envoy compares `random % denominator` with the
/// numerator, so 1/100 and 100/10000 hit different numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

impl Fraction {
    /// Always.
    pub const ALWAYS: Self = Self { numerator: 100, denominator: 100 };

    /// `numerator` of `denominator`; never for a denominator of 0.
    pub const fn new(numerator: u32, denominator: u32) -> Self {
        Self { numerator, denominator }
    }

    /// As many hits, but not more than `numerator` of the same denominator.
    pub fn at_most(self, numerator: u32) -> Self {
        Self { numerator: self.numerator.min(numerator), ..self }
    }

    /// Whether nothing hits.
    #[inline]
    pub fn is_never(self) -> bool {
        self.numerator == 0 || self.denominator == 0
    }

    /// Whether `random` hits.
    #[inline]
    pub fn hit(self, random: u64) -> bool {
        random.checked_rem(u64::from(self.denominator)).is_some_and(|r| r < u64::from(self.numerator))
    }

    /// Hits in a million, rounded down.
    pub fn per_million(self) -> u32 {
        let millionths = u64::from(self.numerator) * 1_000_000;
        millionths.checked_div(u64::from(self.denominator)).unwrap_or(0).min(1_000_000) as u32
    }
}

/// An `envoy.type.v3.FractionalPercent`; above one is always.
pub fn fraction(value: &FractionalPercent) -> Fraction {
    let FractionalPercent { numerator, denominator } = value;
    Fraction::new(
        *numerator,
        match DenominatorType::try_from(*denominator) {
            Ok(DenominatorType::Hundred) | Err(_) => 100,
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
        },
    )
}

/// Metadata by namespace. Nothing that is built reads `typed_filter_metadata`.
pub fn metadata(message: pb::Metadata) -> Arc<Metadata> {
    let pb::Metadata { filter_metadata, typed_filter_metadata: _ } = message;
    Arc::new(filter_metadata)
}

/// An `envoy.config.core.v3.Address`: an IP address and port, or a Unix socket's path.
pub fn address(value: &pb::Address, cx: &CompileContext<'_>) -> Option<Address> {
    let pb::Address { address } = value;
    match address {
        Some(pb::address::Address::SocketAddress(socket)) => {
            socket_address(socket, &cx.field("socket_address")).map(Address::Ip)
        }
        Some(pb::address::Address::Pipe(pb::Pipe { path, mode })) => {
            if path.starts_with('@') && *mode != 0 {
                cx.field("pipe").field("mode").error("Cannot set mode for Abstract AF_UNIX sockets");
                return None;
            }
            Some(Address::Pipe(path.as_str().into()))
        }
        Some(pb::address::Address::EnvoyInternalAddress(_)) => {
            cx.field("envoy_internal_address").error("there is no socket at an internal address");
            None
        }
        None => {
            cx.error("value is required");
            None
        }
    }
}

/// As [`address`], of a host, which may be a listener of this process.
pub fn host_address(value: &pb::Address, cx: &CompileContext<'_>) -> Option<Address> {
    match &value.address {
        Some(pb::address::Address::EnvoyInternalAddress(internal)) => {
            let pb::EnvoyInternalAddress { endpoint_id, address_name_specifier } = internal;
            let Some(AddressNameSpecifier::ServerListenerName(name)) = address_name_specifier else {
                cx.field("envoy_internal_address").error("server_listener_name is required");
                return None;
            };
            let (listener, endpoint) = (name.as_str().into(), endpoint_id.as_str().into());
            Some(Address::Internal(Arc::new(InternalAddress { listener, endpoint })))
        }
        _ => address(value, cx),
    }
}

/// As [`address`], where datagrams go, which `protocol: UDP` may say.
pub fn datagram_address(value: &pb::Address, cx: &CompileContext<'_>) -> Option<Address> {
    match &value.address {
        Some(pb::address::Address::SocketAddress(socket)) => {
            let streams = pb::SocketAddress { protocol: Protocol::Tcp as i32, ..socket.clone() };
            socket_address(&streams, &cx.field("socket_address")).map(Address::Ip)
        }
        _ => address(value, cx),
    }
}

/// Whether a listening IPv6 socket at this address takes IPv4 peers too (`SocketAddress.ipv4_compat`).
pub fn ipv4_compat(value: &pb::Address) -> bool {
    matches!(&value.address, Some(pb::address::Address::SocketAddress(socket)) if socket.ipv4_compat)
}

/// The access bits of a listening Unix socket's path (`Pipe.mode`); 0 where nothing says so.
pub fn pipe_mode(value: &pb::Address) -> u32 {
    match &value.address {
        Some(pb::address::Address::Pipe(pipe)) => pipe.mode,
        _ => 0,
    }
}

/// An `envoy.config.core.v3.SocketAddress` that is an IP address and port.
pub fn socket_address(value: &pb::SocketAddress, cx: &CompileContext<'_>) -> Option<SocketAddr> {
    let (name, port) = name_and_port(value, cx)?;
    match name.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) => {
            cx.field("address").error(format!(
                "malformed IP address: {name}. Consider setting resolver_name or setting cluster type to \
                 'STRICT_DNS' or 'LOGICAL_DNS'"
            ));
            None
        }
    }
}

/// An `envoy.config.core.v3.SocketAddress` whose host may be a name that is to be looked up.
pub fn name_and_port<'a>(value: &'a pb::SocketAddress, cx: &CompileContext<'_>) -> Option<(&'a str, u16)> {
    // Whoever binds asks `ipv4_compat`.
    let pb::SocketAddress { protocol, address, port_specifier, ipv4_compat: _ } = value;
    if *protocol == Protocol::Udp as i32 {
        cx.field("protocol").unsupported("UDP is not supported here yet");
        return None;
    }
    if ["protocol", "resolver_name", "network_namespace_filepath"].into_iter().any(|field| cx.told_of(field))
    {
        // Each of them says what the address means.
        return None;
    }
    let port = match port_specifier {
        Some(pb::socket_address::PortSpecifier::PortValue(port)) => u16::try_from(*port).ok(),
        None => {
            cx.error("a port is required");
            return None;
        }
    };
    let Some(port) = port else {
        cx.field("port_value").error("a port is at most 65535");
        return None;
    };
    Some((address, port))
}

/// The bytes that an `envoy.config.core.v3.DataSource` names, read now. An unset one is `None` without an
/// error.
pub fn data_source(value: &pb::DataSource, cx: &CompileContext<'_>) -> Option<Vec<u8>> {
    if matches!(value.specifier, Some(pb::data_source::Specifier::Filename(_)))
        && value.watched_directory.is_some()
    {
        cx.field("watched_directory").unsupported("nobody watches this source yet");
        return None;
    }
    data_source_read_once(value, cx)
}

/// As [`data_source`], of a source that Envoy too reads once, whatever its `watched_directory` says.
pub fn data_source_read_once(value: &pb::DataSource, cx: &CompileContext<'_>) -> Option<Vec<u8>> {
    use pb::data_source::Specifier;
    let pb::DataSource { specifier, watched_directory: _ } = value;
    match specifier.as_ref()? {
        Specifier::InlineString(text) => Some(text.clone().into_bytes()),
        Specifier::InlineBytes(bytes) => Some(bytes.clone()),
        Specifier::Filename(path) => match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                cx.field("filename").error(format!("Invalid path: {path}: {error}"));
                None
            }
        },
        Specifier::EnvironmentVariable(name) => match std::env::var(name) {
            Ok(text) => Some(text.into_bytes()),
            Err(_) => {
                cx.field("environment_variable").error(format!("Environment variable doesn't exist: {name}"));
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_switches_a_timeout_off_and_a_fraction_of_a_millisecond_is_one() {
        let sink = Sink::new(Unsupported::Refuse);
        let cx = CompileContext::root(&sink, "", None);
        let of = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(timeout(None, Some(Duration::MAX), &cx), Some(Duration::MAX));
        assert_eq!(timeout(Some(&of(0, 0)), Some(Duration::MAX), &cx), None);
        assert_eq!(timeout(Some(&of(0, 999_999)), None, &cx), None, "timers count milliseconds");
        assert_eq!(timeout(Some(&of(2, 1_999_999)), None, &cx), Some(Duration::from_millis(2001)));
        assert!(!sink.has_errors());
        assert_eq!(timeout(Some(&of(-1, 0)), None, &cx), None);
        assert!(sink.has_errors());
    }

    #[test]
    fn fractions_are_hits_in_a_million_whatever_the_denominator() {
        let of = |numerator, denominator: DenominatorType| {
            fraction(&FractionalPercent { numerator, denominator: denominator as i32 }).per_million()
        };
        assert_eq!(of(50, DenominatorType::Hundred), 500_000);
        assert_eq!(of(1, DenominatorType::TenThousand), 100);
        assert_eq!(of(7, DenominatorType::Million), 7);
        assert_eq!(of(200, DenominatorType::Hundred), 1_000_000);
    }
}
