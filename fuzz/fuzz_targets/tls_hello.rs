//! See `hello` in `hello.rs`.
#![cfg_attr(fuzzing, no_main)]

#[path = "../hello.rs"]
mod hello;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hello::hello(data));

#[cfg(not(fuzzing))]
fn main() {
    hello::hello(&[]);
}
