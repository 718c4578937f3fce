//! The times of a connection manager: its timers, and when it writes logs.

use nuncio_core::config::{self, CompileContext};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_core::xx_hash;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::Percent;
use std::time::{Duration, Instant};

/// The timers of connections and streams; `None` is off.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `common_http_protocol_options.idle_timeout`: a connection without a stream; 1 h.
    pub idle: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration`; off.
    pub max_connection_duration: Option<Duration>,
    /// `common_http_protocol_options.max_stream_duration`; off.
    pub max_stream_duration: Option<Duration>,
    /// `stream_idle_timeout`; 5 min.
    pub stream_idle: Option<Duration>,
    /// `stream_flush_timeout`: an HTTP/2 stream whose answer waits for the client's window; as `stream_idle`.
    pub stream_flush: Option<Duration>,
    /// `request_timeout`; off.
    pub request: Option<Duration>,
    /// `request_headers_timeout`; off.
    pub request_headers: Option<Duration>,
    /// `drain_timeout`: how long a draining connection stays open for a request that is on its way; 5 s.
    pub drain: Duration,
    /// `delayed_close_timeout`; 1 s.
    pub delayed_close: Option<Duration>,
    /// `max_connection_duration_jitter`: by which part of it at most a connection may last longer.
    pub(super) max_connection_jitter: f64,
    /// `drain_timeout_jitter`: the same of [`drain`](Self::drain).
    pub(super) drain_jitter: f64,
    /// `http1_safe_max_connection_duration`: an HTTP/1 connection whose time is over ends with its next answer.
    pub http1_safe_max_duration: bool,
}

impl Timeouts {
    /// How long this connection may last.
    #[inline]
    pub fn max_duration_of(&self, connection: &ConnectionInfo) -> Option<Duration> {
        self.max_connection_duration.map(|most| stretched(most, self.max_connection_jitter, connection.id))
    }

    /// When a connection that drains since `since` is closed.
    pub fn drained_at(&self, since: Instant, connection: &ConnectionInfo) -> Option<Instant> {
        since.checked_add(stretched(self.drain, self.drain_jitter, connection.id))
    }
}

/// `time`, and up to `jitter` of it more: always as much for the same connection.
fn stretched(time: Duration, jitter: f64, connection: u64) -> Duration {
    if jitter <= 0.0 {
        return time;
    }
    let random = xx_hash::xx_hash64(&connection.to_le_bytes(), 0);
    let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
    time + time.mul_f64(jitter * part)
}

/// A percentage as a fraction of one.
pub(super) fn jitter(percent: Option<Percent>) -> f64 {
    percent.map_or(0.0, |Percent { value }| value / 100.0)
}

/// When a stream's entry is written besides its end (`access_log_options`, or the two older fields).
#[derive(Clone, Copy, Debug, Default)]
pub struct LogTimes {
    /// Once the route of a new request is known (`DownstreamStart`).
    pub on_new_request: bool,
    /// Once an upgrade or a CONNECT has made it a tunnel (`DownstreamTunnelSuccessfullyEstablished`).
    pub on_tunnel: bool,
    /// Again and again after this time (`DownstreamPeriodic`).
    pub interval: Option<Duration>,
}

impl LogTimes {
    /// Compiles the fields. `None`: refused, and the reasons are recorded.
    pub(super) fn compile(
        on_new_request: bool,
        interval: Option<prost_types::Duration>,
        options: Option<pb::http_connection_manager::HcmAccessLogOptions>,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        use pb::http_connection_manager::HcmAccessLogOptions;
        let clash = |field: &str| {
            let text = format!("Only one of {field} or access_log_options can be specified.");
            cx.field(field).error(text);
            None
        };
        let mut on_tunnel = false;
        let (on_new_request, interval, cx) = match options {
            Some(_) if on_new_request => return clash("flush_access_log_on_new_request"),
            Some(_) if interval.is_some() => return clash("access_log_flush_interval"),
            Some(HcmAccessLogOptions {
                access_log_flush_interval,
                flush_access_log_on_new_request,
                flush_log_on_tunnel_successfully_established,
            }) => {
                on_tunnel = flush_log_on_tunnel_successfully_established;
                (flush_access_log_on_new_request, access_log_flush_interval, &cx.field("access_log_options"))
            }
            None => (on_new_request, interval, cx),
        };
        let interval = match interval {
            None => None,
            Some(interval) => Some(config::duration(&interval, &cx.field("access_log_flush_interval"))?),
        };
        Some(Self { on_new_request, on_tunnel, interval })
    }
}
