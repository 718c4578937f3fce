//! Connections for checks and load reports: the main thread's own, of no pool.

use super::config::HealthCheckConfig;
use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::host::HostShared;
use crate::http2::Http2CodecStats;
use crate::pool::Connector;
use crate::stats::Http1CodecStats;
use crate::transport::{self, NotBegun};
use nuncio_core::address::Address;
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::{Metadata, TlsInfo};
use nuncio_net::stream::ByteStream;
use nuncio_net::tls::{Asked, Side, SslStats};
use nuncio_net::worker::Worker;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

/// No connection, or it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Connects to a cluster's hosts, and counts what its connections count.
pub(crate) struct Dialer {
    pub(crate) cluster: Arc<ClusterShared>,
    pub(crate) worker: Rc<Worker>,
    connector: Rc<dyn Connector>,
    registry: Registry,
    ssl: OnceCell<SslStats>,
    http1: OnceCell<Scope<Http1CodecStats>>,
    http2: OnceCell<Scope<Http2CodecStats>>,
}

impl Dialer {
    pub(crate) fn new(discovery: &Discovery, cluster: &Arc<ClusterShared>) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            worker: Rc::clone(&discovery.worker),
            connector: Rc::clone(&discovery.connector),
            registry: discovery.set.borrow().registry().clone(),
            ssl: OnceCell::new(),
            http1: OnceCell::new(),
            http2: OnceCell::new(),
        }
    }

    /// The stats of HTTP/1 codecs, which are there from the first connection on.
    pub(super) fn begin_http1(&self) {
        self.http1.get_or_init(|| self.registry.scope(&format!("{}http1.", self.cluster.stat_prefix())));
    }

    /// The stats of HTTP/2 codecs, which are there from the first connection on.
    pub(super) fn http2_stats(&self) -> &Http2CodecStats {
        self.http2.get_or_init(|| self.registry.scope(&format!("{}http2.", self.cluster.stat_prefix())))
    }

    fn ssl_stats(&self) -> &SslStats {
        self.ssl.get_or_init(|| SslStats::new(&self.registry, &self.cluster.stat_prefix(), Side::Client))
    }

    /// Whether the host's own connections are secured, however those of checks are.
    pub(super) fn is_secured(&self, host: &HostShared) -> bool {
        let config = self.cluster.config();
        config.transport_of(host, None).secured.is_some()
    }

    /// Connects to where a host is checked, and shakes hands where that is asked for.
    pub(super) async fn open(
        &self,
        host: &HostShared,
        check: &HealthCheckConfig,
    ) -> Result<(Box<dyn ByteStream>, Option<TlsInfo>), Gone> {
        let address = host.spec().checked_at(&host.address());
        self.open_at(host, &address, check.criteria.as_ref(), check.alpn.as_deref()).await
    }

    /// The same to an address of the host's, over the transport that the criteria choose in place of its metadata, with
    /// these protocols in place of the transport's.
    pub(crate) async fn open_at(
        &self,
        host: &HostShared,
        address: &Address,
        criteria: Option<&Metadata>,
        protocols: Option<&[Box<str>]>,
    ) -> Result<(Box<dyn ByteStream>, Option<TlsInfo>), Gone> {
        let config = self.cluster.config();
        let stream = self.connector.connect(address, &config.connect).await.map_err(|_| Gone)?;
        let (matches, default) = (&config.matches, &config.transport);
        let transport = match criteria {
            Some(criteria) => transport::for_metadata(matches, default, criteria),
            None => config.transport_of(host, None),
        };
        let asked = Asked { host_name: Some(&host.spec().hostname), protocols, ..Asked::default() };
        let begun = transport.begin(stream, None, asked, &self.worker).await;
        match &begun {
            Ok((_, Some(info))) => self.ssl_stats().secured(info),
            Err(NotBegun::Handshake(error)) => self.ssl_stats().failed(error),
            Ok((_, None)) | Err(NotBegun::Connect(_)) => {}
        }
        begun.map_err(|_| Gone)
    }
}
