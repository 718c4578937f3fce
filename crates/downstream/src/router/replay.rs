//! The request's body while it has to wait, or may be needed again.

use crate::hcm::exchange::RequestEvent;
use nuncio_codec::head::HeaderMap;
use nuncio_net::worker::BufferPool;
use nuncio_upstream::pool::Exchange;
use smallvec::SmallVec;

/// How far an attempt has got with the request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Bytes of the kept body that it was given.
    at: usize,
    /// It was given the request's end.
    ended: bool,
}

/// What an attempt has not had of a request's body.
pub(super) struct Rest<'r> {
    /// Bytes, where there is a piece at all.
    pub(super) data: Option<&'r [u8]>,
    /// The request ends with them.
    pub(super) last: bool,
    /// It ends with trailers behind them.
    pub(super) trailers: bool,
}

/// What was received of a request's body and is still needed.
#[derive(Default)]
pub(super) struct Replay {
    data: Vec<u8>,
    kept: Kept,
    /// The request was complete with its head.
    bodiless: bool,
    /// The body's last byte has come.
    complete: bool,
    trailers: bool,
}

/// What of the body is in the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    /// What no attempt has had yet.
    #[default]
    Rest,
    /// All of it: another attempt may need it.
    All,
    /// All of it still, and the body is complete; no attempt will need it.
    Whole,
}

/// A body outgrew its limit and cannot be sent again.
#[derive(Debug)]
pub(super) struct Abandoned;

impl Replay {
    /// Nothing yet. `keep`: all of the body may be needed again; `complete`: there is none.
    pub(super) fn new(keep: bool, complete: bool) -> Self {
        let kept = if keep { Kept::All } else { Kept::Rest };
        Self { kept, complete, bodiless: complete, ..Self::default() }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// No attempt will follow: what all have sent need not be kept.
    pub(super) fn let_go(&mut self) {
        self.kept = if self.kept == Kept::All && self.complete { Kept::Whole } else { Kept::Rest };
    }

    /// Whether all of the body is there to be sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.bodiless || self.kept == Kept::All && self.complete
    }

    /// The body, where all of it was kept.
    #[cold]
    pub(super) fn take_whole(&mut self) -> Vec<u8> {
        if self.is_whole() || self.kept == Kept::Whole { self.take_body() } else { Vec::new() }
    }

    /// The body, which no attempt of this request needs any more.
    pub(super) fn take_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.data)
    }

    /// Whether an attempt that begins now is a head alone. A first attempt is one only where the request never
    /// was more; a later one (`again`) also where its body turned out to be empty, as in Envoy.
    pub(super) fn is_head_only(&self, again: bool) -> bool {
        self.bodiless || again && self.complete && self.data.is_empty() && !self.trailers
    }

    /// Keeps a piece for attempts that are behind, or to come.
    ///
    /// # Errors
    /// It was kept for attempts to come and is beyond `limit`: there will be none. What is kept is still to be
    /// sent.
    pub(super) fn push(&mut self, piece: &[u8], limit: usize, buffers: &BufferPool) -> Result<(), Abandoned> {
        if self.data.capacity() == 0 {
            self.data = buffers.take();
        }
        self.data.extend_from_slice(piece);
        if self.kept == Kept::All && self.data.len() > limit {
            self.kept = Kept::Rest;
            return Err(Abandoned);
        }
        Ok(())
    }

    /// This event of the request went by.
    #[inline]
    pub(super) fn passed(&mut self, event: RequestEvent) {
        match event {
            RequestEvent::Data { end_stream } => self.complete |= end_stream,
            RequestEvent::Trailers => (self.complete, self.trailers) = (true, true),
            RequestEvent::End => self.complete = true,
            RequestEvent::Metadata => {}
        }
    }

    /// Whether a piece can go past this buffer, to an attempt that has all that came before.
    pub(super) fn is_passed_by(&self) -> bool {
        self.kept != Kept::All && self.data.is_empty()
    }

    /// What an attempt has not had, which counts as given from now on.
    pub(super) fn rest(&self, progress: &mut Progress) -> Option<Rest<'_>> {
        let data = self.data.get(progress.at..).unwrap_or_default();
        let ends = self.complete && !progress.ended;
        if data.is_empty() && !ends {
            return None;
        }
        progress.at = self.data.len();
        progress.ended |= ends;
        let piece = !data.is_empty() || ends && !self.trailers;
        Some(Rest {
            data: piece.then_some(data),
            last: ends && !self.trailers,
            trailers: ends && self.trailers,
        })
    }

    /// Gives an attempt what it has not had.
    pub(super) fn feed(&self, progress: &mut Progress, up: &mut Exchange, trailers: &HeaderMap) {
        let Some(rest) = self.rest(progress) else { return };
        if let Some(data) = rest.data {
            up.encode_data(data, rest.last);
        }
        if rest.trailers {
            up.encode_trailers(trailers);
        }
    }

    /// Drops what every attempt has had, where it is not kept for more.
    pub(super) fn settle<'p>(&mut self, attempts: impl Iterator<Item = &'p mut Progress>) {
        if self.kept == Kept::All || self.data.is_empty() {
            return;
        }
        let attempts: SmallVec<[&mut Progress; 2]> = attempts.collect();
        if attempts.iter().all(|p| p.at == self.data.len()) {
            self.data.clear();
            self.kept = Kept::Rest;
            attempts.into_iter().for_each(|p| p.at = 0);
        }
    }

    /// Gives the storage back.
    pub(super) fn release(&mut self, buffers: &BufferPool) {
        if self.data.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.data));
        }
    }
}

impl Progress {
    /// The head went out alone, and was all there is.
    pub(super) fn head_only() -> Self {
        Self { at: 0, ended: true }
    }

    /// A piece went to the attempt directly.
    pub(super) fn passed(&mut self, end: bool) {
        self.ended |= end;
    }
}
