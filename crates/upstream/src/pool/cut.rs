//! Connections that end when their host fails (`close_connections_on_host_health_failure`).

use nuncio_net::stream::{ByteStream, Layer};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
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

impl Layer for CutStream {
    fn beneath(&self) -> &dyn ByteStream {
        &*self.stream
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut.check_read(cx)?;
        self.beneath().poll_read(cx, buf)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check_read(cx)?;
        self.beneath().poll_read_ready(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        self.beneath().poll_write(cx, data)
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        self.beneath().poll_write_vectored(cx, data)
    }
}
