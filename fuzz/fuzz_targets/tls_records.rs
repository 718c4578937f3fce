//! See `records` in `records.rs`.
#![cfg_attr(fuzzing, no_main)]

#[path = "../records.rs"]
mod records;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| records::records(data));

#[cfg(not(fuzzing))]
fn main() {
    records::records(&[]);
}
