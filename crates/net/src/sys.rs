//! What the standard library and socket2 do not offer: the project's only `unsafe`.

#![allow(unsafe_code, reason = "the one module that may; each block says why it is sound")]

use std::any::Any;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Reads into the spare capacity of `buf` by `fill` and makes what was filled part of it; how many bytes.
pub(crate) fn fill_spare<E>(
    buf: &mut Vec<u8>,
    fill: impl FnOnce(&mut tokio::io::ReadBuf<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let before = buf.len();
    let mut room = tokio::io::ReadBuf::uninit(buf.spare_capacity_mut());
    let start = room.initialize_unfilled_to(0).as_ptr();
    fill(&mut room)?;
    // A reader may replace the whole `ReadBuf` (it is a plain struct); then its bytes are not ours.
    let same = std::ptr::eq(room.filled().as_ptr(), start);
    let n = if same { room.filled().len() } else { 0 };
    // SAFETY: `room` covers exactly the spare capacity of `buf` from `before` on (checked: it begins where it
    // began), and `ReadBuf` vouches that its first `n` bytes are initialised.
    unsafe { buf.set_len(before + n) };
    Ok(n)
}

/// `setsockopt` with the bytes that configuration gave (`envoy.config.core.v3.SocketOption`).
///
/// # Errors
/// What the kernel answers.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is borrowed and open, pointer and length describe `value`, which the kernel
    // only reads.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A task that ends by calling `on_panic` where it would unwind. (An `async` block around it would keep the
/// task's state twice.)
pub(crate) struct CatchPanic<F, P> {
    task: F,
    on_panic: P,
}

impl<F, P> CatchPanic<F, P> {
    pub(crate) fn new(task: F, on_panic: P) -> Self {
        Self { task, on_panic }
    }
}

impl<F: Future<Output = ()>, P: Fn(&(dyn Any + Send))> Future for CatchPanic<F, P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `task` is pinned with `self`: it is never moved out, this type has no `Drop`, and is
        // `Unpin` only when `task` is. `on_panic` is only used by reference.
        let (task, on_panic) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.task), &this.on_panic)
        };
        match catch_unwind(AssertUnwindSafe(|| task.poll(cx))) {
            Ok(poll) => poll,
            Err(what) => {
                on_panic(&*what);
                Poll::Ready(())
            }
        }
    }
}
