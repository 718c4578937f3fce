//! A short run of the PROXY protocol's fuzz target on the stable toolchain: seeds, and what a fixed sequence of mutations
//! makes of them.

#[path = "../../../fuzz/proxy.rs"]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "the body of a test: a failure is the finding")]
mod proxy;

const SEEDS: &[&[u8]] = &[
    b"\0PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\nGET / HTTP/1.1\r\n\r\n",
    b"\0PROXY TCP6 2001:db8::1 2001:db8::2 5555 80\r\n",
    b"\0PROXY UNKNOWN\r\n",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xcb\0\x71\x07\x0a\0\0\x01\0\x01\0\x50\x01\0\x02h2\xe0\0\0GET",
    b"\0\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb\0\x01\0\x50",
];

#[test]
fn heads_are_found_whole_or_not_at_all() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    for seed in SEEDS {
        proxy::head(seed);
    }
    for _ in 0..3000 {
        let mut data = SEEDS.get(next(SEEDS.len())).copied().unwrap_or_default().to_vec();
        for _ in 0..1 + next(3) {
            let at = next(data.len());
            match next(4) {
                0 => data.truncate(at),
                1 => data.insert(at, next(256) as u8),
                _ => data.iter_mut().skip(at).take(1).for_each(|b| *b ^= 1 << next(8)),
            }
        }
        proxy::head(&data);
    }
}
