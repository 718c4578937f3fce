//! Locality weighted: first a locality by weight and health, then a host in it.

use super::edf::Edf;
use super::{Balancer, PickContext};
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use std::cell::RefCell;
use std::sync::Arc;

/// A balancer per locality that may get traffic, and their effective weights.
pub(super) struct Localities {
    members: Vec<(f64, Box<dyn Balancer>)>,
    edf: RefCell<Edf>,
}

impl Localities {
    pub(super) fn new(members: Vec<(f64, Box<dyn Balancer>)>, rng: &Rng) -> Self {
        let weights: Vec<f64> = members.iter().map(|(weight, _)| *weight).collect();
        let edf = RefCell::new(Edf::new(&weights, rng));
        Self { members, edf }
    }
}

impl Balancer for Localities {
    fn pick(&self, cx: &PickContext<'_>, rng: &Rng) -> Option<&Arc<HostShared>> {
        let weight_of = |i: usize| self.members.get(i).map_or(1.0, |(w, _)| *w);
        let at = self.edf.borrow_mut().pick(weight_of)?;
        self.members.get(at).and_then(|(_, balancer)| balancer.pick(cx, rng))
    }
}

/// What is left of a locality's weight where only `available` of its `counted` hosts can be used:
/// w · min(1, factor/100 · available/counted).
pub(super) fn effective_weight(weight: u32, factor: u32, available: usize, counted: usize) -> f64 {
    if counted == 0 {
        return 0.0;
    }
    let share = f64::from(factor) / 100.0 * available as f64 / counted as f64;
    f64::from(weight) * share.min(1.0)
}
