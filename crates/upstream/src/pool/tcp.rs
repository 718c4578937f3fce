//! Connections that carry bytes alone: one for each downstream connection or tunnel, never shared or used again.

mod exchange;

pub(super) use exchange::TcpExchange;

use super::connect::connect as open;
use super::connection::{ClosedBy, ConnectionCount, RequestHold};
use super::cut::{Cut, CutStream};
use super::pending::{PendingCount, PendingStream};
use super::{Checkout, PoolError};
use crate::circuit::Resource;
use crate::cluster::{Permit, RequestPriority};
use crate::host::Host;
use nuncio_core::stream_info::UpstreamConnectionInfo;
use nuncio_net::stream::ByteStream;
use nuncio_net::tls::Offer;
use std::rc::Rc;

/// A raw connection to a host. It counts as one request for as long as it lives, and dropping it closes it.
pub struct TcpConnection {
    stream: Box<dyn ByteStream>,
    info: Rc<UpstreamConnectionInfo>,
    count: ConnectionCount,
    _hold: RequestHold,
    /// What ends it when its host fails.
    cut: Option<Rc<Cut>>,
}

/// A connection of its own for one request whose bytes go on as they are (`connect_config`).
///
/// # Errors
/// `max_connections` or `max_pending_requests` refuses, which is counted.
pub(crate) fn checkout(
    host: &Rc<Host>,
    priority: RequestPriority,
    first: Vec<u8>,
) -> Result<Checkout, PoolError> {
    let core = host.core();
    core.shared.has_pool();
    let Some(permit) = core.try_take(priority, Resource::Connections) else {
        core.stats.upstream_cx_overflow.inc();
        return Err(PoolError::Overflow);
    };
    let host = Rc::clone(host);
    let connecting = async move { connect(&host, priority, permit).await };
    Ok(Checkout::Wait(PendingStream::connecting(Box::pin(connecting), first)))
}

/// Connects to `host`; `permit` is for the connection.
pub(crate) async fn connect(
    host: &Rc<Host>,
    priority: RequestPriority,
    permit: Permit,
) -> Result<TcpConnection, PoolError> {
    let core = host.core();
    let Some(pending) = core.try_take(priority, Resource::Pending) else {
        core.stats.upstream_rq_pending_overflow.inc();
        return Err(PoolError::PendingOverflow);
    };
    let pending = PendingCount::new(host, pending);
    if host.limits_connections() {
        host.wait_for_room(priority).await;
    }
    let count = ConnectionCount::new(host, permit, None);
    let outcome = open(core, host, count, Offer::Nothing).await;
    drop(pending);
    let (stream, count, connect_end) = outcome.inspect_err(|_| {
        core.stats.upstream_rq_pending_failure_eject.inc();
    })?;
    let hold = RequestHold::take_anyway(host, priority);
    let cut = core.config().closes_on_failure.then(Rc::<Cut>::default);
    let stream: Box<dyn ByteStream> = match &cut {
        None => stream,
        Some(cut) => {
            host.on_cut(cut);
            Box::new(CutStream { stream, cut: Rc::clone(cut) })
        }
    };
    let info = Rc::new(UpstreamConnectionInfo {
        id: core.worker.next_connection_id(),
        local: stream.local_address().clone(),
        peer: stream.peer_address().clone(),
        protocol: None,
        connect_begin: count.born(),
        connect_end,
        tls: count.tls.clone(),
    });
    let mut connection = TcpConnection { stream, info, count, _hold: hold, cut };
    connection.count.closed(ClosedBy::Local, true);
    Ok(connection)
}

impl TcpConnection {
    /// Its bytes. What goes over is to be told of by [`received`](Self::received) and [`sent`](Self::sent).
    pub fn stream(&self) -> &dyn ByteStream {
        &*self.stream
    }

    /// What is known of it.
    pub fn info(&self) -> &Rc<UpstreamConnectionInfo> {
        &self.info
    }

    /// So many bytes came from the host.
    pub fn received(&self, bytes: usize) {
        self.count.core.stats.upstream_cx_rx_bytes_total.add(bytes as u64);
    }

    /// So many bytes went to the host.
    pub fn sent(&self, bytes: usize) {
        self.count.core.stats.upstream_cx_tx_bytes_total.add(bytes as u64);
    }

    /// Both sides have ended it.
    pub(super) fn complete(&mut self) {
        self.count.closed(ClosedBy::Remote, false);
    }

    /// Whether it ends because the host took nothing for too long.
    pub fn is_given_up(&self) -> bool {
        self.count.is_given_up()
    }

    /// It was the host that ended it, not this side; or so it seems to who reads it.
    pub fn closed_by_host(&mut self) {
        if !self.cut.as_ref().is_some_and(|cut| cut.is_done()) {
            self.count.closed(ClosedBy::Remote, true);
        }
    }
}
