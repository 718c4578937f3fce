//! A quick hash for tables of configured names.

use std::hash::{BuildHasherDefault, Hasher};

/// For `HashMap`s whose keys come from configuration.
pub type BuildFolding = BuildHasherDefault<Folding>;

/// A hash for tables whose keys come from configuration alone, so that no client can crowd them: eight bytes at a
/// time, rotated, mixed in and multiplied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folding(u64);

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let tail = rest.iter().fold(0, |sum, &b| sum << 8 | u64::from(b));
            self.write_u64(tail);
        }
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table reads the low bits, the product is mixed best in the high ones.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn names_that_differ_in_one_character_land_apart() {
        let hash = |n: u32| BuildFolding::default().hash_one(format!("cluster-{n:05}"));
        let low: HashSet<_> = (0..10_000).map(|n| hash(n) & 0xffff_ffff).collect();
        assert!(low.len() > 9_990, "{}", low.len());
    }
}
