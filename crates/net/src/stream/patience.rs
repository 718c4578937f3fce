//! Connections whose peer takes nothing for too long (`per_connection_buffer_high_watermark_timeout`).

use super::{ByteStream, Layer, ReadBuf};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Why such a connection is closed, in Envoy's words.
pub const PATIENCE_IS_OVER: &str = "buffer_high_watermark_timeout_reached";

/// A stream that fails where bytes have waited for its peer without a break for the given time. What it carries is
/// bounded by its owner, so that bytes wait only where Envoy's buffer would stand above its high watermark.
pub struct Patient {
    stream: Box<dyn ByteStream>,
    time: Duration,
    /// There while bytes wait.
    waiting: RefCell<Option<Pin<Box<Sleep>>>>,
    is_over: Cell<bool>,
    on_end: Box<dyn Fn()>,
}

impl Patient {
    /// `stream`, whose peer may keep bytes waiting for `time`; `on_end` is called once, when that is over.
    pub fn new(stream: Box<dyn ByteStream>, time: Duration, on_end: impl Fn() + 'static) -> Box<Self> {
        let (waiting, is_over) = (RefCell::default(), Cell::default());
        Box::new(Self { stream, time, waiting, is_over, on_end: Box::new(on_end) })
    }

    fn check(&self) -> io::Result<()> {
        if self.is_over.get() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// A write of `len` bytes had this outcome.
    fn note(
        &self,
        cx: &mut Context<'_>,
        len: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.waiting.borrow_mut();
        match &written {
            Poll::Ready(Ok(n)) if *n < len => {}
            Poll::Ready(_) => *waiting = None,
            Poll::Pending => {
                let over = waiting.get_or_insert_with(|| Box::pin(sleep(self.time)));
                if over.as_mut().poll(cx).is_ready() {
                    *waiting = None;
                    self.is_over.set(true);
                    (self.on_end)();
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        written
    }
}

impl Layer for Patient {
    fn beneath(&self) -> &dyn ByteStream {
        &*self.stream
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.beneath().poll_read(cx, buf)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.beneath().poll_read_ready(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = self.beneath().poll_write(cx, data);
        self.note(cx, data.len(), written)
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = self.beneath().poll_write_vectored(cx, data);
        self.note(cx, data.iter().map(|piece| piece.len()).sum(), written)
    }
}

#[cfg(test)]
mod tests;
