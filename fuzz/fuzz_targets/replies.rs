//! What the shared store answers: whatever comes, it is a value of the ledger or an error, never a guess and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gratis::store::redis::fuzzing::read(bytes));
