//! A stream that is made when it is first wanted.

use super::{ByteStream, Layer, ReadBuf, poll_write_all};
use nuncio_core::address::Address;
use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Bytes that are taken for a stream that is not there yet, at most.
const EARLY: usize = 16 * 1024;

/// What makes the stream; an error has been told to whoever wants to know.
type Making = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, ()>>>>;

/// A stream over another one that a future makes: a handshake that begins when somebody first wants to read or to
/// write. What is written before goes out behind it, up to a bound. One task reads and writes it.
pub struct Deferred {
    /// The stream beneath, which the other one is made of.
    carrier: Rc<dyn ByteStream>,
    made: OnceCell<Box<dyn ByteStream>>,
    /// `None` where it has failed or is over.
    making: RefCell<Option<Making>>,
    early: RefCell<Early>,
}

/// What was written before the stream was there.
#[derive(Default)]
struct Early {
    bytes: Vec<u8>,
    at: usize,
}

impl Layer for Rc<dyn ByteStream> {
    fn beneath(&self) -> &dyn ByteStream {
        &**self
    }
}

impl Deferred {
    /// `make` gets the stream beneath, and is polled when the new one is wanted.
    pub fn new<F>(io: Box<dyn ByteStream>, make: impl FnOnce(Box<dyn ByteStream>) -> F) -> Self
    where
        F: Future<Output = Result<Box<dyn ByteStream>, ()>> + 'static,
    {
        let carrier: Rc<dyn ByteStream> = Rc::from(io);
        let making: Making = Box::pin(make(Box::new(Rc::clone(&carrier))));
        Self { carrier, made: OnceCell::new(), making: RefCell::new(Some(making)), early: RefCell::default() }
    }

    /// The stream, once it is there.
    fn poll_made(&self, cx: &mut Context<'_>) -> Poll<io::Result<&dyn ByteStream>> {
        if let Some(made) = self.made.get() {
            return Poll::Ready(Ok(&**made));
        }
        let mut making = self.making.borrow_mut();
        let Some(future) = &mut *making else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let made = ready!(future.as_mut().poll(cx));
        *making = None;
        match made {
            Ok(made) => Poll::Ready(Ok(&**self.made.get_or_init(|| made))),
            Err(()) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    /// Sends what was written before there was a stream.
    fn poll_early(&self, cx: &mut Context<'_>, made: &dyn ByteStream) -> Poll<io::Result<()>> {
        let mut early = self.early.borrow_mut();
        let Early { bytes, at } = &mut *early;
        if !bytes.is_empty() {
            ready!(poll_write_all(made, cx, bytes, at))?;
            *early = Early::default();
        }
        Poll::Ready(Ok(()))
    }

    /// The stream, for reading: what was written before goes out as far as it may.
    fn poll_reading(&self, cx: &mut Context<'_>) -> Poll<io::Result<&dyn ByteStream>> {
        let made = ready!(self.poll_made(cx))?;
        // An error is the next writer's.
        let _ = self.poll_early(cx, made);
        Poll::Ready(Ok(made))
    }

    /// The stream, for writing: what was written before is out. Until there is a stream, `data` is taken as far as
    /// there is room, and the answer is how much of it.
    fn poll_writing(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<Writing<'_>>> {
        match self.poll_made(cx)? {
            Poll::Ready(made) => self.poll_early(cx, made).map_ok(|()| Writing::To(made)),
            Poll::Pending => {
                let bytes = &mut self.early.borrow_mut().bytes;
                let n = data.len().min(EARLY - bytes.len().min(EARLY));
                bytes.extend_from_slice(data.get(..n).unwrap_or_default());
                if n == 0 && !data.is_empty() { Poll::Pending } else { Poll::Ready(Ok(Writing::Kept(n))) }
            }
        }
    }
}

/// Where bytes go that are written.
enum Writing<'a> {
    To(&'a dyn ByteStream),
    /// So many were kept for later.
    Kept(usize),
}

impl ByteStream for Deferred {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_reading(cx))?.poll_read(cx, buf)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_reading(cx))?.poll_read_ready(cx)
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_writing(cx, data))? {
            Writing::To(made) => made.poll_write(cx, data),
            Writing::Kept(n) => Poll::Ready(Ok(n)),
        }
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let first = data.iter().find(|piece| !piece.is_empty()).map(|piece| &**piece).unwrap_or_default();
        match ready!(self.poll_writing(cx, first))? {
            Writing::To(made) => made.poll_write_vectored(cx, data),
            Writing::Kept(n) => Poll::Ready(Ok(n)),
        }
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let made = ready!(self.poll_made(cx))?;
        ready!(self.poll_early(cx, made))?;
        made.poll_shutdown(cx)
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_reading(cx).map_ok(|_| ())
    }

    fn local_address(&self) -> &Address {
        self.carrier.local_address()
    }

    fn peer_address(&self) -> &Address {
        self.carrier.peer_address()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.carrier.set_nodelay(nodelay)
    }

    fn original_destination(&self) -> Option<Address> {
        self.carrier.original_destination()
    }

    fn reset_on_drop(&self) {
        self.carrier.reset_on_drop();
    }

    fn round_trip(&self) -> Option<Duration> {
        self.carrier.round_trip()
    }
}

#[cfg(test)]
mod tests;
