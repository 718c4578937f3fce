//! One proxied connection: a host is found and reached, then bytes go both ways until both sides have ended.

use super::TcpProxy;
use super::log::SessionLog;
use super::pump::{Broken, Direction, Moved};
use crate::router::charge;
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag};
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::LazyTimer;
use nuncio_upstream::cluster::{PickContext, RequestPriority};
use nuncio_upstream::outlier::Outcome;
use nuncio_upstream::pool::{PoolError, TcpConnection};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Serves a connection until both sides have ended, one failed or a time is over. The client is read only once
/// there is a host for its bytes.
pub(super) async fn serve(proxy: Rc<TcpProxy>, io: Box<dyn ByteStream>, connection: Rc<ConnectionInfo>) {
    proxy.stats.downstream_cx_total.inc();
    let most_at = proxy.config.max_duration.and_then(|d| connection.accepted.checked_add(d));
    // Written when it goes, whichever way out is taken.
    let mut log = SessionLog::begin(&proxy, connection);
    let mut timer = LazyTimer::new();
    let reached = {
        let mut reach = pin!(reach(&proxy, &mut log));
        poll_fn(|cx| {
            if let Poll::Ready(reached) = reach.as_mut().poll(cx) {
                return Poll::Ready(Reached::Answer(reached));
            }
            timer.poll(cx, proxy.world.worker.now(), most_at).map(|()| Reached::TooLate)
        })
        .await
    };
    let upstream = match reached {
        Reached::Answer(Ok(upstream)) => upstream,
        Reached::Answer(Err(reason)) => return log.closes(reason),
        Reached::TooLate => return too_old(&proxy, &mut log),
    };
    let mut session = Session {
        io,
        upstream,
        up: Direction::default(),
        down: Direction::default(),
        active: proxy.world.worker.now(),
        most_at,
        timer,
        proxy: Rc::clone(&proxy),
        log,
    };
    let end = poll_fn(|cx| session.poll(cx)).await;
    session.end(end);
}

/// What came of looking for a host.
enum Reached {
    /// A connection, or why the client's is closed.
    Answer(Result<TcpConnection, &'static str>),
    /// `max_downstream_connection_duration` was over first.
    TooLate,
}

fn too_old(proxy: &TcpProxy, log: &mut SessionLog) {
    proxy.stats.max_downstream_connection_duration.inc();
    log.flag(ResponseFlag::DurationTimeout);
    log.closes("max_connection_duration_reached");
}

/// Connects to a host, as often as `max_connect_attempts` lets it. The errors are Envoy's texts, spelling
/// included.
async fn reach(proxy: &TcpProxy, log: &mut SessionLog) -> Result<TcpConnection, &'static str> {
    let TcpProxy { config, world, stats } = proxy;
    let priority = RequestPriority::Default;
    loop {
        let random = world.worker.rng().next();
        let Some(cluster) = config.cluster(random).and_then(|name| world.clusters.get(name)) else {
            stats.downstream_cx_no_route.inc();
            log.flag(ResponseFlag::NoClusterFound);
            return Err("tcp_initializion_failure:3");
        };
        charge::name_cluster(&mut log.info.upstream, &cluster);
        let Some(permit) = cluster.try_connection(priority) else {
            log.flag(ResponseFlag::UpstreamOverflow);
            return Err("tcp_initializion_failure:2");
        };
        if log.info.upstream.attempts >= config.max_connect_attempts {
            cluster.stats().upstream_cx_connect_attempts_exceeded.inc();
            log.flag(ResponseFlag::UpstreamRetryLimitExceeded);
            return Err("tcp_initializion_failure:0");
        }
        let Some(host) = cluster.pick(&PickContext::default()) else {
            log.flag(ResponseFlag::NoHealthyUpstream);
            return Err("tcp_initializion_failure:1");
        };
        log.info.upstream.attempts += 1;
        charge::name_host(&mut log.info.upstream, &host);
        match cluster.connect_tcp(&host, priority, permit).await {
            Ok(upstream) => {
                host.report(Outcome::Connected);
                charge::name_facts(&mut log.info, upstream.facts());
                return Ok(upstream);
            }
            Err(error) => {
                // As in Envoy it stays, whatever the next attempt brings.
                log.info.upstream.transport_failure = error.transport_failure().map(Box::from);
                if matches!(error, PoolError::Remote(_) | PoolError::Timeout) {
                    host.report(Outcome::Failed);
                    log.flag(ResponseFlag::UpstreamConnectionFailure);
                }
            }
        }
    }
}

