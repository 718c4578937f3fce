//! One upstream connection, whatever it is doing.

use super::http1::Traffic;
use crate::circuit::Resource;
use crate::cluster::{ClusterCore, Permit, RequestPriority};
use crate::host::{Host, HostShared};
use crate::stats::HostCounters;
use nuncio_codec::h1::ClientCodec;
use nuncio_codec::head::Version;
use nuncio_core::stream_info::{TlsInfo, UpstreamConnectionInfo};
use nuncio_net::stream::ByteStream;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Who ended a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClosedBy {
    #[default]
    Local,
    Remote,
}

/// Counts a connection for as long as it lives, from the first SYN on.
pub(crate) struct ConnectionCount {
    pub(crate) core: Rc<ClusterCore>,
    counters: Arc<HostCounters>,
    born: Instant,
    requests: u64,
    closed_by: ClosedBy,
    with_request: bool,
    /// Whether this side has lost its patience, where that is limited.
    given_up: Option<Rc<Cell<bool>>>,
    /// What the handshake agreed on.
    pub(crate) tls: Option<Rc<TlsInfo>>,
    speaks: Option<Version>,
    /// There where others may wait for its end.
    limited: Option<Arc<HostShared>>,
    _permit: Permit,
}

impl ConnectionCount {
    pub(crate) fn new(host: &Host, permit: Permit, speaks: Option<Version>) -> Self {
        let core = Rc::clone(host.core());
        let counters = Arc::clone(host.counters());
        core.stats.upstream_cx_total.inc();
        core.stats.upstream_cx_active.inc();
        // Nothing is ever held there, but who asks for what is in use sees it.
        core.stats.upstream_cx_rx_bytes_buffered.add(0);
        counters.cx_total.inc();
        let born = core.worker.now();
        let mut count = Self {
            core,
            counters,
            born,
            requests: 0,
            closed_by: ClosedBy::Local,
            with_request: false,
            given_up: None,
            tls: None,
            speaks: None,
            limited: host.limits_connections().then(|| Arc::clone(host.shared())),
            _permit: permit,
        };
        if let Some(version) = speaks {
            count.speaks(version);
        }
        count
    }

    /// This is spoken over it.
    fn speaks(&mut self, version: Version) {
        self.speaks = Some(version);
        if version == Version::Http2 {
            self.core.stats.upstream_cx_http2_total.inc();
            self.core.http2_stats().nghttp2_upstream_connections.inc();
        } else {
            self.core.stats.upstream_cx_http1_total.inc();
            let _ = self.core.http1_stats();
        }
    }

    /// What its handshake agreed on is spoken over it from now on. Envoy counts another connection for that.
    pub(crate) fn agreed(&mut self) -> Version {
        let http2 = self.tls.as_ref().is_some_and(|tls| &*tls.alpn == b"h2");
        let version = if http2 { Version::Http2 } else { Version::Http11 };
        self.core.stats.upstream_cx_total.inc();
        self.speaks(version);
        version
    }

    /// When the connection was begun.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// A request goes onto it; how many that makes.
    #[inline]
    pub(crate) fn begin_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// How many requests went onto it.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// What is to be called where the host takes nothing for too long.
    pub(super) fn on_patience_over(&mut self) -> impl Fn() + 'static {
        let given_up = Rc::clone(self.given_up.get_or_insert_default());
        move || given_up.set(true)
    }

    /// Whether it ends because the host took nothing for too long.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.as_ref().is_some_and(|given_up| given_up.get())
    }

    /// It ends; `with_request` says whether a request is cut.
    pub(crate) fn closed(&mut self, by: ClosedBy, with_request: bool) {
        self.closed_by = if self.is_given_up() { ClosedBy::Local } else { by };
        self.with_request = with_request;
    }

    /// It never came to be.
    pub(crate) fn failed(&mut self, by: ClosedBy) {
        self.closed_by = by;
        self.core.stats.upstream_cx_connect_fail.inc();
        self.counters.cx_connect_fail.inc();
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let stats = &self.core.stats;
        stats.upstream_cx_active.dec();
        self.counters.cx_closed.inc();
        if let Some(host) = &self.limited {
            host.connection_closed();
        }
        stats.upstream_cx_destroy.inc();
        match self.closed_by {
            ClosedBy::Local => stats.upstream_cx_destroy_local.inc(),
            ClosedBy::Remote => stats.upstream_cx_destroy_remote.inc(),
        }
        if self.with_request {
            stats.upstream_cx_destroy_with_active_rq.inc();
            match self.closed_by {
                ClosedBy::Local => stats.upstream_cx_destroy_local_with_active_rq.inc(),
                ClosedBy::Remote => stats.upstream_cx_destroy_remote_with_active_rq.inc(),
            }
        }
        let age = self.core.worker.now().saturating_duration_since(self.born);
        stats.upstream_cx_length_ms.record(age.as_millis() as u64);
        if self.speaks.is_some() {
            stats.upstream_rq_per_cx.record(self.requests);
        }
    }
}

