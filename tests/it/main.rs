//! The integration tests: one binary.
#![cfg(test)]

mod load;
mod simulator;
