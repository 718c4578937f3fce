//! `ROUND_ROBIN`: in turn, from a start by chance.

use super::edf::Edf;
use super::{Balancer, HostList, PickContext, even, weight};
use crate::host::Host;
use nuncio_core::rng::Rng;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A balancer for hosts of equal or different weights.
pub(super) fn make(hosts: HostList, rng: &Rng) -> Box<dyn Balancer> {
    if even(&hosts) {
        let next = Cell::new(rng.below(hosts.len() as u64) as usize);
        return Box::new(InTurn { hosts, next });
    }
    let weights: Vec<f64> = hosts.iter().map(|h| f64::from(weight(h))).collect();
    let edf = RefCell::new(Edf::new(&weights, rng.below(hosts.len() as u64)));
    Box::new(Weighted { hosts, edf })
}

struct InTurn {
    hosts: HostList,
    next: Cell<usize>,
}

impl Balancer for InTurn {
    #[inline]
    fn pick(&self, _: &PickContext<'_>, _: &Rng) -> Option<&Rc<Host>> {
        let at = self.next.get();
        self.next.set(if at + 1 >= self.hosts.len() { 0 } else { at + 1 });
        self.hosts.get(at)
    }
}

struct Weighted {
    hosts: HostList,
    edf: RefCell<Edf>,
}

impl Balancer for Weighted {
    fn pick(&self, _: &PickContext<'_>, _: &Rng) -> Option<&Rc<Host>> {
        let weight_of = |i: usize| self.hosts.get(i).map_or(1.0, |h| f64::from(weight(h)));
        let at = self.edf.borrow_mut().pick(weight_of)?;
        self.hosts.get(at)
    }
}
