//! The tables of routes: what is found is exactly a row, and what goes up cannot be read as another path.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz/routes.rs"]
mod target;

fuzz_target!(|input: &str| target::check(input));
