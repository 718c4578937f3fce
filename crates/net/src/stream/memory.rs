//! Two ends of a connection within one thread, for tests and internal listeners.

use super::ByteStream;
use nuncio_core::address::Address;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// One direction: at most `limit` bytes on their way.
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    limit: usize,
    closed: Cell<bool>,
    reset: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(w) = waker.borrow_mut().take() {
        w.wake();
    }
}

fn park(waker: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    *waker.borrow_mut() = Some(cx.waker().clone());
}

impl Pipe {
    fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            bytes: RefCell::default(),
            limit,
            closed: Cell::default(),
            reset: Cell::default(),
            reader: RefCell::default(),
            writer: RefCell::default(),
        })
    }

    fn wake_both(&self) {
        wake(&self.reader);
        wake(&self.writer);
    }
}

/// One end of a [`pair`].
pub struct MemoryStream {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
    local: Address,
    peer: Address,
    reset: Cell<bool>,
}

/// Two connected ends; each direction holds at most `limit` bytes, then writers wait.
pub fn pair(limit: usize, a: Address, b: Address) -> (MemoryStream, MemoryStream) {
    let (ab, ba) = (Pipe::new(limit), Pipe::new(limit));
    let end = |incoming: &Rc<Pipe>, outgoing: &Rc<Pipe>, local: &Address, peer: &Address| MemoryStream {
        incoming: Rc::clone(incoming),
        outgoing: Rc::clone(outgoing),
        local: local.clone(),
        peer: peer.clone(),
        reset: Cell::default(),
    };
    (end(&ba, &ab, &a, &b), end(&ab, &ba, &b, &a))
}

impl ByteStream for MemoryStream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = &self.incoming;
        if pipe.reset.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut bytes = pipe.bytes.borrow_mut();
        if bytes.is_empty() && !pipe.closed.get() {
            park(&pipe.reader, cx);
            return Poll::Pending;
        }
        let (first, _) = bytes.as_slices();
        let n = first.len().min(buf.remaining());
        buf.put_slice(first.get(..n).unwrap_or_default());
        bytes.drain(..n);
        wake(&pipe.writer);
        Poll::Ready(Ok(()))
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &self.incoming;
        if pipe.bytes.borrow().is_empty() && !pipe.closed.get() && !pipe.reset.get() {
            park(&pipe.reader, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let pipe = &self.outgoing;
        if pipe.reset.get() || pipe.closed.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut bytes = pipe.bytes.borrow_mut();
        let mut room = pipe.limit.saturating_sub(bytes.len());
        if room == 0 && data.iter().any(|d| !d.is_empty()) {
            park(&pipe.writer, cx);
            return Poll::Pending;
        }
        let mut n = 0;
        for piece in data {
            let piece = piece.get(..piece.len().min(room)).unwrap_or_default();
            bytes.extend(piece);
            n += piece.len();
            room -= piece.len();
        }
        drop(bytes);
        wake(&pipe.reader);
        Poll::Ready(Ok(n))
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.closed.set(true);
        self.outgoing.wake_both();
        Poll::Ready(Ok(()))
    }

    fn local_address(&self) -> &Address {
        &self.local
    }

    fn peer_address(&self) -> &Address {
        &self.peer
    }

    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_drop(&self) {
        self.reset.set(true);
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.outgoing.closed.set(true);
        self.incoming.closed.set(true);
        if self.reset.get() {
            self.outgoing.reset.set(true);
            self.incoming.reset.set(true);
        }
        self.outgoing.wake_both();
        self.incoming.wake_both();
    }
}
