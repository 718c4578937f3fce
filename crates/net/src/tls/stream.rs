//! A secured byte stream over another one.

use super::TlsError;
use super::record::{ContentType, HEADER, MAX_PLAINTEXT, RecordKey};
use super::session::Session;
use crate::stream::{ByteStream, poll_read_vec, poll_write_all};
use crate::worker::Worker;
use nuncio_core::address::Address;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;

/// A TLS connection after its handshake. Records are opened and sealed in buffers that the worker lends while there
/// is something in them: an idle connection holds its keys and no buffer.
///
/// What [`poll_write`](ByteStream::poll_write) calls written has been given to the stream beneath. After
/// [`Poll::Pending`] it must be called again with the same bytes first, as every writer of a stream does.
pub struct TlsStream {
    io: Box<dyn ByteStream>,
    worker: Rc<Worker>,
    read: RefCell<Reading>,
    write: RefCell<Writing>,
    session: RefCell<Session>,
}

/// The reading side.
struct Reading {
    key: RecordKey,
    buf: Vec<u8>,
    /// Opened bytes that nobody has read yet; they stand before `raw`.
    plain: Range<usize>,
    /// Where the bytes begin that were not opened yet.
    raw: usize,
    end: Option<End>,
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer has closed, with or without saying so.
    Closed,
    /// The peer broke the protocol or said that we have.
    Broken(TlsError),
}

/// The writing side.
struct Writing {
    key: RecordKey,
    /// Sealed records.
    out: Vec<u8>,
    /// How much of them is written.
    at: usize,
    /// Plaintext bytes in them that the caller was not told of yet.
    owed: usize,
    /// `close_notify` was sealed.
    closing: bool,
}

/// Plaintext bytes that one write seals at most.
const WRITE_AT_MOST: usize = 3 * MAX_PLAINTEXT;

impl TlsStream {
    /// A stream whose handshake is over; `early` came with its last message and is opened already, `raw` follows it.
    pub(super) fn new(
        io: Box<dyn ByteStream>,
        worker: Rc<Worker>,
        session: Session,
        (read, write): (RecordKey, RecordKey),
        early: &[u8],
        raw: &[u8],
    ) -> Self {
        let mut buf = Vec::new();
        if early.len() + raw.len() > 0 {
            buf = worker.buffers().take();
            buf.extend_from_slice(early);
            buf.extend_from_slice(raw);
        }
        Self {
            io,
            worker,
            read: RefCell::new(Reading {
                key: read,
                buf,
                plain: 0..early.len(),
                raw: early.len(),
                end: None,
            }),
            write: RefCell::new(Writing { key: write, out: Vec::new(), at: 0, owed: 0, closing: false }),
            session: RefCell::new(session),
        }
    }

