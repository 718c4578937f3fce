//! The fields of a listener that are about its sockets.

use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_net::listen::{Keepalive, ListenSpec, SocketOption};
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::listener::v3::AdditionalAddress;

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
}

impl SocketFields {
    /// One specification per address, `address` first. `None`: refused, with every reason recorded in `cx`.
    pub(super) fn compile(self, name: &str, cx: &CompileContext<'_>) -> Option<Vec<ListenSpec>> {
        let Self { address, additional_addresses, socket_options, .. } = self;
        let address_cx = cx.field("address");
        let first = match &address {
            Some(address) => ListenSpec::compile(address, &address_cx),
            None if cx.told_of("internal_listener") => None,
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
