//! What an operation on headers costs: `valgrind --tool=callgrind` of this with 0 and with N rounds, and the difference
//! divided by N, is the instructions of one operation on a head of ten fields, as browsers send them. The second
//! argument chooses the operation; without it they are listed.

use nuncio_codec::head::{HeaderMap, Known, KnownSet, Name};
use std::hint::black_box;

const FIELDS: [(&str, &str); 10] = [
    ("accept", "text/html,application/xhtml+xml"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "de,en-US;q=0.7,en;q=0.3"),
    ("cookie", "session=0123456789abcdef"),
    ("referer", "https://example.com/"),
    ("x-requested-with", "XMLHttpRequest"),
    ("x-forwarded-for", "192.0.2.1"),
    ("cache-control", "no-cache"),
    ("x-custom", "some value"),
];

const ABSENT: KnownSet = KnownSet::of(&[Known::Te, Known::Upgrade, Known::TransferEncoding]);

/// An operation: its name, and what it does with a map that is filled alike before each.
type Operation = (&'static str, fn(&mut HeaderMap) -> usize);

const OPERATIONS: [Operation; 13] = [
    ("nothing", |map| map.len()),
    ("get_known", |map| map.get(black_box(Known::Referer)).map_or(0, <[u8]>::len)),
    ("get_absent", |map| map.get(black_box(Known::Te)).map_or(0, <[u8]>::len)),
    ("get_by_text", |map| map.get(Name::new(black_box(b"referer"))).map_or(0, <[u8]>::len)),
    ("get_other", |map| map.get(Name::new(black_box(b"x-custom"))).map_or(0, <[u8]>::len)),
    ("contains_any", |map| usize::from(map.contains_any(black_box(ABSENT)))),
    ("append", |map| {
        map.append(black_box(Known::XForwardedProto), b"https");
        map.len()
    }),
    ("append_line", |map| {
        map.append_line(Known::XForwardedProto, black_box(b"x-forwarded-proto: https\r\n"));
        map.len()
    }),
    ("set_number", |map| {
        map.set_number(Known::XEnvoyUpstreamServiceTime, black_box(7));
        map.len()
    }),
    ("set_in_place", |map| {
        map.set(black_box(Known::CacheControl), b"private");
        map.len()
    }),
    ("append_joined", |map| {
        map.append_joined(black_box(Known::XForwardedFor), b",", b"198.51.100.7");
        map.len()
    }),
    ("remove", |map| usize::from(map.remove(black_box(Known::Cookie)))),
    ("walk", |map| map.iter().map(|(name, value)| name.as_bytes().len() + value.len()).sum()),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds: u32 = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let wanted = args.next().unwrap_or_default();
    let Some((_, run)) = OPERATIONS.iter().find(|(name, _)| *name == wanted) else {
        return OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
    };
    let mut full = HeaderMap::new();
    for (name, value) in FIELDS {
        full.append(name, value.as_bytes());
    }
    let mut map = full.clone();
    let mut sum = 0;
    // Refilling costs the same for all; `nothing` tells how much.
    for _ in 0..=rounds {
        map.clone_from(black_box(&full));
        sum += run(&mut map);
    }
    println!("{sum}");
}
