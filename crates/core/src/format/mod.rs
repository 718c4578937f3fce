//! Format strings of access logs, header values and local replies: `%COMMAND(ARGUMENT):LENGTH%` between literal
//! text, compiled once.
//!
//! What a command prints, and what a missing value becomes (`-`, or `null` in JSON), was recorded from Envoy
//! 1.40. Rendering appends to the caller's buffer and allocates nothing in steady state.

mod address;
mod coalesce;
mod command;
mod compile;
mod duration;
mod field;
mod header;
mod json;
mod parse;
mod state;
mod time;
mod tls;
mod xfcc;

pub use address::mask_ip;
pub use compile::LineFormat;
pub(crate) use field::pool_ready_duration;
pub use field::{header_bytes_wanted, round_trip_wanted, route_time_wanted};
pub(crate) use header::{grpc_status_in, grpc_status_of};
pub use header::{is_grpc, is_grpc_request};
pub use json::{JsonFormat, JsonFormatError, write_json_number, write_json_string, write_json_value};
pub use parse::{Commands, FormatError};
pub use time::{TimeFormat, write_utc_millis};

use crate::rng::Rng;
use crate::stream_info::StreamInfo;
use command::Command;
use nuncio_codec::head::HeaderMap;
use std::time::{Instant, SystemTime};

/// Envoy's format of a file access log that names none.
pub const DEFAULT_FORMAT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#,
    "\n"
);

/// Why a log line is written (`envoy.data.accesslog.v3.AccessLogType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LogType {
    /// Not an access log: a header value, a local reply's body.
    #[default]
    NotSet = 0,
    /// A TCP proxy reached its upstream.
    TcpUpstreamConnected = 1,
    /// A TCP proxy's periodic entry.
    TcpPeriodic = 2,
    /// A TCP connection ended.
    TcpConnectionEnd = 3,
    /// A request came in (`flush_access_log_on_new_request`).
    DownstreamStart = 4,
    /// A stream's periodic entry.
    DownstreamPeriodic = 5,
    /// A stream ended.
    DownstreamEnd = 6,
    /// The router got a connection.
    UpstreamPoolReady = 7,
    /// An upstream request's periodic entry.
    UpstreamPeriodic = 8,
    /// An upstream request ended.
    UpstreamEnd = 9,
    /// A tunnel was established.
    DownstreamTunnelSuccessfullyEstablished = 10,
    /// A UDP session's tunnel was connected.
    UdpTunnelUpstreamConnected = 11,
    /// A UDP session's periodic entry.
    UdpPeriodic = 12,
    /// A UDP session ended.
    UdpSessionEnd = 13,
    /// A TCP connection came in (`flush_access_log_on_start`).
    TcpConnectionStart = 14,
}

impl LogType {
    /// Every type, by number.
    pub const ALL: [LogType; 15] = [
        Self::NotSet,
        Self::TcpUpstreamConnected,
        Self::TcpPeriodic,
        Self::TcpConnectionEnd,
        Self::DownstreamStart,
        Self::DownstreamPeriodic,
        Self::DownstreamEnd,
        Self::UpstreamPoolReady,
        Self::UpstreamPeriodic,
        Self::UpstreamEnd,
        Self::DownstreamTunnelSuccessfullyEstablished,
        Self::UdpTunnelUpstreamConnected,
        Self::UdpPeriodic,
        Self::UdpSessionEnd,
        Self::TcpConnectionStart,
    ];

    /// What `%ACCESS_LOG_TYPE%` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSet => "NotSet",
            Self::TcpUpstreamConnected => "TcpUpstreamConnected",
            Self::TcpPeriodic => "TcpPeriodic",
            Self::TcpConnectionEnd => "TcpConnectionEnd",
            Self::DownstreamStart => "DownstreamStart",
            Self::DownstreamPeriodic => "DownstreamPeriodic",
            Self::DownstreamEnd => "DownstreamEnd",
            Self::UpstreamPoolReady => "UpstreamPoolReady",
            Self::UpstreamPeriodic => "UpstreamPeriodic",
            Self::UpstreamEnd => "UpstreamEnd",
            Self::DownstreamTunnelSuccessfullyEstablished => "DownstreamTunnelSuccessfullyEstablished",
            Self::UdpTunnelUpstreamConnected => "UdpTunnelUpstreamConnected",
            Self::UdpPeriodic => "UdpPeriodic",
            Self::UdpSessionEnd => "UdpSessionEnd",
            Self::TcpConnectionStart => "TcpConnectionStart",
        }
    }
}

/// What a format reads: one stream as it stands.
#[derive(Clone, Copy, Debug)]
pub struct FormatContext<'a> {
    /// The stream.
    pub info: &'a StreamInfo,
    /// The request's headers, as sent upstream; `None` before they arrived.
    pub request: Option<&'a HeaderMap>,
    /// The response's headers and status; `None` before they exist.
    pub response: Option<(&'a HeaderMap, u16)>,
    /// The response's trailers.
    pub trailers: Option<&'a HeaderMap>,
    /// The body of the local reply that is being written or was written.
    pub local_reply_body: &'a [u8],
    /// Why this is rendered.
    pub log_type: LogType,
    /// The monotonic time of this rendering.
    pub now: Instant,
    /// The wall time of this rendering (`EMIT_TIME`).
    pub wall: SystemTime,
    /// The worker's chance (`UNIQUE_ID`).
    pub rng: &'a Rng,
}

impl FormatContext<'_> {
    /// Whether this is an entry of a connection, not of an HTTP stream: of a listener's log or a TCP proxy's.
    fn connection_entry(&self) -> bool {
        matches!(
            self.log_type,
            LogType::NotSet
                | LogType::TcpConnectionStart
                | LogType::TcpUpstreamConnected
                | LogType::TcpPeriodic
                | LogType::TcpConnectionEnd
        )
    }

    /// From the stream's start to its end, or until now.
    pub fn duration(&self) -> std::time::Duration {
        self.info.timings.complete.unwrap_or(self.now).saturating_duration_since(self.info.start)
    }
}

#[derive(Debug)]
enum Piece {
    Text(Box<[u8]>),
    Command(Command),
}

/// A compiled format string.
#[derive(Debug)]
pub struct Format {
    pieces: Box<[Piece]>,
    omit_empty_values: bool,
}

impl Format {
    /// Compiles `text` with the commands that every format knows.
    pub fn new(text: &str) -> Result<Self, FormatError> {
        Self::with(text, &Commands::default(), false)
    }

    /// Compiles `text`; with `omit_empty_values` a missing value prints nothing instead of `-`.
    pub fn with(text: &str, commands: &Commands, omit_empty_values: bool) -> Result<Self, FormatError> {
        Ok(Self { pieces: parse::pieces(text, commands)?.into(), omit_empty_values })
    }

    /// Whether it is one command, or one text.
    pub fn is_single(&self) -> bool {
        self.pieces.len() == 1
    }

    /// The text, where the format has no command at all.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [] => Some(b""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the line to `out`.
    pub fn render(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Command(command) => {
                    if !command.write_text(cx, out) && !self.omit_empty_values {
                        out.push(b'-');
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
