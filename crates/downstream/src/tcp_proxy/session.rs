//! One proxied connection: a host is found and reached, then bytes go both ways until both sides have ended.

use super::TcpProxy;
use super::early::{Early, EarlyConfig};
use super::log::SessionLog;
use super::pump::{Broken, Direction, Moved};
use super::reach::{CLUSTER_STATE, Upstream, reach};
use nuncio_core::format::LogType;
use nuncio_core::stream_info::{ByteCounts, ConnectionInfo, ResponseFlag};
use nuncio_net::stream::{ByteStream, PATIENCE_IS_OVER};
use nuncio_net::timer::LazyTimer;
use nuncio_upstream::error::ResetReason;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The filter state that says how long a connection may be idle, in milliseconds.
pub const IDLE_STATE: &str = "envoy.tcp_proxy.per_connection_idle_timeout_ms";

/// Serves a connection until both sides have ended, one failed or a time is over. The client is read only once
/// there is a host for its bytes, unless the configuration lets it speak before.
pub(super) async fn serve(proxy: Rc<TcpProxy>, io: Box<dyn ByteStream>, connection: Rc<ConnectionInfo>) {
    proxy.stats.downstream_cx_total.inc();
    let times = proxy.config.log_times;
    let most_at = max_duration(&proxy).and_then(|d| connection.accepted.checked_add(d));
    let flush_at = times.interval.and_then(|d| connection.accepted.checked_add(d));
    // Written when it goes, whichever way out is taken.
    let mut log = SessionLog::begin(&proxy, connection);
    if times.on_start {
        log.write(LogType::TcpConnectionStart);
    }
    // What is named once the client has spoken comes too late, as in Envoy.
    let named = log.info.filter_state(CLUSTER_STATE).and_then(|state| state.serialize());
    let mut timer = LazyTimer::new();
    let mut early = Early::default();
    if let Some(config) = proxy.config.early
        && let Err(end) =
            first_word(&proxy, &*io, (&mut early, config), &mut timer, (most_at, &mut log)).await
    {
        return log.ends_without_host(&proxy, end);
    }
    let reached = {
        let mut reach = pin!(reach(&proxy, named.as_deref(), &mut log));
        poll_fn(|cx| {
            if let Poll::Ready(reached) = reach.as_mut().poll(cx) {
                return Poll::Ready(Reached::Answer(reached));
            }
            if let Some(config) = proxy.config.early
                && let Poll::Ready(Err(error)) = early.poll(cx, &*io, config, &proxy.stats)
            {
                return Poll::Ready(Reached::ClientGone(error));
            }
            timer.poll(cx, proxy.world.worker.now(), most_at).map(|()| Reached::TooLate)
        })
        .await
    };
    log.received(early.len());
    let upstream = match reached {
        Reached::Answer(Ok(upstream)) => upstream,
        Reached::Answer(Err(reason)) => return log.closes(reason),
        Reached::ClientGone(error) => return log.ends_without_host(&proxy, End::Client(error)),
        Reached::TooLate => return log.ends_without_host(&proxy, End::TooOld),
    };
    if times.on_connected {
        log.write(LogType::TcpUpstreamConnected);
    }
    let mut session = Session {
        io,
        upstream,
        up: early.into_direction(),
        down: Direction::default(),
        moved: log.info.upstream.bytes,
        active: proxy.world.worker.now(),
        idle: idle_timeout(&proxy, &log),
        most_at,
        flush_at,
        timer,
        proxy: Rc::clone(&proxy),
        log,
    };
    let end = poll_fn(|cx| session.poll(cx)).await;
    session.end(end);
}

/// `max_downstream_connection_duration`, longer by a part that chance chooses.
fn max_duration(proxy: &TcpProxy) -> Option<Duration> {
    let most = proxy.config.max_duration?;
    let jitter = proxy.config.max_duration_jitter;
    if jitter <= 0.0 {
        return Some(most);
    }
    let share = proxy.world.worker.rng().below(1_000_000) as f64 / 1_000_000.0;
    Some(most.mul_f64(1.0 + jitter * share))
}

fn idle_timeout(proxy: &TcpProxy, log: &SessionLog) -> Option<Duration> {
    let own = log.info.filter_state(IDLE_STATE).and_then(|state| state.serialize()?.parse().ok());
    match own {
        Some(0) => None,
        Some(millis) => Some(Duration::from_millis(millis)),
        None => proxy.config.idle_timeout,
    }
}

