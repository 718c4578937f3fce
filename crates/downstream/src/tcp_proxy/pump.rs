//! One direction of a proxied connection: bytes are read only when those before them are written, so that a
//! slow reader slows its writer and never more than one buffer waits.

use nuncio_net::stream::{ByteStream, poll_read_vec, poll_write_all};
use nuncio_net::worker::BufferPool;
use std::io;
use std::task::{Context, Poll};

/// Buffers that one direction moves before other connections have their turn.
const ROUNDS: u32 = 16;

/// What waits to be written, and whether more may come.
#[derive(Default)]
pub(super) struct Direction {
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    over: bool,
}

/// What a poll moved.
#[derive(Clone, Copy, Default)]
pub(super) struct Moved {
    /// Bytes read from the source.
    pub(super) read: usize,
    /// Bytes written to the target.
    pub(super) written: usize,
}

/// Why a direction cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The source failed.
    Source(io::Error),
    /// The target failed.
    Target(io::Error),
}

impl Direction {
    /// One that has `bytes` to write, and nothing behind them where the source `ended`.
    pub(super) fn beginning_with(bytes: Vec<u8>, ended: bool) -> Self {
        Self { buffer: bytes, ended, ..Self::default() }
    }

    /// Everything was read and written, the end included.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Moves what can be moved; ready when the source's end was passed on. Holds a buffer only while bytes wait.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&dyn ByteStream, &dyn ByteStream),
        buffers: &BufferPool,
        moved: &mut Moved,
    ) -> Poll<Result<(), Broken>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            let before = self.at;
            let written = poll_write_all(to, cx, &self.buffer, &mut self.at);
            moved.written += self.at - before;
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Target(error))),
                Poll::Ready(Ok(())) => self.release(buffers),
            }
            if self.ended {
                return match to.poll_shutdown(cx) {
                    Poll::Pending => Poll::Pending,
                    // A peer that is gone already needs no end.
                    Poll::Ready(_) => {
                        self.over = true;
                        Poll::Ready(Ok(()))
                    }
                };
            }
            if from.poll_read_ready(cx).is_pending() {
                return Poll::Pending;
            }
            self.buffer = buffers.take();
            match poll_read_vec(from, cx, &mut self.buffer) {
                Poll::Pending => {
                    self.release(buffers);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(n)) => moved.read += n,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives the buffer back, written or not.
    pub(super) fn release(&mut self, buffers: &BufferPool) {
        self.at = 0;
        if self.buffer.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests;
