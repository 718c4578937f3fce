//! A stream whose first bytes somebody has looked at already.

use super::{ByteStream, Layer};
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// Gives `first` to its reader before the bytes of `stream`.
pub struct Rewind<S> {
    first: RefCell<(Vec<u8>, usize)>,
    stream: S,
}

impl<S: ByteStream> Rewind<S> {
    /// `first` was read from `stream` and shall be read again.
    pub fn new(first: Vec<u8>, stream: S) -> Self {
        Self { first: RefCell::new((first, 0)), stream }
    }

    /// The stream beneath.
    pub fn inner(&self) -> &S {
        &self.stream
    }
}

impl<S: ByteStream> Layer for Rewind<S> {
    fn beneath(&self) -> &dyn ByteStream {
        &self.stream
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        {
            let (bytes, at) = &mut *self.first.borrow_mut();
            if let Some(rest) = bytes.get(*at..).filter(|r| !r.is_empty()) {
                let n = rest.len().min(buf.remaining());
                buf.put_slice(rest.get(..n).unwrap_or_default());
                *at += n;
                if *at == bytes.len() {
                    *bytes = Vec::new();
                    *at = 0;
                }
                return Poll::Ready(Ok(()));
            }
        }
        self.beneath().poll_read(cx, buf)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.first.borrow().0.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.beneath().poll_read_ready(cx)
    }
}
