//! What the client's frames become: new streams, pieces for those that there are, and ends.

use super::ends::tell_gone;
use super::link;
use super::stream::{self, H2Stream};
use super::{Driver, Place, mark};
use crate::hcm::exchange::DownstreamError;
use crate::hcm::stream::{BadHead, Heads, StreamStart};
use crate::why;
use nuncio_codec::h2::{ErrorCode, Event, Incoming, MessageError, StreamKey};
use nuncio_codec::head::Version;
use nuncio_core::format::round_trip_wanted;
use nuncio_core::stream_info::ResponseFlag;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

impl Driver {
    /// Decodes what has come, and gives it to the streams that it is for.
    pub(super) fn decode(&mut self) {
        if let Some(overload) = self.hcm.overload.clone()
            && self.is_shed(&overload)
        {
            return;
        }
        let now = self.hcm.world.worker.now();
        while self.over.is_none() {
            let mut heads = self.spare.take().unwrap_or_else(|| self.hcm.take_heads());
            let link = Rc::clone(&self.link);
            let mut borrowed = link.state.borrow_mut();
            let state = &mut *borrowed;
            let Heads { request, request_trailers, .. } = &mut *heads;
            let unread = self.input.unread();
            let into = Incoming::Request(request);
            let decoded = match state.codec.decode(now, &self.hcm.config.h2, unread, into, request_trailers) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.spare = Some(heads);
                    drop(borrowed);
                    return self.failed(error);
                }
            };
            let (consumed, wire) = (decoded.consumed, u64::from(decoded.wire));
            match decoded.event {
                Event::More => {
                    self.input.consume(consumed);
                    self.spare = Some(heads);
                    return;
                }
                Event::Head { stream, end_stream } => {
                    state.open_inbox(stream, end_stream);
                    state.block_came(stream, wire);
                    self.input.consume(consumed);
                    drop(borrowed);
                    self.start(stream, heads, end_stream, now);
                    continue;
                }
                Event::Data { stream, at, end_stream } => {
                    if let Some(inbox) = state.inboxes.get_mut(stream.slot()) {
                        inbox.body.extend_from_slice(unread.get(at).unwrap_or_default());
                        inbox.bytes.wire_received += wire;
                        if end_stream {
                            inbox.end = link::End::Body;
                        }
                    }
                    mark(&mut self.places, &mut self.ready, stream.slot());
                }
                Event::Trailers { stream } => {
                    if let Some(inbox) = state.inboxes.get_mut(stream.slot()) {
                        std::mem::swap(&mut inbox.trailers, request_trailers);
                        inbox.end = link::End::Trailers;
                    }
                    state.block_came(stream, wire);
                    mark(&mut self.places, &mut self.ready, stream.slot());
                }
                Event::Metadata { stream, .. } => {
                    state.metadata_came(stream);
                    mark(&mut self.places, &mut self.ready, stream.slot());
                }
                Event::MetadataRefused { .. } => why::metadata_refused(&self.hcm, &self.connection),
                Event::Reset { stream, code } => {
                    let details = match code {
                        ErrorCode::REFUSED_STREAM => "http2.remote_refuse",
                        _ => "http2.remote_reset",
                    };
                    let flag = match code {
                        ErrorCode::PROTOCOL_ERROR => ResponseFlag::DownstreamProtocolError,
                        _ => ResponseFlag::DownstreamRemoteReset,
                    };
                    if let Some(inbox) = state.inboxes.get_mut(stream.slot()) {
                        inbox.bytes.wire_received += wire;
                    }
                    let gone = DownstreamError::Gone { flag, details: details.into() };
                    tell_gone(state, &mut self.places, &mut self.ready, stream, &gone);
                }
                Event::Failed { stream, error } => {
                    if let Some(error) = error {
                        why::refused_head(&self.hcm, &self.connection, error);
                    }
                    let gone = failed_stream(error);
                    tell_gone(state, &mut self.places, &mut self.ready, stream, &gone);
                }
                Event::Refused { error, .. } => {
                    self.input.consume(consumed);
                    self.spare = Some(heads);
                    drop(borrowed);
                    why::refused_head(&self.hcm, &self.connection, error);
                    self.log_refused(failed_stream(Some(error)));
                    continue;
                }
                Event::Informational { .. } | Event::Settings | Event::GoAway { .. } => {}
            }
            self.input.consume(consumed);
            self.spare = Some(heads);
        }
    }

    /// Gives a new stream its life.
    fn start(&mut self, key: StreamKey, mut heads: Box<Heads>, end_stream: bool, now: Instant) {
        let slot = key.slot();
        while self.places.len() <= slot {
            let waker = self.mailbox.waker(self.places.len());
            self.places.push(Place { slot: None, key: None, started: now, queued: false, waker });
        }
        self.count_request(now);
        let tunnel = stream::take_connect(&mut heads.request);
        let down = H2Stream::new(Rc::clone(&self.link), Some(key), None).tunnel(tunnel);
        let mut life = self.hcm.take_h2_slot();
        life.as_mut().start(self.birth(down, heads, end_stream, now, None));
        if let Some(place) = self.places.get_mut(slot) {
            (place.slot, place.key, place.started) = (Some(life), Some(key), now);
            self.active += 1;
        }
        mark(&mut self.places, &mut self.ready, slot);
    }

    fn birth(
        &self,
        down: H2Stream,
        heads: Box<Heads>,
        end_stream: bool,
        started: Instant,
        bad: Option<BadHead>,
    ) -> StreamStart<H2Stream> {
        if round_trip_wanted() {
            self.connection.state.round_trip.set(self.link.io.round_trip());
        }
        let (connection, hcm) = (Rc::clone(&self.connection), Rc::clone(&self.hcm));
        StreamStart { down, heads, end_stream, started, connection, hcm, bad }
    }

    fn count_request(&mut self, now: Instant) {
        self.served += 1;
        self.hcm.stats.downstream_rq_http2_total.inc();
        if self.hcm.config.max_requests_per_connection.is_some_and(|max| self.served >= max) {
            let draining = &mut self.link.state.borrow_mut();
            if draining.begin_drain(now) {
                self.hcm.stats.downstream_cx_max_requests_reached.inc();
            }
        }
    }

    /// A request that never became a stream has a line in the log all the same.
    pub(super) fn log_refused(&mut self, gone: DownstreamError) {
        let now = self.hcm.world.worker.now();
        self.count_request(now);
        let mut heads = self.hcm.take_heads();
        heads.request.version = Version::Http2;
        let mut down = H2Stream::new(Rc::clone(&self.link), None, Some(gone));
        down.was_refused();
        let mut life = self.hcm.take_h2_slot();
        life.as_mut().start(self.birth(down, heads, false, now, Some(BadHead::Gone)));
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Some(end)) = life.as_mut().poll(&mut cx) {
            self.hcm.give_heads(end.heads);
        }
        self.hcm.give_h2_slot(life);
    }
}

/// How a stream ends on which something came that cannot be taken.
pub(super) fn failed_stream(error: Option<MessageError>) -> DownstreamError {
    let flag = match error {
        Some(error) if !error.is_malformed() => ResponseFlag::DownstreamRemoteReset,
        _ => ResponseFlag::DownstreamProtocolError,
    };
    DownstreamError::Gone { flag, details: error.map_or("http2.remote_reset", MessageError::details).into() }
}
