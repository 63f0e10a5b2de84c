//! The integration tests: one binary.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one binary share what they need")]

mod config;
mod tidy;
