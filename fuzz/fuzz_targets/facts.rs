//! The reader of requests: never panics, never disagrees with a full parse, and a splice changes only what it was told to.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz/facts.rs"]
mod target;

fuzz_target!(|input: (u8, &[u8])| target::check(input));
