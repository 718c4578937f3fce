//! `ROUND_ROBIN`: in turn, from a start by chance.

use super::layout::List;
use super::slow_start::SlowStart;
use super::weighted::{self, Scales};
use super::{Balancer, HostList, PickContext};
use crate::cluster::ClusterCore;
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use std::cell::Cell;
use std::sync::Arc;

/// A balancer for hosts of equal or different weights.
pub(super) fn make(slow_start: Option<&SlowStart>, list: &List, core: &ClusterCore) -> Box<dyn Balancer> {
    let (hosts, rng) = (Arc::clone(&list.hosts), core.worker.rng());
    let scales = Scales::new(None, slow_start, &hosts, core);
    if list.even && !scales.is_starting() {
        let next = Cell::new(rng.below(hosts.len() as u64) as usize);
        return Box::new(InTurn { hosts, next });
    }
    weighted::make(hosts, scales, rng)
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
