//! A connection whose first bytes, or all, are answered for by rules.

use super::Rbac;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::{ByteStream, Layer, ReadBuf};
use nuncio_net::timer::LazyTimer;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Bytes that go on once the rules allow it. Where they do not, reading fails, at once or after `delay_deny`.
pub(super) struct Watched {
    io: Box<dyn ByteStream>,
    rbac: Rc<Rbac>,
    connection: Rc<ConnectionInfo>,
    state: RefCell<State>,
}

enum State {
    /// Bytes have to be asked about.
    Asking,
    /// All may pass.
    Open,
    /// None may; it is closed at that time.
    Refused { at: Option<Instant>, timer: LazyTimer },
}

impl Watched {
    pub(super) fn new(io: Box<dyn ByteStream>, rbac: Rc<Rbac>, connection: Rc<ConnectionInfo>) -> Self {
        Self { io, rbac, connection, state: RefCell::new(State::Asking) }
    }

    /// Where it is refused: waits, and fails. `None` where reading may go on.
    fn poll_refused(&self, cx: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        let State::Refused { at, timer } = &mut *self.state.borrow_mut() else { return None };
        let now = self.rbac.world.worker.now();
        let over = at.is_none() || timer.poll(cx, now, *at).is_ready();
        Some(if over { Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())) } else { Poll::Pending })
    }

    /// Bytes have come: asks the rules. False where they may not pass.
    fn ask(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        if !matches!(state, State::Asking) {
            return true;
        }
        if !self.rbac.allows(&self.connection) {
            let now = self.rbac.world.worker.now();
            let at = self.rbac.config.delay_deny.and_then(|delay| now.checked_add(delay));
            *state = State::Refused { at, timer: LazyTimer::new() };
            return false;
        }
        if !self.rbac.config.continuous {
            *state = State::Open;
        }
        true
    }
}

impl Layer for Watched {
    fn beneath(&self) -> &dyn ByteStream {
        &*self.io
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(refused) = self.poll_refused(cx) {
            return refused;
        }
        let before = buf.filled().len();
        ready!(self.beneath().poll_read(cx, buf))?;
        if buf.filled().len() == before || self.ask() {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(before);
        self.poll_refused(cx).unwrap_or(Poll::Pending)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_refused(cx).unwrap_or_else(|| self.beneath().poll_read_ready(cx))
    }
}
