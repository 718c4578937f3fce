//! Where a request or a connection wants to go, for clusters that make their hosts of that.

use super::{Cluster, ClusterConfig, HostSource, SubCluster};
use crate::dns_cache::{Arrival, DnsCache};
use crate::host::{Addresses, HealthFlags, HostSpec};
use nuncio_codec::head::RequestHead;
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::MetadataPath;
use nuncio_core::stream_info::StreamInfo;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::OriginalDstLbConfig;
use prost_types::value::Kind;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The filter state that names a destination, whatever else does.
pub const DESTINATION_STATE: &str = "envoy.network.transport_socket.original_dst_address";

/// The filter states that name a host to look up, and its port.
pub const DYNAMIC_HOST_STATE: &str = "envoy.upstream.dynamic_host";
/// See [`DYNAMIC_HOST_STATE`].
pub const DYNAMIC_PORT_STATE: &str = "envoy.upstream.dynamic_port";

/// The header that names one, where no other is configured.
const HEADER: &str = "x-envoy-original-dst-host";

/// Where a request or a connection wants to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To this address.
    Address(SocketAddr),
    /// To a name with a port, as a DNS cache calls it, or to the cluster that was made for it.
    Name(Arc<str>),
}

impl Destination {
    /// The name, where it is one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Name(name) => Some(name),
        }
    }

    /// Where it is now, for a cluster with this configuration; `None` for a name without an address.
    pub(super) fn addresses(&self, cluster: &ClusterConfig) -> Option<Addresses> {
        match (self, &cluster.discovery.source) {
            (Self::Address(address), _) => Some((Address::Ip(*address), None)),
            (Self::Name(key), HostSource::ForwardProxy(f)) => f.cache.addresses(key),
            (Self::Name(_), _) => None,
        }
    }

    /// The host there, of a cluster with this configuration.
    pub(super) fn host(&self, cluster: &ClusterConfig) -> Option<HostSpec> {
        let (address, further) = self.addresses(cluster)?;
        Some(HostSpec {
            address,
            further,
            hostname: match self {
                // Envoy's name for it.
                Self::Address(address) => format!("{}{address}", cluster.name).into(),
                Self::Name(key) => Arc::clone(key),
            },
            locality: Arc::default(),
            locality_metadata: None,
            weight: 1,
            priority: 0,
            health: HealthFlags::default(),
            metadata: None,
            check: None,
            stat_name: None,
        })
    }
}

/// Who asks for a host.
#[derive(Clone, Copy, Default)]
pub struct Asking<'a> {
    /// The request.
    pub request: Option<&'a RequestHead>,
    /// What is known of it, or of the connection whose bytes go on as they are.
    pub info: Option<&'a StreamInfo>,
}

/// What tells an `ORIGINAL_DST` cluster where to go (`OriginalDstLbConfig`), and how long hosts stay.
#[derive(Clone, Debug)]
pub struct OriginalDstConfig {
    /// The header that is looked at (`use_http_header`, `http_header_name`), in lower case.
    header: Option<Box<str>>,
    /// `metadata_key`
    metadata: Option<MetadataPath>,
    /// `upstream_port_override`
    port: Option<u16>,
    /// `cleanup_interval`: hosts that nobody used for so long, and that have no connection, go.
    pub(crate) cleanup: Duration,
}

impl OriginalDstConfig {
    pub(crate) fn compile(
        message: Option<OriginalDstLbConfig>,
        cleanup: Duration,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let OriginalDstLbConfig { use_http_header, http_header_name, upstream_port_override, metadata_key } =
            message.unwrap_or_default();
        if !http_header_name.is_empty() && !use_http_header {
            cx.field("original_dst_lb_config").error(format!(
                "ORIGINAL_DST cluster: invalid config http_header_name={http_header_name} and use_http_header is \
                 false. Set use_http_header to true if http_header_name is desired."
            ));
            return None;
        }
        let name =
            if http_header_name.is_empty() { HEADER.into() } else { http_header_name.to_ascii_lowercase() };
        Some(Self {
            header: use_http_header.then(|| name.into()),
            metadata: metadata_key.as_ref().map(MetadataPath::new),
            port: upstream_port_override.and_then(|port| port.try_into().ok()),
            cleanup,
        })
    }

    /// The first that names an address: filter state, metadata, the header, the destination that a listener filter
    /// restored. `invalid` is called for each text that is no address.
    fn find(&self, asking: &Asking<'_>, mut invalid: impl FnMut()) -> Option<SocketAddr> {
        let mut parse = |text: &str| {
            let address = text.trim().parse().ok();
            if address.is_none() {
                invalid();
            }
            address
        };
        let by_state = || asking.info?.filter_state(DESTINATION_STATE)?.serialize()?.parse().ok();
        let found = by_state()
            .or_else(|| self.by_metadata(asking).and_then(&mut parse))
            .or_else(|| {
                let value = asking.request?.headers.get(self.header.as_deref()?)?;
                parse(std::str::from_utf8(value).unwrap_or_default())
            })
            .or_else(|| restored(asking.info?));
        found.map(|address| SocketAddr::new(address.ip(), self.port.unwrap_or(address.port())))
    }

