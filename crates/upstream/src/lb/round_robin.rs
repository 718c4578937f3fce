//! `ROUND_ROBIN`: in turn, from a start by chance.

use super::edf::Edf;
use super::layout::List;
use super::{Balancer, HostList, PickContext};
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// A balancer for hosts of equal or different weights.
pub(super) fn make(list: &List, rng: &Rng) -> Box<dyn Balancer> {
    let hosts = Arc::clone(&list.hosts);
    if list.even {
        let next = Cell::new(rng.below(hosts.len() as u64) as usize);
        return Box::new(InTurn { hosts, next });
    }
    let edf = RefCell::new(Edf::new(hosts.iter().map(|h| f64::from(h.weight())), rng));
    Box::new(Weighted { hosts, edf })
}

struct InTurn {
    hosts: HostList,
    next: Cell<usize>,
}

impl Balancer for InTurn {
    #[inline]
    fn pick(&self, _: &PickContext<'_>, _: &Rng) -> Option<&Arc<HostShared>> {
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
    fn pick(&self, _: &PickContext<'_>, _: &Rng) -> Option<&Arc<HostShared>> {
        let weight_of = |i: usize| self.hosts.get(i).map_or(1.0, |h| f64::from(h.weight()));
        let at = self.edf.borrow_mut().pick(weight_of)?;
        self.hosts.get(at)
    }
}
