//! A ring of hashes: a key belongs to the host whose hash is next.

use super::RingHash;
use super::murmur::murmur_hash2;
use nuncio_core::xx_hash::xx_hash64;

/// Hashes in their order, each with its host's index.
pub(super) struct Ring(Box<[(u64, u32)]>);

impl Ring {
    /// As Envoy fills it: the least host gets a whole number of hashes, as near to the minimum size as that
    /// allows, and running sums keep the others at their shares.
    pub(super) fn new(config: &RingHash, hosts: &[(Vec<u8>, f64)]) -> Self {
        let least = hosts.iter().map(|(_, share)| *share).fold(1.0, f64::min);
        let scale = ((least * config.minimum as f64).ceil() / least).min(config.maximum as f64);
        let mut ring = Vec::with_capacity(scale.ceil() as usize);
        let mut target = 0.0;
        let mut key = Vec::new();
        for (index, (name, share)) in hosts.iter().enumerate() {
            target += scale * share;
            let mut i = 0_u64;
            while (ring.len() as f64) < target {
                key.clear();
                key.extend_from_slice(name);
                key.push(b'_');
                key.extend_from_slice(itoa::Buffer::new().format(i).as_bytes());
                let hash = if config.murmur { murmur_hash2(&key) } else { xx_hash64(&key, 0) };
                ring.push((hash, index as u32));
                i += 1;
            }
        }
        ring.sort_by_key(|(hash, _)| *hash);
        Self(ring.into())
    }

    /// The index of the host where a hash leads.
    pub(super) fn find(&self, hash: u64, attempt: u32) -> Option<usize> {
        let at = self.0.partition_point(|(h, _)| *h < hash);
        // Beyond the last one the ring begins anew; a rejected pick moves on from where it stood.
        let at = if at == self.0.len() { 0 } else { at };
        let at = (at + attempt as usize).checked_rem(self.0.len())?;
        self.0.get(at).map(|(_, index)| *index as usize)
    }

    /// The index of each place's host.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(_, index)| *index)
    }
}
