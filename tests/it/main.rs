//! The integration tests: one binary.
#![cfg(test)]

mod dialects;
mod dialects_facts;
mod dialects_input;
mod dialects_oracle;
mod dialects_reply;
mod dialects_route;
mod dialects_splice;
mod dialects_stream;
