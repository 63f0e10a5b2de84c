//! The observer of streams and replies: never panics, loses no byte, and no cut changes what it finds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/dialects_oracle.rs"]
mod oracle;

#[path = "../../tests/it/fuzz/observer.rs"]
mod target;

fuzz_target!(|input: (u8, &[u8], &[u8])| target::check(input));
