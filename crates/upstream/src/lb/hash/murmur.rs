//! 64-bit MurmurHash2 as GNU's `std::hash` computes it, which older proxies placed by.

const MULTIPLIER: u64 = 0xC6A4_A793_5BD1_E995;
const SEED: u64 = 0xC70F_6907;

fn mixed(word: u64) -> u64 {
    word ^ (word >> 47)
}

/// The hash of `data`.
pub(super) fn murmur_hash2(data: &[u8]) -> u64 {
    let mut hash = SEED ^ (data.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let word = mixed(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    mixed(mixed(hash).wrapping_mul(MULTIPLIER))
}
