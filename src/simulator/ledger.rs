//! What was charged: the truth that everybody else is measured against.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Calls and what they were charged, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) calls: u64,
    pub(super) charged: u64,
}

impl Line {
    fn add(&mut self, charged: u64) {
        self.calls = self.calls.saturating_add(1);
        self.charged = self.charged.saturating_add(charged);
    }

    fn to_json(self) -> Value {
        json!({"calls": self.calls, "charged": self.charged})
    }
}

/// The whole ledger. It lives behind the simulator's one lock.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    models: BTreeMap<String, Line>,
    modes: BTreeMap<&'static str, Line>,
    refused: BTreeMap<String, u64>,
    prompt: u64,
    answer: u64,
    thinking: u64,
}

/// The parts of one charge, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) prompt: u64,
    pub(super) answer: u64,
    pub(super) thinking: u64,
}

impl Charge {
    /// Everything together.
    pub(super) const fn total(self) -> u64 {
        self.prompt.saturating_add(self.answer).saturating_add(self.thinking)
    }
}

impl Ledger {
    /// Writes down a call that produced something. `mode` is how it was made to go wrong, `none` if not.
    pub(super) fn charge(&mut self, model: &str, mode: &'static str, charge: Charge) {
        self.models.entry(model.to_owned()).or_default().add(charge.total());
        self.modes.entry(mode).or_default().add(charge.total());
        self.prompt = self.prompt.saturating_add(charge.prompt);
        self.answer = self.answer.saturating_add(charge.answer);
        self.thinking = self.thinking.saturating_add(charge.thinking);
    }

    /// Writes down what a call costs beside what was written down of it.
    pub(super) fn more(&mut self, model: &str, charge: Charge) {
        let line = self.models.entry(model.to_owned()).or_default();
        line.charged = line.charged.saturating_add(charge.total());
        self.answer = self.answer.saturating_add(charge.answer);
    }

    /// Writes down a call that was refused and cost nothing.
    pub(super) fn refuse(&mut self, why: &str) {
        let count = self.refused.entry(why.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// The body of `GET /ledger`. `models` is the stable part; what follows it may grow.
    pub(super) fn to_json(&self, requests: u64) -> Value {
        let lines = |of: &mut dyn Iterator<Item = (String, Line)>| -> Map<String, Value> {
            of.map(|(name, line)| (name, line.to_json())).collect()
        };
        let billed_errors =
            self.modes.iter().filter(|(mode, _)| **mode != "none").map(|(mode, line)| ((*mode).to_owned(), *line));
        json!({
            "models": lines(&mut self.models.iter().map(|(code, line)| (code.clone(), *line))),
            "billed_errors": lines(&mut { billed_errors }),
            "refused": self.refused,
            "tokens": {"prompt": self.prompt, "answer": self.answer, "thinking": self.thinking},
            "requests": requests,
        })
    }
}
