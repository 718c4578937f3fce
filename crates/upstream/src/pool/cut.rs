//! Connections that end when their host fails (`close_connections_on_host_health_failure`).

use nuncio_core::address::Address;
use nuncio_net::stream::ByteStream;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::ReadBuf;

/// Ends one connection.
#[derive(Default)]
pub(crate) struct Cut {
    done: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl Cut {
    /// Reading and writing fail from now on.
    pub(crate) fn cut(&self) {
        self.done.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Whether it was cut.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    fn check(&self) -> io::Result<()> {
        if self.is_done() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// As [`check`](Self::check), for one who waits for bytes.
    fn check_read(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
        self.check()
    }
}

/// A stream that can be cut.
pub(super) struct CutStream {
    pub(super) stream: Box<dyn ByteStream>,
    pub(super) cut: Rc<Cut>,
}

impl ByteStream for CutStream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut.check_read(cx)?;
        self.stream.poll_read(cx, buf)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check_read(cx)?;
        self.stream.poll_read_ready(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        self.stream.poll_write(cx, data)
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        self.stream.poll_write_vectored(cx, data)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }

    fn local_address(&self) -> &Address {
        self.stream.local_address()
    }

    fn peer_address(&self) -> &Address {
        self.stream.peer_address()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.set_nodelay(nodelay)
    }

    fn original_destination(&self) -> Option<Address> {
        self.stream.original_destination()
    }

    fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }

    fn round_trip(&self) -> Option<Duration> {
        self.stream.round_trip()
    }
}
