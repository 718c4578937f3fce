//! The access log of a listener: one entry for each connection, when it has ended.

use super::Listener;
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::stream_info::{ConnectionInfo, StreamInfo};
use nuncio_net::stream::{ByteStream, Layer, ReadBuf};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

/// Writes a connection's entry when it is dropped, whatever ended the connection.
pub(super) struct ConnectionLog {
    listener: Rc<Listener>,
    connection: Rc<ConnectionInfo>,
    accepted: SystemTime,
    bytes: Rc<Bytes>,
}

/// What went over a connection.
#[derive(Default)]
struct Bytes {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl ConnectionLog {
    /// Begins to count what goes over `io`, where the listener has a log.
    pub(super) fn begin(
        listener: &Rc<Listener>,
        io: Box<dyn ByteStream>,
        connection: &Rc<ConnectionInfo>,
    ) -> (Box<dyn ByteStream>, Option<Self>) {
        if listener.config.access_logs.is_empty() {
            return (io, None);
        }
        let bytes = Rc::new(Bytes::default());
        let counted = Counted { io, connection: Rc::clone(connection), bytes: Rc::clone(&bytes) };
        let log = Self {
            listener: Rc::clone(listener),
            connection: Rc::clone(connection),
            accepted: listener.world.worker.wall(),
            bytes,
        };
        (Box::new(counted), Some(log))
    }

    /// Writes the entry of a connection that never came to serve anything.
    pub(super) fn of_none(listener: &Rc<Listener>, connection: &Rc<ConnectionInfo>) {
        if !listener.config.access_logs.is_empty() {
            drop(Self {
                listener: Rc::clone(listener),
                connection: Rc::clone(connection),
                accepted: listener.world.worker.wall(),
                bytes: Rc::default(),
            });
        }
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        let worker = &self.listener.world.worker;
        let connection = &self.connection;
        let mut info = StreamInfo::new(connection.accepted, self.accepted, Rc::clone(connection), 0);
        info.be_connection();
        info.protocol = connection.state.protocol.get();
        info.flags = connection.state.flags.get();
        info.bytes_received = self.bytes.received.get();
        info.bytes_sent = self.bytes.sent.get();
        let context = FormatContext {
            info: &info,
            request: None,
            response: None,
            trailers: None,
            local_reply_body: b"",
            log_type: LogType::NotSet,
            now: worker.now(),
            wall: worker.wall(),
            rng: worker.rng(),
        };
        for log in &self.listener.config.access_logs {
            log.log(&context, worker.id() as usize);
        }
    }
}

/// A stream whose bytes are counted.
struct Counted {
    io: Box<dyn ByteStream>,
    connection: Rc<ConnectionInfo>,
    bytes: Rc<Bytes>,
}

impl Counted {
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == io::ErrorKind::ConnectionReset
        {
            self.connection.state.remote_reset.set(true);
        }
        result
    }

    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &result {
            self.bytes.sent.set(self.bytes.sent.get() + *n as u64);
        }
        self.note(result)
    }
}

impl Layer for Counted {
    fn beneath(&self) -> &dyn ByteStream {
        &*self.io
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = self.beneath().poll_read(cx, buf);
        let n = buf.filled().len() - before;
        self.bytes.received.set(self.bytes.received.get() + n as u64);
        self.note(result)
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.sent(self.beneath().poll_write(cx, data))
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.sent(self.beneath().poll_write_vectored(cx, data))
    }
}
