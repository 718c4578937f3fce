//! The HTTP/2 pool of one host: connections that carry many requests at once, and requests that wait.

mod connection;
mod exchange;

pub use exchange::extended_connect;

pub(super) use connection::Http2Connection;
pub(super) use exchange::Http2Exchange;

use super::connect::connect;
use super::connection::{ConnectionCount, RequestHold};
use super::pending::{Granted, Pending, PendingStream};
use super::queue::HttpPool;
use super::{Checkout, Exchange, PoolError};
use crate::circuit::Resource;
use crate::cluster::{Permit, RequestPriority, UpstreamProtocol};
use crate::host::Host;
use nuncio_codec::head::Version;
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::LazyTimer;
use nuncio_net::tls::Offer;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::Instant;
use tokio::task::yield_now;

/// HTTP/2 connections to one host for requests of one priority.
pub(crate) struct Http2Pool {
    priority: RequestPriority,
    /// Those that may be asked for streams, and those that end.
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    pending: RefCell<VecDeque<Rc<Pending>>>,
    connecting: Cell<usize>,
    _permit: Option<Permit>,
}

impl Http2Pool {
    pub(crate) fn new(priority: RequestPriority, permit: Option<Permit>) -> Self {
        Self {
            priority,
            connections: RefCell::default(),
            pending: RefCell::default(),
            connecting: Cell::default(),
            _permit: permit,
        }
    }

    /// Whether it holds no connection, and nobody waits for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && self.pending.borrow().is_empty() && self.connecting.get() == 0
    }

    /// See [`Cluster::checkout`](crate::cluster::Cluster::checkout).
    pub(crate) fn checkout(&self, host: &Rc<Host>) -> Result<Checkout, PoolError> {
        match self.ready(host)? {
            Some(ready) => Ok(ready),
            None => self.enqueue(host).map(Checkout::Wait),
        }
    }

    /// A stream that can be had at once.
    #[inline]
    pub(crate) fn ready(&self, host: &Rc<Host>) -> Result<Option<Checkout>, PoolError> {
        if !self.pending.borrow().is_empty() {
            return Ok(None);
        }
        let Some(connection) = self.reserve() else { return Ok(None) };
        let Some(hold) = RequestHold::take(host, self.priority) else {
            connection.unreserve();
            return Err(PoolError::Overflow);
        };
        Ok(Some(Checkout::Ready(Exchange::http2(connection, hold))))
    }

    /// A connection that has promised a stream.
    fn reserve(&self) -> Option<Rc<Http2Connection>> {
        self.connections.borrow().iter().find(|c| c.reserve()).map(Rc::clone)
    }

    #[cold]
    fn enqueue(&self, host: &Rc<Host>) -> Result<PendingStream, PoolError> {
        let core = host.core();
        let Some(permit) = core.try_take(self.priority, Resource::Pending) else {
            core.stats.upstream_rq_pending_overflow.inc();
            return Err(PoolError::PendingOverflow);
        };
        let pending = Pending::new(host, permit);
        self.pending.borrow_mut().push_back(Rc::clone(&pending));
        self.open_as_needed(host);
        Ok(PendingStream::new(pending, Rc::clone(host), self.priority, Version::Http2))
    }

    /// Opens connections until those on their way can carry all who wait. Where `max_connections` refuses, one is
    /// opened all the same if the pool has none at all, so that nobody waits for ever.
    fn open_as_needed(&self, host: &Rc<Host>) {
        let core = host.core();
        let each = core.config().http.streams_of_a_connection();
        while self.pending.borrow().len() > self.connecting.get().saturating_mul(each) {
            let permit = core.try_take(self.priority, Resource::Connections).or_else(|| {
                core.stats.upstream_cx_overflow.inc();
                let none = self.connecting.get() == 0 && self.connections.borrow().is_empty();
                none.then(|| core.take_anyway(self.priority, Resource::Connections))
            });
            let Some(permit) = permit else { return };
            self.open(host, permit);
        }
    }

    fn open(&self, host: &Rc<Host>, permit: Permit) {
        self.connecting.set(self.connecting.get() + 1);
        let priority = self.priority;
        let count = ConnectionCount::new(host, permit, Some(Version::Http2));
        let worker = Rc::clone(&host.core().worker);
        let host = Rc::clone(host);
        worker.spawn(async move {
            // Lowered again even if connecting panics.
            let connecting = Connecting { host: &host, priority };
            let outcome = connect(host.core(), &host, count, Offer::Http2).await;
            drop(connecting);
            let Some(pool) = host.existing_http2_pool(priority) else { return };
            match outcome {
                Ok(connected) => carry(host, priority, connected).await,
                Err(error) => pool.fail_all(&host, &error),
            }
        });
    }

    /// Gives streams to those who wait, as far as there are any; what ends is forgotten.
    pub(super) fn serve(&self, host: &Rc<Host>) {
        // Where handshakes decide, requests wait beside the HTTP/1 pool.
        let auto = host.core().config().http.protocol == UpstreamProtocol::Auto;
        let other = host.existing_pool(self.priority).filter(|_| auto);
        let is_awaited = || !self.pending.borrow().is_empty() || other.is_some_and(HttpPool::is_awaited);
        while is_awaited() {
            let Some(connection) = self.reserve() else { break };
            let own = self.pending.borrow_mut().pop_front();
            let Some(pending) = own.or_else(|| other.and_then(HttpPool::next_pending)) else {
                connection.unreserve();
                break;
            };
            match RequestHold::take(host, self.priority) {
                Some(hold) => pending.resolve(Ok(Granted::Http2(connection, hold))),
                None => {
                    connection.unreserve();
                    pending.resolve(Err(PoolError::Overflow));
                }
            }
        }
        if !self.pending.borrow().is_empty() {
            self.open_as_needed(host);
        }
        if let Some(other) = other {
            other.open_as_needed(host);
        }
    }

    /// A request no longer waits.
    pub(super) fn forget(&self, host: &Host, pending: &Rc<Pending>) {
        self.pending.borrow_mut().retain(|p| !Rc::ptr_eq(p, pending));
        host.core().stats.upstream_rq_cancelled.inc();
    }

    /// A connection failed: all who wait are told, as Envoy does, so that they may try another host.
    fn fail_all(&self, host: &Rc<Host>, error: &PoolError) {
        let waiting = std::mem::take(&mut *self.pending.borrow_mut());
        for pending in waiting {
            host.core().stats.upstream_rq_pending_failure_eject.inc();
            pending.resolve(Err(error.clone()));
        }
    }
}

