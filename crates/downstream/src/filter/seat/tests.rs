use super::*;
use std::cell::Cell;
use std::rc::Rc;

/// An instance that says which one it is, and when it has gone.
struct Toy<const KIND: char> {
    bodies: Rc<Cell<bool>>,
    responses: bool,
    alive: Rc<Cell<usize>>,
}

impl<const KIND: char> Toy<KIND> {
    fn new(alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self { bodies: Rc::default(), responses: true, alive: Rc::clone(alive) }
    }
}

impl<const KIND: char> Drop for Toy<KIND> {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

impl<const KIND: char> HttpFilter for Toy<KIND> {
    fn sees_bodies(&self) -> bool {
        self.bodies.get()
    }

    fn sees_responses(&self) -> bool {
        self.responses
    }

    fn held_back(&self) -> usize {
        KIND as usize
    }
}

/// Where the room of a seat is.
fn room(seat: &Seat) -> *const () {
    seat.room.as_deref().map_or(std::ptr::null(), |room| std::ptr::from_ref(room).cast())
}

#[test]
fn an_instance_moves_out_and_its_room_stays_for_the_next_of_its_type() {
    let alive = Rc::default();
    let mut seat = Seat::default();
    seat.fill(Toy::<'a'>::new(&alive));
    let first = room(&seat);
    seat.clear();
    assert_eq!(alive.get(), 0, "it is gone with its stream");
    assert!(seat.room.as_ref().unwrap().filter().is_none());
    seat.fill(Toy::<'a'>::new(&alive));
    assert_eq!(room(&seat), first);
    seat.fill(Toy::<'a'>::new(&alive));
    assert_eq!((room(&seat), alive.get()), (first, 1), "one moves out when another moves in");
    let held = |seat: &Seat| seat.room.as_ref().unwrap().filter().unwrap().held_back();
    seat.fill(Toy::<'b'>::new(&alive));
    assert_eq!((held(&seat), alive.get()), ('b' as usize, 1), "another type has other room");
}

#[test]
fn requests_meet_those_who_have_a_part_downward_and_responses_those_who_look_upward() {
    let alive = Rc::default();
    let mut filters = Filters::new(4);
    filters.seat(0, |seat| {
        seat.fill(Toy::<'a'>::new(&alive));
        true
    });
    filters.seat(1, |_| false);
    filters.seat(2, |seat| {
        let mut toy = Toy::<'c'>::new(&alive);
        toy.responses = false;
        seat.fill(toy);
        true
    });
    filters.seat(3, |seat| {
        seat.fill(Toy::<'d'>::new(&alive));
        true
    });
    let name = |filter: Option<&mut dyn HttpFilter>| filter.map(|f| char::from(f.held_back() as u8));
    assert_eq!(filters.down_count(), 3);
    assert_eq!([0, 1, 2, 3].map(|step| name(filters.down(step))), [Some('a'), Some('c'), Some('d'), None]);
    assert_eq!(filters.up_count(), 2);
    assert_eq!([0, 1, 2].map(|step| name(filters.up(step))), [Some('d'), Some('a'), None]);
    filters.clear();
    assert!(filters.is_empty() && filters.up_count() == 0 && alive.get() == 0);
    assert_eq!(name(filters.down(0)), None);
}

#[test]
fn who_sees_bodies_is_known_when_it_is_seated_and_asked_again() {
    let (alive, bodies) = (Rc::default(), Rc::new(Cell::new(true)));
    let mut filters = Filters::new(2);
    let seat = |filters: &mut Filters, number, bodies: &Rc<Cell<bool>>| {
        filters.seat(number, |seat| {
            let mut toy = Toy::<'a'>::new(&alive);
            toy.bodies = Rc::clone(bodies);
            seat.fill(toy);
            true
        });
    };
    seat(&mut filters, 0, &Rc::default());
    assert!(!filters.sees_bodies());
    seat(&mut filters, 1, &bodies);
    assert!(filters.sees_bodies());
    bodies.set(false);
    assert!(filters.sees_bodies(), "nobody has asked");
    filters.ask_again();
    assert!(!filters.sees_bodies());
}