/// Until when a connection takes requests (`max_connection_duration`).
pub(crate) struct Age {
    pub(crate) too_old_at: Instant,
    is_over: Cell<bool>,
}

impl Age {
    /// Whether it takes no request any more, which is counted once.
    pub(crate) fn is_over(&self, core: &ClusterCore, now: Instant) -> bool {
        if !self.is_over.get() && self.too_old_at <= now {
            self.is_over.set(true);
            core.stats.upstream_cx_max_duration_reached.inc();
        }
        self.is_over.get()
    }
}

/// A live HTTP/1 connection.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) codec: ClientCodec,
    pub(crate) info: Rc<UpstreamConnectionInfo>,
    pub(crate) count: ConnectionCount,
    pub(crate) idle_since: Instant,
    /// It may not carry another request after this one.
    pub(crate) last: bool,
    /// There where `max_connection_duration` limits it.
    pub(crate) age: Option<Rc<Age>>,
    /// What the present exchange has under way.
    pub(crate) traffic: Traffic,
}

impl Connection {
    pub(crate) fn new(stream: Box<dyn ByteStream>, count: ConnectionCount, now: Instant) -> Box<Self> {
        let worker = &count.core.worker;
        let info = Rc::new(UpstreamConnectionInfo {
            id: worker.next_connection_id(),
            local: stream.local_address().clone(),
            peer: stream.peer_address().clone(),
            protocol: Some(Version::Http11),
            connect_begin: count.born(),
            connect_end: now,
            tls: count.tls.clone(),
        });
        let mut codec = ClientCodec::new();
        if count.core.config().http.send_fully_qualified_url {
            codec.set_fully_qualified_url();
        }
        let traffic = Traffic::default();
        let too_old_at = count.core.config().http.too_old_at(now, count.core.worker.rng());
        let age = too_old_at.map(|at| Rc::new(Age { too_old_at: at, is_over: Cell::new(false) }));
        Box::new(Self { stream, codec, info, count, idle_since: now, last: false, age, traffic })
    }

    /// Whether it carries its second request, or a later one.
    pub(crate) fn reused(&self) -> bool {
        self.count.requests() > 1
    }

    /// A request goes onto it.
    #[inline]
    pub(crate) fn begin_request(&mut self) {
        let count = &mut self.count;
        let requests = count.begin_request();
        if count.core.config().http.max_requests.is_some_and(|max| requests >= u64::from(max)) {
            count.core.stats.upstream_cx_max_requests.inc();
            self.last = true;
        }
    }

    /// Closes it; `with_request` says whether a request is cut.
    #[allow(clippy::boxed_local, reason = "connections always live in boxes")]
    pub(crate) fn close(mut self: Box<Self>, by: ClosedBy, with_request: bool) {
        self.count.closed(by, with_request);
    }
}

/// A request on a connection, counted for as long as it lives.
pub(crate) struct RequestHold {
    pub(crate) host: Rc<Host>,
    pub(crate) priority: RequestPriority,
    held: bool,
}

impl RequestHold {
    /// `None` where `max_requests` refuses, which is counted.
    #[inline]
    pub(crate) fn take(host: &Rc<Host>, priority: RequestPriority) -> Option<Self> {
        let core = host.core();
        if !core.take(priority, Resource::Requests) {
            core.stats.upstream_rq_active_overflow.inc();
            return None;
        }
        Some(Self::begin(host, priority))
    }

    /// One that counts, and that `max_requests` does not refuse.
    pub(crate) fn take_anyway(host: &Rc<Host>, priority: RequestPriority) -> Self {
        host.core().shared.breaker(priority).take_anyway(Resource::Requests);
        Self::begin(host, priority)
    }

    #[inline]
    fn begin(host: &Rc<Host>, priority: RequestPriority) -> Self {
        let core = host.core();
        core.stats.upstream_rq_total.inc();
        core.stats.upstream_rq_active.inc();
        host.begin_request();
        Self { host: Rc::clone(host), priority, held: true }
    }

    /// Ends the count before the hold itself goes.
    #[inline]
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            let core = self.host.core();
            core.stats.upstream_rq_active.dec();
            core.shared.breaker(self.priority).give_back(Resource::Requests);
            self.host.end_request();
        }
    }
}

impl Drop for RequestHold {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}
