//! Room for filters' instances, which a worker keeps from stream to stream.

use super::{Flow, HttpFilter, Piece, Request, Response};
use std::any::Any;
use std::task::{Context, Poll};

/// The place of one filter in a chain: an instance moves in with a stream and out at its end. The room stays, so that
/// later streams allocate nothing.
#[derive(Default)]
pub struct Seat(Option<Box<dyn Room>>);

impl Seat {
    /// Seats an instance. Room is made with the first one, and again where the type is another one.
    #[inline]
    pub fn fill<F: HttpFilter + 'static>(&mut self, filter: F) {
        if let Some(room) = &mut self.0 {
            let room: &mut dyn Any = &mut **room;
            if let Some(room) = room.downcast_mut::<Option<F>>() {
                *room = Some(filter);
                return;
            }
        }
        self.0 = Some(Box::new(Some(filter)));
    }

    /// The instance moves out.
    fn clear(&mut self) {
        if let Some(room) = &mut self.0 {
            room.clear();
        }
    }
}

/// Room for an instance of one type.
trait Room: HttpFilter + Any {
    fn clear(&mut self);
}

impl<F: HttpFilter + 'static> Room for Option<F> {
    fn clear(&mut self) {
        *self = None;
    }
}

/// The filters of a chain that have a part in a stream, in their order.
#[derive(Default)]
pub(crate) struct Filters {
    /// One for each of the chain's.
    seats: Vec<Seat>,
    /// The numbers of those that are taken.
    taken: Vec<usize>,
    /// The same of those whose instances look at responses.
    returning: Vec<usize>,
}

impl Filters {
    /// Room for as many.
    pub(crate) fn new(count: usize) -> Self {
        let seats = (0..count).map(|_| Seat::default()).collect();
        Self { seats, taken: Vec::with_capacity(count), returning: Vec::with_capacity(count) }
    }

    /// Lets the filter with this number seat an instance, which it says whether it does; those before it come first.
    /// The instance, where there is one.
    #[inline]
    pub(crate) fn seat(
        &mut self,
        number: usize,
        make: impl FnOnce(&mut Seat) -> bool,
    ) -> Option<&mut dyn HttpFilter> {
        let seat = self.seats.get_mut(number)?;
        if !make(seat) {
            return None;
        }
        let room = seat.0.as_deref_mut()?;
        self.taken.push(number);
        if room.sees_responses() {
            self.returning.push(number);
        }
        Some(room)
    }

    /// Whether none has a part.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// How many see requests.
    #[inline]
    pub(crate) fn down_count(&self) -> usize {
        self.taken.len()
    }

    /// How many see responses.
    #[inline]
    pub(crate) fn up_count(&self) -> usize {
        self.returning.len()
    }

    /// The filter that a request meets as number `step`.
    #[inline]
    pub(crate) fn down(&mut self, step: usize) -> Option<&mut dyn HttpFilter> {
        let seat = self.seats.get_mut(*self.taken.get(step)?)?;
        seat.0.as_deref_mut().map(|room| room as &mut dyn HttpFilter)
    }

    /// The filter that a response meets as number `step`, from the last of the list on.
    #[inline]
    pub(crate) fn up(&mut self, step: usize) -> Option<&mut dyn HttpFilter> {
        let index = self.returning.len().wrapping_sub(step + 1);
        let seat = self.seats.get_mut(*self.returning.get(index)?)?;
        seat.0.as_deref_mut().map(|room| room as &mut dyn HttpFilter)
    }

    /// Those that have a part.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn HttpFilter> {
        let seats = self.taken.iter().filter_map(|number| self.seats.get(*number)?.0.as_deref());
        seats.map(|room| room as &dyn HttpFilter)
    }

    /// The stream is over: the instances go, their room stays.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.returning.clear();
        for number in self.taken.drain(..) {
            if let Some(seat) = self.seats.get_mut(number) {
                seat.clear();
            }
        }
    }
}

/// Whoever is not there passes everything on.
impl<F: HttpFilter> HttpFilter for Option<F> {
    fn sees_bodies(&self) -> bool {
        self.as_ref().is_some_and(F::sees_bodies)
    }

    fn sees_responses(&self) -> bool {
        self.as_ref().is_some_and(F::sees_responses)
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        self.as_mut().map_or(Flow::Continue, |filter| filter.decode_headers(request, end_stream))
    }

    fn decode_data(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        self.as_mut().map_or(Flow::Continue, |filter| filter.decode_data(request, piece))
    }

    fn decode_trailers(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        self.as_mut().map_or(Flow::Continue, |filter| filter.decode_trailers(request, piece))
    }

    fn poll_decode(
        &mut self,
        request: &mut Request<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow> {
        self.as_mut().map_or(Poll::Pending, |filter| filter.poll_decode(request, piece, cx))
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, end_stream: bool) -> Flow {
        self.as_mut().map_or(Flow::Continue, |filter| filter.encode_headers(response, end_stream))
    }

    fn encode_data(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        self.as_mut().map_or(Flow::Continue, |filter| filter.encode_data(response, piece))
    }

    fn encode_trailers(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        self.as_mut().map_or(Flow::Continue, |filter| filter.encode_trailers(response, piece))
    }

    fn poll_encode(
        &mut self,
        response: &mut Response<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow> {
        self.as_mut().map_or(Poll::Pending, |filter| filter.poll_encode(response, piece, cx))
    }

    fn held_back(&self) -> usize {
        self.as_ref().map_or(0, F::held_back)
    }
}
