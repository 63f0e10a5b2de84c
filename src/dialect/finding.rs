//! What an observer found out about a response, and how far it can be trusted.

mod tally;
mod usage;

pub(super) use tally::{FrameKind, Tally};

use super::error::UpstreamError;
use crate::ledger::Usage;

/// How far the figures of a response can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reading {
    /// The final figure.
    Exact(Usage),
    /// At least this much was used; it never refunds.
    AtLeast(Usage),
    /// No figure.
    #[default]
    None,
}

/// Parts of a usage that are already inside its totals (W 0.9); for statistics, never added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UsageDetails {
    /// Prompt tokens that came from a cache.
    pub cached: Option<u64>,
    /// Output tokens that were thinking.
    pub reasoning: Option<u64>,
}

/// What one of an app's models used (W 3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelUsage {
    /// The model code, as the reply has it.
    pub model: String,
    /// The tokens of all its calls.
    pub usage: Usage,
}

/// What was odd about a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// A usage was not made of whole numbers between 0 and 2^31, or lacked one.
    pub usage_malformed: bool,
    /// A later usage was lower than an earlier one.
    pub usage_decreased: bool,
    /// What was written is less than the text that came can have.
    pub usage_low: bool,
    /// The total was not the sum of input and output; the larger was taken.
    pub total_mismatch: bool,
    /// The content encoding could not be decoded, or inflated more than 100 times.
    pub undecodable: bool,
    /// The usage chunk that the client did not ask for was taken out.
    pub usage_stripped: bool,
}

impl Finding {
    /// What counts of the usage: no less is taken for written than the text that came can have (F-UP-14).
    #[must_use]
    pub fn counted(&self) -> Reading {
        let raised = |usage: Usage| Usage { output: usage.output.max(self.floor), ..usage };
        match self.reading {
            Reading::Exact(usage) => Reading::Exact(raised(usage)),
            Reading::AtLeast(usage) => Reading::AtLeast(raised(usage)),
            Reading::None => Reading::None,
        }
    }
}

/// What is known about a response so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// The usage.
    pub reading: Reading,
    /// The fewest tokens that the text which came can have, where the usage tells apart what was written; otherwise 0.
    pub floor: u64,
    /// Parts of it.
    pub details: UsageDetails,
    /// The same by model, where the reply tells it so: an app's.
    pub models: Vec<ModelUsage>,
    /// The last error that the upstream sent in the body.
    pub error: Option<UpstreamError>,
    /// The whole reply was an error envelope: provably not billed (LEDGER 8).
    pub only_error: bool,
    /// The call goes on as a task with this id, and nothing of it is known yet (W 1.6).
    pub task: Option<String>,
    /// The id of what was made, by which a later call may go on from it: a response, a voice, an app's session.
    pub made: Option<String>,
    /// The JSON was closed, or `[DONE]` was seen, or the stream ended in the proper way.
    pub complete: bool,
    /// What was odd.
    pub flags: Flags,
}