    /// Opens records until there is plaintext to read or the stream has ended.
    fn poll_plain(&self, cx: &mut Context<'_>, read: &mut Reading) -> Poll<io::Result<()>> {
        loop {
            if !read.plain.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match read.end {
                None => {}
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Broken(error)) => return Poll::Ready(Err(error.into())),
            }
            match self.open_one(cx, read) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    self.tell(cx, error);
                    read.end = Some(End::Broken(error));
                    continue;
                }
            }
            read.make_room();
            if read.buf.capacity() == 0 {
                ready!(self.io.poll_read_ready(cx))?;
                read.buf = self.worker.buffers().take();
            }
            match poll_read_vec(&*self.io, cx, &mut read.buf) {
                Poll::Pending => {
                    read.release(&self.worker);
                    return Poll::Pending;
                }
                Poll::Ready(result) => {
                    if result? == 0 {
                        read.end = Some(End::Closed);
                    }
                }
            }
        }
    }

    /// Opens the next record if it is all there.
    fn open_one(&self, cx: &mut Context<'_>, read: &mut Reading) -> Result<bool, TlsError> {
        let Some(opened) = read.key.open(read.buf.get_mut(read.raw..).unwrap_or_default())? else {
            return Ok(false);
        };
        let text = read.raw + opened.text.start..read.raw + opened.text.end;
        read.raw += opened.length;
        match opened.kind {
            ContentType::Data => read.plain = text,
            ContentType::Alert => read.alert(text)?,
            ContentType::Handshake => self.handshake(cx, read, text)?,
            ContentType::ChangeCipherSpec => return Err(TlsError::Unexpected),
        }
        Ok(true)
    }

    /// A handshake message after the handshake: tickets and new keys.
    fn handshake(
        &self,
        cx: &mut Context<'_>,
        read: &mut Reading,
        text: Range<usize>,
    ) -> Result<(), TlsError> {
        let mut session = self.session.borrow_mut();
        let after = session.take(read.buf.get(text).unwrap_or_default())?;
        if let Some(key) = after.read_key {
            read.key = key;
        }
        if after.answer_update {
            let mut write = self.write.borrow_mut();
            write.update_key(&mut session, &self.worker)?;
            // What cannot be sent now goes with the next write.
            let _ = write.poll_flush(&*self.io, cx, &self.worker);
        }
        Ok(())
    }

    /// Tells the peer what it did wrong, as far as that can be done at once.
    fn tell(&self, cx: &mut Context<'_>, error: TlsError) {
        let Some(alert) = error.alert() else { return };
        let mut write = self.write.borrow_mut();
        if !write.closing {
            write.closing = true;
            if write.seal(ContentType::Alert, &self.worker, |out| out.extend_from_slice(&[2, alert])).is_ok()
            {
                let _ = write.poll_flush(&*self.io, cx, &self.worker);
            }
        }
    }

    /// Writes the pieces, sealed.
    fn poll_seal(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = pieces.iter().map(|p| p.len()).sum();
        let mut write = self.write.borrow_mut();
        let write = &mut *write;
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        if write.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // Records of an earlier call go first; they carry the first bytes of this one if it was pending.
        ready!(write.poll_flush(&*self.io, cx, &self.worker))?;
        if write.owed == 0 {
            write.seal_pieces(pieces, total.min(WRITE_AT_MOST), &self.session, &self.worker)?;
            ready!(write.poll_flush(&*self.io, cx, &self.worker))?;
        }
        let told = write.owed.min(total);
        write.owed -= told;
        Poll::Ready(Ok(told))
    }
}

impl Reading {
    /// Moves what was not opened yet to the front where the buffer's end is near.
    fn make_room(&mut self) {
        if self.raw == self.buf.len() {
            self.buf.clear();
            (self.raw, self.plain) = (0, 0..0);
        } else if self.buf.len() == self.buf.capacity() {
            self.buf.drain(..self.raw);
            (self.raw, self.plain) = (0, 0..0);
            if self.buf.len() == self.buf.capacity() {
                // A whole record and a little more fits into twice a buffer.
                self.buf.reserve(MAX_PLAINTEXT);
            }
        }
    }

    /// Gives the buffer back if nothing is in it.
    fn release(&mut self, worker: &Worker) {
        if self.buf.capacity() > 0 && self.plain.is_empty() && self.raw == self.buf.len() {
            (self.raw, self.plain) = (0, 0..0);
            worker.buffers().give(std::mem::take(&mut self.buf));
        }
    }

    /// An alert (RFC 8446, section 6).
    fn alert(&mut self, text: Range<usize>) -> Result<(), TlsError> {
        let &[level, description] = self.buf.get(text).unwrap_or_default() else {
            return Err(TlsError::Unexpected);
        };
        match (level, description) {
            (_, 0) => self.end = Some(End::Closed),
            // `user_canceled` announces a `close_notify`; TLS 1.2 has warnings that end nothing.
            (1, 90) => {}
            _ => self.end = Some(End::Broken(TlsError::Alert(description))),
        }
        Ok(())
    }
}

