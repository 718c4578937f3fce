//! See `server_conn` in `h1.rs`.
#![cfg_attr(fuzzing, no_main)]

#[path = "../h1.rs"]
mod h1;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| h1::server_conn(data));

#[cfg(not(fuzzing))]
fn main() {
    h1::server_conn(&[]);
}
