//! A gRPC server that answers every unary call alike: just enough of HTTP/2 for a peer that keeps to the rules.
//!
//! It reads no header and keeps no window: calls and answers are small, and what came is given back at once.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::serve;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:status: 200` from the static table, and `content-type: application/grpc` spelt out (RFC 7541 section 6.2.2).
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// A message of 13 bytes that is not compressed.
const MESSAGE: &[u8] = b"\0\0\0\0\x0dhello, bench!";
/// `grpc-status: 0`, spelt out.
const TRAILERS: &[u8] = b"\0\x0bgrpc-status\x010";

struct Connection {
    stream: TcpStream,
    /// The client's preface has come.
    greeted: bool,
    /// Bytes that are not a whole frame yet.
    pending: Vec<u8>,
    /// Bytes of DATA that the connection's window has not got back.
    received: u32,
    out: Vec<u8>,
}

/// Serves for ever on 127.0.0.1:`port`.
pub(crate) fn serve(port: u16) -> std::io::Result<()> {
    serve::serve(port, |stream| {
        let mut out = Vec::new();
        frame(&mut out, SETTINGS, 0, 0, &[0, 3, 0, 0, 0x10, 0]);
        Connection { stream, greeted: false, pending: Vec::new(), received: 0, out }
    })
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

impl serve::Connection for Connection {
    fn ready(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    self.pending.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    self.take_frames();
                    if n < buffer.len() {
                        return self.send();
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.send(),
                Err(_) => return false,
            }
        }
    }
}

impl Connection {
    fn take_frames(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        if !self.greeted {
            if pending.len() < PREFACE.len() {
                self.pending = pending;
                return;
            }
            (self.greeted, at) = (true, PREFACE.len());
        }
        while let Some(&[a, b, c, kind, flags, d, e, f, g]) = pending.get(at..at + HEADER) {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let body = at + HEADER;
            let Some(payload) = pending.get(body..body + length) else { break };
            self.take_frame(kind, flags, u32::from_be_bytes([d, e, f, g]), payload);
            at = body + length;
        }
        self.pending = pending;
        self.pending.drain(..at);
    }

    fn take_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
            DATA => {
                self.received += payload.len() as u32;
                if self.received >= 16 * 1024 {
                    frame(&mut self.out, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
                    self.received = 0;
                }
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            frame(&mut self.out, HEADERS, END_HEADERS, stream, HEAD);
            frame(&mut self.out, DATA, 0, stream, MESSAGE);
            frame(&mut self.out, HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS);
        }
    }

    /// Sends what waits, as far as the socket takes it; false when the connection has ended.
    fn send(&mut self) -> bool {
        let mut at = 0;
        let open = loop {
            match self.stream.write(self.out.get(at..).unwrap_or_default()) {
                Ok(0) => break true,
                Ok(n) => at += n,
                Err(e) => break e.kind() == ErrorKind::WouldBlock,
            }
        };
        self.out.drain(..at);
        open
    }
}
