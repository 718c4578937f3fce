use super::*;
use std::collections::BTreeMap;

/// A number by chance, always the same row of them.
fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u32
}

#[test]
fn every_stream_is_found_whatever_came_and_went_before() {
    let (mut chance, mut streams, mut known) = (7, Streams::default(), BTreeMap::new());
    for round in 0..20_000_u32 {
        // Ids near each other and far apart, so that they share places.
        let id = (next(&mut chance) % 64) * 2 + 1 + (next(&mut chance) % 5) * 1024 * (round % 3);
        match known.remove(&id) {
            Some(key) => streams.remove(key),
            None => {
                known.insert(id, streams.insert(id, 1, 1));
            }
        }
        assert_eq!(streams.len(), known.len());
        let probe = (next(&mut chance) % 64) * 2 + 1;
        assert_eq!(streams.find(probe), known.get(&probe).copied());
    }
    for (id, key) in &known {
        assert_eq!(streams.find(*id), Some(*key));
    }
}