impl Drop for Http2Pool {
    fn drop(&mut self) {
        for connection in self.connections.get_mut() {
            connection.abandon();
        }
    }
}

/// Carries requests over a connection to a host until it is closed.
pub(super) async fn carry(
    host: Rc<Host>,
    priority: RequestPriority,
    (stream, count, now): (Box<dyn ByteStream>, ConnectionCount, Instant),
) {
    let Some(pool) = host.http2_pool(priority) else { return };
    let connection = Http2Connection::new(stream, count, now);
    pool.connections.borrow_mut().push(Rc::clone(&connection));
    pool.serve(&host);
    let weak = Rc::downgrade(&host);
    drop(host);
    // Those who waited write their heads first: as from Envoy, preface and requests leave in one write. A host that
    // takes the preface for a broken request and closes has then been told all there is, and its answer is read.
    yield_now().await;
    drive(connection, weak, priority).await;
}

/// Reads and writes a connection until it is closed.
async fn drive(connection: Rc<Http2Connection>, host: Weak<Host>, priority: RequestPriority) {
    let mut timer = LazyTimer::new();
    poll_fn(|cx| {
        connection.turn(cx, &mut timer, || {
            let Some(host) = host.upgrade() else { return };
            let Some(pool) = host.existing_http2_pool(priority) else { return };
            if !connection.is_open() {
                pool.connections.borrow_mut().retain(|c| !Rc::ptr_eq(c, &connection));
            }
            pool.serve(&host);
        })
    })
    .await;
}

/// A connection on its way.
struct Connecting<'a> {
    host: &'a Rc<Host>,
    priority: RequestPriority,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.host.existing_http2_pool(self.priority) {
            pool.connecting.set(pool.connecting.get().saturating_sub(1));
        }
    }
}
