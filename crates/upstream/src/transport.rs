//! What carries the bytes of a cluster's connections: its transport socket, those of `transport_socket_matches`, and
//! what single requests want of them.

mod internal;
mod matcher;
mod options;
mod proxy_head;

pub(crate) use matcher::TransportMatcher;
pub(crate) use options::Told;
pub use options::{AutoServerName, SERVER_NAME_STATE, TransportOptions};
pub use proxy_head::ProxyHeadConfig;

use crate::cluster::ClusterConfig;
use crate::host::{Host, HostShared};
use crate::pool::Passed;
use internal::PassingConfig;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::stream_info::{Metadata, TlsInfo};
use nuncio_net::stream::{ByteStream, ConnectError, poll_write_all};
use nuncio_net::tls::{self, Asked, ClientContext, HandshakeError, TlsOwner};
use nuncio_net::worker::Worker;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use nuncio_proto::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use nuncio_proto::pb::envoy::extensions::transport_sockets::internal_upstream::v3::InternalUpstreamTransport;
use nuncio_proto::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use nuncio_proto::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use prost::Name;
use prost_types::Struct;
use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

/// A compiled transport socket; without anything in it bytes go as they are (`envoy.transport_sockets.raw_buffer`).
#[derive(Clone, Default)]
pub struct UpstreamTransport {
    /// `envoy.transport_sockets.tls`
    pub(crate) secured: Option<Arc<ClientContext>>,
    /// `envoy.transport_sockets.upstream_proxy_protocol`: what is said before anything else.
    pub(crate) proxy_head: Option<Arc<ProxyHeadConfig>>,
    /// `envoy.transport_sockets.internal_upstream`: what internal listeners are told.
    pub(crate) passing: Option<Arc<PassingConfig>>,
}

impl fmt::Debug for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secured, proxy_head, passing } = self;
        f.debug_struct("UpstreamTransport")
            .field("secured", &secured.is_some())
            .field("proxy_head", proxy_head)
            .field("passing", passing)
            .finish()
    }
}

impl UpstreamTransport {
    /// Compiles the field `transport_socket` of `cx`; without one bytes go as they are.
    pub(crate) fn compile(
        message: Option<TransportSocket>,
        cx: &CompileContext<'_>,
        owner: TlsOwner<'_>,
    ) -> Option<Self> {
        let Some(TransportSocket { name, config_type }) = message else { return Some(Self::default()) };
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
            let secured = Some(ClientContext::compile(cx.unpack(&any)?, &cx, owner)?);
            return Some(Self { secured, ..Self::default() });
        }
        if kind == RawBuffer::full_name() {
            let RawBuffer {} = cx.unpack(&any)?;
            return Some(Self::default());
        }
        if kind == ProxyProtocolUpstreamTransport::full_name() {
            let ProxyProtocolUpstreamTransport { config, transport_socket } = cx.unpack(&any)?;
            let inner = Self::compile(transport_socket, &cx, owner)?;
            let proxy_head = ProxyHeadConfig::compile(config.unwrap_or_default(), &cx.field("config"))?;
            return Some(Self { proxy_head: Some(Arc::new(proxy_head)), ..inner });
        }
        if kind == InternalUpstreamTransport::full_name() {
            let InternalUpstreamTransport { passthrough_metadata, transport_socket } = cx.unpack(&any)?;
            if transport_socket.is_none() {
                cx.field("transport_socket").error("value is required");
                return None;
            }
            let inner = Self::compile(transport_socket, &cx, owner)?;
            let passing = PassingConfig::compile(passthrough_metadata, &cx)?;
            return Some(Self { passing: Some(Arc::new(passing)), ..inner });
        }
        cx.unsupported(format!("the transport socket {} is not built", any.type_url));
        None
    }
}

/// One of `transport_socket_matches`.
#[derive(Clone, Debug)]
pub(crate) struct TransportMatch {
    pub(crate) name: Box<str>,
    criteria: Struct,
    transport: UpstreamTransport,
}

/// The metadata of endpoints that is looked at.
const MATCHED: &str = "envoy.transport_socket_match";

