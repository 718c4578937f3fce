//! What the standard library and socket2 do not offer: the project's only `unsafe`.

#![allow(unsafe_code, reason = "the one module that may; each block says why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};

/// Receives into the room of `buf`, without waiting where the socket does not wait; how many bytes, 0 at the end.
///
/// This and [`send`] are bare system calls. The C library's own are points at which a thread can be cancelled, which
/// none here ever is, and to be one costs more than all else that is done around the call.
///
/// # Errors
/// What the kernel answers.
#[inline]
pub(crate) fn recv(socket: BorrowedFd<'_>, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    let fd = i64::from(socket.as_raw_fd());
    // SAFETY: the descriptor is borrowed and open, pointer and length describe the room that the kernel may write, and
    // nothing is taken out of it here.
    let n = unsafe {
        let room = buf.unfilled_mut();
        let (at, len) = (room.as_mut_ptr(), room.len());
        libc::syscall(libc::SYS_recvfrom, fd, at, len, 0_usize, ptr::null_mut::<u8>(), ptr::null_mut::<u8>())
    };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written that many bytes at the beginning of the room.
    unsafe { buf.assume_init(n) };
    buf.advance(n);
    Ok(n)
}

/// Sends a prefix of `data`, without waiting where the socket does not wait, and without a signal where nobody
/// receives any more; how many bytes.
///
/// # Errors
/// What the kernel answers.
#[inline]
pub(crate) fn send(socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
    let fd = i64::from(socket.as_raw_fd());
    let flags = i64::from(libc::MSG_NOSIGNAL);
    // SAFETY: the descriptor is borrowed and open, pointer and length describe `data`, which the kernel only reads.
    let n = unsafe {
        libc::syscall(libc::SYS_sendto, fd, data.as_ptr(), data.len(), flags, ptr::null::<u8>(), 0_usize)
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Reads into the spare capacity of `buf` by `fill` and makes what was filled part of it; how many bytes.
pub(crate) fn fill_spare<E>(
    buf: &mut Vec<u8>,
    fill: impl FnOnce(&mut ReadBuf<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let before = buf.len();
    let mut room = ReadBuf::uninit(buf.spare_capacity_mut());
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

/// A TCP connection's smoothed round-trip time (`TCP_INFO`).
///
/// # Errors
/// What the kernel answers.
pub(crate) fn round_trip(socket: BorrowedFd<'_>) -> io::Result<Duration> {
    // SAFETY: a `tcp_info` is numbers alone, for which zeros are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and open; the kernel writes at most `len` bytes, which `info` has.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if rc == 0 { Ok(Duration::from_micros(info.tcpi_rtt.into())) } else { Err(io::Error::last_os_error()) }
}

/// Tells what is moved into `directory` (inotify); must be called on a runtime.
///
/// # Errors
/// What the kernel answers.
pub(crate) fn watch_moves_into(directory: &std::path::Path) -> io::Result<AsyncFd<File>> {
    let path = std::ffi::CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor, and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: the descriptor is open, and `path` ends in NUL and outlives the call.
    let watch = unsafe { libc::inotify_add_watch(file.as_raw_fd(), path.as_ptr(), libc::IN_MOVED_TO) };
    if watch < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the file owns its descriptor, always gives the same one, and stays with the registration.
    unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }.map_err(|error| error.into_parts().1)
}

/// Gives free memory back to the system, but for `keep` bytes of it.
pub fn release_free_memory(keep: u64) {
    #[cfg(target_env = "gnu")]
    {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        // SAFETY: it takes a number, and the allocator's own locks.
        unsafe { libc::malloc_trim(keep) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = keep;
}
