//! The pool of one host: idle connections, those on their way, and requests that wait.

use super::connect::connect;
use super::connection::{ClosedBy, Connection, ConnectionCount, RequestHold};
use super::exchange::Exchange;
use super::http2::{self, Http2Pool};
use super::pending::{Granted, Pending, PendingStream};
use super::reaper::{PoolKey, PoolWatch};
use super::{Checkout, PoolError};
use crate::circuit::Resource;
use crate::cluster::{ClusterCore, Permit, RequestPriority, UpstreamProtocol};
use crate::host::Host;
use nuncio_codec::head::Version;
use nuncio_net::tls::Offer;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Context;
use std::time::Instant;
use tokio::io::ReadBuf;

/// HTTP/1 connections to one host for requests of one priority.
pub(crate) struct HttpPool {
    priority: RequestPriority,
    /// The most recently used one is last.
    #[allow(clippy::vec_box, reason = "connections move between here and exchanges by pointer")]
    idle: RefCell<Vec<Box<Connection>>>,
    pending: RefCell<VecDeque<Rc<Pending>>>,
    connecting: Cell<usize>,
    busy: Cell<usize>,
    watch: PoolWatch,
    _permit: Permit,
}

impl HttpPool {
    pub(crate) fn new(host: &Rc<Host>, priority: RequestPriority, permit: Permit) -> Self {
        Self {
            _permit: permit,
            priority,
            idle: RefCell::default(),
            pending: RefCell::default(),
            connecting: Cell::default(),
            busy: Cell::default(),
            watch: host.core().reaper.watch(PoolKey::new(host, priority)),
        }
    }

