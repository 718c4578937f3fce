//! The input side of a connection: bytes that arrived and were not yet decoded.

use crate::stream::{ByteStream, poll_read_vec};
use crate::worker::BufferPool;
use std::io;
use std::task::{Context, Poll, ready};

/// Unread input, in a buffer that is borrowed from the worker only while there is something in it.
#[derive(Default)]
pub struct InBuf {
    buf: Vec<u8>,
    at: usize,
}

impl InBuf {
    /// What has arrived and was not consumed.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        self.buf.get(self.at..).unwrap_or_default()
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at >= self.buf.len()
    }

    /// Whether a whole buffer's worth waits, so that reading ahead should stop.
    pub fn is_full(&self) -> bool {
        self.buf.len() - self.at >= BufferPool::SIZE
    }

    /// Marks the first `n` unread bytes as done with.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.buf.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.at = 0;
    }

    /// Reads once behind what waits; how many bytes, 0 at end of stream. Without a buffer it waits for
    /// readiness first and borrows one after. The buffer grows when it is full of unread bytes: the
    /// decoder's limits bound that.
    ///
    /// # Errors
    /// What the stream answers.
    #[inline]
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn ByteStream,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        // Most polls are of a connection that says nothing, and end here.
        if self.buf.capacity() == 0 {
            ready!(io.poll_read_ready(cx))?;
        }
        self.fill(cx, io, pool)
    }

    #[inline(never)]
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn ByteStream,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        if self.buf.capacity() == 0 {
            self.buf = pool.take();
        }
        if self.buf.len() == self.buf.capacity() {
            if self.at > 0 {
                self.buf.drain(..self.at);
                self.at = 0;
            } else {
                self.buf.reserve(self.buf.len());
            }
        }
        poll_read_vec(io, cx, &mut self.buf)
    }

    /// Gives an empty buffer back.
    #[inline]
    pub fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() && self.buf.capacity() > 0 {
            self.at = 0;
            pool.give(std::mem::take(&mut self.buf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::pair;
    use nuncio_core::address::Address;
    use std::task::Waker;

    #[test]
    fn a_buffer_is_held_only_while_bytes_wait() {
        let pipe = || Address::Pipe("test".into());
        let (near, far) = pair(1 << 20, pipe(), pipe());
        let pool = BufferPool::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut input = InBuf::default();
        assert!(input.poll_fill(&mut cx, &near, &pool).is_pending());
        assert_eq!(input.buf.capacity(), 0);
        assert!(matches!(far.poll_write(&mut cx, &[7; 40_000]), Poll::Ready(Ok(40_000))));
        while let Poll::Ready(Ok(_)) = input.poll_fill(&mut cx, &near, &pool) {}
        assert_eq!(input.unread(), [7; 40_000]);
        input.consume(39_999);
        input.release(&pool);
        assert_eq!(input.unread(), [7]);
        input.consume(1);
        input.release(&pool);
        assert_eq!((input.is_empty(), input.buf.capacity()), (true, 0));
    }
}
