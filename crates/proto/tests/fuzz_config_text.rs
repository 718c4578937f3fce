//! A second of the fuzz target `config_text` on the stable toolchain: its seeds, with mutations from a fixed start.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A test as a whole.

#[path = "../../../fuzz/fuzz_targets/config_text.rs"]
mod config_text;

use std::path::Path;

/// A small generator of its own, so that a failure repeats: xorshift64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/config_text");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn mutate(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    const PIECES: [&str; 14] =
        ["\n", "  ", "- ", ": ", "{", "}", "[", "]", "\"", "'", "*n", "&n ", "~", "999999999999999999999"];
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        match chance.below(4) {
            0 => drop(bytes.drain(at..(at + chance.below(12)).min(bytes.len()))),
            1 => drop(bytes.splice(at..at, PIECES[chance.below(PIECES.len())].bytes())),
            2 => bytes[at] = (chance.below(96) + 32) as u8,
            _ => {
                let from = chance.below(bytes.len());
                let piece = bytes[from..(from + chance.below(40)).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn the_seeds_and_mutations_of_them_break_nothing() {
    let (seeds, mut chance) = (seeds(), Chance(0x9e37_79b9_7f4a_7c15));
    for seed in &seeds {
        config_text::run(seed);
    }
    for _ in 0..300 {
        let seed = &seeds[chance.below(seeds.len())];
        config_text::run(&mutate(seed, &mut chance));
    }
}

#[test]
fn the_seeds_are_accepted() {
    use nuncio_proto::text::Format;
    use nuncio_proto::{LoadOptions, Source, load};
    for seed in seeds() {
        let format = if seed[0] & 1 == 0 { Format::Yaml } else { Format::Json };
        let source = Source { name: "seed", bytes: &seed[1..], format };
        load(&[source], LoadOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
    }
}
