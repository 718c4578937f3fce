//! The fixed upstream: answers every request with the same 200, keeps every connection alive.

use std::collections::HashMap;
use std::io::{Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::response::{content_length, head_end};

const LISTENER: Token = Token(0);

struct Connection {
    stream: TcpStream,
    /// Bytes that are not a whole request yet.
    pending: Vec<u8>,
    /// Body bytes of the current request that are still to come.
    body_left: usize,
}

/// Serves for ever on 127.0.0.1:`port` with a body of `body` bytes.
pub(crate) fn serve(port: u16, body: usize) -> std::io::Result<()> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body, b'x');
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut next = 1;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE)?;
                    let connection = Connection { stream, pending: Vec::new(), body_left: 0 };
                    connections.insert(Token(next), connection);
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&event.token())
                && !connection.readable(&mut buffer, &answer)
            {
                connections.remove(&event.token());
            }
        }
    }
}

impl Connection {
    /// Reads what is there and answers every whole request; false when the connection has ended.
    fn readable(&mut self, buffer: &mut [u8], answer: &[u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    self.pending.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    if !self.answer_requests(answer) {
                        return false;
                    }
                    if n < buffer.len() {
                        return true;
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn answer_requests(&mut self, answer: &[u8]) -> bool {
        loop {
            let taken = self.body_left.min(self.pending.len());
            self.pending.drain(..taken);
            self.body_left -= taken;
            if self.body_left > 0 {
                return true;
            }
            let Some(head) = head_end(&self.pending) else { return true };
            self.body_left = content_length(self.pending.get(..head).unwrap_or_default()).unwrap_or(0);
            self.pending.drain(..head);
            // A bench answer fits into an empty socket buffer; a peer that does not read is not benched.
            if self.stream.write_all(answer).is_err() {
                return false;
            }
        }
    }
}
