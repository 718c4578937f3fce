//! The HTTP/2 pool of one host: connections that carry many requests at once, and requests that wait.

mod connection;
mod exchange;

pub use exchange::extended_connect;

pub(super) use connection::Http2Connection;
pub(super) use exchange::Http2Exchange;

use super::connect::connect;
use super::connection::{ConnectionCount, RequestHold};
use super::pending::{Granted, Pending, PendingStream};
use super::waiting::{Connecting, Load, Waiting};
use super::{Checkout, Exchange, PoolError};
use crate::cluster::{Permit, RequestPriority, UpstreamProtocol};
use crate::host::Host;
use nuncio_codec::head::Version;
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::LazyTimer;
use nuncio_net::tls::Offer;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::Instant;
use tokio::task::yield_now;

/// HTTP/2 connections to one host for requests of one priority.
pub(crate) struct Http2Pool {
    /// Those that may be asked for streams, and those that end.
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    pub(super) waiting: Waiting,
}

/// What may let those who wait go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// A stream has ended, or a connection takes more of them.
    Stream,
    /// A connection has ended.
    Connection,
}

impl Http2Pool {
    pub(crate) fn new(priority: RequestPriority) -> Self {
        Self { connections: RefCell::default(), waiting: Waiting::new(priority) }
    }

    /// Connections take no further request, and end with the last one that they carry.
    pub(crate) fn retire(&self) {
        self.connections.borrow().iter().for_each(|connection| connection.abandon());
    }

    /// Makes room for another pool if it can: whether it counted, and nobody used it.
    pub(crate) fn free(&self) -> bool {
        let freed = self.waiting.counts() && self.abandon_unused();
        if freed {
            self.waiting.release();
        }
        freed
    }

    /// Has its connections end if they carry nothing and nobody waits; whether that was so.
    pub(super) fn abandon_unused(&self) -> bool {
        let unused =
            self.waiting.is_empty() && self.connections.borrow().iter().all(|c| c.load().active == 0);
        if unused {
            self.retire();
        }
        unused
    }

    /// A request no longer waits.
    pub(super) fn forget(&self, host: &Host, pending: &Rc<Pending>) {
        self.waiting.forget(host, pending);
        self.settle();
    }

    /// Counts no longer if it holds nothing.
    fn settle(&self) {
        if self.is_empty() {
            self.waiting.release();
        }
    }

    /// Whether it holds no connection, and nobody waits for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && self.waiting.is_empty()
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
        if self.waiting.is_awaited() {
            return Ok(None);
        }
        let Some(connection) = self.reserve() else { return Ok(None) };
        let Some(hold) = RequestHold::take(host, self.waiting.priority) else {
            connection.unreserve();
            return Err(PoolError::Overflow);
        };
        if host.config().preconnect().per_upstream > 1.0 {
            self.open_as_needed(host);
        }
        Ok(Some(Checkout::Ready(Exchange::http2(connection, hold))))
    }

    /// A connection that has promised a stream.
    fn reserve(&self) -> Option<Rc<Http2Connection>> {
        self.connections.borrow().iter().find(|c| c.reserve()).map(Rc::clone)
    }

    #[cold]
    fn enqueue(&self, host: &Rc<Host>) -> Result<PendingStream, PoolError> {
        let pending = self.waiting.enqueue(host, Version::Http2)?;
        self.open_as_needed(host);
        Ok(pending)
    }

    /// Its streams.
    pub(crate) fn load(&self, host: &Host) -> Load {
        let each = host.config().http.streams_of_a_connection();
        let mut load = Load {
            pending: self.waiting.len(),
            active: 0,
            room: self.waiting.connecting().saturating_mul(each),
        };
        for connection in &*self.connections.borrow() {
            load.add(connection.load());
        }
        load
    }

    /// Opens connections until those on their way can carry all who wait, and those that are wanted ahead.
    fn open_as_needed(&self, host: &Rc<Host>) {
        let (load, none) = (|| self.load(host), || self.connections.borrow().is_empty());
        self.waiting.open_as_needed(host, load, none, |permit| self.open(host, permit));
    }

    /// Opens a connection for a request that is likely to come next; whether it did.
    pub(crate) fn preconnect(&self, host: &Rc<Host>) -> bool {
        let (load, none) = (self.load(host), || self.connections.borrow().is_empty());
        self.waiting.preconnect(host, load, none, |permit| self.open(host, permit))
    }

    fn open(&self, host: &Rc<Host>, permit: Permit) {
        let priority = self.waiting.priority;
        let count = ConnectionCount::new(host, permit, Some(Version::Http2));
        let worker = Rc::clone(&host.core().worker);
        let host = Rc::clone(host);
        let connecting = Connecting::begin(&host, priority, true);
        worker.spawn(async move {
            // Lowered again even if connecting panics.
            let outcome = connect(host.core(), &host, count, Offer::Http2).await;
            drop(connecting);
            let Some(pool) = host.existing_http2_pool(priority) else { return };
            match outcome {
                Ok(connected) => carry(host, priority, connected).await,
                Err(error) => {
                    pool.waiting.fail_all(&host, &error);
                    pool.settle();
                }
            }
        });
    }

    /// Gives streams to those who wait, as far as there are any; for who still waits a connection is opened then.
    pub(super) fn serve(&self, host: &Rc<Host>, turned: Turned) {
        // Where handshakes decide, requests wait beside the HTTP/1 pool.
        let auto = host.core().config().http.protocol == UpstreamProtocol::Auto;
        let other = host.existing_pool(self.waiting.priority).filter(|_| auto);
        let is_awaited = || self.waiting.is_awaited() || other.is_some_and(|pool| pool.waiting.is_awaited());
        let mut some_go_on = turned == Turned::Connection;
        while is_awaited() {
            let Some(connection) = self.reserve() else { break };
            let own = self.waiting.next();
            let Some(pending) = own.or_else(|| other.and_then(|pool| pool.waiting.next())) else {
                connection.unreserve();
                break;
            };
            some_go_on = true;
            match RequestHold::take(host, self.waiting.priority) {
                Some(hold) => pending.resolve(Ok(Granted::Http2(connection, hold))),
                None => {
                    connection.unreserve();
                    pending.resolve(Err(PoolError::Overflow));
                }
            }
        }
        if some_go_on && self.waiting.is_awaited() {
            self.open_as_needed(host);
        }
        if let Some(other) = other.filter(|pool| some_go_on && pool.waiting.is_awaited()) {
            other.open_as_needed(host);
        }
        if turned == Turned::Connection {
            self.settle();
            other.into_iter().for_each(|pool| pool.settle(host));
        }
    }
}

impl Drop for Http2Pool {
    fn drop(&mut self) {
        self.retire();
    }
}

/// Carries requests over a connection to a host until it is closed.
pub(super) async fn carry(
    host: Rc<Host>,
    priority: RequestPriority,
    (stream, count, now): (Box<dyn ByteStream>, ConnectionCount, Instant),
) {
    let pool = host.http2_pool(priority);
    let connection = Http2Connection::new(stream, count, now);
    pool.connections.borrow_mut().push(Rc::clone(&connection));
    pool.serve(&host, Turned::Stream);
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
            if connection.is_closed() {
                pool.connections.borrow_mut().retain(|c| !Rc::ptr_eq(c, &connection));
                pool.serve(&host, Turned::Connection);
            } else {
                pool.serve(&host, Turned::Stream);
            }
        })
    })
    .await;
}