impl Writing {
    /// Seals one record behind those that wait.
    fn seal(
        &mut self,
        kind: ContentType,
        worker: &Worker,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TlsError> {
        if self.out.capacity() == 0 {
            self.out = worker.buffers().take();
        }
        self.key.seal(kind, &mut self.out, fill)
    }

    fn seal_pieces(
        &mut self,
        pieces: &[IoSlice<'_>],
        total: usize,
        session: &RefCell<Session>,
        worker: &Worker,
    ) -> Result<(), TlsError> {
        let mut pieces = pieces.iter();
        let mut current: &[u8] = &[];
        let mut left = total;
        while left > 0 {
            if self.key.worn_out() {
                self.update_key(&mut session.borrow_mut(), worker)?;
            }
            let length = left.min(MAX_PLAINTEXT);
            left -= length;
            let mut room = length;
            self.seal(ContentType::Data, worker, |out| {
                while room > 0 {
                    if current.is_empty() {
                        let Some(next) = pieces.next() else { return };
                        current = next;
                    }
                    let (now, later) = current.split_at(current.len().min(room));
                    out.extend_from_slice(now);
                    room -= now.len();
                    current = later;
                }
            })?;
        }
        self.owed += total;
        Ok(())
    }

    /// Tells the peer that a new key follows, and uses it.
    fn update_key(&mut self, session: &mut Session, worker: &Worker) -> Result<(), TlsError> {
        let next = session.next_write_key()?;
        // `KeyUpdate` without a request for the other direction.
        self.seal(ContentType::Handshake, worker, |out| out.extend_from_slice(&[24, 0, 0, 1, 0]))?;
        self.key = next;
        Ok(())
    }

    /// Writes what is sealed, and gives the buffer back when all of it is.
    fn poll_flush(
        &mut self,
        io: &dyn ByteStream,
        cx: &mut Context<'_>,
        worker: &Worker,
    ) -> Poll<io::Result<()>> {
        if self.out.capacity() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(poll_write_all(io, cx, &self.out, &mut self.at))?;
        self.at = 0;
        worker.buffers().give(std::mem::take(&mut self.out));
        Poll::Ready(Ok(()))
    }
}

impl ByteStream for TlsStream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut read = self.read.borrow_mut();
        let read = &mut *read;
        ready!(self.poll_plain(cx, read))?;
        while !read.plain.is_empty() && buf.remaining() > 0 {
            let n = read.plain.len().min(buf.remaining());
            let from = read.plain.start;
            buf.put_slice(read.buf.get(from..from + n).unwrap_or_default());
            read.plain.start += n;
            // A further record that is all there fills the caller's buffer in the same turn.
            if read.plain.is_empty() && buf.remaining() > 0 && read.end.is_none() && read.has_data_record() {
                match self.open_one(cx, read) {
                    Ok(_) => {}
                    Err(error) => {
                        self.tell(cx, error);
                        read.end = Some(End::Broken(error));
                    }
                }
            }
        }
        read.release(&self.worker);
        Poll::Ready(Ok(()))
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What arrives may be no data (a ticket): only opening it tells.
        self.poll_plain(cx, &mut self.read.borrow_mut())
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, data)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut write = self.write.borrow_mut();
        if !write.closing {
            write.closing = true;
            write.seal(ContentType::Alert, &self.worker, |out| out.extend_from_slice(&[1, 0]))?;
        }
        ready!(write.poll_flush(&*self.io, cx, &self.worker))?;
        self.io.poll_shutdown(cx)
    }

    fn local_address(&self) -> &Address {
        self.io.local_address()
    }

    fn peer_address(&self) -> &Address {
        self.io.peer_address()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.set_nodelay(nodelay)
    }

    fn reset_on_drop(&self) {
        self.write.borrow_mut().closing = true;
        self.io.reset_on_drop();
    }

    fn round_trip(&self) -> Option<Duration> {
        self.io.round_trip()
    }
}

impl Reading {
    /// Whether the next record is all there.
    fn has_data_record(&self) -> bool {
        let raw = self.buf.get(self.raw..).unwrap_or_default();
        raw.first_chunk::<HEADER>().is_some_and(|[_, _, _, high, low]| {
            raw.len() - HEADER >= usize::from(u16::from_be_bytes([*high, *low]))
        })
    }
}

impl Drop for TlsStream {
    /// Says `close_notify`, as far as that can be done at once: the peer tells a whole answer from a cut one by it.
    fn drop(&mut self) {
        let write = self.write.get_mut();
        if !write.closing && write.owed == 0 {
            let sealed = write.seal(ContentType::Alert, &self.worker, |out| out.extend_from_slice(&[1, 0]));
            if sealed.is_ok() {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                let _ = write.poll_flush(&*self.io, &mut cx, &self.worker);
            }
        }
        for buffer in [&mut write.out, &mut self.read.get_mut().buf] {
            self.worker.buffers().give(std::mem::take(buffer));
        }
    }
}
