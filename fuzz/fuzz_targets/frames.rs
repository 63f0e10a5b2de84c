//! WebSocket frames and the messages in them: never panics, no cut changes what is read, and no byte is lost or read twice.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz/frames.rs"]
mod target;

fuzz_target!(|input: (bool, &[u8], &[u8])| target::check(input));
