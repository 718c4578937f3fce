//! Kernel sockets as byte streams.

use super::ByteStream;
use super::gate::ReadGate;
use crate::sys;
use nuncio_core::address::Address;
use std::cell::{Cell, RefCell};
use std::io;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;

/// A TCP connection.
pub struct TcpByteStream {
    socket: RefCell<TcpStream>,
    gate: ReadGate,
    /// The last read filled its room: there is more, and other tasks may have to wait for their turn.
    full: Cell<bool>,
    local: Address,
    peer: Address,
}

impl TcpByteStream {
    /// Wraps a connected socket.
    ///
    /// # Errors
    /// When the kernel no longer knows the socket's addresses (the peer reset it meanwhile).
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        let peer = socket.peer_addr()?.into();
        Self::with_peer(socket, peer)
    }

    /// Wraps a socket whose peer the caller knows, as `accept` tells it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_peer(socket: TcpStream, peer: Address) -> io::Result<Self> {
        let local = socket.local_addr()?.into();
        Ok(Self { socket: RefCell::new(socket), gate: ReadGate::new(), full: Cell::new(false), local, peer })
    }

    /// The socket, for options.
    pub fn with_socket<R>(&self, f: impl FnOnce(socket2::SockRef<'_>) -> R) -> R {
        f(socket2::SockRef::from(&*self.socket.borrow()))
    }
}

impl TcpByteStream {
    /// What the kernel's connection tracking knows; nothing where it did not redirect.
    fn redirected_from(&self) -> Option<Address> {
        let v4 = self.local.ip()?.is_ipv4();
        let asked = self.with_socket(|s| if v4 { s.original_dst_v4() } else { s.original_dst_v6() });
        let original = Address::from(asked.ok()?.as_socket()?);
        (original != self.local).then_some(original)
    }
}

/// A Unix domain socket's connection.
pub struct UnixByteStream {
    socket: RefCell<UnixStream>,
    gate: ReadGate,
    /// The last read filled its room: there is more, and other tasks may have to wait for their turn.
    full: Cell<bool>,
    local: Address,
    peer: Address,
}

impl UnixByteStream {
    /// Wraps a connected socket; `local` and `peer` are what logs shall show.
    pub fn new(socket: UnixStream, local: Address, peer: Address) -> Self {
        Self { socket: RefCell::new(socket), gate: ReadGate::new(), full: Cell::new(false), local, peer }
    }
}

/// Closing with a linger of zero sends RST.
fn linger_zero(socket: &impl AsFd) {
    // Where it fails the connection is gone already.
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

macro_rules! socket_stream {
    ($name:ident, $nodelay:expr, $original:expr, $round_trip:expr) => {
        impl $name {
            /// Has the runtime tell when there is something.
            #[inline(never)]
            fn register(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.gate.poll(cx, |cx| self.socket.borrow().poll_read_ready(cx))
            }

            /// Reads once where the runtime thinks that there is something. A read that left room has emptied the
            /// socket, which the runtime learns as it learns it of a read that found nothing: it waits for the kernel's
            /// next word then.
            #[inline]
            fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
                let (socket, room) = (self.socket.borrow(), buf.remaining());
                let mut emptied = false;
                let read = socket.try_io(Interest::READABLE, || {
                    let n = sys::recv(socket.as_fd(), buf)?;
                    self.full.set(n == room);
                    emptied = n > 0 && n < room;
                    if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
                });
                if emptied { Ok(()) } else { read }
            }
        }

        impl ByteStream for $name {
            #[inline]
            fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                self.gate.poll(cx, |cx| {
                    if self.full.get() {
                        ready!(coop::poll_proceed(cx)).made_progress();
                    }
                    loop {
                        match self.try_read(buf) {
                            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                            done => return Poll::Ready(done),
                        }
                        ready!(self.socket.borrow().poll_read_ready(cx))?;
                    }
                })
            }

            #[inline]
            fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                if self.gate.fired() {
                    return Poll::Ready(Ok(()));
                }
                if self.gate.sleeps(cx) {
                    return Poll::Pending;
                }
                self.register(cx)
            }

            #[inline]
            fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                // A socket is writable most of the time: what it takes at once needs no waiting.
                let socket = self.socket.borrow();
                match socket.try_io(Interest::WRITABLE, || sys::send(socket.as_fd(), data)) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
                drop(socket);
                Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, data)
            }

            fn poll_write_vectored(
                &self,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut *self.socket.borrow_mut()).poll_write_vectored(cx, data)
            }

            fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx)
            }

            fn local_address(&self) -> &Address {
                &self.local
            }

            fn peer_address(&self) -> &Address {
                &self.peer
            }

            fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
                let set: fn(&Self, bool) -> io::Result<()> = $nodelay;
                set(self, nodelay)
            }

            fn original_destination(&self) -> Option<Address> {
                let original: fn(&Self) -> Option<Address> = $original;
                original(self)
            }

            fn reset_on_drop(&self) {
                linger_zero(&*self.socket.borrow());
            }

            fn round_trip(&self) -> Option<Duration> {
                let read: fn(&Self) -> Option<Duration> = $round_trip;
                read(self)
            }
        }
    };
}

socket_stream!(TcpByteStream, |s, on| s.socket.borrow().set_nodelay(on), |s| s.redirected_from(), |s| {
    sys::round_trip(s.socket.borrow().as_fd()).ok()
});
socket_stream!(UnixByteStream, |_, _| Ok(()), |_| None, |_| None);
