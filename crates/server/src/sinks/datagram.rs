//! Lines in datagrams.

use nuncio_core::address::Address;
use nuncio_net::datagram::DatagramSender;
use std::io;

/// Gathers lines into datagrams. What cannot be sent at once is lost, as datagrams are.
pub(super) struct Datagrams {
    socket: DatagramSender,
    /// Bytes of a datagram that holds several lines; 0: each line goes alone.
    at_most: usize,
    gathered: String,
}

impl Datagrams {
    pub(super) fn open(to: &Address, at_most: usize) -> io::Result<Self> {
        Ok(Self { socket: DatagramSender::to(to)?, at_most, gathered: String::new() })
    }

    pub(super) fn line(&mut self, line: &str) {
        if self.gathered.len() + 1 + line.len() > self.at_most {
            self.flush();
        }
        if line.len() >= self.at_most {
            self.socket.send(line.as_bytes());
            return;
        }
        if !self.gathered.is_empty() {
            self.gathered.push('\n');
        }
        self.gathered.push_str(line);
    }

    pub(super) fn flush(&mut self) {
        if !self.gathered.is_empty() {
            self.socket.send(self.gathered.as_bytes());
            self.gathered.clear();
        }
    }
}
