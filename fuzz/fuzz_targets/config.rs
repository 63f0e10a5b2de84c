//! The configuration, in a file and in variables: whatever is written, it is taken or every mistake is shown; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz/config.rs"]
mod target;

fuzz_target!(|input: &str| target::check(input));
