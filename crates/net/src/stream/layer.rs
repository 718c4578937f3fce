//! A stream around another one.

use super::{ByteStream, ReadBuf};
use nuncio_core::address::Address;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Duration;

/// A stream that looks at, counts or holds back what goes through it: whatever it does not do itself, the stream beneath
/// does. Methods are those of [`ByteStream`].
pub trait Layer {
    /// The stream that carries the bytes.
    fn beneath(&self) -> &dyn ByteStream;

    /// See [`ByteStream::poll_read`].
    #[inline]
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.beneath().poll_read(cx, buf)
    }

    /// See [`ByteStream::poll_read_ready`].
    #[inline]
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.beneath().poll_read_ready(cx)
    }

    /// See [`ByteStream::poll_open`].
    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.beneath().poll_open(cx)
    }

    /// See [`ByteStream::poll_write`].
    #[inline]
    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.beneath().poll_write(cx, data)
    }

    /// See [`ByteStream::poll_write_vectored`].
    #[inline]
    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.beneath().poll_write_vectored(cx, data)
    }
}

impl<T: Layer> ByteStream for T {
    #[inline]
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Layer::poll_read(self, cx, buf)
    }

    #[inline]
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Layer::poll_read_ready(self, cx)
    }

    #[inline]
    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Layer::poll_write(self, cx, data)
    }

    #[inline]
    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Layer::poll_write_vectored(self, cx, data)
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Layer::poll_open(self, cx)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.beneath().poll_shutdown(cx)
    }

    fn local_address(&self) -> &Address {
        self.beneath().local_address()
    }

    fn peer_address(&self) -> &Address {
        self.beneath().peer_address()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.beneath().set_nodelay(nodelay)
    }

    fn original_destination(&self) -> Option<Address> {
        self.beneath().original_destination()
    }

    fn reset_on_drop(&self) {
        self.beneath().reset_on_drop();
    }

    fn round_trip(&self) -> Option<Duration> {
        self.beneath().round_trip()
    }
}
