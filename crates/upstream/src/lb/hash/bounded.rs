//! Bounded loads: a host that has much more than its share passes requests on, to hosts in an order that the
//! request's hash decides.

use super::{Hashing, Weighted};
use crate::circuit::{RequestPriority, Resource};
use crate::cluster::ClusterShared;
use crate::host::HostShared;

/// `hash_balance_factor`, in percent.
pub(super) struct Bounded(u64);

impl Bounded {
    pub(super) fn new(config: &Hashing) -> Option<Self> {
        (config.balance_factor > 0).then(|| Self(config.balance_factor.into()))
    }

    /// `at`, if that host has room; else the first with room in the hash's order, else the least loaded.
    pub(super) fn choose(&self, hosts: &Weighted, at: usize, hash: u64, cluster: &ClusterShared) -> usize {
        let held = |p: &RequestPriority| u64::from(cluster.breaker(*p).held(Resource::Requests));
        let active: u64 = RequestPriority::ALL.iter().map(held).sum();
        let slots = ((active + 1) * self.0).div_ceil(100) as f64;
        let load = |i: usize| hosts.get(i).map_or(f64::MAX, |(host, share)| load(host, slots * share));
        let mut best = (load(at), at);
        if best.0 <= 1.0 {
            return at;
        }
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        let mut random = Mt19937::new(hash as u32);
        for i in 0..order.len() {
            let j = random.below((order.len() - i) as u32) as usize;
            order.swap(i, i + j);
            let Some(&other) = order.get(i).filter(|other| **other != at) else { continue };
            let load = load(other);
            if load <= 1.0 {
                return other;
            }
            if load < best.0 {
                best = (load, other);
            }
        }
        best.1
    }
}

/// Active requests for each of the slots that a host has.
fn load(host: &HostShared, slots: f64) -> f64 {
    f64::from(host.active_requests()) / slots.ceil().max(1.0)
}

/// The Mersenne Twister (MT19937), whose order Envoy's choice depends on.
struct Mt19937 {
    state: [u32; 624],
    at: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        let mut last = seed;
        for (i, word) in (0..).zip(&mut state).skip(1) {
            last = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i);
            *word = last;
        }
        Self { state, at: 624 }
    }

    fn word(&self, i: usize) -> u32 {
        self.state.get(i % 624).copied().unwrap_or_default()
    }

    fn next(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let y = self.word(i) & 0x8000_0000 | self.word(i + 1) & 0x7FFF_FFFF;
                let odd = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
                let new = self.word(i + 397) ^ (y >> 1) ^ odd;
                if let Some(word) = self.state.get_mut(i) {
                    *word = new;
                }
            }
            self.at = 0;
        }
        let mut y = self.word(self.at);
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    /// Uniform below `k`, as Envoy takes it.
    fn below(&mut self, k: u32) -> u32 {
        let step = (1_u64 << 32) / u64::from(k.max(1));
        loop {
            let x = u64::from(self.next()) / step;
            if x < u64::from(k) {
                return x as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twister_gives_the_numbers_of_its_paper() {
        let mut random = Mt19937::new(5489);
        let numbers: Vec<u32> = (0..3).map(|_| random.next()).collect();
        assert_eq!(numbers, [3_499_211_612, 581_869_302, 3_890_346_734]);
        let last = (3..10_000).map(|_| random.next()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
