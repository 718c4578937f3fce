//! Requests that wait for a connection.

use super::connection::{ClosedBy, Connection, RequestHold};
use super::http2::{Http2Connection, Turned};
use super::{Exchange, PoolError, TcpConnection};
use crate::cluster::{Permit, RequestPriority};
use crate::host::Host;
use nuncio_codec::head::Version;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A place in a pool's queue.
pub(crate) struct Pending(RefCell<State>);

enum State {
    Waiting { waker: Option<Waker>, count: PendingCount },
    Resolved(Outcome),
    Taken,
}

type Outcome = Result<Granted, PoolError>;

/// What was waited for.
pub(super) enum Granted {
    /// A connection of one's own.
    Http1(Box<Connection>, RequestHold),
    /// The promise of a stream.
    Http2(Rc<Http2Connection>, RequestHold),
}

/// Counts a waiting request.
pub(super) struct PendingCount {
    host: Rc<Host>,
    _permit: Permit,
}

impl PendingCount {
    pub(super) fn new(host: &Rc<Host>, permit: Permit) -> Self {
        host.core().stats.upstream_rq_pending_total.inc();
        host.core().stats.upstream_rq_pending_active.inc();
        host.counters().rq_pending_begun.inc();
        Self { host: Rc::clone(host), _permit: permit }
    }
}

impl Drop for PendingCount {
    fn drop(&mut self) {
        self.host.core().stats.upstream_rq_pending_active.dec();
        self.host.counters().rq_pending_done.inc();
    }
}

impl Pending {
    pub(super) fn new(host: &Rc<Host>, permit: Permit) -> Rc<Self> {
        let count = PendingCount::new(host, permit);
        Rc::new(Self(RefCell::new(State::Waiting { waker: None, count })))
    }

    pub(super) fn resolve(&self, outcome: Outcome) {
        let old = self.0.replace(State::Resolved(outcome));
        if let State::Waiting { waker: Some(waker), .. } = old {
            waker.wake();
        }
    }
}

/// A stream to come. Dropping it gives the place in the queue up; the connection that was being opened stays
/// for others.
pub struct PendingStream {
    kind: Kind,
}

enum Kind {
    /// In a pool's queue.
    Queued(Place),
    /// For a connection of its own, and what goes over it before everything else.
    Connecting(Connecting, Vec<u8>),
}

/// A connection that is being opened for one request alone.
type Connecting = Pin<Box<dyn Future<Output = Result<TcpConnection, PoolError>>>>;

/// A place in a pool's queue, given up when it is dropped.
struct Place {
    pending: Rc<Pending>,
    host: Rc<Host>,
    priority: RequestPriority,
    speaks: Version,
}

impl PendingStream {
    pub(super) fn new(
        pending: Rc<Pending>,
        host: Rc<Host>,
        priority: RequestPriority,
        speaks: Version,
    ) -> Self {
        Self { kind: Kind::Queued(Place { pending, host, priority, speaks }) }
    }

    pub(super) fn connecting(connecting: Connecting, first: Vec<u8>) -> Self {
        Self { kind: Kind::Connecting(connecting, first) }
    }

    /// Ready with the stream, or with why there is none. Once ready it must not be polled again.
    ///
    /// # Errors
    /// The connection failed, or a circuit breaker refused.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchange, PoolError>> {
        match &mut self.kind {
            Kind::Queued(place) => place.poll(cx),
            Kind::Connecting(connecting, first) => {
                connecting.as_mut().poll(cx).map_ok(|tcp| Exchange::tcp(tcp, std::mem::take(first)))
            }
        }
    }
}

impl Place {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Exchange, PoolError>> {
        let state = &mut *self.pending.0.borrow_mut();
        match std::mem::replace(state, State::Taken) {
            State::Waiting { count, .. } => {
                *state = State::Waiting { waker: Some(cx.waker().clone()), count };
                Poll::Pending
            }
            State::Resolved(Ok(Granted::Http1(connection, hold))) => {
                Poll::Ready(Ok(Exchange::http1(connection, hold)))
            }
            State::Resolved(Ok(Granted::Http2(connection, hold))) => {
                Poll::Ready(Ok(Exchange::http2(connection, hold)))
            }
            State::Resolved(Err(error)) => Poll::Ready(Err(error)),
            State::Taken => Poll::Pending,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = self.pending.0.replace(State::Taken);
        let (host, priority) = (&self.host, self.priority);
        match state {
            State::Waiting { .. } if self.speaks == Version::Http2 => {
                if let Some(pool) = host.existing_http2_pool(priority) {
                    pool.forget(host, &self.pending);
                }
            }
            State::Waiting { .. } => {
                if let Some(pool) = host.existing_pool(priority) {
                    pool.forget(host, &self.pending);
                }
            }
            // It came too late to be wanted: the next one gets it.
            State::Resolved(Ok(Granted::Http1(connection, hold))) => {
                drop(hold);
                if let Some(pool) = host.existing_pool(priority) {
                    pool.check_in(host, connection, true, ClosedBy::Local);
                }
            }
            State::Resolved(Ok(Granted::Http2(connection, hold))) => {
                drop(hold);
                connection.unreserve();
                if let Some(pool) = host.existing_http2_pool(priority) {
                    pool.serve(host, Turned::Stream);
                }
            }
            State::Resolved(Err(_)) | State::Taken => {}
        }
    }
}
