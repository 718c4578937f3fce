//! How many bytes of a head Envoy counts as header bytes (`DOWNSTREAM_HEADER_BYTES_RECEIVED` and its like).

use crate::scan;

/// Of a head, or of trailers behind the line of the last chunk, that were received: names and values without the blanks around
/// them and the CR within, and three for each field; three where there is none. What stands behind the head is not looked at.
pub fn received_header_bytes(head: &[u8]) -> u64 {
    let begin = head.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or_default();
    let head = head.get(begin..).unwrap_or_default();
    let (mut bytes, mut fields) = (0, 0_u64);
    // Whether the value so far is empty.
    let mut empty = false;
    for line in head.split(|b| *b == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let length = |text: &[u8]| text.iter().filter(|b| **b != b'\r').count();
        // A line that begins with a blank goes on with the value before it.
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        let colon = if folded { None } else { line.iter().position(|b| *b == b':') };
        bytes += match colon.and_then(|at| line.split_at_checked(at)) {
            Some((name, value)) => {
                fields += 1;
                let value = scan::trim(value.get(1..).unwrap_or_default());
                empty = value.is_empty();
                name.len() + length(value)
            }
            None if folded && empty => {
                let value = scan::trim(line);
                empty = value.is_empty();
                length(value)
            }
            None if folded => length(line),
            // The size of the last chunk.
            None => 0,
        };
    }
    bytes as u64 + 3 * fields.max(1)
}

/// How many fields of a head, or of trailers behind the line of the last chunk, have a name with `_`.
pub fn underscored_names(head: &[u8]) -> u64 {
    let lines = head.split(|b| *b == b'\n').skip(1);
    let names = lines.filter(|line| !matches!(line.first(), Some(b' ' | b'\t'))).filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        line.get(..colon)
    });
    names.filter(|name| name.contains(&b'_')).count() as u64
}

/// Of a head that was written: its lines with their ends, without the first and the empty one.
pub fn sent_header_bytes(head: &[u8]) -> u64 {
    let first = head.iter().position(|b| *b == b'\n').map_or(head.len(), |at| at + 1);
    (head.len() - first).saturating_sub(2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_underscores_are_counted_and_values_and_folds_are_not() {
        let head = b"GET /_:_ HTTP/1.1\r\nx_a: 1\r\nx-b: _\r\n c_d: e\r\n_: 2\r\n\r\n";
        assert_eq!(underscored_names(head), 2);
        assert_eq!(underscored_names(b"0\r\nx_t: 1\r\n\r\n"), 1);
    }

    #[test]
    fn header_bytes_are_those_that_envoy_counts() {
        let rows: [(&[u8], u64); 9] = [
            (b"GET / HTTP/1.1\r\nhost: a\r\nx: \r\n b\r\n\r\n", 13),
            (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", 14),
            (b"POST / HTTP/1.1\r\nhost: a\r\n\r\nx: a body\r\n\r\n", 8),
            (b"GET / HTTP/1.1\r\nHost: h.x\r\n\r\n", 10),
            (b"GET / HTTP/1.1\r\n\r\n", 3),
            (b"GET / HTTP/1.1\nhost: a\n\n", 8),
            (b"GET / HTTP/1.1\r\nhost: a\r\naccept: a\r\naccept: b\r\n\r\n", 28),
            (b"GET / HTTP/1.1\r\nhost:  a  \r\nX-A:b\r\n c\r\n\r\n", 17),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length:   2   \r\nx:\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n",
                50,
            ),
        ];
        for (head, want) in rows {
            assert_eq!(received_header_bytes(head), want, "{}", String::from_utf8_lossy(head));
        }
        assert_eq!(sent_header_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), 19);
        assert_eq!(sent_header_bytes(b"HTTP/1.1 100 Continue\r\n\r\n"), 0);
    }
}
