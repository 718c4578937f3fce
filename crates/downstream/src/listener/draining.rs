//! Whether connections of a listener are to be closed after their response.

use crate::world::World;
use nuncio_net::drain::{Drain, DrainWatch, Pace};
use std::rc::Rc;

/// One worker's view of a listener's end; its connections share it.
#[derive(Default)]
pub struct Draining {
    drain: Drain,
    /// `drain_type: MODIFY_ONLY`: failing health checks is no reason.
    modify_only: bool,
}

impl Draining {
    /// A listener that does not drain.
    pub fn new(modify_only: bool) -> Rc<Self> {
        Rc::new(Self { drain: Drain::new(), modify_only })
    }

    /// It begins to drain; a second time changes nothing.
    pub fn start(&self, world: &World, pace: Pace) {
        self.drain.start(world.worker.now(), pace);
    }

    /// Whether a connection that answers now is to say that it will close.
    #[inline]
    pub fn closes(&self, world: &World) -> bool {
        (!self.modify_only && world.lifecycle.health_check_failed())
            || self.drain.closes(|| world.worker.now(), || world.worker.rng().next())
    }

    /// Waits until it begins to drain.
    pub fn watch(&self) -> DrainWatch {
        self.drain.watch()
    }
}
