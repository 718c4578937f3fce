//! See `hpack` in `h2.rs`.
#![cfg_attr(fuzzing, no_main)]

#[path = "../h2.rs"]
mod h2;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| h2::hpack(data, std::time::Instant::now()));

#[cfg(not(fuzzing))]
fn main() {
    h2::hpack(&[], std::time::Instant::now());
}
