//! One direction of a stream through its filters: where the head is, what waits with it, and what has come out.

use super::seat::Filters;
use super::{Flow, HttpFilter, Piece, Request, Response};
use crate::hcm::local_reply::LocalReply;
use std::marker::PhantomData;
use std::mem::take;
use std::task::{Context, Poll};

/// What became of a head, or of a piece of its message.
pub(crate) enum Verdict {
    /// It is on its way.
    Going,
    /// A filter answers.
    Reply(LocalReply),
    /// A filter answers when the whole request has come.
    ReplyAtEnd(LocalReply),
    /// The stream begins anew.
    Again,
}

/// What comes in a response's stead.
#[derive(Debug)]
pub enum Instead {
    /// Another answer.
    Reply(LocalReply),
    /// Another request, which is ready in the stream's head.
    Again,
}

impl From<LocalReply> for Instead {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(reply)
    }
}

impl Verdict {
    /// What it puts in a response's stead, where it does.
    pub(crate) fn instead(self) -> Option<Instead> {
        match self {
            Self::Going => None,
            Self::Reply(reply) | Self::ReplyAtEnd(reply) => Some(Instead::Reply(reply)),
            Self::Again => Some(Instead::Again),
        }
    }
}

/// What comes out of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneEvent {
    /// Bytes: [`Lane::data`], until the next event is taken.
    Data {
        /// The message ends with them.
        end_stream: bool,
    },
    /// The trailers; the message ends with them.
    Trailers,
}

