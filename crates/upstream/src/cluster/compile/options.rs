//! How connections leave the machine.

use nuncio_core::config::{CompileContext, socket_address};
use nuncio_net::listen::{Keepalive, OptionState, SocketOption};
use nuncio_net::stream::ConnectOptions;
use nuncio_proto::pb::envoy::config::cluster::v3::UpstreamConnectionOptions;
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::socket_option::{SocketState, Value};
use std::time::Duration;

pub(super) fn compile(
    bind: Option<pb::BindConfig>,
    connection: Option<UpstreamConnectionOptions>,
    cx: &CompileContext<'_>,
) -> Option<ConnectOptions> {
    let mut options = ConnectOptions::default();
    if let Some(UpstreamConnectionOptions { tcp_keepalive }) = connection {
        options.keepalive = tcp_keepalive.map(keepalive);
    }
    if let Some(pb::BindConfig { source_address, freebind, socket_options }) = bind {
        let cx = cx.field("upstream_bind_config");
        if let Some(source) = source_address {
            options.source = Some(socket_address(&source, &cx.field("source_address"))?);
        }
        options.freebind = freebind.unwrap_or(false);
        for (i, option) in socket_options.into_iter().enumerate() {
            options.options.push(socket_option(option, &cx.item("socket_options", i))?);
        }
    }
    Some(options)
}

/// 0 leaves the kernel's value, as in Envoy.
fn keepalive(message: pb::TcpKeepalive) -> Keepalive {
    let pb::TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval } = message;
    let seconds = |value: Option<u32>| value.filter(|v| *v > 0).map(|s| Duration::from_secs(s.into()));
    Keepalive {
        probes: keepalive_probes.filter(|n| *n > 0),
        time: seconds(keepalive_time),
        interval: seconds(keepalive_interval),
    }
}

fn socket_option(message: pb::SocketOption, cx: &CompileContext<'_>) -> Option<SocketOption> {
    let pb::SocketOption { level, name, value, state } = message;
    let number = |value: i64, field: &str| {
        let number = i32::try_from(value).ok();
        if number.is_none() {
            cx.field(field).error(format!("{value} is no number of a socket option"));
        }
        number
    };
    let value: Box<[u8]> = match value {
        Some(Value::IntValue(value)) => Box::new(number(value, "int_value")?.to_ne_bytes()),
        Some(Value::BufValue(bytes)) => bytes.into(),
        None => {
            cx.error("a value is required");
            return None;
        }
    };
    Some(SocketOption {
        level: number(level, "level")?,
        name: number(name, "name")?,
        value,
        state: match SocketState::try_from(state) {
            Ok(SocketState::StatePrebind) | Err(_) => OptionState::Prebind,
            Ok(SocketState::StateBound) => OptionState::Bound,
            Ok(SocketState::StateListening) => OptionState::Listening,
        },
    })
}
