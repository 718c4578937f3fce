//! See `hpack_differential` in `h2.rs`.
#![cfg_attr(fuzzing, no_main)]

#[path = "../h2.rs"]
mod h2;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| h2::hpack_differential(data, std::time::Instant::now()));

#[cfg(not(fuzzing))]
fn main() {
    h2::hpack_differential(&[], std::time::Instant::now());
}
