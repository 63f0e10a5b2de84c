//! The bodies and paths of the admin API: whatever an operator sends, the answer is a change or a problem that says why.
#![no_main]
#![allow(dead_code, reason = "the office has more than is used here")]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/support"]
mod support {
    pub mod memory;
    pub mod models;
    pub mod world {
        pub use super::models::model;
    }
}

#[path = "../../tests/it/admin/office.rs"]
mod office;

#[path = "../../tests/it/fuzz/admin.rs"]
mod target;

fuzz_target!(|input: &[u8]| target::check(input));
