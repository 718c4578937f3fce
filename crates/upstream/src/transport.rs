//! The transport socket of a cluster.

use nuncio_core::config::{CompileContext, type_name};
use nuncio_net::tls::{ClientContext, TlsOwner};
use nuncio_proto::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use nuncio_proto::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use prost::Name;
use std::fmt;
use std::sync::Arc;

/// What carries the bytes of a cluster's connections.
#[derive(Clone, Default)]
pub enum UpstreamTransport {
    /// `envoy.transport_sockets.raw_buffer`
    #[default]
    RawBuffer,
    /// `envoy.transport_sockets.tls`
    Tls(Arc<ClientContext>),
}

impl fmt::Debug for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RawBuffer => "RawBuffer",
            Self::Tls(_) => "Tls",
        })
    }
}

impl UpstreamTransport {
    /// Compiles the message; without one bytes go as they are.
    pub(crate) fn compile(
        message: Option<TransportSocket>,
        cx: &CompileContext<'_>,
        owner: TlsOwner<'_>,
    ) -> Option<Self> {
        let Some(TransportSocket { name, config_type }) = message else { return Some(Self::RawBuffer) };
        let cx = cx.field("transport_socket");
        let Some(transport_socket::ConfigType::TypedConfig(any)) = config_type else {
            if !cx.told_of("typed_config") {
                cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
            }
            return None;
        };
        let cx = cx.field("typed_config");
        let kind = type_name(&any.type_url);
        if kind == UpstreamTlsContext::full_name() {
            return ClientContext::compile(cx.unpack(&any)?, &cx, owner).map(Self::Tls);
        }
        if kind == RawBuffer::full_name() {
            let RawBuffer {} = cx.unpack(&any)?;
            return Some(Self::RawBuffer);
        }
        cx.unsupported(format!("the transport socket {} is not built", any.type_url));
        None
    }
}
