//! The integration tests: one binary.
#![allow(unreachable_pub, reason = "the modules of one binary share what they need")]

#[cfg(test)]
mod book;
#[cfg(test)]
mod ledger;
