//! The pool of one host: idle connections, those on their way, and requests that wait.

use super::connect::connect;
use super::connection::{Age, ClosedBy, Connection, ConnectionCount, RequestHold};
use super::exchange::Exchange;
use super::http2::{self, Http2Pool};
use super::pending::{Granted, Pending, PendingStream};
use super::reaper::{PoolKey, PoolWatch};
use super::waiting::{Connecting, Load, Waiting};
use super::{Checkout, PoolError};
use crate::cluster::{ClusterCore, Permit, RequestPriority, UpstreamProtocol};
use crate::host::Host;
use nuncio_codec::head::Version;
use nuncio_net::tls::Offer;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Context;
use std::time::Instant;
use tokio::io::ReadBuf;

/// HTTP/1 connections to one host for requests of one priority.
pub(crate) struct HttpPool {
    /// The most recently used one is last.
    #[allow(clippy::vec_box, reason = "connections move between here and exchanges by pointer")]
    idle: RefCell<Vec<Box<Connection>>>,
    pub(super) waiting: Waiting,
    busy: Cell<usize>,
    /// Connections are opened before requests want them (`per_upstream_preconnect_ratio`).
    eager: bool,
    /// Its host is out for its health: nothing is kept for later.
    retired: Cell<bool>,
    /// Connections, busy ones too, that are told when they are too old.
    aging: RefCell<Vec<Weak<Age>>>,
    watch: PoolWatch,
}

impl HttpPool {
    pub(crate) fn new(host: &Rc<Host>, priority: RequestPriority) -> Self {
        Self {
            idle: RefCell::default(),
            waiting: Waiting::new(priority),
            busy: Cell::default(),
            eager: host.config().preconnect().per_upstream > 1.0,
            retired: Cell::default(),
            aging: RefCell::default(),
            watch: host.core().reaper.watch(PoolKey::new(host, priority)),
        }
    }

    /// Keeps nothing for later any more: idle connections are closed, busy ones when they are done.
    pub(crate) fn retire(&self, host: &Host) {
        self.retired.set(true);
        self.close_idle();
        self.settle(host);
    }

    fn close_idle(&self) {
        self.idle.take().into_iter().for_each(|connection| connection.close(ClosedBy::Local, false));
    }

    /// Makes room for another pool if it can: whether it counted, and nobody used it.
    pub(crate) fn free(&self, host: &Host) -> bool {
        let unused = self.waiting.counts() && self.waiting.is_empty() && self.busy.get() == 0;
        if !unused || !self.beside(host).is_none_or(Http2Pool::abandon_unused) {
            return false;
        }
        self.close_idle();
        self.waiting.release();
        true
    }

    /// Counts no longer if it holds nothing.
    pub(super) fn settle(&self, host: &Host) {
        if self.is_empty() && self.beside(host).is_none_or(Http2Pool::is_empty) {
            self.waiting.release();
        }
    }

    /// A request no longer waits.
    pub(super) fn forget(&self, host: &Host, pending: &Rc<Pending>) {
        self.waiting.forget(host, pending);
        self.settle(host);
    }

