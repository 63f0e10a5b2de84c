//! Counts and times of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::call::{Ending, Outcome};

/// The most kinds of errors that are told apart.
const MAX_KINDS: usize = 64;
/// What is counted when there are more.
const OTHER: &str = "other errors";

/// The longest time that is told apart, in microseconds: one hour. What takes longer counts as this.
const LONGEST: u64 = 3_600_000_000;

/// What was counted of one target.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) begun: u64,
    pub(super) completed: u64,
    pub(super) aborted: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// Latency of completed calls, in microseconds.
    pub(super) latency: Histogram<u64>,
}

/// What was counted so far.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) begun: u64,
    pub(super) streamed: u64,
    pub(super) completed: u64,
    pub(super) aborted: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// The sum of `total_tokens` that replies reported.
    pub(super) reported: u64,
    /// Latency of completed calls and time to the first chunk of streams, in microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) first_chunk: Histogram<u64>,
    /// From the first call to the end of the last.
    pub(super) elapsed: Duration,
    /// One for each target.
    pub(super) targets: Vec<Share>,
}

impl Share {
    fn new() -> Option<Self> {
        let latency = Histogram::new_with_max(LONGEST, 3).ok()?;
        Some(Self { begun: 0, completed: 0, aborted: 0, errors: BTreeMap::new(), latency })
    }

    fn end(&mut self, outcome: &Outcome) {
        match &outcome.ending {
            Ending::Completed(_) => {
                self.completed = self.completed.saturating_add(1);
                self.latency.saturating_record(micros(outcome.latency));
            }
            Ending::Aborted => self.aborted = self.aborted.saturating_add(1),
            Ending::Failed(kind) => count(&mut self.errors, kind),
        }
    }
}

/// Counts an error by its kind; kinds beyond [`MAX_KINDS`] share one.
fn count(errors: &mut BTreeMap<String, u64>, kind: &str) {
    let full = errors.len() >= MAX_KINDS && !errors.contains_key(kind);
    let count = errors.entry(if full { OTHER } else { kind }.to_owned()).or_default();
    *count = count.saturating_add(1);
}

impl Tally {
    /// Nothing yet of so many targets. `None` never happens: three digits are a precision that the histogram has.
    pub(super) fn new(targets: usize) -> Option<Self> {
        Some(Self {
            begun: 0,
            streamed: 0,
            completed: 0,
            aborted: 0,
            errors: BTreeMap::new(),
            reported: 0,
            // Without a maximum of its own the histogram would saturate at two microseconds.
            latency: Histogram::new_with_max(LONGEST, 3).ok()?,
            first_chunk: Histogram::new_with_max(LONGEST, 3).ok()?,
            elapsed: Duration::ZERO,
            targets: (0..targets).map(|_| Share::new()).collect::<Option<_>>()?,
        })
    }

    pub(super) fn begin(&mut self, target: usize, streamed: bool) {
        self.begun = self.begun.saturating_add(1);
        if let Some(share) = self.targets.get_mut(target) {
            share.begun = share.begun.saturating_add(1);
        }
        if streamed {
            self.streamed = self.streamed.saturating_add(1);
        }
    }

    pub(super) fn end(&mut self, target: usize, outcome: Outcome) {
        if let Some(share) = self.targets.get_mut(target) {
            share.end(&outcome);
        }
        if let Some(time) = outcome.first_chunk {
            self.first_chunk.saturating_record(micros(time));
        }
        match outcome.ending {
            Ending::Completed(tokens) => {
                self.completed = self.completed.saturating_add(1);
                self.reported = self.reported.saturating_add(tokens.unwrap_or(0));
                self.latency.saturating_record(micros(outcome.latency));
            }
            Ending::Aborted => self.aborted = self.aborted.saturating_add(1),
            Ending::Failed(kind) => count(&mut self.errors, &kind),
        }
    }

    /// Calls that failed.
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Calls in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.completed + self.aborted + self.failed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
