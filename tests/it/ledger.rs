//! The rules of the ledger: transcripts, properties over random commands, and every interleaving of a small world.

mod bugs;
mod instants;
mod invariants;
mod mirror;
mod properties;
mod state;
mod step;
pub mod transcripts;
mod walk;
mod world;
