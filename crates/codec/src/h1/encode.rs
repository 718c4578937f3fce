//! Writing heads.

use super::HeaderCase;
use super::error::EncodeError;
use crate::head::{HeaderMap, Known, KnownSet, Spelling, proper_case};

/// Never written as fields of a response head: the codec writes the framing itself.
pub(super) const NOT_IN_RESPONSES: KnownSet = KnownSet::of(&[Known::TransferEncoding]);

/// As [`NOT_IN_RESPONSES`]; the authority is written first, as `host`.
pub(super) const NOT_IN_REQUESTS: KnownSet = KnownSet::of(&[Known::Host, Known::TransferEncoding]);

/// What would change the framing or the routing of a message must not come behind it (RFC 9110 section 6.5.1).
pub(super) const NOT_IN_TRAILERS: KnownSet =
    KnownSet::of(&[Known::Host, Known::TransferEncoding, Known::ContentLength]);

/// Writes `first`, then the fields that are neither pseudo headers nor in `skip`. What would not be read as it is
/// meant is refused: names that are no tokens, values with control characters.
#[inline]
pub(super) fn fields(
    map: &HeaderMap,
    first: Known,
    skip: KnownSet,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if map.write_wire(first, skip, out) { Ok(()) } else { Err(EncodeError::Header) }
}

/// Spells the names of `lines`, which are whole field lines with lower-case names, as the head's sender did, or as
/// configured.
#[inline]
pub(super) fn spell(lines: &mut [u8], spelling: Option<&Spelling>, case: HeaderCase) {
    match (spelling, case) {
        (Some(spelling), _) => spelling.apply(lines),
        (None, HeaderCase::ProperCaseWords) => {
            for line in lines.split_inclusive_mut(|b| *b == b'\n') {
                if let Some(end) = line.iter().position(|b| *b == b':') {
                    line.get_mut(..end).into_iter().for_each(proper_case);
                }
            }
        }
        (None, HeaderCase::Lower) => {}
    }
}

/// Writes one field that the codec adds.
pub(super) fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `status` as three digits.
pub(super) fn status(status: u16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if !(100..=999).contains(&status) {
        return Err(EncodeError::Status);
    }
    let digits = [status / 100, status / 10 % 10, status % 10].map(|d| b'0' + d as u8);
    out.extend_from_slice(&digits);
    Ok(())
}

/// The reason phrase that Envoy writes behind a status, `Unknown` for what it has no name for.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        599 => "Last Unassigned Server Error Code",
        _ => "Unknown",
    }
}
