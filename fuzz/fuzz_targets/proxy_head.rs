//! See `head` in `proxy.rs`.
#![cfg_attr(fuzzing, no_main)]

#[path = "../proxy.rs"]
mod proxy;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::head(data));

#[cfg(not(fuzzing))]
fn main() {
    proxy::head(&[]);
}
