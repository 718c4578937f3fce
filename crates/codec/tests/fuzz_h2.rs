//! A short run of the HTTP/2 fuzz targets on the stable toolchain: seeds, and what a fixed sequence of mutations makes
//! of them.

#[path = "../../../fuzz/h2.rs"]
#[allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the body of a test: a failure is the finding"
)]
mod h2;

use std::time::Instant;

/// Frames of both sides, whole and odd.
const SEEDS: &[&[u8]] = &[
    // GET, and its like with a length; a body; trailers.
    b"\0\0\x04\x01\x05\0\0\0\x01\x82\x86\x84\x01",
    b"\0\0\x07\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01a\xbe\0\0\x03\0\x01\0\0\0\x01abc",
    b"\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01a\0\0\x05\0\x08\0\0\0\x01\x01abc\0\0\0\x05\x01\x05\0\0\0\x01\x40\x01x\x01y",
    // A response, informational and final, and a body.
    b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03103\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\x01\0\0\0\x01ok",
    // PING, SETTINGS, WINDOW_UPDATE, PRIORITY, RST_STREAM, GOAWAY, an unknown frame, CONTINUATION.
    b"\0\0\x08\x06\0\0\0\0\0abcdefgh\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
    b"\0\0\x05\x02\0\0\0\0\x03\0\0\0\0\x01\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x03\x63\0\0\0\0\0abc\0\0\x02\x01\x01\0\0\0\x01\x82\x86\0\0\x05\x09\x04\0\0\0\x01\x84\x41\x01a\x90",
    // Huffman, a table's size, an index of the table.
    b"\0\0\x13\x01\x05\0\0\0\x01\x20\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
];

fn smoke(target: fn(&[u8], Instant)) {
    let now = some_instant();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    for _ in 0..1500 {
        let mut data: Vec<u8> = (0..4).map(|_| next(256) as u8).collect();
        for _ in 0..1 + next(3) {
            data.extend_from_slice(SEEDS.get(next(SEEDS.len())).copied().unwrap_or_default());
        }
        for _ in 0..next(5) {
            let at = 4 + next(data.len() - 4);
            match next(3) {
                0 => data.insert(at, next(256) as u8),
                1 => drop(data.remove(at)),
                _ => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte = next(256) as u8;
                    }
                }
            }
        }
        target(&data, now);
    }
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

#[test]
fn whole_connections_are_the_same_to_a_server_however_they_are_split() {
    smoke(h2::server_conn);
}

#[test]
fn whole_connections_are_the_same_to_a_client_however_they_are_split() {
    smoke(h2::client_conn);
}

#[test]
fn header_blocks_are_fields_or_an_error() {
    smoke(h2::hpack);
}

#[test]
fn header_blocks_are_what_another_decoder_makes_of_them() {
    let mut state = 1_u64;
    let now = some_instant();
    for _ in 0..300 {
        let data: Vec<u8> = (0..600)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect();
        h2::hpack_differential(&data, now);
    }
}
