//! The fixed upstream: answers every request with the same 200, keeps every connection alive.

use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;

use mio::net::TcpStream;

use crate::response::{content_length, head_end};
use crate::serve;

struct Connection {
    stream: TcpStream,
    answer: Rc<[u8]>,
    /// Bytes that are not a whole request yet.
    pending: Vec<u8>,
    /// Body bytes of the current request that are still to come.
    body_left: usize,
    /// Bytes of answers that are still to be sent.
    owed: usize,
}

/// Serves for ever on 127.0.0.1:`port` with a body of `body` bytes.
pub(crate) fn serve(port: u16, body: usize) -> std::io::Result<()> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body, b'x');
    let answer: Rc<[u8]> = answer.into();
    serve::serve(port, |stream| {
        let answer = Rc::clone(&answer);
        Connection { stream, answer, pending: Vec::new(), body_left: 0, owed: 0 }
    })
}

impl serve::Connection for Connection {
    fn ready(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    self.pending.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    self.take_requests();
                    if !self.send() {
                        return false;
                    }
                    if n < buffer.len() {
                        return true;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.send(),
                Err(_) => return false,
            }
        }
    }
}

impl Connection {
    fn take_requests(&mut self) {
        loop {
            let taken = self.body_left.min(self.pending.len());
            self.pending.drain(..taken);
            self.body_left -= taken;
            if self.body_left > 0 {
                return;
            }
            let Some(head) = head_end(&self.pending) else { return };
            self.body_left = content_length(self.pending.get(..head).unwrap_or_default()).unwrap_or(0);
            self.pending.drain(..head);
            self.owed += self.answer.len();
        }
    }

    /// Sends what is owed, as far as the socket takes it; false when the connection has ended.
    fn send(&mut self) -> bool {
        while self.owed > 0 {
            let rest = match self.owed % self.answer.len() {
                0 => self.answer.len(),
                rest => rest,
            };
            let from = self.answer.len() - rest;
            match self.stream.write(self.answer.get(from..).unwrap_or_default()) {
                Ok(n) => self.owed -= n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