    /// Whether it holds no connection, and nobody waits for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
            && self.pending.borrow().is_empty()
            && self.connecting.get() + self.busy.get() == 0
    }

    /// See [`Cluster::checkout`](crate::cluster::Cluster::checkout).
    pub(crate) fn checkout(&self, host: &Rc<Host>) -> Result<Checkout, PoolError> {
        if self.watch.take_woken() {
            self.reap(host, host.core().worker.now());
        }
        let connection = self.idle.borrow_mut().pop();
        if let Some(connection) = connection {
            let Some(hold) = RequestHold::take(host, self.priority) else {
                self.idle.borrow_mut().push(connection);
                return Err(PoolError::Overflow);
            };
            return Ok(Checkout::Ready(self.attach(connection, hold)));
        }
        self.enqueue(host).map(Checkout::Wait)
    }

    #[inline]
    pub(super) fn attach(&self, mut connection: Box<Connection>, hold: RequestHold) -> Exchange {
        connection.begin_request();
        self.busy.set(self.busy.get() + 1);
        Exchange::http1(connection, hold)
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
        Ok(PendingStream::new(pending, Rc::clone(host), self.priority, Version::Http11))
    }

    /// Whether a request waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.pending.borrow().is_empty()
    }

    /// Takes the first request that waits.
    pub(super) fn next_pending(&self) -> Option<Rc<Pending>> {
        self.pending.borrow_mut().pop_front()
    }

    /// Opens a connection for each waiting request that none is on its way for; where handshakes decide what is spoken,
    /// for as many as HTTP/2 would carry. Where `max_connections` refuses, one is opened all the same if the pool has
    /// none at all, so that nobody waits for ever.
    pub(super) fn open_as_needed(&self, host: &Rc<Host>) {
        let core = host.core();
        let http = &core.config().http;
        let each = match http.protocol {
            UpstreamProtocol::Auto => http.streams_of_a_connection(),
            _ => 1,
        };
        while self.pending.borrow().len() > self.connecting.get().saturating_mul(each) {
            let permit = core.try_take(self.priority, Resource::Connections).or_else(|| {
                core.stats.upstream_cx_overflow.inc();
                let other = host.existing_http2_pool(self.priority).is_none_or(Http2Pool::is_empty);
                let none =
                    self.connecting.get() + self.busy.get() == 0 && self.idle.borrow().is_empty() && other;
                none.then(|| core.take_anyway(self.priority, Resource::Connections))
            });
            let Some(permit) = permit else { return };
            self.open(host, permit);
        }
    }

    fn open(&self, host: &Rc<Host>, permit: Permit) {
        self.connecting.set(self.connecting.get() + 1);
        let (host, priority) = (Rc::clone(host), self.priority);
        let auto = host.core().config().http.protocol == UpstreamProtocol::Auto;
        let (speaks, offer) =
            if auto { (None, Offer::Either) } else { (Some(Version::Http11), Offer::Http1) };
        let count = ConnectionCount::new(&host, permit, speaks);
        let worker = Rc::clone(&host.core().worker);
        worker.spawn(async move {
            // Lowered again even if connecting panics.
            let connecting = Connecting { host: &host, priority };
            let outcome = connect(host.core(), &host, count, offer).await;
            drop(connecting);
            let Some(pool) = host.existing_pool(priority) else { return };
            match outcome {
                Ok((stream, mut count, now)) => {
                    if auto && count.agreed() == Version::Http2 {
                        return http2::carry(host, priority, (stream, count, now)).await;
                    }
                    pool.give(&host, Connection::new(stream, count, now));
                    if auto {
                        pool.open_as_needed(&host);
                    }
                }
                Err(error) => pool.fail_all(&host, &error),
            }
        });
    }

    /// A connection is free: the first who waits gets it, or it becomes idle.
    pub(super) fn give(&self, host: &Rc<Host>, mut connection: Box<Connection>) {
        loop {
            let Some(pending) = self.pending.borrow_mut().pop_front() else { break };
            match RequestHold::take(host, self.priority) {
                Some(hold) => {
                    connection.begin_request();
                    self.busy.set(self.busy.get() + 1);
                    pending.resolve(Ok(Granted::Http1(connection, hold)));
                    return;
                }
                None => pending.resolve(Err(PoolError::Overflow)),
            }
        }
        let now = host.core().worker.now();
        let max_age = host.core().config().http.max_connection_duration;
        if max_age.is_some_and(|d| connection.count.born() + d <= now) {
            host.core().stats.upstream_cx_max_duration_reached.inc();
            return connection.close(ClosedBy::Local, false);
        }
        connection.idle_since = now;
        if !self.watch_idle(&connection) {
            // Closed by the peer, or it sent what nobody asked for.
            return connection.close(ClosedBy::Remote, false);
        }
        if let Some(deadline) = self.deadline(host.core(), &connection) {
            host.core().reaper.arm(deadline);
        }
        self.idle.borrow_mut().push(connection);
    }

    /// A busy connection comes back, for another request or to be closed.
    #[inline]
    pub(super) fn check_in(
        &self,
        host: &Rc<Host>,
        connection: Box<Connection>,
        reusable: bool,
        by: ClosedBy,
    ) {
        self.busy.set(self.busy.get().saturating_sub(1));
        if reusable {
            return self.give(host, connection);
        }
        connection.close(by, false);
        self.open_as_needed(host);
    }

    /// A busy connection ends under its request.
    pub(super) fn cut(&self, host: &Rc<Host>, connection: Box<Connection>, by: ClosedBy) {
        self.busy.set(self.busy.get().saturating_sub(1));
        connection.close(by, true);
        self.open_as_needed(host);
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

    /// Asks to be woken when something happens to an idle connection; false when it already has.
    #[inline]
    fn watch_idle(&self, connection: &Connection) -> bool {
        let mut cx = Context::from_waker(self.watch.waker());
        connection.stream.poll_read_ready(&mut cx).is_pending() || Self::still_open(connection, &mut cx)
    }

    /// Readiness may be left over from a read that filled its buffer; only another read tells.
    #[cold]
    fn still_open(connection: &Connection, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        connection.stream.poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// When an idle connection is to be closed.
    #[inline]
    fn deadline(&self, core: &ClusterCore, connection: &Connection) -> Option<Instant> {
        let http = &core.config().http;
        let idle = http.idle_timeout.map(|d| connection.idle_since + d);
        let age = http.max_connection_duration.map(|d| connection.count.born() + d);
        match (idle, age) {
            (Some(idle), Some(age)) => Some(idle.min(age)),
            (idle, age) => idle.or(age),
        }
    }

    /// Closes idle connections that the peer closed or that are due; when the next one is.
    pub(super) fn reap(&self, host: &Host, now: Instant) -> Option<Instant> {
        self.watch.take_woken();
        let core = host.core();
        let mut next: Option<Instant> = None;
        let mut idle = std::mem::take(&mut *self.idle.borrow_mut());
        let mut kept = Vec::with_capacity(idle.capacity());
        for connection in idle.drain(..) {
            if !self.watch_idle(&connection) {
                connection.close(ClosedBy::Remote, false);
                continue;
            }
            match self.deadline(core, &connection) {
                Some(deadline) if deadline <= now => {
                    let too_old = core.config().http.max_connection_duration;
                    if too_old.is_some_and(|d| connection.count.born() + d <= now) {
                        core.stats.upstream_cx_max_duration_reached.inc();
                    } else {
                        core.stats.upstream_cx_idle_timeout.inc();
                    }
                    connection.close(ClosedBy::Local, false);
                }
                deadline => {
                    next = next.into_iter().chain(deadline).min();
                    kept.push(connection);
                }
            }
        }
        *self.idle.borrow_mut() = kept;
        next
    }
}

/// A connection on its way.
struct Connecting<'a> {
    host: &'a Rc<Host>,
    priority: RequestPriority,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.host.existing_pool(self.priority) {
            pool.connecting.set(pool.connecting.get().saturating_sub(1));
        }
    }
}
