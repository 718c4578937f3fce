//! Local replies as gRPC clients want them: HTTP 200 and no body, the status in `grpc-status`, the text in
//! `grpc-message` (gRPC over HTTP/2, "Responses").

use super::decimal;
use nuncio_codec::head::{Known, ResponseHead};

/// The gRPC status that stands for an HTTP status (gRPC, "HTTP to gRPC status code mapping").
pub fn grpc_status(http: u16) -> u8 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Turns `response` into a trailers-only gRPC response that carries `body` as its message. An answer to HEAD
/// has no message.
pub(super) fn convert(response: &mut ResponseHead, body: &[u8], status: Option<u8>, head_only: bool) {
    let status = status.unwrap_or_else(|| grpc_status(response.status));
    response.status = 200;
    let headers = &mut response.headers;
    headers.remove(Known::ContentLength);
    headers.set(Known::ContentType, b"application/grpc");
    if !headers.contains(Known::GrpcStatus) {
        headers.append(Known::GrpcStatus, decimal(u64::from(status), &mut [0; 20]));
    }
    if !body.is_empty() && !head_only {
        headers.set(Known::GrpcMessage, &message(body));
    }
}

/// Percent-encodes what is not printable ASCII, `%` and, as Envoy does, `~`.
pub fn message(body: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(body.len() + 16);
    for &b in body {
        if matches!(b, b' '..=b'}') && b != b'%' {
            out.push(b);
        } else {
            let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or_default();
            out.extend_from_slice(&[b'%', digit(b >> 4), digit(b & 15)]);
        }
    }
    out
}
