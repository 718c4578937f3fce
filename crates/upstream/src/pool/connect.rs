//! From a host to a connection that requests can use: its addresses, what is said first, the handshake.

use super::PoolError;
use super::connection::{ClosedBy, ConnectionCount};
use crate::cluster::ClusterCore;
use crate::host::Host;
use crate::transport::NotBegun;
use nuncio_core::address::Address;
use nuncio_core::stream_info::TlsInfo;
use nuncio_net::stream::{ByteStream, ConnectError, Patient, race};
use nuncio_net::tls::{Asked, HandshakeError, Offer};
use std::rc::Rc;
use std::time::Instant;

/// The kernel's number for an address that is not ours.
const EADDRNOTAVAIL: i32 = 99;

/// A connection that is there.
type Opened = (Box<dyn ByteStream>, Option<Rc<TlsInfo>>);

/// Why there is no stream to a host.
enum NoStream {
    Connect(ConnectError, Address),
    Handshake(HandshakeError),
}

/// Connects to a host within the cluster's time, at whichever of its addresses answers; the stream, its count, and when
/// it was there.
pub(super) async fn connect(
    core: &Rc<ClusterCore>,
    host: &Rc<Host>,
    mut count: ConnectionCount,
    offer: Offer,
) -> Result<(Box<dyn ByteStream>, ConnectionCount, Instant), PoolError> {
    match tokio::time::timeout(core.config().connect_timeout, open_any(core, host, offer)).await {
        Ok(Ok((stream, tls))) => {
            count.tls = tls;
            let stream = match core.config().patience {
                None => stream,
                Some(time) => Patient::new(stream, time, count.on_patience_over()),
            };
            let now = core.worker.now();
            let took = now.saturating_duration_since(count.born());
            core.stats.upstream_cx_connect_ms.record(took.as_millis() as u64);
            Ok((stream, count, now))
        }
        Ok(Err(NoStream::Handshake(error))) => {
            count.failed(ClosedBy::Remote);
            Err(PoolError::Remote(match error {
                HandshakeError::Failed { text, .. } => text,
                HandshakeError::Closed => "".into(),
            }))
        }
        Ok(Err(NoStream::Connect(error, peer))) => {
            let text = error.transport_failure(&peer).into_boxed_str();
            if error.is_local() {
                count.failed(ClosedBy::Local);
                if matches!(&error, ConnectError::Local(e) if e.raw_os_error() == Some(EADDRNOTAVAIL)) {
                    core.stats.bind_errors.inc();
                }
                return Err(PoolError::Local(text));
            }
            count.failed(ClosedBy::Remote);
            Err(PoolError::Remote(text))
        }
        Err(_) => {
            core.stats.upstream_cx_connect_timeout.inc();
            count.failed(ClosedBy::Local);
            Err(PoolError::Timeout)
        }
    }
}

/// A connection to one of a host's addresses: the first that is ready for requests.
async fn open_any(core: &Rc<ClusterCore>, host: &Rc<Host>, offer: Offer) -> Result<Opened, NoStream> {
    let (address, further) = host.shared().addresses();
    let Some(further) = further else { return open(core, host, address, offer).await };
    let all: Vec<Address> = std::iter::once(address.clone()).chain(further.iter().cloned()).collect();
    let mut tries = core.config().connect.eyeballs.order(&all).into_iter();
    let first = open(core, host, tries.next().unwrap_or(address), offer);
    let others = tries.map(|peer| {
        // To Envoy each is another connection.
        core.stats.upstream_cx_total.inc();
        open(core, host, peer, offer)
    });
    race(first, others).await
}

async fn open(
    core: &Rc<ClusterCore>,
    host: &Rc<Host>,
    peer: Address,
    offer: Offer,
) -> Result<Opened, NoStream> {
    let config = core.config();
    let options = host.options();
    let transport = config.transport_of(host.shared(), options);
    core.count_match(host.shared(), options);
    let connected = match &peer {
        Address::Internal(to) => core.connector.connect_internal(to, transport.passed(config, host)),
        Address::Ip(_) | Address::Pipe(_) => core.connector.connect(&peer, &config.connect).await,
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => return Err(NoStream::Connect(error, peer)),
    };
    let asked = Asked {
        host_name: Some(host.hostname()),
        server_name: options.and_then(|o| o.server_name.as_deref()),
        san: options.and_then(|o| o.san.as_deref()),
        offer,
        ..Asked::default()
    };
    let told = options.and_then(|o| o.proxy_head.as_deref());
    match transport.begin(stream, told, asked, &core.worker).await {
        Ok((stream, None)) => Ok((stream, None)),
        Ok((stream, Some(info))) => {
            core.ssl_stats().secured(&info);
            Ok((stream, Some(Rc::new(info))))
        }
        Err(NotBegun::Connect(error)) => Err(NoStream::Connect(error, peer)),
        Err(NotBegun::Handshake(error)) => {
            core.ssl_stats().failed(&error);
            Err(NoStream::Handshake(error))
        }
    }
}
