//! The way to a host: a cluster, a host of it, a connection, and a tunnel where one is configured; again as often as
//! `max_connect_attempts` lets it.

use super::TcpProxy;
use super::log::SessionLog;
use super::tunnel::{Refused, Tunnel};
use crate::router::retry::Interval;
use crate::why::{self, Fault};
use nuncio_codec::head::Version;
use nuncio_core::format::LogType;
use nuncio_core::stream_info::{ByteCounts, ResponseFlag, UpstreamConnectionInfo};
use nuncio_core::why::Subject;
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::within;
use nuncio_upstream::cluster::{Asking, Cluster, Permit, PickContext, RequestPriority};
use nuncio_upstream::error::ResetReason;
use nuncio_upstream::host::Host;
use nuncio_upstream::outlier::Outcome;
use nuncio_upstream::pool::{Checkout, PoolError, TcpConnection};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;

/// The filter state that names the cluster of a connection, whatever the configuration says.
pub const CLUSTER_STATE: &str = "envoy.tcp_proxy.cluster";

const PRIORITY: RequestPriority = RequestPriority::Default;

/// What carries the client's bytes on.
// One for each connection, and it stays where it was made.
#[allow(clippy::large_enum_variant, reason = "see above")]
pub(super) enum Upstream {
    /// A connection to a host.
    Tcp(TcpConnection),
    /// A tunnel through one.
    Tunnel(Tunnel),
}

impl Upstream {
    /// Its bytes. What goes over is to be told of by [`received`](Self::received) and [`sent`](Self::sent).
    pub(super) fn stream(&self) -> &dyn ByteStream {
        match self {
            Self::Tcp(connection) => connection.stream(),
            Self::Tunnel(tunnel) => tunnel,
        }
    }

    /// So many bytes came from the host.
    pub(super) fn received(&self, bytes: usize) {
        if let Self::Tcp(connection) = self {
            connection.received(bytes);
        }
    }

    /// So many bytes went to the host.
    pub(super) fn sent(&self, bytes: usize) {
        if let Self::Tcp(connection) = self {
            connection.sent(bytes);
        }
    }

    /// Whether it ends because the host took nothing for too long.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self, Self::Tcp(connection) if connection.is_given_up())
    }

    /// It was the host that ended it.
    pub(super) fn closed_by_host(&mut self) {
        if let Self::Tcp(connection) = self {
            connection.closed_by_host();
        }
    }

    /// Wire bytes beyond those that the client's and the host's bytes are themselves: framing, and in tunnels, as Envoy
    /// counts, the bytes once more. `ending` says that it is closed now.
    pub(super) fn extra_bytes(&self, ending: bool) -> ByteCounts {
        match self {
            Self::Tcp(_) => ByteCounts::default(),
            Self::Tunnel(tunnel) => tunnel.bytes(ending),
        }
    }

    /// Why it broke, where a protocol told.
    pub(super) fn failure(&self) -> Option<ResetReason> {
        match self {
            Self::Tcp(_) => None,
            Self::Tunnel(tunnel) => tunnel.failure(),
        }
    }
}

/// Why one attempt came to nothing.
struct Failed {
    /// The host could not be reached, or would not have a tunnel.
    by_host: bool,
    reason: Option<Box<str>>,
}

