//! Spans between their end and their report: kept until there are enough, or until their time has come.

use nuncio_core::trace::Span;
use nuncio_downstream::world::World;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// The most spans that wait, whatever a runtime key says.
const MOST: usize = 65_536;

/// Runtime keys of a provider.
pub(super) struct Keys {
    /// How many spans make a report; 5.
    pub(super) min_flush_spans: &'static str,
    /// After how many milliseconds those are sent that wait; 5000.
    pub(super) flush_interval_ms: &'static str,
}

/// One worker's spans that wait.
pub(super) struct Pending {
    spans: RefCell<Vec<Span>>,
    most: usize,
    keys: &'static Keys,
    world: Rc<World>,
}

impl Pending {
    /// None yet; at most `most` may wait.
    pub(super) fn new(world: &Rc<World>, keys: &'static Keys, most: usize) -> Self {
        Self { spans: RefCell::default(), most: most.min(MOST), keys, world: Rc::clone(world) }
    }

    /// Keeps a span. `None`: there is no room for it.
    pub(super) fn push(&self, span: Span) -> Option<Enough> {
        let mut spans = self.spans.borrow_mut();
        if spans.len() >= self.most {
            return None;
        }
        spans.push(span);
        let min = self.world.runtime.integer(self.keys.min_flush_spans, 5);
        let enough = spans.len() as u64 >= min || spans.len() == MOST;
        Some(if enough { Enough::Yes } else { Enough::No })
    }

    /// All that wait.
    pub(super) fn take(&self) -> Vec<Span> {
        self.spans.take()
    }
}

/// Whether a report is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enough {
    Yes,
    No,
}

/// Calls `flush` each time that the interval is over, for as long as the tracer lives.
pub(super) fn by_time<T: 'static>(tracer: &Rc<T>, world: &Rc<World>, keys: &'static Keys, flush: fn(&Rc<T>)) {
    let (tracer, runtime): (Weak<T>, _) = (Rc::downgrade(tracer), world.runtime.clone());
    world.worker.spawn(async move {
        loop {
            let interval = runtime.integer(keys.flush_interval_ms, 5000).max(1);
            tokio::time::sleep(Duration::from_millis(interval)).await;
            match tracer.upgrade() {
                Some(tracer) => flush(&tracer),
                None => return,
            }
        }
    });
}
