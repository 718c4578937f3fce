//! Moves a request up and its response down at once, in one task.

use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::{Downstream, DownstreamError, RequestEvent};
use crate::hcm::stream::Stream;
use nuncio_upstream::pool::{Exchange, StreamError, UpstreamEvent};
use std::task::{Context, Poll};

/// What the pump came to.
#[derive(Debug)]
pub enum Pumped {
    /// The response's head is in the stream's heads.
    Head {
        /// It has no body.
        end_stream: bool,
    },
    /// An informational response is in the stream's heads.
    Informational,
    /// The response is complete.
    Complete,
    /// The upstream side failed.
    Upstream(StreamError),
    /// The downstream side failed.
    Downstream(DownstreamError),
    /// A timer of the stream ran out.
    Timeout(Timeout),
}

/// Moves what can be moved, until something has to be decided. Bytes are taken from a side only while the
/// other side's buffer is below its limit, so that a slow reader slows its sender.
pub fn poll<D: Downstream>(
    stream: &mut Stream<D>,
    up: &mut Exchange,
    limits: Limits,
    cx: &mut Context<'_>,
) -> Poll<Pumped> {
    // One look at the clock serves the whole turn: what happens in it happens at the same time.
    if let Poll::Ready(timeout) = stream.poll_timers(cx) {
        return Poll::Ready(Pumped::Timeout(timeout));
    }
    let incomplete = !stream.request_complete;
    loop {
        let mut moved = match poll_request(stream, up, limits, cx) {
            Ok(moved) => moved,
            Err(end) => {
                // What the upstream was to get before the client failed is its own; nobody waits for it.
                let _ = up.poll_flush(cx);
                return Poll::Ready(end);
            }
        };
        let full = up.buffered() > limits.up;
        let sent = up.poll_flush(cx);
        // There is room again for a client that was not read.
        moved |= full && up.buffered() <= limits.up;
        if stream.down.buffered() <= limits.down {
            match up.poll_event(cx, &mut stream.heads.response, &mut stream.heads.response_trailers) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Pumped::Upstream(error)),
                Poll::Ready(Ok(event)) => {
                    moved = true;
                    if let Some(end) = deliver(stream, up, event, cx) {
                        return Poll::Ready(end);
                    }
                }
            }
        }
        // A failed write is told only where no answer is to be read: an upstream may answer early and close.
        if let Poll::Ready(Err(error)) = sent
            && !moved
        {
            return Poll::Ready(Pumped::Upstream(error));
        }
        if moved && stream.down.buffered() <= limits.down {
            continue;
        }
        let full = stream.down.buffered() > limits.down;
        if let Poll::Ready(Err(error)) = stream.down.poll_flush(cx) {
            return Poll::Ready(Pumped::Downstream(error));
        }
        moved |= full && stream.down.buffered() <= limits.down;
        if !moved {
            if incomplete && stream.request_complete {
                // The time that the response may take began in this turn.
                return stream.poll_timers(cx).map(Pumped::Timeout);
            }
            return Poll::Pending;
        }
    }
}

/// How much may wait on each side before its sender is no longer read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Towards the upstream (the cluster's `per_connection_buffer_limit_bytes`).
    pub up: usize,
    /// Towards the client (the listener's).
    pub down: usize,
}

fn poll_request<D: Downstream>(
    stream: &mut Stream<D>,
    up: &mut Exchange,
    limits: Limits,
    cx: &mut Context<'_>,
) -> Result<bool, Pumped> {
    if stream.request_complete {
        return match stream.down.poll_disconnect(cx) {
            Poll::Ready(()) => Err(Pumped::Downstream(DownstreamError::Disconnected)),
            Poll::Pending => Ok(false),
        };
    }
    if up.buffered() > limits.up {
        return Ok(false);
    }
    match stream.poll_request(cx) {
        Poll::Pending => Ok(false),
        Poll::Ready(Err(error)) => Err(Pumped::Downstream(error)),
        Poll::Ready(Ok(event)) => {
            match event {
                RequestEvent::Data { end_stream } => up.encode_data(stream.down.data(), end_stream),
                RequestEvent::Trailers => up.encode_trailers(&stream.heads.request_trailers),
                RequestEvent::End => up.encode_data(&[], true),
            }
            stream.request_sent();
            Ok(true)
        }
    }
}

/// Hands an event of the response on; `Some` where the caller has to act.
fn deliver<D: Downstream>(
    stream: &mut Stream<D>,
    up: &Exchange,
    event: UpstreamEvent,
    cx: &mut Context<'_>,
) -> Option<Pumped> {
    stream.touch();
    match event {
        UpstreamEvent::Head { end_stream } => Some(Pumped::Head { end_stream }),
        UpstreamEvent::Informational => Some(Pumped::Informational),
        UpstreamEvent::Data { end_stream } => {
            stream.send_body(cx, up.data(), end_stream);
            end_stream.then_some(Pumped::Complete)
        }
        UpstreamEvent::Trailers => {
            stream.down.encode_trailers(&stream.heads.response_trailers);
            Some(Pumped::Complete)
        }
        UpstreamEvent::End => {
            stream.send_body(cx, &[], true);
            Some(Pumped::Complete)
        }
    }
}
