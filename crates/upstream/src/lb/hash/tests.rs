use super::murmur::murmur_hash2;
use super::*;
use nuncio_core::xx_hash::xx_hash64;

fn three() -> Vec<(Vec<u8>, f64)> {
    (1..4).map(|i| (format!("127.0.0.{i}:18081").into_bytes(), 1.0 / 3.0)).collect()
}

fn places(table: &Table, keys: &[&str]) -> Vec<usize> {
    keys.iter().map(|k| table.find(xx_hash64(k.as_bytes(), 0), 0).unwrap() + 1).collect()
}

#[test]
fn murmur_hashes_are_those_of_envoys_ring() {
    assert_eq!(murmur_hash2(b"127.0.0.1:18081_0"), 11_961_413_418_748_792_759);
    assert_eq!(murmur_hash2(b"127.0.0.3:18081_1"), 9_260_544_598_910_343_265);
}

#[test]
fn the_ring_places_keys_where_envoy_does() {
    let common = Hashing::default();
    let ring = Ring::new(&RingHash { murmur: false, minimum: 9, maximum: 1 << 23, common }, &three());
    let ring = Table::Ring(ring);
    assert_eq!(places(&ring, &["a", "b", "c", "foo", "bar", "baz", "ab"]), [2, 3, 3, 3, 1, 3, 3]);
}

#[test]
fn the_maglev_table_is_filled_as_envoy_fills_it() {
    let table = Table::Maglev(Slots::new(13, &three()));
    let slots: Vec<usize> = (0..13).map(|h| table.find(h, 0).unwrap() + 1).collect();
    assert_eq!(slots, [3, 1, 3, 1, 3, 2, 3, 1, 1, 2, 2, 1, 2]);
    assert_eq!(places(&table, &["a", "b", "c", "foo", "bar", "baz"]), [2, 1, 1, 3, 2, 3]);
}
