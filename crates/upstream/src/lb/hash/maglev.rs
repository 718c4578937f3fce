//! Maglev: a table whose slots hosts take in turn, each in an order of its own.

use nuncio_core::xx_hash::xx_hash64;

/// The host's index of each slot.
pub(super) struct Slots(Box<[u32]>);

struct Entry {
    index: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    target: f64,
    next: u64,
}

const FREE: u32 = u32::MAX;

impl Slots {
    /// A table of `size` slots, a prime; heavier hosts take slots in more of the turns.
    pub(super) fn new(size: u64, hosts: &[(Vec<u8>, f64)]) -> Self {
        let most = hosts.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        order.sort_by_key(|i| hosts.get(*i).map(|(key, _)| key));
        let mut entries: Vec<Entry> = order
            .into_iter()
            .filter_map(|i| hosts.get(i).map(|(key, share)| (i, key, share)))
            .map(|(i, key, share)| Entry {
                index: i as u32,
                offset: xx_hash64(key, 0) % size,
                skip: xx_hash64(key, 1) % (size - 1) + 1,
                weight: *share,
                target: 0.0,
                next: 0,
            })
            .collect();
        let mut slots = vec![FREE; size as usize];
        let (mut taken, mut turn) = (0, 1.0);
        while taken < size && !entries.is_empty() {
            for entry in &mut entries {
                if taken == size {
                    break;
                }
                if turn * entry.weight < entry.target {
                    continue;
                }
                entry.target += most;
                while let Some(slot) = slots.get_mut(entry.slot(size)) {
                    entry.next += 1;
                    if *slot == FREE {
                        *slot = entry.index;
                        taken += 1;
                        break;
                    }
                }
            }
            turn += 1.0;
        }
        Self(slots.into())
    }
}

impl Entry {
    fn slot(&self, size: u64) -> usize {
        ((self.offset + self.skip * self.next) % size) as usize
    }
}

impl Slots {
    /// The index of the host where a hash leads.
    pub(super) fn find(&self, hash: u64, attempt: u32) -> Option<usize> {
        let hash = if attempt > 0 { hash ^ u64::from(attempt).wrapping_neg() } else { hash };
        let at = hash.checked_rem(self.0.len() as u64)?;
        self.0.get(at as usize).map(|index| *index as usize)
    }

    /// The index of each place's host.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}
