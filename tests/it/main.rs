//! The integration tests: one binary.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one binary share what they need")]

mod clients;
mod dialects;
mod dialects_facts;
mod dialects_input;
mod dialects_oracle;
mod dialects_reply;
mod dialects_route;
mod dialects_splice;
mod dialects_stream;
mod ends;
mod load;
mod request_path;
mod simulator;
mod support;
mod vectors;

mod store_support;
mod store_traits;
