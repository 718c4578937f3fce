//! What the overload manager (`envoy.config.overload.v3.OverloadManager`) asks of everybody else. The main thread sets
//! it, whoever serves reads it.

use crate::rng::Rng;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How far something is asked for, from not at all to always (saturated).
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

/// A level at which something is always asked for; lower ones are parts of it.
const SATURATED: u64 = 1 << 32;

impl Level {
    /// Sets it: 0 to 1.
    pub fn set(&self, value: f64) {
        self.0.store((value.clamp(0.0, 1.0) * SATURATED as f64) as u64, Relaxed);
    }

    /// From 0 to 1.
    pub fn value(&self) -> f64 {
        self.0.load(Relaxed) as f64 / SATURATED as f64
    }

    /// Whether it is asked for without exception.
    pub fn is_saturated(&self) -> bool {
        self.0.load(Relaxed) == SATURATED
    }

    /// Whether it is asked for now: as often as the level says.
    #[inline]
    pub fn strikes(&self, rng: &Rng) -> bool {
        match self.0.load(Relaxed) {
            0 => false,
            SATURATED => true,
            part => rng.next() >> 32 < part,
        }
    }
}

/// A `LoadShedPoint`.
#[derive(Debug, Default)]
pub struct ShedPoint {
    /// How likely load is shed there.
    pub level: Level,
    shed: AtomicU64,
}

impl ShedPoint {
    /// Whether what is at this point now is to be turned away; counted where it is.
    #[inline]
    pub fn sheds(&self, rng: &Rng) -> bool {
        let sheds = self.level.strikes(rng);
        if sheds {
            self.shed.fetch_add(1, Relaxed);
        }
        sheds
    }

    /// How often it has shed load.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }
}

/// The load shed points of the process, by the last part of their names in Envoy.
#[derive(Debug, Default)]
pub struct ShedPoints {
    /// A listener closes what it has just accepted.
    pub tcp_listener_accept: ShedPoint,
    /// A connection manager closes a connection instead of making a codec for it.
    pub hcm_ondata_creating_codec: ShedPoint,
    /// A connection manager answers a request once its head is there.
    pub http_connection_manager_decode_headers: ShedPoint,
    /// An HTTP/1 codec answers what it is given.
    pub http1_server_abort_dispatch: ShedPoint,
    /// An HTTP/2 codec announces that the connection ends.
    pub http2_server_go_away_on_dispatch: ShedPoint,
    /// The same, and closes it.
    pub http2_server_go_away_and_close_on_dispatch: ShedPoint,
}

impl ShedPoints {
    /// Where a point's name begins in configuration and stats.
    pub const PREFIX: &str = "envoy.load_shed_points.";

    /// A point by its whole name; `None` for one that this process does not have.
    pub fn named(&self, name: &str) -> Option<&ShedPoint> {
        Some(match name.strip_prefix(Self::PREFIX)? {
            "tcp_listener_accept" => &self.tcp_listener_accept,
            "hcm_ondata_creating_codec" => &self.hcm_ondata_creating_codec,
            "http_connection_manager_decode_headers" => &self.http_connection_manager_decode_headers,
            "http1_server_abort_dispatch" => &self.http1_server_abort_dispatch,
            "http2_server_go_away_on_dispatch" => &self.http2_server_go_away_on_dispatch,
            "http2_server_go_away_and_close_on_dispatch" => &self.http2_server_go_away_and_close_on_dispatch,
            _ => return None,
        })
    }
}

/// A timer that `reduce_timeouts` may shorten (`ScaleTimersOverloadActionConfig.TimerType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A connection without a stream.
    ConnectionIdle,
    /// A stream without an event.
    StreamIdle,
    /// A handshake.
    TransportSocketConnect,
    /// A connection's whole life.
    ConnectionMax,
    /// A stream whose answer the client does not read.
    StreamFlush,
}

/// How short a timer may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Minimum {
    /// To this, where it is longer.
    Time(Duration),
    /// To this part of its time.
    Part(f64),
}

/// A timer under pressure.
#[derive(Debug)]
pub struct ScaledTimer {
    /// How short it is at the highest level.
    pub minimum: Minimum,
    /// How far it is on its way there.
    pub level: Level,
}