    /// The pool of HTTP/2 that is one with this one, where handshakes decide what is spoken.
    fn beside<'h>(&self, host: &'h Host) -> Option<&'h Http2Pool> {
        match host.config().http.protocol {
            UpstreamProtocol::Auto => host.existing_http2_pool(self.waiting.priority),
            _ => None,
        }
    }

    /// Whether it holds no connection, and nobody waits for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.waiting.is_empty() && self.busy.get() == 0
    }

    /// See [`Cluster::checkout`](crate::cluster::Cluster::checkout).
    pub(crate) fn checkout(&self, host: &Rc<Host>) -> Result<Checkout, PoolError> {
        if self.watch.take_woken() {
            self.reap(host, host.core().worker.now());
        }
        let connection = self.idle.borrow_mut().pop();
        if let Some(connection) = connection {
            let Some(hold) = RequestHold::take(host, self.waiting.priority) else {
                self.idle.borrow_mut().push(connection);
                return Err(PoolError::Overflow);
            };
            let exchange = self.attach(connection, hold);
            if self.eager {
                self.open_as_needed(host);
            }
            return Ok(Checkout::Ready(exchange));
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
        let pending = self.waiting.enqueue(host, Version::Http11)?;
        self.open_as_needed(host);
        Ok(pending)
    }

    /// Its streams. Where handshakes decide what is spoken, a connection on its way counts for as many as HTTP/2 would
    /// carry.
    pub(crate) fn load(&self, host: &Host) -> Load {
        let http = &host.config().http;
        let each = match http.protocol {
            UpstreamProtocol::Auto => http.streams_of_a_connection(),
            _ => 1,
        };
        Load {
            pending: self.waiting.len(),
            active: self.busy.get(),
            room: self.idle.borrow().len().saturating_add(self.waiting.connecting().saturating_mul(each)),
        }
    }

    /// Whether it has no connection, nor the pool of HTTP/2 beside it.
    fn has_none(&self, host: &Host) -> bool {
        self.busy.get() == 0
            && self.idle.borrow().is_empty()
            && self.beside(host).is_none_or(Http2Pool::is_empty)
    }

    /// Opens the connections that waiting requests need, and those that are wanted ahead.
    pub(super) fn open_as_needed(&self, host: &Rc<Host>) {
        let (load, none) = (|| self.load(host), || self.has_none(host));
        self.waiting.open_as_needed(host, load, none, |permit| self.open(host, permit));
    }

    /// Opens a connection for a request that is likely to come next; whether it did.
    pub(crate) fn preconnect(&self, host: &Rc<Host>) -> bool {
        let (load, none) = (self.load(host), || self.has_none(host));
        self.waiting.preconnect(host, load, none, |permit| self.open(host, permit))
    }

    fn open(&self, host: &Rc<Host>, permit: Permit) {
        let (host, priority) = (Rc::clone(host), self.waiting.priority);
        let auto = host.core().config().http.protocol == UpstreamProtocol::Auto;
        let (speaks, offer) =
            if auto { (None, Offer::Either) } else { (Some(Version::Http11), Offer::Http1) };
        let count = ConnectionCount::new(&host, permit, speaks);
        let worker = Rc::clone(&host.core().worker);
        let connecting = Connecting::begin(&host, priority, false);
        worker.spawn(async move {
            // Lowered again even if connecting panics.
            let outcome = connect(host.core(), &host, count, offer).await;
            drop(connecting);
            let Some(pool) = host.existing_pool(priority) else { return };
            match outcome {
                Ok((stream, mut count, now)) => {
                    if auto && count.agreed() == Version::Http2 {
                        return http2::carry(host, priority, (stream, count, now)).await;
                    }
                    let connection = Connection::new(stream, count, now);
                    pool.watch_age(&host, &connection);
                    pool.give(&host, connection);
                }
                Err(error) => {
                    pool.waiting.fail_all(&host, &error);
                    pool.settle(&host);
                }
            }
        });
    }

    /// A connection is free: the first who waits gets it, or it becomes idle.
    pub(super) fn give(&self, host: &Rc<Host>, mut connection: Box<Connection>) {
        loop {
            let Some(pending) = self.waiting.next() else { break };
            match RequestHold::take(host, self.waiting.priority) {
                Some(hold) => {
                    connection.begin_request();
                    self.busy.set(self.busy.get() + 1);
                    pending.resolve(Ok(Granted::Http1(connection, hold)));
                    if self.waiting.is_awaited() {
                        self.open_as_needed(host);
                    }
                    return;
                }
                None => pending.resolve(Err(PoolError::Overflow)),
            }
        }
        let now = host.core().worker.now();
        connection.idle_since = now;
        if let Some(by) = self.unfit(&connection) {
            connection.close(by, false);
            return self.settle(host);
        }
        if let Some(deadline) = self.deadline(host.core(), &connection) {
            host.core().reaper.arm(deadline);
        }
        self.idle.borrow_mut().push(connection);
    }

    /// Who ends a connection that nobody waits for, where it cannot be kept.
    #[inline]
    fn unfit(&self, connection: &Connection) -> Option<ClosedBy> {
        if self.retired.get() {
            return Some(ClosedBy::Local);
        }
        // Closed by the peer, or it sent what nobody asked for.
        (!self.watch_idle(connection)).then_some(ClosedBy::Remote)
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
        let too_old =
            || connection.age.as_ref().is_some_and(|age| age.is_over(host.core(), host.core().worker.now()));
        if reusable && !too_old() {
            self.busy.set(self.busy.get().saturating_sub(1));
            return self.give(host, connection);
        }
        self.end(host, connection, by, false);
    }

    /// A busy connection ends under its request.
    pub(super) fn cut(&self, host: &Rc<Host>, connection: Box<Connection>, by: ClosedBy) {
        self.end(host, connection, by, true);
    }

    #[cold]
    fn end(&self, host: &Rc<Host>, connection: Box<Connection>, by: ClosedBy, with_request: bool) {
        self.busy.set(self.busy.get().saturating_sub(1));
        connection.close(by, with_request);
        self.open_as_needed(host);
        self.settle(host);
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
        core.config().http.idle_timeout.map(|d| connection.idle_since + d)
    }

    /// Sees to it that a new connection's age is noticed.
    fn watch_age(&self, host: &Host, connection: &Connection) {
        if let Some(age) = &connection.age {
            let mut aging = self.aging.borrow_mut();
            if aging.len() == aging.capacity() {
                // Those that are closed leave before the list grows.
                aging.retain(|age| age.strong_count() > 0);
            }
            aging.push(Rc::downgrade(age));
            host.core().reaper.arm(age.too_old_at);
        }
    }

    /// Counts connections that have become too old; when the next one does.
    fn reap_aged(&self, core: &ClusterCore, now: Instant) -> Option<Instant> {
        let mut aging = self.aging.borrow_mut();
        aging.retain(|age| age.upgrade().is_some_and(|age| !age.is_over(core, now)));
        aging.iter().filter_map(|age| Some(age.upgrade()?.too_old_at)).min()
    }

    /// Closes idle connections that the peer closed or that are due; when the next one is.
    pub(super) fn reap(&self, host: &Host, now: Instant) -> Option<Instant> {
        self.watch.take_woken();
        let core = host.core();
        let mut next = self.reap_aged(core, now);
        let mut idle = std::mem::take(&mut *self.idle.borrow_mut());
        let mut kept = Vec::with_capacity(idle.capacity());
        for connection in idle.drain(..) {
            if !self.watch_idle(&connection) {
                connection.close(ClosedBy::Remote, false);
                continue;
            }
            if connection.age.as_ref().is_some_and(|age| age.is_over(core, now)) {
                connection.close(ClosedBy::Local, false);
                continue;
            }
            match self.deadline(core, &connection) {
                Some(deadline) if deadline <= now => {
                    core.stats.upstream_cx_idle_timeout.inc();
                    connection.close(ClosedBy::Local, false);
                }
                deadline => {
                    next = next.into_iter().chain(deadline).min();
                    kept.push(connection);
                }
            }
        }
        *self.idle.borrow_mut() = kept;
        self.settle(host);
        next
    }
}
