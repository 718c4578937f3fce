//! The fields of a listener that are about its sockets.

use nuncio_core::address::{Address, InternalAddress};
use nuncio_core::config::CompileContext;
use nuncio_net::listen::{Keepalive, ListenSpec, SocketOption};
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::listener::v3::AdditionalAddress;
use std::sync::Arc;

/// Where a listener listens, and what it asks of the kernel.
pub(super) struct SocketFields {
    pub(super) address: Option<core::Address>,
    pub(super) additional_addresses: Vec<AdditionalAddress>,
    pub(super) reuse_port: Option<bool>,
    pub(super) backlog: Option<u32>,
    pub(super) socket_options: Vec<core::SocketOption>,
    pub(super) keepalive: Option<core::TcpKeepalive>,
    pub(super) freebind: Option<bool>,
    pub(super) transparent: Option<bool>,
    pub(super) fast_open: Option<u32>,
    pub(super) mptcp: bool,
    /// `internal_listener`: it has no sockets at all.
    pub(super) internal: bool,
    /// What an internal connection may hold; none where the process has no internal listeners.
    pub(super) internal_room: Option<usize>,
}

impl SocketFields {
    /// One specification per address, `address` first. `None`: refused, with every reason recorded in `cx`.
    pub(super) fn compile(self, name: &str, cx: &CompileContext<'_>) -> Option<Vec<ListenSpec>> {
        if self.internal {
            return self.compile_internal(name, cx).map(|spec| vec![spec]);
        }
        let Self { address, additional_addresses, socket_options, .. } = self;
        let address_cx = cx.field("address");
        let first = match &address {
            Some(address) => ListenSpec::compile(address, &address_cx),
            None => {
                address_cx.error("value is required");
                None
            }
        };
        let options = SocketOption::compile_all(socket_options, cx);
        let keepalive = self.keepalive.and_then(Keepalive::compile);
        let common = |spec| ListenSpec {
            reuse_port: self.reuse_port.unwrap_or(true),
            backlog: self.backlog.unwrap_or(DEFAULT_BACKLOG),
            freebind: self.freebind.unwrap_or(false),
            transparent: self.transparent.unwrap_or(false),
            fast_open: self.fast_open,
            mptcp: self.mptcp,
            ..spec
        };
        let options = options?;
        let mut specs =
            vec![ListenSpec { options: options.clone(), keepalive: keepalive.clone(), ..common(first?) }];
        for (i, more) in additional_addresses.into_iter().enumerate() {
            let spec = additional(more, (&options, &keepalive), &cx.item("additional_addresses", i))?;
            specs.push(common(spec));
        }
        if self.mptcp && specs.iter().any(|s| matches!(s.address, Address::Pipe(_))) {
            cx.field("enable_mptcp")
                .error(format!("listener {name}: enable_mptcp can only be used with IP addresses"));
            return None;
        }
        Some(specs)
    }
}

impl SocketFields {
    /// Of a listener without sockets nothing may be asked of them.
    fn compile_internal(self, name: &str, cx: &CompileContext<'_>) -> Option<ListenSpec> {
        let Self {
            address,
            additional_addresses,
            reuse_port,
            backlog,
            socket_options,
            keepalive,
            freebind,
            transparent,
            fast_open,
            mptcp,
            internal: _,
            internal_room,
        } = self;
        let asked = [
            ("address", address.is_some()),
            ("additional_addresses", !additional_addresses.is_empty()),
            ("enable_reuse_port", reuse_port.is_some()),
            ("tcp_backlog_size", backlog.is_some()),
            ("socket_options", !socket_options.is_empty()),
            ("tcp_keepalive", keepalive.is_some()),
            ("freebind", freebind.is_some()),
            ("transparent", transparent.is_some()),
            ("tcp_fast_open_queue_length", fast_open.is_some()),
            ("enable_mptcp", mptcp),
        ];
        for (field, _) in asked.iter().filter(|(_, is_set)| *is_set) {
            cx.field(field).error(format!(
                "error adding listener {name}: an internal listener has no socket that {field} could be about"
            ));
        }
        if internal_room.is_none() {
            cx.field("internal_listener").error(format!(
                "error adding listener {name}: internal listeners need envoy.bootstrap.internal_listener among \
                 bootstrap_extensions"
            ));
        }
        if internal_room.is_none() || asked.iter().any(|(_, is_set)| *is_set) {
            return None;
        }
        let internal = InternalAddress { listener: name.into(), endpoint: "".into() };
        Some(ListenSpec::new(Address::Internal(Arc::new(internal))))
    }
}

/// Envoy's default of `tcp_backlog_size`.
const DEFAULT_BACKLOG: u32 = 4096;

/// A further address; the options and the keepalive of the listener are its own where it says nothing.
fn additional(
    message: AdditionalAddress,
    (options, keepalive): (&[SocketOption], &Option<Keepalive>),
    cx: &CompileContext<'_>,
) -> Option<ListenSpec> {
    let AdditionalAddress { address, socket_options, tcp_keepalive } = message;
    let Some(address) = address else {
        cx.field("address").error("value is required");
        return None;
    };
    let options = match socket_options {
        None => options.to_vec(),
        Some(core::SocketOptionsOverride { socket_options }) => {
            SocketOption::compile_all(socket_options, &cx.field("socket_options"))?
        }
    };
    let keepalive = match tcp_keepalive {
        None => keepalive.clone(),
        Some(message) => Keepalive::compile(message),
    };
    Some(ListenSpec { options, keepalive, ..ListenSpec::compile(&address, &cx.field("address"))? })
}