/// A direction: in which order the filters are, and which of their functions are called.
pub(crate) trait Direction {
    type Message<'a>;
    /// The filter that comes `step` after the first.
    fn nth(filters: &mut Filters, step: usize) -> Option<&mut dyn HttpFilter>;
    /// How many there are.
    fn count(filters: &Filters) -> usize;
    fn head(filter: &mut dyn HttpFilter, message: &mut Self::Message<'_>, end_stream: bool) -> Flow;
    fn data(filter: &mut dyn HttpFilter, message: &mut Self::Message<'_>, piece: &mut Piece) -> Flow;
    fn trailers(filter: &mut dyn HttpFilter, message: &mut Self::Message<'_>, piece: &mut Piece) -> Flow;
    fn poll(
        filter: &mut dyn HttpFilter,
        message: &mut Self::Message<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow>;
    fn limit(message: &Self::Message<'_>) -> usize;
    fn too_large(whole: bool) -> LocalReply;
}

/// Requests, down the list.
pub(crate) struct Decode;

/// Responses, up the list.
pub(crate) struct Encode;

impl Direction for Decode {
    type Message<'a> = Request<'a>;

    #[inline]
    fn nth(filters: &mut Filters, step: usize) -> Option<&mut dyn HttpFilter> {
        filters.down(step)
    }

    #[inline]
    fn count(filters: &Filters) -> usize {
        filters.down_count()
    }

    #[inline]
    fn head(filter: &mut dyn HttpFilter, request: &mut Request<'_>, end_stream: bool) -> Flow {
        filter.decode_headers(request, end_stream)
    }

    fn data(filter: &mut dyn HttpFilter, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        filter.decode_data(request, piece)
    }

    fn trailers(filter: &mut dyn HttpFilter, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        filter.decode_trailers(request, piece)
    }

    fn poll(
        filter: &mut dyn HttpFilter,
        request: &mut Request<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow> {
        filter.poll_decode(request, piece, cx)
    }

    fn limit(request: &Request<'_>) -> usize {
        *request.limit
    }

    fn too_large(whole: bool) -> LocalReply {
        let reply = LocalReply::request_too_large();
        // As in Envoy, where the request is cut short here, even if its last byte has come with this piece.
        if whole { reply } else { reply.closing() }
    }
}

impl Direction for Encode {
    type Message<'a> = Response<'a>;

    #[inline]
    fn nth(filters: &mut Filters, step: usize) -> Option<&mut dyn HttpFilter> {
        filters.up(step)
    }

    #[inline]
    fn count(filters: &Filters) -> usize {
        filters.up_count()
    }

    #[inline]
    fn head(filter: &mut dyn HttpFilter, response: &mut Response<'_>, end_stream: bool) -> Flow {
        filter.encode_headers(response, end_stream)
    }

    fn data(filter: &mut dyn HttpFilter, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        filter.encode_data(response, piece)
    }

    fn trailers(filter: &mut dyn HttpFilter, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        filter.encode_trailers(response, piece)
    }

    fn poll(
        filter: &mut dyn HttpFilter,
        response: &mut Response<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow> {
        filter.poll_encode(response, piece, cx)
    }

    fn limit(response: &Response<'_>) -> usize {
        *response.limit
    }

    fn too_large(_: bool) -> LocalReply {
        LocalReply::response_too_large()
    }
}

/// Where a message's head is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has not come.
    #[default]
    Unborn,
    /// A filter keeps it; the body is not read.
    Waits,
    /// A filter keeps it and gathers the body.
    Gathers,
    /// It has passed all filters.
    Through,
}

/// How far a message is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tail {
    /// More may come.
    #[default]
    Open,
    /// Its last byte is there.
    Ended,
    /// Trailers follow what is there.
    Trailers,
}

/// One direction of one stream.
pub(crate) struct Lane<D> {
    state: State,
    /// Something has come, whatever became of it.
    started: bool,
    /// How many filters the head has passed; the next one has it, where it waits.
    passed: usize,
    /// The filter that has the head has seen the body that waits.
    seen: bool,
    /// What has come in is complete.
    source_ended: bool,
    /// The body that waits with the head, and how it ends.
    held: Vec<u8>,
    held_tail: Tail,
    /// The filter, by its step, with which the trailers wait for data that it holds back.
    trailers_at: Option<usize>,
    /// What has passed all filters, and how it ends.
    out: Vec<u8>,
    out_tail: Tail,
    /// `out` was told of and is to be dropped with the next look.
    told: bool,
    /// The end was told of.
    finished: bool,
    /// Of pieces under way.
    scratch: Vec<u8>,
    direction: PhantomData<D>,
}

impl<D> Default for Lane<D> {
    fn default() -> Self {
        Self {
            state: State::Unborn,
            started: false,
            passed: 0,
            seen: false,
            source_ended: false,
            held: Vec::new(),
            held_tail: Tail::Open,
            trailers_at: None,
            out: Vec::new(),
            out_tail: Tail::Open,
            told: false,
            finished: false,
            scratch: Vec::new(),
            direction: PhantomData,
        }
    }
}

/// Storage above this many bytes does not stay with a recycled lane.
const KEEP_BYTES: usize = 32 << 10;

impl<D: Direction> Lane<D> {
    /// Makes ready for another stream.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.started {
            self.empty();
        }
    }

    fn empty(&mut self) {
        let Self { held, out, scratch, .. } = self;
        for storage in [held, out, scratch] {
            storage.clear();
            if storage.capacity() > KEEP_BYTES {
                storage.shrink_to(KEEP_BYTES);
            }
        }
        (self.state, self.passed, self.seen) = (State::Unborn, 0, false);
        (self.started, self.source_ended, self.trailers_at, self.told) = (false, false, None, false);
        (self.held_tail, self.out_tail, self.finished) = (Tail::Open, Tail::Open, false);
    }

    /// Whether a head has come in.
    pub(crate) fn is_born(&self) -> bool {
        self.state != State::Unborn
    }

    /// How many filters the head has passed; the next one has it, where it waits.
    pub(crate) fn passed(&self) -> usize {
        self.passed
    }

    /// Whether the head has passed all filters.
    pub(crate) fn is_through(&self) -> bool {
        self.state == State::Through
    }

    /// Whether more of the body is wanted.
    pub(crate) fn wants_data(&self) -> bool {
        !self.source_ended && matches!(self.state, State::Gathers | State::Through)
    }

    /// Whether the end of the message has gone out: with the head, where it is a head alone.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len() + if self.told { 0 } else { self.out.len() }
    }

    /// The next event that came out; none is told twice.
    pub(crate) fn take_event(&mut self) -> Option<LaneEvent> {
        if take(&mut self.told) {
            self.out.clear();
        }
        let ended = self.out_tail == Tail::Ended;
        if self.finished || !self.is_through() {
            return None;
        }
        if !self.out.is_empty() || ended {
            self.told = true;
            self.finished = ended;
            return Some(LaneEvent::Data { end_stream: ended });
        }
        self.finished = self.out_tail == Tail::Trailers;
        self.finished.then_some(LaneEvent::Trailers)
    }

    /// The bytes of the last [`LaneEvent::Data`].
    pub(crate) fn data(&self) -> &[u8] {
        &self.out
    }

    /// The head comes in.
    pub(crate) fn start(
        &mut self,
        filters: &mut Filters,
        message: &mut D::Message<'_>,
        end_stream: bool,
    ) -> Verdict {
        (self.started, self.source_ended) = (true, end_stream);
        if end_stream {
            self.held_tail = Tail::Ended;
        }
        self.advance(filters, message)
    }

    /// Body comes in.
    pub(crate) fn push(
        &mut self,
        filters: &mut Filters,
        message: &mut D::Message<'_>,
        data: &[u8],
        end_stream: bool,
    ) -> Verdict {
        self.started = true;
        self.source_ended |= end_stream;
        let mut piece = self.piece();
        piece.data.extend_from_slice(data);
        piece.end_stream = end_stream;
        self.forward(0, filters, message, piece)
    }

    /// Trailers come in; they are in the message.
    pub(crate) fn push_trailers(&mut self, filters: &mut Filters, message: &mut D::Message<'_>) -> Verdict {
        (self.started, self.source_ended) = (true, true);
        self.forward_trailers(0, filters, message)
    }

    /// Lets the filters go on that wait for something. Ready when one of them did.
    pub(crate) fn poll(
        &mut self,
        filters: &mut Filters,
        message: &mut D::Message<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Verdict> {
        let mut moved = false;
        let mut step = 0;
        while self.is_born() && step < D::count(filters) && step <= self.passed {
            let holds_head = step == self.passed;
            let mut piece = if holds_head { self.take_held() } else { self.piece() };
            let Some(filter) = D::nth(filters, step) else { break };
            let polled = D::poll(filter, message, &mut piece, cx);
            let verdict = match polled {
                Poll::Pending => {
                    if holds_head {
                        self.put_held(piece);
                    } else {
                        self.scratch = piece.data;
                    }
                    step += 1;
                    continue;
                }
                Poll::Ready(flow) if holds_head => {
                    self.put_held(piece);
                    self.released(flow, filters, message)
                }
                Poll::Ready(Flow::Reply(reply) | Flow::ReplyAtEnd(reply)) => Verdict::Reply(reply),
                Poll::Ready(_) if piece.data.is_empty() && !piece.end_stream => {
                    // It has nothing: it is not asked again in this turn.
                    self.scratch = piece.data;
                    step += 1;
                    continue;
                }
                Poll::Ready(_) => self.resume(step, filters, message, piece),
            };
            moved = true;
            if !matches!(verdict, Verdict::Going) {
                return Poll::Ready(verdict);
            }
        }
        if moved { Poll::Ready(Verdict::Going) } else { Poll::Pending }
    }

    /// A filter gives a piece that it held back.
    fn resume(
        &mut self,
        step: usize,
        filters: &mut Filters,
        message: &mut D::Message<'_>,
        mut piece: Piece,
    ) -> Verdict {
        if self.trailers_at != Some(step) || !piece.end_stream {
            return self.forward(step + 1, filters, message, piece);
        }
        self.trailers_at = None;
        piece.end_stream = false;
        match self.forward(step + 1, filters, message, piece) {
            Verdict::Going => self.forward_trailers(step + 1, filters, message),
            reply => reply,
        }
    }

    fn piece(&mut self) -> Piece {
        let mut data = take(&mut self.scratch);
        data.clear();
        Piece { data, end_stream: false }
    }

    fn take_held(&mut self) -> Piece {
        Piece { data: take(&mut self.held), end_stream: self.held_tail == Tail::Ended }
    }

    fn put_held(&mut self, piece: Piece) {
        self.held = piece.data;
        if self.held_tail != Tail::Trailers {
            self.held_tail = if piece.end_stream { Tail::Ended } else { Tail::Open };
        } else if piece.end_stream {
            self.held_tail = Tail::Ended;
        }
    }

    /// Whether the message, as far as it has come to the filter that has the head, is the head alone.
    fn is_head_only(&self) -> bool {
        self.held.is_empty() && self.held_tail == Tail::Ended
    }

    /// Whether body waits with the head, or its end does.
    fn something_waits(&self) -> bool {
        !self.held.is_empty() || self.held_tail != Tail::Open
    }

    /// The head enters the filter that is next, and goes as far as it may.
    fn advance(&mut self, filters: &mut Filters, message: &mut D::Message<'_>) -> Verdict {
        let mut bare = self.is_head_only();
        loop {
            let Some(filter) = D::nth(filters, self.passed) else {
                self.state = State::Through;
                std::mem::swap(&mut self.out, &mut self.held);
                self.out_tail = self.held_tail;
                self.finished = bare;
                return Verdict::Going;
            };
            self.seen = bare;
            let flow = D::head(filter, message, bare);
            if matches!(flow, Flow::Buffer) && self.held.len() > D::limit(message) {
                // The filter has lowered the limit below what an earlier one gathered.
                return Verdict::Reply(D::too_large(self.source_ended));
            }
            if matches!(flow, Flow::Continue) && (bare || !self.something_waits()) {
                self.passed += 1;
                continue;
            }
            let flow = self.show_rest(filter, message, flow);
            bare = self.is_head_only();
            let whole = self.source_ended;
            if let Some(verdict) = self.decide(flow, message, whole) {
                return verdict;
            }
        }
    }

    /// A head that waited goes on as its filter says.
    fn released(&mut self, flow: Flow, filters: &mut Filters, message: &mut D::Message<'_>) -> Verdict {
        let Some(filter) = D::nth(filters, self.passed) else { return Verdict::Going };
        let flow = self.show_rest(filter, message, flow);
        self.go_on(flow, filters, message)
    }

    /// What the filter that has the head says of it is done.
    fn go_on(&mut self, flow: Flow, filters: &mut Filters, message: &mut D::Message<'_>) -> Verdict {
        match self.decide(flow, message, false) {
            Some(verdict) => verdict,
            None => self.advance(filters, message),
        }
    }

    /// What becomes of a head; `None` where it goes on. `whole`: the message had come to its end before this filter had
    /// its head.
    fn decide(&mut self, flow: Flow, message: &D::Message<'_>, whole: bool) -> Option<Verdict> {
        match flow {
            Flow::Continue => {
                self.passed += 1;
                return None;
            }
            Flow::Wait => self.state = State::Waits,
            Flow::Buffer => {
                self.state = State::Gathers;
                if self.held.len() > D::limit(message) {
                    return Some(Verdict::Reply(D::too_large(whole)));
                }
            }
            Flow::Reply(reply) => return Some(Verdict::Reply(reply)),
            Flow::ReplyAtEnd(reply) => return Some(Verdict::ReplyAtEnd(reply)),
            Flow::Again => return Some(Verdict::Again),
        }
        Some(Verdict::Going)
    }

    /// Before a head leaves a filter, or while that gathers, the filter sees what waits.
    fn show_rest(&mut self, filter: &mut dyn HttpFilter, message: &mut D::Message<'_>, flow: Flow) -> Flow {
        if self.seen || !self.something_waits() {
            return flow;
        }
        match flow {
            Flow::Buffer => self.show(filter, message),
            Flow::Continue => match self.show(filter, message) {
                Flow::Reply(reply) | Flow::ReplyAtEnd(reply) => Flow::Reply(reply),
                _ => Flow::Continue,
            },
            other => other,
        }
    }

    /// The filter that has the head sees what waits with it.
    fn show(&mut self, filter: &mut dyn HttpFilter, message: &mut D::Message<'_>) -> Flow {
        self.seen = true;
        let mut piece = self.take_held();
        let flow = D::data(filter, message, &mut piece);
        self.put_held(piece);
        if self.held_tail != Tail::Trailers || !matches!(flow, Flow::Continue | Flow::Buffer) {
            return flow;
        }
        let passes = matches!(flow, Flow::Continue);
        match self.show_trailers(filter, message) {
            Flow::Wait | Flow::Buffer if passes => Flow::Continue,
            flow => flow,
        }
    }

    fn show_trailers(&mut self, filter: &mut dyn HttpFilter, message: &mut D::Message<'_>) -> Flow {
        let mut piece = self.take_held();
        let flow = D::trailers(filter, message, &mut piece);
        self.put_held(piece);
        flow
    }

    /// A piece goes through the filters from `step` on that the head has passed.
    fn forward(
        &mut self,
        step: usize,
        filters: &mut Filters,
        message: &mut D::Message<'_>,
        mut piece: Piece,
    ) -> Verdict {
        for at in step..self.passed {
            let Some(filter) = D::nth(filters, at) else { break };
            if let Flow::Reply(reply) | Flow::ReplyAtEnd(reply) = D::data(filter, message, &mut piece) {
                return Verdict::Reply(reply);
            }
            if piece.data.is_empty() && !piece.end_stream {
                self.scratch = piece.data;
                return Verdict::Going;
            }
        }
        self.arrive(filters, message, piece)
    }

    /// A piece is where the head is.
    fn arrive(&mut self, filters: &mut Filters, message: &mut D::Message<'_>, mut piece: Piece) -> Verdict {
        let through = self.is_through();
        if take(&mut self.told) {
            self.out.clear();
        }
        let (place, tail) = match through {
            true => (&mut self.out, &mut self.out_tail),
            false => (&mut self.held, &mut self.held_tail),
        };
        let first = place.is_empty();
        if first {
            std::mem::swap(place, &mut piece.data);
        } else {
            place.extend_from_slice(&piece.data);
        }
        if piece.end_stream {
            *tail = Tail::Ended;
        }
        self.scratch = piece.data;
        if self.state != State::Gathers {
            self.seen &= through;
            return Verdict::Going;
        }
        let Some(filter) = D::nth(filters, self.passed) else { return Verdict::Going };
        let flow = self.show(filter, message);
        // As in Envoy, a piece that ends its message is let through whatever its length, unless others wait before it.
        if !first && matches!(flow, Flow::Continue) && self.held.len() > D::limit(message) {
            return Verdict::Reply(D::too_large(false));
        }
        self.go_on(flow, filters, message)
    }

    /// Trailers go through the filters from `step` on that the head has passed.
    fn forward_trailers(
        &mut self,
        step: usize,
        filters: &mut Filters,
        message: &mut D::Message<'_>,
    ) -> Verdict {
        for at in step..self.passed {
            let mut piece = self.piece();
            let Some(filter) = D::nth(filters, at) else { break };
            let flow = D::trailers(filter, message, &mut piece);
            if let Flow::Reply(reply) | Flow::ReplyAtEnd(reply) = flow {
                return Verdict::Reply(reply);
            }
            let turned = piece.end_stream;
            if !turned && piece.data.is_empty() {
                self.scratch = piece.data;
            } else {
                let verdict = self.forward(at + 1, filters, message, piece);
                if turned || !matches!(verdict, Verdict::Going) {
                    return verdict;
                }
            }
            if matches!(flow, Flow::Wait) {
                self.trailers_at = Some(at);
                return Verdict::Going;
            }
        }
        if self.is_through() {
            self.out_tail = Tail::Trailers;
            return Verdict::Going;
        }
        self.held_tail = Tail::Trailers;
        if self.state != State::Gathers {
            self.seen = false;
            return Verdict::Going;
        }
        let Some(filter) = D::nth(filters, self.passed) else { return Verdict::Going };
        let flow = self.show_trailers(filter, message);
        self.go_on(flow, filters, message)
    }
}

#[cfg(test)]
mod tests;