impl ScaledTimer {
    fn scaled(&self, full: Duration) -> Duration {
        let least = match self.minimum {
            Minimum::Time(time) => time.min(full),
            Minimum::Part(part) => full.mul_f64(part.clamp(0.0, 1.0)),
        };
        least + full.saturating_sub(least).mul_f64(1.0 - self.level.value())
    }
}

/// The timers that shrink under pressure, by [`Timer`].
#[derive(Debug, Default)]
pub struct ScaledTimers([Option<ScaledTimer>; 5]);

impl ScaledTimers {
    /// A timer shrinks from now on; false where it did already.
    pub fn add(&mut self, timer: Timer, minimum: Minimum) -> bool {
        match self.0.get_mut(timer as usize) {
            Some(slot @ None) => {
                *slot = Some(ScaledTimer { minimum, level: Level::default() });
                true
            }
            _ => false,
        }
    }

    /// A timer, where it shrinks.
    pub fn get(&self, timer: Timer) -> Option<&ScaledTimer> {
        self.0.get(timer as usize)?.as_ref()
    }
}

/// A number of connections that may be open at once, exact on all threads (`global_downstream_max_connections`).
#[derive(Debug)]
pub struct ConnectionLimit {
    most: u64,
    open: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionLimit {
    /// A limit with no connection open.
    pub fn new(most: u64) -> Self {
        Self { most, open: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Counts a connection; false, and counted as refused, where there are as many as may be.
    pub fn try_take(&self) -> bool {
        let below = |open: u64| (open < self.most).then_some(open + 1);
        let taken = self.open.fetch_update(Relaxed, Relaxed, below).is_ok();
        if !taken {
            self.refused.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Counts a connection that is let in whatever the limit.
    pub fn take(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// A connection that was counted has ended.
    pub fn give_back(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// How many were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// The overload manager as those see it that it asks for something.
#[derive(Debug, Default)]
pub struct Overload {
    /// How many downstream connections may be open.
    pub connection_limit: Option<ConnectionLimit>,
    /// `stop_accepting_requests`: requests are answered 503.
    pub stop_accepting_requests: Level,
    /// `disable_http_keepalive`: connections end with their next answer.
    pub disable_http_keepalive: Level,
    /// `stop_accepting_connections`: saturated, nothing is accepted.
    pub stop_accepting_connections: Level,
    /// `reject_incoming_connections`: what is accepted is closed.
    pub reject_incoming_connections: Level,
    /// Where load is shed.
    pub points: ShedPoints,
    /// What `reduce_timeouts` shortens.
    pub timers: ScaledTimers,
    generation: AtomicU64,
}

impl Overload {
    /// Where an action's name begins in configuration and stats.
    pub const ACTIONS: &str = "envoy.overload_actions.";

    /// The level of an action that is no more than a level, by its whole name.
    pub fn level(&self, action: &str) -> Option<&Level> {
        Some(match action.strip_prefix(Self::ACTIONS)? {
            "stop_accepting_requests" => &self.stop_accepting_requests,
            "disable_http_keepalive" => &self.disable_http_keepalive,
            "stop_accepting_connections" => &self.stop_accepting_connections,
            "reject_incoming_connections" => &self.reject_incoming_connections,
            _ => return None,
        })
    }

    /// Whether a request whose head is there is to be answered at once.
    #[inline]
    pub fn refuses_request(&self, rng: &Rng) -> bool {
        self.points.http_connection_manager_decode_headers.sheds(rng)
            || self.stop_accepting_requests.strikes(rng)
    }

    /// Whether a connection that was just accepted is to be closed.
    #[inline]
    pub fn refuses_connection(&self, rng: &Rng) -> bool {
        self.points.tcp_listener_accept.sheds(rng) || self.reject_incoming_connections.strikes(rng)
    }

    /// Something has changed that those have to learn who wait.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Relaxed);
    }

    /// A number that is another one after [`changed`](Self::changed).
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// How long a timer of `full` runs under the present pressure.
    pub fn timeout(&self, timer: Timer, full: Option<Duration>) -> Option<Duration> {
        match self.timers.get(timer) {
            Some(scaled) => full.map(|full| scaled.scaled(full)),
            None => full,
        }
    }
}

#[cfg(test)]
mod tests;
