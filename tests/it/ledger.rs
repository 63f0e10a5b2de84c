//! The rules of the ledger: transcripts, properties over random commands, and every interleaving of a small world.

mod bugs;
mod invariants;
mod mirror;
mod properties;
mod state;
mod step;
pub mod transcripts;
mod walk;
mod words;
mod world;
