//! Accepting on a worker.

use super::BoundSocket;
use crate::stream::{ByteStream, TcpByteStream, UnixByteStream};
use nuncio_core::address::Address;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// A connection that a listener accepted; Nagle's algorithm is off.
pub enum Accepted {
    /// Over TCP.
    Tcp(TcpByteStream),
    /// Over a Unix socket.
    Unix(UnixByteStream),
}

impl Accepted {
    /// As a byte stream of any kind.
    pub fn into_stream(self) -> Box<dyn ByteStream> {
        match self {
            Self::Tcp(s) => Box::new(s),
            Self::Unix(s) => Box::new(s),
        }
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a listener counts beside the connections that it hands out.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    exhausted: Cell<u64>,
    failed: Cell<u64>,
}

impl ListenerCounts {
    /// How often accepting paused because the process or the machine had no descriptor or memory left.
    pub fn exhausted(&self) -> u64 {
        self.exhausted.get()
    }

    /// Connections that were gone before they could be handed out.
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }
}

/// A listening socket on a worker's runtime. Dropping it closes the socket.
pub struct Listener {
    socket: Socket,
    address: Address,
    counts: Rc<ListenerCounts>,
}

/// How long accepting rests when descriptors have run out.
const REST: Duration = Duration::from_millis(50);

impl Listener {
    /// Brings a bound socket onto the current runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn new(bound: BoundSocket) -> io::Result<Self> {
        let BoundSocket { socket, address, unix } = bound;
        let socket = if unix {
            Socket::Unix(UnixListener::from_std(socket.into())?)
        } else {
            Socket::Tcp(TcpListener::from_std(socket.into())?)
        };
        Ok(Self { socket, address, counts: Rc::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it counts.
    pub fn counts(&self) -> &Rc<ListenerCounts> {
        &self.counts
    }

    /// The next connection, or why there was none.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match &self.socket {
            Socket::Tcp(listener) => listener.poll_accept(cx).map(|r| {
                let (socket, peer) = r?;
                // A socket that the peer has reset already cannot be set; reading will tell.
                let _ = socket.set_nodelay(true);
                TcpByteStream::with_peer(socket, peer.into()).map(Accepted::Tcp)
            }),
            Socket::Unix(listener) => listener.poll_accept(cx).map(|r| {
                let (socket, peer) = r?;
                let peer = peer.as_pathname().map_or_else(
                    || Address::Pipe("".into()),
                    |p| Address::Pipe(p.to_string_lossy().as_ref().into()),
                );
                Ok(Accepted::Unix(UnixByteStream::new(socket, self.address.clone(), peer)))
            }),
        }
    }

    /// Accepts for ever and hands each connection to `each`, at most `per_turn` before other tasks get their
    /// turn (`max_connections_to_accept_per_socket_event`; 0 counts as 1); tells `turn` how many they were.
    /// Out of descriptors, or while `pause` holds, it rests and tries again. Drop the future to stop.
    pub async fn accept_loop(
        &self,
        per_turn: u32,
        pause: &Pause,
        mut each: impl FnMut(Accepted),
        mut turn: impl FnMut(u32),
    ) {
        loop {
            let mut next = poll_fn(|cx| match pause.holds(cx) {
                true => Poll::Pending,
                false => self.poll_accept(cx),
            })
            .await;
            let (mut accepted, mut rest) = (0, false);
            loop {
                match next {
                    Ok(connection) => {
                        accepted += 1;
                        each(connection);
                    }
                    Err(error) if out_of_resources(&error) => {
                        self.counts.exhausted.set(self.counts.exhausted.get() + 1);
                        rest = true;
                        break;
                    }
                    Err(_) => self.counts.failed.set(self.counts.failed.get() + 1),
                }
                if accepted >= per_turn.max(1) {
                    break;
                }
                match poll_fn(|cx| Poll::Ready(self.poll_accept(cx))).await {
                    Poll::Ready(more) => next = more,
                    Poll::Pending => break,
                }
            }
            turn(accepted);
            if rest {
                tokio::time::sleep(REST).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Whether nothing is accepted for now; connections wait in the kernel meanwhile.
#[derive(Default)]
pub struct Pause {
    on: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Pause {
    /// Sets it, and wakes whoever waits for its end.
    pub fn set(&self, on: bool) {
        if self.on.replace(on) != on {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether it holds; the task is woken when that changes.
    fn holds(&self, cx: &Context<'_>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        self.on.get()
    }
}

fn out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
