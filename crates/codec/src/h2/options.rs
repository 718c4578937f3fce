//! How a connection is configured: `Http2ProtocolOptions` and its neighbours.

use crate::h1::{DecoderLimits, UnderscoreAction};
use std::time::Duration;

/// The rules of one connection. The default is Envoy's.
#[derive(Clone, Debug)]
pub struct Options {
    /// How large decoded heads may be: bytes of names and values, and fields, pseudo headers and cookie crumbs
    /// among them.
    pub limits: DecoderLimits,
    /// `max_header_field_size_kb` in bytes: one field, name and value.
    pub max_field_bytes: u32,
    /// What is done about `_` in names of requests.
    pub underscores: UnderscoreAction,
    /// `max_concurrent_streams`: what a server lets its peer open; what a client opens at most.
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`: what the peer may send on a stream before we have consumed any of it.
    pub initial_stream_window: u32,
    /// `initial_connection_window_size`: the same of all streams together.
    pub initial_connection_window: u32,
    /// `hpack_table_size`: of either side's dynamic table.
    pub hpack_table_size: u32,
    /// `allow_connect`: extended CONNECT (RFC 8441) is announced and taken.
    pub allow_connect: bool,
    /// `allow_metadata`, and `max_metadata_size`: how many bytes of METADATA a stream may bring. `None`: such frames are
    /// neither read nor written.
    pub metadata: Option<u32>,
    /// `override_stream_error_on_invalid_http_message`: a malformed message ends its stream, not the connection.
    pub stream_error_on_invalid_message: bool,
    /// `custom_settings_parameters`: identifiers and values.
    pub custom_settings: Vec<(u16, u32)>,
    /// What the peer may do too much of.
    pub flood: FloodLimits,
    /// `connection_keepalive`.
    pub keepalive: Option<Keepalive>,
    /// How long the peer may leave our SETTINGS unacknowledged.
    pub settings_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: DecoderLimits::default(),
            max_field_bytes: 64 * 1024,
            underscores: UnderscoreAction::Allow,
            max_concurrent_streams: 1024,
            initial_stream_window: 16 << 20,
            initial_connection_window: 24 << 20,
            hpack_table_size: 4096,
            allow_connect: false,
            metadata: None,
            stream_error_on_invalid_message: false,
            custom_settings: Vec::new(),
            flood: FloodLimits::default(),
            keepalive: None,
            settings_timeout: Duration::from_secs(60),
        }
    }
}

/// How much of what costs us more than the peer is taken before the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// `max_outbound_frames`: of any type, written and not yet sent.
    pub outbound_frames: u32,
    /// `max_outbound_control_frames`: of PING, SETTINGS and RST_STREAM, written and not yet sent.
    pub outbound_control_frames: u32,
    /// `max_consecutive_inbound_frames_with_empty_payload` of DATA, HEADERS and CONTINUATION that end nothing.
    pub empty_frames: u32,
    /// `max_inbound_priority_frames_per_stream`.
    pub priority_frames_per_stream: u32,
    /// `max_inbound_window_update_frames_per_data_frame_sent`.
    pub window_updates_per_data_frame: u32,
    /// How many streams the peer may reset at once, and how many more each second.
    pub reset_burst: u32,
    /// See `reset_burst`.
    pub reset_rate: u32,
}

impl Default for FloodLimits {
    fn default() -> Self {
        Self {
            outbound_frames: 10_000,
            outbound_control_frames: 1000,
            empty_frames: 1,
            priority_frames_per_stream: 100,
            window_updates_per_data_frame: 10,
            reset_burst: 1000,
            reset_rate: 33,
        }
    }
}

/// `connection_keepalive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long after the last PING's answer the next is sent; `None`: only after idle times.
    pub interval: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How much is added to the interval at most, in hundredths of a percent of it.
    pub jitter: u32,
    /// What of that is added this time; the codec sets it.
    pub spread: Duration,
    /// `connection_idle_interval`: a stream opened after this much silence sends a PING first.
    pub idle_interval: Option<Duration>,
}
