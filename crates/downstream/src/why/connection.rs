//! Why a client's bytes are no request here.

use crate::hcm::Hcm;
use crate::hcm::config::CodecType;
use crate::hcm::stream::Stream;
use nuncio_codec::h1::RequestError;
use nuncio_codec::h2::{ConnectionError, MessageError};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_core::why::{Note, Spot, Subject, Tongue, Why, shown, tell};

fn tell_of(hcm: &Hcm, connection: &ConnectionInfo, why: Why, note: impl FnOnce() -> Note) {
    let about = hcm.config.places.path();
    tell(why, about, hcm.world.worker.now(), Subject::Connection(connection), note);
}

/// A field of the connection manager.
fn note(hcm: &Hcm, field: &str, cause: impl Into<String>, change: impl Into<String>) -> Note {
    Note { cause: cause.into(), change: change.into(), spot: hcm.config.places.spot(field) }
}

/// The transport socket of the connection manager's filter chain.
fn transport_of(hcm: &Hcm) -> Spot {
    let Spot { path, place } = hcm.config.places.whole();
    let chain = path.rsplit_once(".filters[").map_or(&*path, |(chain, _)| chain);
    Spot { path: format!("{chain}.transport_socket"), place }
}

fn tls_to_clear(hcm: &Hcm, connection: &ConnectionInfo) {
    tell_of(hcm, connection, Why::TlsToClearListener, || Note {
        cause: "the client began a TLS handshake and the filter chain has no TLS".into(),
        change: "give the chain a DownstreamTlsContext, or let the client speak without TLS".into(),
        spot: transport_of(hcm),
    });
}

/// HTTP/1 could not be read; `bytes` are what is unread.
#[cold]
pub(crate) fn bad_head(hcm: &Hcm, connection: &ConnectionInfo, bytes: &[u8], error: RequestError) {
    match (Tongue::of_client(bytes), connection.tls().is_some()) {
        (Some(Tongue::Tls), false) => return tls_to_clear(hcm, connection),
        (Some(Tongue::Http2), _) if hcm.config.codec_type == CodecType::Http1 => {
            return tell_of(hcm, connection, Why::Http2ToHttp1Listener, || {
                let cause = "the client began with the HTTP/2 preface and codec_type is HTTP1";
                note(hcm, "codec_type", cause, "make it AUTO, or HTTP2 where every client knows so")
            });
        }
        _ => {}
    }
    match error {
        RequestError::HeadersTooLarge => too_large(hcm, connection),
        RequestError::TooManyHeaders => too_many(hcm, connection),
        RequestError::Underscore => underscore(hcm, connection),
        RequestError::LowVersion => tell_of(hcm, connection, Why::Http10NotAccepted, || {
            let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
            let cause = format!("'{}' is not HTTP/1.1, and HTTP/1.0 is not accepted", shown(line));
            note(hcm, "http_protocol_options/accept_http_10", cause, "set it to true")
        }),
        _ => {}
    }
}

/// An HTTP/2 connection cannot go on; `bytes` are what is unread.
#[cold]
pub(crate) fn broken_http2(hcm: &Hcm, connection: &ConnectionInfo, error: ConnectionError, bytes: &[u8]) {
    match error {
        ConnectionError::Message { error, .. } => refused_head(hcm, connection, error),
        ConnectionError::Preface => not_http2(hcm, connection, bytes),
        _ => {}
    }
}

/// What came first on a connection that is to be HTTP/2 is not its preface.
fn not_http2(hcm: &Hcm, connection: &ConnectionInfo, bytes: &[u8]) {
    match Tongue::of_client(bytes) {
        Some(Tongue::Tls) if connection.tls().is_none() => tls_to_clear(hcm, connection),
        Some(Tongue::Http1) if connection.tls().is_some_and(|tls| tls.alpn.is_empty()) => {
            alpn_without_http2(hcm, connection, bytes);
        }
        Some(Tongue::Http1) => tell_of(hcm, connection, Why::Http1ToHttp2Listener, || {
            let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
            let cause = format!("the client began with '{}' and codec_type is HTTP2", shown(line));
            note(hcm, "codec_type", cause, "make it AUTO, which tells both apart")
        }),
        _ => {}
    }
}

