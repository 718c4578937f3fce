//! A short run of the fuzz targets of TLS on the stable toolchain: seeds, and what a fixed sequence of mutations makes of
//! them. `NUNCIO_FUZZ_ROUNDS` makes it longer.

#[path = "../../../fuzz/hello.rs"]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "the body of a test: a failure is the finding")]
mod hello;
#[path = "../../../fuzz/records.rs"]
#[allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the body of a test: a failure is the finding"
)]
mod records;

/// A hello with a server name, two protocols, versions and a request for OCSP.
fn seed() -> Vec<u8> {
    let extension =
        |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat();
    let extensions = [
        extension(0, b"\0\x0c\0\0\x09a.example"),
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        extension(43, b"\x04\x03\x04\x03\x03"),
        extension(5, b"\x01\0\0\0\0"),
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(b"\0\0\x04\x13\x01\xc0\x2f\x01\0");
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let length = (body.len() as u32).to_be_bytes();
    [&[1], length.get(1..).unwrap_or_default(), &body].concat()
}

/// Runs a target on the seeds, and on what a fixed sequence of mutations makes of them.
fn mutated(seeds: &[Vec<u8>], rounds: u64, target: fn(&[u8])) {
    let rounds = std::env::var("NUNCIO_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(rounds);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    seeds.iter().for_each(|seed| target(seed));
    for _ in 0..rounds {
        let mut data = seeds.get(next(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..1 + next(4) {
            let at = next(data.len());
            match next(6) {
                0 => data.truncate(at),
                1 => data.insert(at, next(256) as u8),
                2 => data.extend_from_within(at..),
                3 => data.iter_mut().skip(at).take(1).for_each(|b| *b = next(256) as u8),
                _ => data.iter_mut().skip(at).take(1).for_each(|b| *b ^= 1 << next(8)),
            }
        }
        target(&data);
    }
}

#[test]
fn a_hello_is_the_same_however_it_is_cut() {
    let message = seed();
    let record = [&[9, 22, 3, 1], &(message.len() as u16).to_be_bytes()[..], &message].concat();
    let bare = [&[11], &message[..]].concat();
    mutated(&[record, bare], 2000, hello::hello);
}

#[test]
fn a_record_is_opened_by_its_own_key_and_only_whole() {
    let each = (0..8_u8).map(|choice| {
        let text = b"\x17\x03\x03\x00\x20 some bytes of a record, or of a text";
        [&[choice, 31 * choice, choice], &text[..]].concat()
    });
    mutated(&each.collect::<Vec<_>>(), 500, records::records);
}
