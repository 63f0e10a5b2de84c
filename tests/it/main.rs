//! The integration tests: one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test may stop where something is not as it should be"
)]

mod store_child;
mod store_faults;
mod store_flush;
mod store_kill;
mod store_model;
mod store_recover;
mod store_support;
mod store_traits;
