//! A connection's bytes, whatever carries them.

mod connect;
mod deferred;
mod eyeballs;
mod gate;
mod layer;
mod memory;
mod patience;
mod rewind;
mod socket;

pub use connect::{ConnectError, ConnectOptions, LocalAddress, connect};
pub use deferred::Deferred;
pub use eyeballs::{AddressFamily, HappyEyeballs, race};
pub use layer::Layer;
pub use memory::{MemoryStream, pair};
pub use patience::{PATIENCE_IS_OVER, Patient};
pub use rewind::Rewind;
pub use socket::{TcpByteStream, UnixByteStream};
pub use tokio::io::ReadBuf;

use crate::sys;
use nuncio_core::address::Address;
use std::io;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A connected stream of bytes, one reader and one writer on one thread.
///
/// All methods take `&self`, so that one task pumps both directions. Each direction keeps the waker of its
/// last poll. A read that fills less than the buffer clears readiness (never read around these methods).
pub trait ByteStream {
    /// Reads what is there; no bytes read means that the peer has closed its side.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// Ready when a read would not wait: bytes, end of stream or an error. A spurious answer is possible.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes a prefix of `data`; how many bytes.
    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes a prefix of all of `data` taken together; how many bytes.
    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Sends the end of stream (half close); reading goes on.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready once the stream carries bytes: at once, save where something comes first ([`Deferred`]).
    fn poll_open(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Our address.
    fn local_address(&self) -> &Address;

    /// The peer's address.
    fn peer_address(&self) -> &Address;

    /// Switches Nagle's algorithm off or on; nothing where there is none.
    ///
    /// # Errors
    /// What the kernel answers.
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;

    /// Where a connection that was redirected here was going (`SO_ORIGINAL_DST`); none where it was not.
    fn original_destination(&self) -> Option<Address> {
        None
    }

    /// From now on, dropping the stream resets the connection (RST) instead of closing it.
    fn reset_on_drop(&self);

    /// The round-trip time as the kernel has it; none where nothing is measured.
    fn round_trip(&self) -> Option<Duration> {
        None
    }
}

impl Layer for Box<dyn ByteStream> {
    #[inline]
    fn beneath(&self) -> &dyn ByteStream {
        &**self
    }
}

/// Reads once into the spare capacity of `buf`, which must have some; how many bytes, 0 at end of stream.
///
/// # Errors
/// What the stream answers.
#[inline]
pub fn poll_read_vec(
    stream: &dyn ByteStream,
    cx: &mut Context<'_>,
    buf: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut pending = false;
    let result = sys::fill_spare(buf, |room| match stream.poll_read(cx, room) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            pending = true;
            Ok(())
        }
    });
    if pending { Poll::Pending } else { Poll::Ready(result) }
}

/// Writes `data` from `*at` on until all is written, moving `*at`.
///
/// # Errors
/// What the stream answers; a write of nothing is [`io::ErrorKind::WriteZero`].
#[inline]
pub fn poll_write_all(
    stream: &dyn ByteStream,
    cx: &mut Context<'_>,
    data: &[u8],
    at: &mut usize,
) -> Poll<io::Result<()>> {
    while let Some(rest) = data.get(*at..).filter(|r| !r.is_empty()) {
        let n = ready!(stream.poll_write(cx, rest))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *at += n;
    }
    Poll::Ready(Ok(()))
}

/// An I/O error in the kernel's words alone (`Connection refused`), as logs show it.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
