//! A client for the demo's own requests: one request per connection, read to its end.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A response; the body without its framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Got {
    /// The first value of a header, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Sends a request to a port of this machine and reads the response; 5 seconds at most for each step.
pub(super) fn request(port: u16, method: &str, target: &str, body: &str) -> io::Result<Got> {
    let patience = Some(Duration::from_secs(5));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let length = body.len();
    stream.write_all(
        format!(
            "{method} {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: nuncio-demo\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::Error::other("no HTTP response"))
}

fn parse(text: &str) -> Option<Got> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Some(Got { status, headers, body })
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut out = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        out.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_is_taken_off() {
        let got = parse(
            "HTTP/1.1 200 OK\r\nX-A: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        );
        let got = got.unwrap();
        assert_eq!((got.status, got.header("x-a"), got.body.as_str()), (200, Some("b"), "abcd"));
        assert_eq!(parse("HTTP/1.1 204 No Content\r\n\r\n").unwrap().status, 204);
        assert_eq!(parse("nonsense"), None);
        assert_eq!(unchunk("5\r\nabc\r\n"), None);
    }
}