    /// A text at the configured place of the request's metadata or its connection's; of a list its first element.
    fn by_metadata<'a>(&self, asking: &Asking<'a>) -> Option<&'a str> {
        let (path, info) = (self.metadata.as_ref()?, asking.info?);
        [info.dynamic_metadata(), info.connection.state.metadata.as_deref()].into_iter().find_map(
            |metadata| {
                let mut value = path.find(metadata)?;
                if let Kind::ListValue(list) = value
                    && let Some(first) = list.values.first()
                {
                    value = first.kind.as_ref()?;
                }
                match value {
                    Kind::StringValue(text) => Some(text.as_str()),
                    _ => None,
                }
            },
        )
    }
}

/// Where the client's connection was going before it was redirected here.
fn restored(info: &StreamInfo) -> Option<SocketAddr> {
    let connection = &info.connection;
    match connection.local {
        Address::Ip(address) if connection.local != connection.direct_local => Some(address),
        Address::Ip(_) | Address::Pipe(_) | Address::Internal(_) => None,
    }
}

/// The name that a request wants to go to, as a DNS cache calls it: that of the filter state, where it `may_be_set`
/// there, of the authority, or that of the handshake.
pub fn forwarded(asking: &Asking<'_>, default_port: u16, may_be_set: bool) -> Option<Arc<str>> {
    let state = |name: &str| asking.info.filter(|_| may_be_set)?.filter_state(name)?.serialize();
    let port = state(DYNAMIC_PORT_STATE).and_then(|port| port.parse().ok()).unwrap_or(default_port);
    if let Some(name) = state(DYNAMIC_HOST_STATE).filter(|name| !name.is_empty()) {
        return Some(DnsCache::key(&name, port));
    }
    let name = match asking.request {
        Some(request) => std::str::from_utf8(request.authority()).ok()?,
        None => asking.info?.connection.requested_server_name.as_deref()?,
    };
    (!name.is_empty()).then(|| DnsCache::key(name, port))
}

impl ClusterConfig {
    /// The port of names that come without one.
    pub fn default_port(&self) -> u16 {
        if self.transport.secured.is_some() { 443 } else { 80 }
    }
}

impl Cluster {
    /// What is to be waited for before a host can be picked for a destination: a name that is looked up for the first
    /// time. `None` where there is nothing to wait for.
    pub fn arrival(&self, to: &Destination) -> Option<Arrival> {
        match (to, &self.config().discovery.source) {
            (Destination::Name(key), HostSource::ForwardProxy(f)) if f.cache.addresses(key).is_none() => {
                f.cache.ask(key).unwrap_or_else(|e| Some(Box::pin(ready(Err(e)))))
            }
            _ => None,
        }
    }

    /// What is told of a destination whose name has an address although no host could be picked: in Envoy, how the
    /// look-up went.
    #[cold]
    pub fn found_without_host(&self, to: &Destination) -> Option<&'static str> {
        match (to, &self.config().discovery.source) {
            (Destination::Name(key), HostSource::ForwardProxy(f)) => {
                f.cache.addresses(key).map(|_| "cares_success:Successful_completion")
            }
            _ => None,
        }
    }

    /// Where `asking` wants to go, if this cluster makes its hosts of that: for
    /// [`PickContext::destination`](crate::lb::PickContext::destination).
    #[inline]
    pub fn destination(&self, asking: &Asking<'_>) -> Option<Destination> {
        self.provided.as_ref()?;
        self.find_destination(asking)
    }

    #[cold]
    fn find_destination(&self, asking: &Asking<'_>) -> Option<Destination> {
        match &self.config().discovery.source {
            HostSource::OriginalDst(config) => {
                let invalid = || self.stats().original_dst_host_invalid.inc();
                config.find(asking, invalid).map(Destination::Address)
            }
            HostSource::ForwardProxy(_) => {
                let named = forwarded(asking, self.config().default_port(), true)?;
                Some(Destination::Name(named))
            }
            HostSource::SubClusters(_) => {
                let named = forwarded(asking, self.config().default_port(), true)?;
                Some(Destination::Name(SubCluster::of(&named).cluster))
            }
            HostSource::Static
            | HostSource::StrictDns(_)
            | HostSource::LogicalDns(_)
            | HostSource::Eds(_)
            | HostSource::Aggregate(_) => None,
        }
    }
}