/// Finds a host and reaches it; in the cluster that a filter `named`, where one did. The errors are Envoy's texts,
/// spelling included.
pub(super) async fn reach(
    proxy: &TcpProxy,
    named: Option<&str>,
    log: &mut SessionLog,
) -> Result<Upstream, &'static str> {
    let TcpProxy { config, world, stats, draining: _ } = proxy;
    let mut back_off = config.back_off.map(|(base, max)| Interval::new(base, max));
    let own_hash = config.hash(&log.info);
    let mut wanted = None;
    let mut tlvs = Some(&config.tlvs);
    loop {
        let random = world.worker.rng().next();
        let (name, criteria) = match named {
            Some(name) => (Some(Arc::from(name)), config.criteria()),
            None => config.cluster(random).map_or((None, None), |(name, c)| (Some(Arc::clone(name)), c)),
        };
        let Some(cluster) = name.and_then(|name: Arc<str>| world.clusters.get(&name)) else {
            stats.downstream_cx_no_route.inc();
            why::no_cluster_for_tcp(&config.places, &log.info, world.worker.now());
            log.flag(ResponseFlag::NoClusterFound);
            return Err("tcp_initializion_failure:3");
        };
        log.info.upstream.cluster = Some(Rc::clone(cluster.info()));
        if let Some(tlvs) = tlvs.take() {
            tlvs.leave(&log.info.connection, &log.format_context(LogType::NotSet));
        }
        let Some(permit) = cluster.try_connection(PRIORITY) else {
            log.flag(ResponseFlag::UpstreamOverflow);
            explain(&cluster, log, Fault::Breaker("max_connections"));
            return Err("tcp_initializion_failure:2");
        };
        if log.info.upstream.attempts >= config.max_connect_attempts {
            cluster.stats().upstream_cx_connect_attempts_exceeded.inc();
            log.flag(ResponseFlag::UpstreamRetryLimitExceeded);
            return Err("tcp_initializion_failure:0");
        }
        let asking = Asking { request: None, info: Some(&log.info) };
        let destination = cluster.destination(&asking);
        let destination = destination.as_ref();
        if let Some(arrival) = destination.and_then(|to| cluster.arrival(to)) {
            // Without an address there is no host, which is told below.
            let _ = arrival.await;
        }
        let hash = match &cluster.config().lb.hash_policy {
            Some(policies) => policies.hash(None, &log.info, None),
            None => own_hash,
        };
        // Attempts share the list: each takes the next of it.
        let wanted = wanted.get_or_insert_with(|| cluster.wanted(&asking)).as_ref();
        let pick = PickContext { hash, metadata: criteria, destination, wanted, ..PickContext::default() };
        let Some(host) = cluster.pick(&pick) else {
            log.flag(ResponseFlag::NoHealthyUpstream);
            explain(&cluster, log, Fault::NoHost);
            return Err("tcp_initializion_failure:1");
        };
        log.info.upstream.attempts += 1;
        log.info.upstream.host = Some(host.info());
        let attempt = match config.tunnel {
            None => connect(&cluster, &host, permit, log).await.map(Upstream::Tcp),
            Some(_) => {
                // The pool counts its own connections.
                drop(permit);
                tunnel(proxy, &cluster, &host, log).await.map(Upstream::Tunnel)
            }
        };
        let Failed { by_host, reason } = match attempt {
            Ok(upstream) => {
                host.report(Outcome::ConnectedForGood);
                return Ok(upstream);
            }
            Err(failed) => failed,
        };
        // As in Envoy it stays, whatever the next attempt brings.
        log.info.upstream.transport_failure = reason;
        if by_host {
            host.report(Outcome::Failed);
            log.flag(ResponseFlag::UpstreamConnectionFailure);
        }
        let more = log.info.upstream.attempts < config.max_connect_attempts;
        if let Some(back_off) = back_off.as_mut().filter(|_| more) {
            let wait = back_off.next(world.worker.rng());
            within(Some(wait), pending::<()>()).await;
        }
    }
}

async fn connect(
    cluster: &Cluster,
    host: &Rc<Host>,
    permit: Permit,
    log: &mut SessionLog,
) -> Result<TcpConnection, Failed> {
    let options = host.transport_options(None, Some(&log.info));
    let connected = cluster.connect_tcp(host, PRIORITY, permit, options).await;
    let connection = connected.map_err(|error| Failed::of(&error, cluster, log))?;
    log.info.upstream.connection = Some(Rc::clone(connection.info()));
    Ok(connection)
}

async fn tunnel(
    proxy: &TcpProxy,
    cluster: &Cluster,
    host: &Rc<Host>,
    log: &mut SessionLog,
) -> Result<Tunnel, Failed> {
    let Some(config) = &proxy.config.tunnel else { return Err(Failed { by_host: false, reason: None }) };
    let options = host.transport_options(None, Some(&log.info));
    let exchange = match cluster.checkout_with(host, PRIORITY, Version::Http11, options) {
        Ok(Checkout::Ready(exchange)) => Ok(exchange),
        Ok(Checkout::Wait(mut pending)) => poll_fn(|cx| pending.poll(cx)).await,
        Err(error) => Err(error),
    };
    let exchange = exchange.map_err(|error| Failed::of(&error, cluster, log))?;
    // To the log it is bytes that go over.
    let bytes = UpstreamConnectionInfo { protocol: None, ..(**exchange.connection()).clone() };
    log.info.upstream.connection = Some(Rc::new(bytes));
    let id = config.new_id(&mut log.info, proxy.world.worker.rng());
    let request = config.request(&log.format_context(LogType::NotSet), exchange.connection(), id.as_deref());
    let peer = host.address();
    Tunnel::ask(config, exchange, &request, peer, &mut log.info).await.map_err(|Refused { status, bytes }| {
        let sum = &mut log.info.upstream.bytes;
        sum.wire_sent += bytes.wire_sent;
        sum.wire_received += bytes.wire_received;
        if let Some(status) = status {
            explain(cluster, log, Fault::Tunnel(status));
        }
        let reason = status.map(|status| format!("tunnel_response:{status}").into());
        Failed { by_host: true, reason }
    })
}

#[cold]
fn explain(cluster: &Cluster, log: &SessionLog, fault: Fault<'_>) {
    why::upstream(cluster, fault, Subject::Stream(&log.info, None), log.now());
}

impl Failed {
    #[cold]
    fn of(error: &PoolError, cluster: &Cluster, log: &SessionLog) -> Self {
        explain(cluster, log, Fault::of(error));
        let by_host = matches!(error, PoolError::Remote(_) | PoolError::Timeout);
        Self { by_host, reason: error.transport_failure().map(Box::from) }
    }
}
