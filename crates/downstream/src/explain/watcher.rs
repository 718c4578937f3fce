//! A filter that changes nothing: it tells what the one before it has made of the head.

use super::Script;
use crate::filter::{Flow, HttpFilter, LiveHttpFilter, Request, RouteSays, Seat};
use nuncio_core::config::Place;
use std::rc::Rc;
use std::sync::Arc;

/// Stands behind a filter in the chain of a request that is explained.
pub struct Watcher {
    /// `filter 'NAME'`, of the one before.
    by: Box<str>,
    /// Where that stands.
    place: Option<Place>,
    script: Rc<Script>,
}

/// The same in one stream.
struct Watching(Rc<Watcher>);

impl Watcher {
    /// Of the filter with this name.
    pub(crate) fn of(name: &Arc<str>, place: Option<Place>, script: &Rc<Script>) -> Rc<dyn LiveHttpFilter> {
        Rc::new(Self { by: format!("filter '{name}'").into(), place, script: Rc::clone(script) })
    }
}

impl LiveHttpFilter for Watcher {
    fn make(self: Rc<Self>, _: &RouteSays<'_>, seat: &mut Seat) -> bool {
        seat.fill(Watching(self));
        true
    }
}

impl HttpFilter for Watching {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let Watcher { by, place, script } = &*self.0;
        script.stage(by, *place, request.head);
        Flow::Continue
    }
}