/// A connection that has found its host.
struct Session {
    // In this order they are dropped: both connections are closed before the log is written.
    upstream: TcpConnection,
    io: Box<dyn ByteStream>,
    up: Direction,
    down: Direction,
    /// When a byte last moved.
    active: Instant,
    most_at: Option<Instant>,
    timer: LazyTimer,
    proxy: Rc<TcpProxy>,
    log: SessionLog,
}

/// How a session ended.
enum End {
    /// Both sides ended; the host's end came last where this is true.
    Both {
        host_last: bool,
    },
    /// The client is gone.
    Client(io::Error),
    /// The host is gone.
    Host(io::Error),
    Idle,
    TooOld,
}

impl Session {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let host_ended = self.down.is_over();
        match self.poll_directions(cx) {
            Poll::Ready(Err(end)) => return Poll::Ready(end),
            Poll::Ready(Ok(())) => return Poll::Ready(End::Both { host_last: !host_ended }),
            Poll::Pending => {}
        }
        let now = self.proxy.world.worker.now();
        let idle_at = self.proxy.config.idle_timeout.and_then(|d| self.active.checked_add(d));
        let deadline = [idle_at, self.most_at].into_iter().flatten().min();
        let too_old = deadline == self.most_at;
        self.timer.poll(cx, now, deadline).map(|()| if too_old { End::TooOld } else { End::Idle })
    }

    /// Both directions as far as they go now.
    fn poll_directions(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Self { io, upstream, up, down, proxy, log, .. } = self;
        let (client, host) = (&**io, upstream.stream());
        let buffers = proxy.world.worker.buffers();
        let (mut upwards, mut downwards) = (Moved::default(), Moved::default());
        let up = up.poll(cx, (client, host), buffers, &mut upwards);
        let down = down.poll(cx, (host, client), buffers, &mut downwards);
        log.received(upwards.read);
        log.sent(downwards.written);
        upstream.sent(upwards.written);
        upstream.received(downwards.read);
        let bytes = &mut log.info.upstream.bytes;
        bytes.wire_sent += upwards.written as u64;
        bytes.wire_received += downwards.read as u64;
        if upwards.read + upwards.written + downwards.read + downwards.written > 0 {
            self.active = proxy.world.worker.now();
        }
        match (up, down) {
            (Poll::Ready(Err(Broken::Source(e))), _) | (_, Poll::Ready(Err(Broken::Target(e)))) => {
                Poll::Ready(Err(End::Client(e)))
            }
            (_, Poll::Ready(Err(Broken::Source(e)))) | (Poll::Ready(Err(Broken::Target(e))), _) => {
                Poll::Ready(Err(End::Host(e)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Closes both sides. A reset is passed on as a reset.
    fn end(mut self, end: End) {
        let buffers = self.proxy.world.worker.buffers();
        self.up.release(buffers);
        self.down.release(buffers);
        match end {
            End::Both { host_last: true } => self.upstream.closed_by_host(),
            End::Both { host_last: false } => {}
            End::Client(error) => {
                if is_reset(&error) {
                    self.log.info.connection.state.remote_reset.set(true);
                    self.upstream.stream().reset_on_drop();
                }
            }
            End::Host(error) => {
                self.upstream.closed_by_host();
                if is_reset(&error) {
                    self.log.flag(ResponseFlag::UpstreamRemoteReset);
                    self.io.reset_on_drop();
                }
            }
            End::Idle => {
                self.proxy.stats.idle_timeout.inc();
                self.log.closes("tcp_session_idle_timeout");
            }
            End::TooOld => too_old(&self.proxy, &mut self.log),
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}
