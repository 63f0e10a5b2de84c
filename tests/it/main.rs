//! The integration tests: one binary.

mod store_support;
mod store_traits;
