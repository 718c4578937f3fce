//! `RANDOM`: by chance, whatever the weights.

use super::{Balancer, HostList, PickContext};
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use std::sync::Arc;

pub(super) struct Random {
    hosts: HostList,
}

impl Random {
    pub(super) fn new(hosts: HostList) -> Self {
        Self { hosts }
    }
}

impl Balancer for Random {
    fn pick(&self, _: &PickContext<'_>, rng: &Rng) -> Option<&Arc<HostShared>> {
        self.hosts.get(rng.below(self.hosts.len() as u64) as usize)
    }
}