/// A client that agreed on no protocol spoke HTTP/1, as it must where the handshake does not say `h2`.
fn alpn_without_http2(hcm: &Hcm, connection: &ConnectionInfo, bytes: &[u8]) {
    tell_of(hcm, connection, Why::AlpnMismatch, || {
        let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
        let Spot { path, place } = transport_of(hcm);
        Note {
            cause: format!(
                "the handshake agreed on no protocol, so the client began with '{}', and codec_type is HTTP2",
                shown(line)
            ),
            change: "let both sides offer h2, or name http/1.1 too and make codec_type AUTO".into(),
            spot: Spot { path: format!("{path}.typed_config.common_tls_context.alpn_protocols"), place },
        }
    });
}

/// An HTTP/2 request's head, or its trailers, cannot be taken.
#[cold]
pub(crate) fn refused_head(hcm: &Hcm, connection: &ConnectionInfo, error: MessageError) {
    match error {
        MessageError::ConnectProtocol => tell_of(hcm, connection, Why::AllowConnectMissing, || {
            let cause = "extended CONNECT (a WebSocket over HTTP/2) came and allow_connect is not set";
            note(hcm, "http2_protocol_options/allow_connect", cause, "set it to true")
        }),
        MessageError::TooManyHeaders => too_many(hcm, connection),
        MessageError::HeadersTooLarge => too_large(hcm, connection),
        MessageError::Underscore => underscore(hcm, connection),
        MessageError::Field | MessageError::Messaging => {}
    }
}

const ALLOW_METADATA: &str = "http2_protocol_options/allow_metadata";

/// A client sent METADATA, which is skipped.
#[cold]
pub(crate) fn metadata_refused(hcm: &Hcm, connection: &ConnectionInfo) {
    tell_of(hcm, connection, Why::AllowMetadataMissing, || {
        let cause = "the client sent METADATA frames, which are skipped, since allow_metadata is not set";
        note(hcm, ALLOW_METADATA, cause, "set it to true")
    });
}

/// The host sent METADATA, and the client is not to have any.
#[cold]
pub(crate) fn metadata_not_passed_on<D>(stream: &Stream<D>) {
    super::tell_of(stream, Why::AllowMetadataMissing, stream.hcm.config.places.path(), || {
        let cause = "the host's METADATA is not passed on to the client, since allow_metadata is not set";
        note(&stream.hcm, ALLOW_METADATA, cause, "set it to true where the client takes METADATA")
    });
}

fn too_large(hcm: &Hcm, connection: &ConnectionInfo) {
    tell_of(hcm, connection, Why::RequestHeadersTooLarge, || {
        let kb = hcm.config.h1.limits.max_head_bytes / 1024;
        let cause = format!("a request's headers are larger than {kb} KiB");
        note(hcm, "max_request_headers_kb", cause, "raise it (at most 8192)")
    });
}

fn too_many(hcm: &Hcm, connection: &ConnectionInfo) {
    tell_of(hcm, connection, Why::RequestHeadersTooLarge, || {
        let cause = format!("a request has more than {} headers", hcm.config.h1.limits.max_headers);
        note(hcm, "common_http_protocol_options/max_headers_count", cause, "raise it")
    });
}

fn underscore(hcm: &Hcm, connection: &ConnectionInfo) {
    tell_of(hcm, connection, Why::HeaderRefused, || {
        let field = "common_http_protocol_options/headers_with_underscores_action";
        let cause = "the name of a request's header has a '_' and such requests are rejected";
        note(hcm, field, cause, "make it ALLOW or DROP_HEADER")
    });
}