impl TransportMatch {
    pub(crate) fn compile(
        message: TransportSocketMatch,
        cx: &CompileContext<'_>,
        owner: TlsOwner<'_>,
    ) -> Option<Self> {
        let TransportSocketMatch { name, r#match, transport_socket } = message;
        if transport_socket.is_none() {
            cx.error("Didn't find a registered implementation for '' with type URL: ''");
            return None;
        }
        let transport = UpstreamTransport::compile(transport_socket, cx, owner)?;
        Some(Self { name: name.into(), criteria: r#match.unwrap_or_default(), transport })
    }

    fn takes(&self, host: Option<&Metadata>) -> bool {
        let of_host = host.and_then(|m| m.get(MATCHED));
        self.criteria
            .fields
            .iter()
            .all(|(key, value)| of_host.is_some_and(|m| m.fields.get(key) == Some(value)))
    }
}

impl ClusterConfig {
    /// The place among `transport_socket_matches` of what a host's connections have: that which the matcher names, else
    /// the first whose criteria take it. `options` are those of one connection.
    pub(crate) fn matching(&self, host: &HostShared, options: Option<&TransportOptions>) -> Option<usize> {
        if self.matches.is_empty() {
            return None;
        }
        if let Some(matcher) = &self.matcher {
            return matcher.find(&self.matches, host, options);
        }
        let metadata = host.metadata();
        self.matches.iter().position(|m| m.takes(metadata.as_deref()))
    }

    /// What carries the bytes of a host's connections.
    pub(crate) fn transport_of(
        &self,
        host: &HostShared,
        options: Option<&TransportOptions>,
    ) -> &UpstreamTransport {
        let at = self.matching(host, options);
        at.and_then(|at| self.matches.get(at)).map_or(&self.transport, |m| &m.transport)
    }
}

/// What carries the bytes of the connections of a host with this metadata, as criteria have it: that of the first match,
/// else `default`.
pub(crate) fn for_metadata<'a>(
    matches: &'a [TransportMatch],
    default: &'a UpstreamTransport,
    metadata: &Metadata,
) -> &'a UpstreamTransport {
    matches.iter().find(|m| m.takes(Some(metadata))).map_or(default, |m| &m.transport)
}

/// What stands for an endpoint's metadata where `transport_socket_match_criteria` does.
pub(crate) fn criteria(criteria: Struct) -> Metadata {
    Metadata::from([(MATCHED.to_owned(), criteria)])
}

impl UpstreamTransport {
    /// What goes with a connection to an internal listener beside its bytes.
    pub(crate) fn passed(&self, cluster: &ClusterConfig, host: &Host) -> Passed {
        self.passing.as_ref().map(|passing| passing.passed(cluster, host)).unwrap_or_default()
    }

    /// Says what is to be said before anything else, and shakes hands: the stream for what is spoken, and what was
    /// agreed on. `told` is a PROXY head made for this connection.
    pub(crate) async fn begin(
        &self,
        stream: Box<dyn ByteStream>,
        told: Option<&[u8]>,
        asked: Asked<'_>,
        worker: &Rc<Worker>,
    ) -> Result<(Box<dyn ByteStream>, Option<TlsInfo>), NotBegun> {
        if let Some(head) = &self.proxy_head {
            let own = || head.own_head(stream.local_address(), stream.peer_address()).into();
            let (head, mut at) = (told.map_or_else(own, Cow::Borrowed), 0);
            let said = poll_fn(|cx| poll_write_all(&*stream, cx, &head, &mut at)).await;
            said.map_err(|error| NotBegun::Connect(ConnectError::Delayed(error)))?;
        }
        let Some(context) = &self.secured else { return Ok((stream, None)) };
        let asked = Asked { host: stream.peer_address().ip(), ..asked };
        let secured = tls::connect(stream, context, asked, worker).await;
        let (stream, info) = secured.map_err(NotBegun::Handshake)?;
        Ok((Box::new(stream), Some(info)))
    }
}

/// Why a connection to a host cannot be used.
pub(crate) enum NotBegun {
    Connect(ConnectError),
    Handshake(HandshakeError),
}
