//! Status lines (RFC 9112 section 4).

use super::error::ResponseError;

/// The parts of a status line that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub status: u16,
    /// HTTP/1.1 exactly; everything else counts as HTTP/1.0.
    pub http_11: bool,
}

/// Parses the line at the beginning of `bytes`, which holds at least one LF. The answer's second part is the
/// length of the line with its end.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<(StatusLine, usize), ResponseError> {
    let len = bytes.iter().position(|&b| b == b'\n').ok_or(ResponseError::StatusLine)? + 1;
    let line = super::scan::trim(bytes.get(..len).unwrap_or_default());
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b' ', rest @ ..] = line else {
        return Err(ResponseError::StatusLine);
    };
    if !major.is_ascii_digit() || !minor.is_ascii_digit() {
        return Err(ResponseError::StatusLine);
    }
    let (digits, reason) = rest.split_at_checked(3).ok_or(ResponseError::StatusLine)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(reason.first(), None | Some(b' ')) {
        return Err(ResponseError::StatusLine);
    }
    let status = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    if status < 100 {
        return Err(ResponseError::StatusLine);
    }
    Ok((StatusLine { status, http_11: (*major, *minor) == (b'1', b'1') }, len))
}
