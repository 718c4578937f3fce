//! What listeners and clusters share of HTTP/2: `Http2ProtocolOptions` and the codec's stats.

mod stats;

pub use stats::Http2CodecStats;

use nuncio_codec::h2::{FloodLimits, Keepalive, Options};
use nuncio_core::config::{CompileContext, duration};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::http2_protocol_options::SettingsParameter;
use std::time::Duration;

/// `max_metadata_size` where it is not said, in bytes.
const MOST_METADATA: u32 = 1 << 20;

/// Compiles the message; what it does not say is Envoy's default. `None`: refused, with the reasons in `cx`.
pub fn compile(message: pb::Http2ProtocolOptions, cx: &CompileContext<'_>) -> Option<Options> {
    let pb::Http2ProtocolOptions {
        hpack_table_size,
        max_concurrent_streams,
        initial_stream_window_size,
        initial_connection_window_size,
        allow_connect,
        allow_metadata,
        max_metadata_size,
        max_outbound_frames,
        max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload,
        max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent,
        stream_error_on_invalid_http_messaging,
        custom_settings_parameters,
        override_stream_error_on_invalid_http_message,
        connection_keepalive,
        max_header_field_size_kb,
        stream_reset_burst,
        stream_reset_rate,
    } = message;
    let default = Options::default();
    let flood = default.flood;
    let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let custom_settings = custom_settings(&custom_settings_parameters, cx);
    let keepalive = match connection_keepalive {
        None => Some(None),
        Some(message) => keepalive(message, &cx.field("connection_keepalive")).map(Some),
    };
    Some(Options {
        max_field_bytes: max_header_field_size_kb
            .map_or(default.max_field_bytes, |kb| kb.saturating_mul(1024)),
        max_concurrent_streams: max_concurrent_streams.unwrap_or(default.max_concurrent_streams),
        initial_stream_window: initial_stream_window_size.unwrap_or(default.initial_stream_window),
        initial_connection_window: initial_connection_window_size
            .unwrap_or(default.initial_connection_window),
        hpack_table_size: hpack_table_size.unwrap_or(default.hpack_table_size),
        stream_error_on_invalid_message: override_stream_error_on_invalid_http_message
            .unwrap_or(stream_error_on_invalid_http_messaging),
        allow_connect,
        metadata: allow_metadata.then(|| max_metadata_size.map_or(MOST_METADATA, clamp)),
        custom_settings: custom_settings?,
        flood: FloodLimits {
            outbound_frames: max_outbound_frames.unwrap_or(flood.outbound_frames),
            outbound_control_frames: max_outbound_control_frames.unwrap_or(flood.outbound_control_frames),
            empty_frames: max_consecutive_inbound_frames_with_empty_payload.unwrap_or(flood.empty_frames),
            priority_frames_per_stream: max_inbound_priority_frames_per_stream
                .unwrap_or(flood.priority_frames_per_stream),
            window_updates_per_data_frame: max_inbound_window_update_frames_per_data_frame_sent
                .unwrap_or(flood.window_updates_per_data_frame),
            reset_burst: stream_reset_burst.map_or(flood.reset_burst, clamp),
            reset_rate: stream_reset_rate.map_or(flood.reset_rate, clamp),
        },
        keepalive: keepalive?,
        ..default
    })
}

/// SETTINGS that have fields of their own, or that this proxy must not send.
fn custom_settings(list: &[SettingsParameter], cx: &CompileContext<'_>) -> Option<Vec<(u16, u32)>> {
    let mut settings = Vec::with_capacity(list.len());
    let mut good = true;
    for (i, parameter) in list.iter().enumerate() {
        let cx = cx.item("custom_settings_parameters", i);
        let SettingsParameter { identifier, value } = parameter;
        let (id, value) = (identifier.unwrap_or_default() as u16, value.unwrap_or_default());
        let fault = match id {
            1 | 3 | 4 => Some(
                "the HTTP/2 SETTINGS parameter can not be configured through both named and custom parameters",
            ),
            2 => {
                Some("server push is not supported by Envoy and can not be enabled via a SETTINGS parameter.")
            }
            8 => Some(
                "the \"allow_connect\" SETTINGS parameter must only be configured through the named field",
            ),
            _ => None,
        };
        if let Some(fault) = fault {
            cx.error(fault);
            good = false;
        }
        settings.push((id, value));
    }
    good.then_some(settings)
}

fn keepalive(message: pb::KeepaliveSettings, cx: &CompileContext<'_>) -> Option<Keepalive> {
    let pb::KeepaliveSettings { interval, timeout, interval_jitter, connection_idle_interval } = message;
    let read = |name: &str, value: Option<prost_types::Duration>| match value {
        None => Some(None),
        Some(value) => duration(&value, &cx.field(name)).map(Some),
    };
    let jitter = interval_jitter.map_or(15.0, |percent| percent.value);
    let (interval, timeout, idle) = (
        read("interval", interval),
        read("timeout", timeout),
        read("connection_idle_interval", connection_idle_interval),
    );
    Some(Keepalive {
        interval: interval?,
        timeout: timeout?.unwrap_or(Duration::from_secs(5)),
        jitter: (jitter * 100.0) as u32,
        spread: Duration::ZERO,
        idle_interval: idle?,
    })
}
