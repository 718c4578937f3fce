//! A body that comes out at a rate.

use nuncio_downstream::filter::Piece;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Between two pieces.
const TICK: Duration = Duration::from_millis(50);

/// Pieces per second.
const TICKS: u64 = 20;

/// Holds a body back.
pub(super) struct Slow {
    /// Bytes per tick.
    most: usize,
    held: Vec<u8>,
    /// What is held ends the body, or trailers follow it.
    ended: bool,
    /// Until the next piece may go.
    tick: Option<Pin<Box<Sleep>>>,
}

impl Slow {
    /// `rate` is in bytes per second.
    pub(super) fn new(rate: u64) -> Self {
        let most = usize::try_from(rate / TICKS).unwrap_or(usize::MAX).max(1);
        Self { most, held: Vec::new(), ended: false, tick: None }
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes a piece in.
    pub(super) fn hold(&mut self, piece: &mut Piece) {
        if self.held.is_empty() && piece.data.is_empty() {
            return;
        }
        self.held.append(&mut piece.data);
        self.ended |= std::mem::take(&mut piece.end_stream);
    }

    /// Trailers have come; whether they have to wait for what is held.
    pub(super) fn holds_before_trailers(&mut self) -> bool {
        self.ended = !self.held.is_empty();
        self.ended
    }

    /// Ready with the next piece, once it may go.
    pub(super) fn poll(&mut self, piece: &mut Piece, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(tick) = &mut self.tick {
            std::task::ready!(tick.as_mut().poll(cx));
            self.tick = None;
        }
        if self.held.is_empty() {
            return Poll::Pending;
        }
        piece.data.extend(self.held.drain(..self.held.len().min(self.most)));
        piece.end_stream = self.ended && self.held.is_empty();
        if !self.held.is_empty() {
            self.tick = Some(Box::pin(tokio::time::sleep(TICK)));
        }
        Poll::Ready(())
    }
}
