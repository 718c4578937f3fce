//! The only source of chance. Whoever needs it takes a [`Rng`] as an argument; tests seed it.

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::cell::RefCell;
use std::rc::Rc;

/// A worker's random numbers: fast, not for secrets. Clones share the state.
#[derive(Clone, Debug)]
pub struct Rng(Rc<RefCell<SmallRng>>);

impl Rng {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self(Rc::new(RefCell::new(SmallRng::from_os_rng())))
    }

    /// The same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(SmallRng::seed_from_u64(seed))))
    }

    /// Uniform over all 64 bits.
    #[inline]
    pub fn next(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// Uniform in `0..bound` as Envoy takes it (`random % bound`); 0 for a bound of 0.
    #[inline]
    pub fn below(&self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}
