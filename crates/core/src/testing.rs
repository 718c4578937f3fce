//! What the tests of several modules need: a stream, and a context to compile in.

use crate::config::{CompileContext, Sink, Unsupported};
use crate::format::{FormatContext, LogType};
use crate::rng::Rng;
use crate::stream_info::{ConnectionInfo, StreamInfo};
use nuncio_codec::head::HeaderMap;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A stream without anything, from 127.0.0.1:1 to 127.0.0.1:2.
pub(crate) fn stream() -> StreamInfo {
    let wall = UNIX_EPOCH;
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
    let accepted = crate::clock::Clock::virtual_at(wall).now();
    let connection = ConnectionInfo {
        id: 1,
        local: address(2),
        direct_local: address(2),
        direct_remote: address(1),
        remote: address(1),
        requested_server_name: None,
        direction: TrafficDirection::Unspecified,
        listener: "l".into(),
        filter_chain: "".into(),
        tls: Default::default(),
        accepted,
        listener_metadata: None,
        filter_chain_metadata: None,
        state: Default::default(),
    };
    StreamInfo::new(accepted, wall, Rc::new(connection), 0)
}

/// The context of an entry at the end of `info`.
pub(crate) fn entry<'a>(
    info: &'a StreamInfo,
    request: Option<&'a HeaderMap>,
    rng: &'a Rng,
) -> FormatContext<'a> {
    FormatContext {
        info,
        request,
        response: None,
        trailers: None,
        local_reply_body: b"",
        log_type: LogType::DownstreamEnd,
        now: info.start,
        wall: SystemTime::UNIX_EPOCH,
        rng,
    }
}

/// Headers in their order.
pub(crate) fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    list.iter().for_each(|(name, value)| map.append(*name, value.as_bytes()));
    map
}

/// Compiles, and gives the errors where there are any.
pub(crate) fn compiled<T>(compile: impl FnOnce(&CompileContext<'_>) -> Option<T>) -> Result<T, String> {
    let sink = Sink::new(Unsupported::Refuse);
    let done = compile(&CompileContext::root(&sink, "", None));
    let (errors, _) = sink.finish();
    match done {
        Some(done) if errors.is_empty() => Ok(done),
        _ => Err(errors.to_string()),
    }
}
