//! How a connection ends, and what its streams are told of it.

use super::events::failed_stream;
use super::link;
use super::stream::H2Stream;
use super::{Driver, Over, Place, mark};
use crate::hcm::conn::ClosedBy;
use crate::hcm::exchange::DownstreamError;
use crate::hcm::stream::{End, StreamEnd};
use crate::why;
use nuncio_codec::h2::{ConnectionError, ErrorCode, StreamKey};
use nuncio_core::overload::Overload;
use nuncio_core::stream_info::ResponseFlag;
use std::rc::Rc;
use std::task::{Context, Poll};

impl Driver {
    /// The connection cannot go on: its streams end with it.
    #[cold]
    pub(super) fn failed(&mut self, error: ConnectionError) {
        if error == ConnectionError::KeepaliveTimeout {
            // Nobody has broken a rule.
            self.connection.state.local_close.set(Some("http2_ping_timeout"));
            self.over = Some(Over::Local);
            return self.end_all(&DownstreamError::Gone {
                flag: ResponseFlag::DownstreamConnectionTermination,
                details: "downstream_local_disconnect(http2_ping_timeout)".into(),
            });
        }
        if !error.is_flood() {
            self.hcm.stats.downstream_cx_protocol_error.inc();
        }
        let text = error.to_string().replace(' ', "_");
        let gone = DownstreamError::Gone {
            flag: ResponseFlag::DownstreamProtocolError,
            details: format!("codec_error:{text}").into(),
        };
        why::broken_http2(&self.hcm, &self.connection, error, self.input.unread());
        if let Some((id, own)) = at_fault(error) {
            match self.places.iter().filter_map(|p| p.key).find(|key| key.id() == id) {
                Some(key) => {
                    let link = Rc::clone(&self.link);
                    tell_gone(&mut link.state.borrow_mut(), &mut self.places, &mut self.ready, key, &own);
                }
                None if matches!(error, ConnectionError::Message { .. }) => {
                    self.log_refused(own);
                    if self.active == 0 {
                        // To Envoy the refused one is a stream of the connection.
                        self.count_cut(&gone);
                    }
                }
                None => {}
            }
        }
        self.over = Some(Over::Local);
        self.end_all(&gone);
    }

    /// Tells every stream that nobody is left to answer, and lets it end.
    pub(super) fn end_all(&mut self, gone: &DownstreamError) {
        let link = Rc::clone(&self.link);
        let keys: Vec<StreamKey> = self.places.iter().filter_map(|p| p.key).collect();
        if !keys.is_empty() {
            self.count_cut(gone);
        }
        for key in keys {
            tell_gone(&mut link.state.borrow_mut(), &mut self.places, &mut self.ready, key, gone);
        }
        self.poll_streams();
    }

    /// The connection ends with streams on it.
    fn count_cut(&self, gone: &DownstreamError) {
        self.hcm.stats.downstream_cx_destroy_active_rq.inc();
        match gone {
            DownstreamError::Disconnected => self.hcm.stats.downstream_cx_destroy_remote_active_rq.inc(),
            _ => self.hcm.stats.downstream_cx_destroy_local_active_rq.inc(),
        }
    }

    /// Whether the overload manager ends the connection now, which was told of it before.
    #[cold]
    pub(super) fn is_shed(&mut self, overload: &Overload) -> bool {
        let rng = self.hcm.world.worker.rng();
        if overload.points.http2_server_go_away_and_close_on_dispatch.sheds(rng) {
            self.link.state.borrow_mut().codec.shut_down();
            self.over = Some(Over::Local);
            self.end_all(&DownstreamError::Gone {
                flag: ResponseFlag::DownstreamConnectionTermination,
                details: "downstream_local_disconnect".into(),
            });
            return true;
        }
        if overload.points.http2_server_go_away_on_dispatch.sheds(rng) && !self.sent_go_away {
            self.sent_go_away = true;
            self.link.state.borrow_mut().codec.announce_shutdown();
        }
        false
    }

    /// The second step of the drain: no further stream is taken.
    pub(super) fn shut_down(&mut self) {
        self.link.state.borrow_mut().codec.shut_down();
        self.shut = true;
    }

    /// Sends what is left, then reads and throws away until the client closes or `delayed_close_timeout` has passed.
    pub(super) fn linger(&mut self, cx: &mut Context<'_>) -> Poll<ClosedBy> {
        let Some(wait) = self.hcm.config.timeouts.delayed_close else { return Poll::Ready(ClosedBy::Us) };
        let now = self.hcm.world.worker.now();
        if let Over::Local = self.over.unwrap_or(Over::Idle) {
            // The wait begins with the first call.
            (self.over, self.idle_since) = (None, now);
        }
        self.send(cx);
        if self.over.is_some() {
            return Poll::Ready(ClosedBy::Peer);
        }
        if self.timer.poll(cx, now, self.idle_since.checked_add(wait)).is_ready() {
            self.hcm.stats.downstream_cx_delayed_close_timeout.inc();
            return Poll::Ready(ClosedBy::Us);
        }
        loop {
            self.input.clear();
            match self.input.poll_fill(cx, &*self.link.io, self.hcm.world.worker.buffers()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(ClosedBy::Peer),
            }
        }
    }
}

/// What a stream ends with that did not come to its end; a response that ends before its request says so itself.
pub(super) fn reset_code(end: &StreamEnd<H2Stream>) -> Option<ErrorCode> {
    // RFC 9113 section 8.5: a tunnel's client is told that its connection to the host failed.
    if end.down.is_tunnel() && end.upstream_failed && (end.end != End::Complete || end.lingers) {
        return Some(ErrorCode::CONNECT_ERROR);
    }
    matches!(end.end, End::Reset | End::Unread).then_some(ErrorCode::INTERNAL_ERROR)
}

/// Nobody is left to answer on the stream.
pub(super) fn tell_gone(
    state: &mut link::State,
    places: &mut [Place],
    ready: &mut Vec<usize>,
    key: StreamKey,
    gone: &DownstreamError,
) {
    if let Some(inbox) = state.inboxes.get_mut(key.slot()) {
        inbox.gone.get_or_insert_with(|| gone.clone());
    }
    mark(places, ready, key.slot());
}

/// The stream that a connection fails for, and how it ends; the others end with the connection.
fn at_fault(error: ConnectionError) -> Option<(u32, DownstreamError)> {
    let (stream, details) = match error {
        ConnectionError::Message { stream, error } => return Some((stream, failed_stream(Some(error)))),
        ConnectionError::EmptyFramesFlood { stream } => (stream, "http2.inbound_empty_frames_flood"),
        ConnectionError::EmptyUpdate { stream: stream @ 1.. }
        | ConnectionError::Stray { stream: stream @ 1.. } => (stream, "http2.unknown.nghttp2.error"),
        _ => return None,
    };
    let flag = ResponseFlag::DownstreamProtocolError;
    Some((stream, DownstreamError::Gone { flag, details: details.into() }))
}
