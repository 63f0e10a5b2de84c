//! What a step is expected to come to.

use gratis::ledger::{BillingMode, Decline, Done, GrantId, HoldState, Outcome, Refusal, Resolved, Timestamp, Usage};
use serde::de::DeserializeOwned;

use super::words::Words;

/// What stands behind the arrow.
pub enum Expected {
    Admitted(AdmittedAs),
    Refused(Refusal),
    Already(HoldState),
    Resolved(Resolved),
    NotOpen(HoldState),
    Unknown(Resolved),
    Expired(usize, bool),
    Forgot(usize),
    Grant(GrantId),
    /// A balance was changed, with this drift.
    Drift(i64),
    Changed,
    Unchanged,
    Declined(Decline),
}

/// An admission: what is not named is not checked, but for `may-cost`.
pub struct AdmittedAs {
    bounds: Usage,
    mode: Option<BillingMode>,
    may_cost: bool,
    available: Option<i64>,
    expires: Option<Timestamp>,
    deadline: Option<Timestamp>,
}

impl Expected {
    pub fn parse(words: &mut Words<'_>) -> Self {
        match words.word() {
            "admitted" => Self::Admitted(AdmittedAs::parse(words)),
            "refused" => Self::Refused(named(words)),
            "declined" => Self::Declined(named(words)),
            "already" => Self::Already(named(words)),
            "not-open" => Self::NotOpen(named(words)),
            "unknown" => {
                let state = words.word();
                Self::Unknown(resolved(state, words))
            }
            "expired" => Self::Expired(words.number(), words.maybe() == Some("more")),
            "forgot" => Self::Forgot(words.number()),
            "grant" => Self::Grant(GrantId(words.number())),
            "drift" => Self::Drift(words.number()),
            "changed" => Self::Changed,
            "unchanged" => Self::Unchanged,
            state @ ("settled" | "released" | "presumed" | "corrected") => Self::Resolved(resolved(state, words)),
            other => words.wrong(&format!("{other:?} is no outcome")),
        }
    }

    pub fn check(&self, outcome: &Outcome) -> Result<(), String> {
        let same = match (self, outcome) {
            (Self::Admitted(expected), Outcome::Admitted(found)) => {
                expected.bounds == Usage { input: found.input, output: found.output }
                    && expected.mode.is_none_or(|mode| mode == found.mode)
                    && expected.may_cost == found.may_cost
                    && expected.available.is_none_or(|available| available == found.available)
                    && (expected.expires.is_none() || expected.expires == found.expires)
                    && expected.deadline.is_none_or(|deadline| deadline == found.deadline)
            }
            (Self::Refused(expected), Outcome::Refused(found, _)) => expected == found,
            (Self::Already(expected), Outcome::AlreadyResolved(found))
            | (Self::NotOpen(expected), Outcome::NotOpen(found)) => expected == found,
            (Self::Resolved(expected), Outcome::Resolved(found))
            | (Self::Unknown(expected), Outcome::Unknown(found)) => expected == found,
            (Self::Expired(expected, rest), Outcome::Expired { posted, more }) => (expected, rest) == (posted, more),
            (Self::Forgot(expected), Outcome::Forgotten(found)) => expected == found,
            (Self::Grant(expected), Outcome::Done(Done::GrantAdded(found))) => expected == found,
            (Self::Drift(expected), Outcome::Done(Done::Balance { drift, .. })) => expected == drift,
            (Self::Changed, Outcome::Done(Done::Changed)) | (Self::Unchanged, Outcome::Done(Done::Unchanged)) => true,
            (Self::Declined(expected), Outcome::Declined(found)) => expected == found,
            _ => false,
        };
        if same { Ok(()) } else { Err(format!("found {outcome:?}")) }
    }
}

impl AdmittedAs {
    fn parse(words: &mut Words<'_>) -> Self {
        let bounds = words.usage();
        let mut as_written =
            Self { bounds, mode: None, may_cost: false, available: None, expires: None, deadline: None };
        while let Some(word) = words.maybe() {
            match word {
                "free" => as_written.mode = Some(BillingMode::FreeQuotaOnly),
                "paid" => as_written.mode = Some(BillingMode::PayAsYouGo),
                "may-cost" => as_written.may_cost = true,
                "available" => as_written.available = Some(words.number()),
                "expires" => as_written.expires = Some(words.time()),
                "deadline" => as_written.deadline = Some(words.time()),
                other => words.wrong(&format!("{other:?} says nothing about an admission")),
            }
        }
        as_written
    }
}

/// `settled 90+210`, with `billed`, `over` and `overspent` where they are not zero.
fn resolved(state: &str, words: &mut Words<'_>) -> Resolved {
    let state = name(state).unwrap_or_else(|| words.wrong("no such state"));
    let covered = words.usage();
    let mut resolved = Resolved { state, covered, billed: Usage::default(), over_hold: 0, overspent: 0 };
    while let Some(word) = words.maybe() {
        match word {
            "billed" => resolved.billed = words.usage(),
            "over" => resolved.over_hold = words.number(),
            "overspent" => resolved.overspent = words.number(),
            other => words.wrong(&format!("{other:?} says nothing about a resolution")),
        }
    }
    resolved
}

/// A variant by its name in lower case with dashes.
pub fn named<T: DeserializeOwned>(words: &mut Words<'_>) -> T {
    let word = words.word();
    name(word).unwrap_or_else(|| words.wrong(&format!("{word:?} is no such name")))
}

fn name<T: DeserializeOwned>(word: &str) -> Option<T> {
    let quoted = |word: &str| serde_json::from_value(serde_json::Value::String(word.to_owned())).ok();
    quoted(word).or_else(|| quoted(&word.replace('-', "_")))
}
