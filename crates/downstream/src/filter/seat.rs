//! Room for filters' instances, which a worker keeps from stream to stream.

use super::HttpFilter;
use std::any::Any;

/// The place of one filter in a chain: an instance moves in with a stream and out at its end. The room stays, so that
/// later streams allocate nothing.
#[derive(Default)]
pub struct Seat {
    room: Option<Box<dyn Room>>,
    /// The instance sees bodies.
    sees_bodies: bool,
    /// It looks at responses.
    sees_responses: bool,
}

impl Seat {
    /// Seats an instance. Room is made with the first one, and again where the type is another one.
    #[inline]
    pub fn fill<F: HttpFilter + 'static>(&mut self, filter: F) {
        (self.sees_bodies, self.sees_responses) = (filter.sees_bodies(), filter.sees_responses());
        if let Some(room) = &mut self.room {
            let room: &mut dyn Any = &mut **room;
            if let Some(room) = room.downcast_mut::<Option<F>>() {
                *room = Some(filter);
                return;
            }
        }
        self.room = Some(Box::new(Some(filter)));
    }

    /// The instance moves out.
    fn clear(&mut self) {
        if let Some(room) = &mut self.room {
            room.clear();
        }
    }
}

/// Room for an instance of one type.
trait Room: Any {
    /// The instance, where there is one.
    fn filter(&self) -> Option<&dyn HttpFilter>;
    /// The same, to be shown something.
    fn filter_mut(&mut self) -> Option<&mut dyn HttpFilter>;
    /// It moves out.
    fn clear(&mut self);
}

impl<F: HttpFilter + 'static> Room for Option<F> {
    fn filter(&self) -> Option<&dyn HttpFilter> {
        self.as_ref().map(|filter| filter as &dyn HttpFilter)
    }

    fn filter_mut(&mut self) -> Option<&mut dyn HttpFilter> {
        self.as_mut().map(|filter| filter as &mut dyn HttpFilter)
    }

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
    /// One of the instances sees bodies.
    sees_bodies: bool,
}

impl Filters {
    /// Room for as many.
    pub(crate) fn new(count: usize) -> Self {
        let seats = (0..count).map(|_| Seat::default()).collect();
        Self {
            seats,
            taken: Vec::with_capacity(count),
            returning: Vec::with_capacity(count),
            sees_bodies: false,
        }
    }

    /// Lets the filter with this number seat an instance, which it says whether it does; those before it come first.
    #[inline]
    pub(crate) fn seat(&mut self, number: usize, make: impl FnOnce(&mut Seat) -> bool) {
        let Some(seat) = self.seats.get_mut(number) else { return };
        if !make(seat) {
            return;
        }
        self.taken.push(number);
        self.sees_bodies |= seat.sees_bodies;
        if seat.sees_responses {
            self.returning.push(number);
        }
    }

    /// Whether none has a part.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Asks those that see bodies whether one still does.
    #[cold]
    pub(crate) fn ask_again(&mut self) {
        let one = self.iter().any(|filter| filter.sees_bodies());
        self.sees_bodies = one;
    }

    /// Whether one of them sees bodies.
    #[inline]
    pub(crate) fn sees_bodies(&self) -> bool {
        self.sees_bodies
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
        self.seats.get_mut(*self.taken.get(step)?)?.room.as_deref_mut()?.filter_mut()
    }

    /// The filter that a response meets as number `step`, from the last of the list on.
    #[inline]
    pub(crate) fn up(&mut self, step: usize) -> Option<&mut dyn HttpFilter> {
        let index = self.returning.len().wrapping_sub(step + 1);
        self.seats.get_mut(*self.returning.get(index)?)?.room.as_deref_mut()?.filter_mut()
    }

    /// Those that have a part.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn HttpFilter> {
        self.taken.iter().filter_map(|number| self.seats.get(*number)?.room.as_deref()?.filter())
    }

    /// The stream is over: the instances go, their room stays.
    #[inline]
    pub(crate) fn clear(&mut self) {
        let Self { seats, taken, returning, sees_bodies } = self;
        for number in &*taken {
            if let Some(seat) = seats.get_mut(*number) {
                seat.clear();
            }
        }
        taken.clear();
        returning.clear();
        *sees_bodies = false;
    }
}

#[cfg(test)]
mod tests;
