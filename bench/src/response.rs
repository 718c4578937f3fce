//! Just enough of HTTP/1 to know where a message ends.

/// Length of the first whole response in `bytes`; None while it is not complete.
///
/// Knows `content-length` and `transfer-encoding: chunked` whose last chunk ends the buffer; a response with
/// neither ends with its head. The bench sends one request at a time, so nothing follows a response.
pub(crate) fn response_end(bytes: &[u8]) -> Option<usize> {
    let head = head_end(bytes)?;
    let lines = bytes.get(..head)?;
    if let Some(length) = content_length(lines) {
        return (bytes.len() >= head + length).then_some(head + length);
    }
    if field(lines, b"transfer-encoding").is_some() {
        return bytes.ends_with(b"0\r\n\r\n").then_some(bytes.len());
    }
    Some(head)
}

/// Length of the head with its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|i| i + 4)
}

/// The declared length of the body.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    std::str::from_utf8(field(head, b"content-length")?).ok()?.trim().parse().ok()
}

/// The status code of a response head.
pub(crate) fn status(head: &[u8]) -> u16 {
    head.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|b| *b == b'\n').find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        (key.eq_ignore_ascii_case(name) && value.first() == Some(&b':'))
            .then(|| value.trim_ascii_end())?
            .get(1..)
    })
}