/// What came of looking for a host.
// One for each connection, at once taken apart.
#[allow(clippy::large_enum_variant, reason = "see above")]
enum Reached {
    /// A way to a host, or why the client's connection is closed.
    Answer(Result<Upstream, &'static str>),
    /// The client was read, and is gone.
    ClientGone(io::Error),
    /// `max_downstream_connection_duration` was over first.
    TooLate,
}

/// Waits until the client says what the mode wants to hear. One that only ends says nothing: as in Envoy, its connection
/// then waits for its time to be over.
async fn first_word(
    proxy: &TcpProxy,
    io: &dyn ByteStream,
    (early, config): (&mut Early, EarlyConfig),
    timer: &mut LazyTimer,
    (most_at, log): (Option<Instant>, &mut SessionLog),
) -> Result<(), End> {
    let worker = &proxy.world.worker;
    let idle_at = idle_timeout(proxy, log).and_then(|d| worker.now().checked_add(d));
    poll_fn(|cx| {
        if early.suffices(cx, io, config.mode) {
            return Poll::Ready(Ok(()));
        }
        while let Poll::Ready(read) = early.poll(cx, io, config, &proxy.stats) {
            if let Err(error) = read {
                return Poll::Ready(Err(End::Client(error)));
            }
        }
        if early.suffices(cx, io, config.mode) {
            return Poll::Ready(Ok(()));
        }
        let deadline = [idle_at, most_at].into_iter().flatten().min();
        timer
            .poll(cx, worker.now(), deadline)
            .map(|()| Err(if deadline == most_at { End::TooOld } else { End::Idle }))
    })
    .await
}

fn too_old(proxy: &TcpProxy, log: &mut SessionLog) {
    proxy.stats.max_downstream_connection_duration.inc();
    log.flag(ResponseFlag::DurationTimeout);
    log.closes("max_connection_duration_reached");
}

/// A connection that has found its host.
struct Session {
    // In this order they are dropped: both connections are closed before the log is written.
    upstream: Upstream,
    io: Box<dyn ByteStream>,
    up: Direction,
    down: Direction,
    /// Bytes that went over to the host and came from it, with those of attempts that failed.
    moved: ByteCounts,
    /// When a byte last moved.
    active: Instant,
    idle: Option<Duration>,
    most_at: Option<Instant>,
    /// When the next periodic entry of the log is due.
    flush_at: Option<Instant>,
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
    /// The listener drains.
    Draining,
}

impl SessionLog {
    /// The connection is over before there was a host.
    fn ends_without_host(mut self, proxy: &TcpProxy, end: End) {
        match end {
            End::Client(error) if is_reset(&error) => self.info.connection.state.remote_reset.set(true),
            End::Both { .. } | End::Client(_) | End::Host(_) => {}
            End::Idle => idle(proxy, &self),
            End::TooOld => too_old(proxy, &mut self),
            End::Draining => drained(proxy, &self),
        }
    }
}

fn idle(proxy: &TcpProxy, log: &SessionLog) {
    proxy.stats.idle_timeout.inc();
    log.closes("tcp_session_idle_timeout");
}

fn drained(proxy: &TcpProxy, log: &SessionLog) {
    proxy.stats.downstream_cx_drain_close.inc();
    log.closes("tcp_proxy_drain_close");
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
        loop {
            let idle_at = self.idle.and_then(|d| self.active.checked_add(d));
            let deadline = [idle_at, self.most_at, self.flush_at].into_iter().flatten().min();
            if self.timer.poll(cx, now, deadline).is_pending() {
                return Poll::Pending;
            }
            if deadline == self.most_at {
                return Poll::Ready(End::TooOld);
            }
            if deadline == idle_at {
                return Poll::Ready(End::Idle);
            }
            self.count(false);
            self.log.write(LogType::TcpPeriodic);
            self.flush_at = self.proxy.config.log_times.interval.and_then(|d| now.checked_add(d));
        }
    }

    /// Both directions as far as they go now.
    fn poll_directions(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Self { io, upstream, up, down, proxy, log, moved, .. } = self;
        let (client, host) = (&**io, upstream.stream());
        let buffers = proxy.world.worker.buffers();
        let (mut upwards, mut downwards) = (Moved::default(), Moved::default());
        let up = up.poll(cx, (client, host), buffers, &mut upwards);
        let down = down.poll(cx, (host, client), buffers, &mut downwards);
        log.received(upwards.read);
        log.sent(downwards.written);
        upstream.sent(upwards.written);
        upstream.received(downwards.read);
        moved.wire_sent += upwards.written as u64;
        moved.wire_received += downwards.read as u64;
        if upwards.read + upwards.written + downwards.read + downwards.written > 0 {
            self.active = proxy.world.worker.now();
            if proxy.config.closes_when_drained && proxy.draining.closes(&proxy.world) {
                return Poll::Ready(Err(End::Draining));
            }
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

    /// Notes what went over to the host and came from it. `ending` says that the connection is closed now.
    fn count(&mut self, ending: bool) {
        let extra = self.upstream.extra_bytes(ending);
        let bytes = &mut self.log.info.upstream.bytes;
        *bytes = self.moved;
        bytes.wire_sent += extra.wire_sent;
        bytes.wire_received += extra.wire_received;
        bytes.header_sent += extra.header_sent;
        bytes.header_received += extra.header_received;
    }

    /// Closes both sides. A reset is passed on as a reset.
    fn end(mut self, end: End) {
        let buffers = self.proxy.world.worker.buffers();
        self.up.release(buffers);
        self.down.release(buffers);
        self.count(true);
        if let (Upstream::Tunnel(tunnel), Some(config)) = (&self.upstream, &self.proxy.config.tunnel) {
            tunnel.propagate_trailers(config, &mut self.log.info);
        }
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
                } else if self.upstream.failure() == Some(ResetReason::RemoteReset) {
                    self.log.flag(ResponseFlag::UpstreamRemoteReset);
                }
            }
            End::Idle => idle(&self.proxy, &self.log),
            End::TooOld => too_old(&self.proxy, &mut self.log),
            End::Draining => drained(&self.proxy, &self.log),
        }
        let state = &self.log.info.connection.state;
        let given_up = self.upstream.is_given_up().then_some(PATIENCE_IS_OVER);
        // Both sides are closed for what ends the client's.
        state.upstream_local_close.set(given_up.or(state.local_close.get()));
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}
