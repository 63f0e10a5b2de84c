//! The integration tests: one binary.
#![cfg(test)]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test may stop where something is not as it should be, and the modules of one binary share what they need"
)]

mod admin;
mod apps;
mod benches;
mod book;
mod campaign;
mod campaign_crowd;
mod campaign_kill;
mod campaign_process;
mod campaign_site;
mod campaign_trouble;
mod cli;
mod clients;
mod config;
mod contract;
mod deploy;
mod dialects;
mod dialects_apis;
mod dialects_facts;
mod dialects_frames;
mod dialects_input;
mod dialects_oracle;
mod dialects_reply;
mod dialects_route;
mod dialects_socket;
mod dialects_splice;
mod dialects_stream;
mod dialects_strip;
mod dialects_thinking;
mod dialects_usage;
mod ends;
mod families;
mod faults;
mod fuzz;
mod journal;
mod journal_damage;
mod journal_kill;
mod journal_model;
mod journal_support;
mod ledger;
mod load;
mod mixed;
mod mixed_crowd;
mod notices;
mod operations;
mod privacy;
mod rejections;
mod replicas;
mod replicas_ledger;
mod replicas_rules;
mod request_path;
mod route_fuzz;
mod rules;
mod serve;
mod shared_faults;
mod shared_lost;
mod shared_site;
mod simulator;
mod store_child;
mod store_conformance;
mod store_crowd;
mod store_faults;
mod store_flush;
mod store_kill;
mod store_link;
mod store_model;
mod store_notes;
mod store_recover;
mod store_resources;
mod store_shared;
mod store_support;
mod store_traits;
mod support;
mod support_redis;
mod tidy;
mod transport;
mod vectors;
mod walk;
mod websocket;
