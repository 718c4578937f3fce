//! Status lines (RFC 9112 section 4).

use super::error::ResponseError;
use super::request_line::island;
use crate::scan;

/// The parts of a status line that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub status: u16,
    /// HTTP/1.1 exactly; everything else counts as HTTP/1.0.
    pub http_11: bool,
}

/// Parses the line at the beginning of `bytes`, which holds at least one LF. The answer's second part is the
/// length of the line with its end, at most `most`. The parts stand apart by blanks, tabs and bare CRs; a status has three
/// digits (Envoy takes four as well).
#[inline]
pub(super) fn parse(bytes: &[u8], most: usize) -> Result<(StatusLine, usize), ResponseError> {
    let len = bytes.iter().position(|&b| b == b'\n').ok_or(ResponseError::StatusLine)? + 1;
    if len > most {
        return Err(ResponseError::HeadersTooLarge);
    }
    let line = bytes.get(..len).unwrap_or_default();
    if scan::has_stray_controls(line) {
        return Err(ResponseError::StatusLine);
    }
    let (version, rest) = island(line);
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = version else {
        return Err(ResponseError::StatusLine);
    };
    let (digits, _reason) = island(rest);
    if !major.is_ascii_digit() || !minor.is_ascii_digit() || digits.len() != 3 {
        return Err(ResponseError::StatusLine);
    }
    let status = digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + u16::from(d - b'0')));
    match status {
        Some(status @ 100..) => Ok((StatusLine { status, http_11: (*major, *minor) == (b'1', b'1') }, len)),
        _ => Err(ResponseError::StatusLine),
    }
}

/// The reason phrase of a line that was parsed.
pub(super) fn reason(line: &[u8]) -> &[u8] {
    let (_version, rest) = island(line);
    let (_status, reason) = island(rest);
    reason.trim_ascii()
}

/// The line at the beginning of `bytes` if it has the common form, `HTTP/1.1 SP digits SP reason CR LF`.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> Option<(StatusLine, usize)> {
    let (version, rest) = bytes.split_first_chunk::<9>()?;
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', reason @ ..] = rest else { return None };
    let end = scan::text_end(reason);
    let Some([b'\r', b'\n']) = reason.get(end..)?.first_chunk() else { return None };
    if version != b"HTTP/1.1 " {
        return None;
    }
    let status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    Some((StatusLine { status, http_11: true }, 13 + end + 2))
}
