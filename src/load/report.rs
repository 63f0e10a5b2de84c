//! What a run shows at its end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Settings;
use super::tally::{Share, Tally};
use super::verdict;
use super::watch::Reading;

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them took at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    #[allow(clippy::cast_precision_loss, reason = "microseconds of a run stay far below 2^52")]
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            p50: ms(histogram.value_at_quantile(0.5)),
            p90: ms(histogram.value_at_quantile(0.9)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
        }
    }
}

/// One model's side of the verdict, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelVerdict {
    /// The code; `all` for the sums.
    pub model: String,
    /// Calls that the simulator charged.
    pub calls: u64,
    /// Charged by the simulator, in all its life.
    pub charged: u64,
    /// Of these, before this run.
    pub charged_before: u64,
    /// Granted.
    pub granted: u64,
    /// Held when waiting ended.
    pub held: u64,
    /// Spent, by the proxy's ledger.
    pub spent: u64,
    /// Presumed spent, by the proxy's ledger.
    pub presumed: u64,
    /// max(0, charged - granted).
    pub overspent: u64,
    /// max(0, charged - spent - presumed) + max(0, spent - charged).
    pub drift: u64,
    /// Still held one lease after the last call ended.
    pub phantom: u64,
    /// (spent + presumed) / granted.
    pub used_share: f64,
}

/// Both ledgers compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// One line a model.
    pub models: Vec<ModelVerdict>,
    /// The sums of the lines.
    pub total: ModelVerdict,
}

/// One target's part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TargetReport {
    /// Where the calls went, as it was named.
    pub target: String,
    /// Calls begun.
    pub requests: u64,
    /// Calls whose whole reply came.
    pub completed: u64,
    /// Calls whose client went away as it was told.
    pub aborted: u64,
    /// All other calls, by what went wrong.
    pub errors: BTreeMap<String, u64>,
    /// Of completed calls, from the planned instant to the end.
    pub latency_ms: Percentiles,
}

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Calls begun: completed, aborted and errors together.
    pub requests: u64,
    /// Of these, streamed.
    pub streamed: u64,
    /// Calls whose whole reply came.
    pub completed: u64,
    /// Calls whose client went away as it was told.
    pub aborted: u64,
    /// All other calls: `403 CODE`, `connection refused` and so on, with their number.
    pub errors: BTreeMap<String, u64>,
    /// Sum of `total_tokens` that complete replies reported to the client.
    pub reported_tokens: u64,
    /// Seconds from the first call to the end of the last.
    pub seconds: f64,
    /// Completed calls a second.
    pub completed_per_second: f64,
    /// Of completed calls, from the planned instant to the end.
    pub latency_ms: Percentiles,
    /// Of streams, from the planned instant to the first piece of the body.
    pub first_chunk_ms: Percentiles,
    /// Each target by itself.
    pub targets: Vec<TargetReport>,
    /// Both ledgers compared; absent without simulator and admin API, or when they could not be read.
    pub verdict: Option<Verdict>,
    /// Why there is no verdict although one was asked for.
    pub verdict_problem: Option<String>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing speaks against the proxy: overspent, drift and phantom are all 0, and were read if asked for.
    #[must_use]
    pub fn exit_ok(&self) -> bool {
        let clean =
            |verdict: &Verdict| [verdict.total.overspent, verdict.total.drift, verdict.total.phantom] == [0, 0, 0];
        self.verdict_problem.is_none() && self.verdict.as_ref().is_none_or(clean)
    }

    /// The table's lines, in order: what, how much.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![
            ("requests".to_owned(), format!("{} ({} streamed)", self.requests, self.streamed)),
            ("completed".to_owned(), format!("{} ({:.1}/s)", self.completed, self.completed_per_second)),
            ("aborted by the client".to_owned(), self.aborted.to_string()),
        ];
        rows.extend(self.errors.iter().map(|(kind, count)| (format!("error: {kind}"), count.to_string())));
        rows.push(("time".to_owned(), format!("{:.1} s", self.seconds)));
        for (name, times) in [("latency", &self.latency_ms), ("first chunk", &self.first_chunk_ms)] {
            let shown = [("p50", times.p50), ("p90", times.p90), ("p99", times.p99), ("max", times.max)];
            rows.extend(shown.map(|(part, ms)| (format!("{name} {part}"), format!("{ms:.1} ms"))));
        }
        if self.targets.len() > 1 {
            rows.extend(self.targets.iter().map(TargetReport::row));
        }
        if let Some(verdict) = &self.verdict {
            rows.extend(verdict.total.rows());
        }
        if let Some(problem) = &self.verdict_problem {
            rows.push(("no verdict".to_owned(), problem.clone()));
        }
        rows.extend(self.notes.iter().map(|note| ("note".to_owned(), note.clone())));
        rows
    }
}

impl TargetReport {
    /// The table's line of one target.
    fn row(&self) -> (String, String) {
        let mut text = format!("{} of {} completed, p99 {:.1} ms", self.completed, self.requests, self.latency_ms.p99);
        for (kind, count) in &self.errors {
            text.push_str(&format!(", {count} x {kind}"));
        }
        (self.target.clone(), text)
    }
}

impl ModelVerdict {
    /// The table's lines of one model, or of the sums.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String)> {
        let tokens = [
            ("tokens charged", self.charged),
            ("tokens granted", self.granted),
            ("tokens spent", self.spent),
            ("tokens presumed", self.presumed),
            ("tokens held", self.held),
            ("overspent tokens", self.overspent),
            ("ledger drift", self.drift),
            ("phantom held tokens", self.phantom),
        ];
        let mut rows: Vec<(String, String)> =
            tokens.into_iter().map(|(name, count)| (name.to_owned(), count.to_string())).collect();
        rows.push(("grant spent or presumed".to_owned(), format!("{:.2} %", self.used_share * 100.0)));
        rows
    }
}

fn target((target, share): (&http::Uri, &Share)) -> TargetReport {
    TargetReport {
        target: target.to_string(),
        requests: share.begun,
        completed: share.completed,
        aborted: share.aborted,
        errors: share.errors.clone(),
        latency_ms: Percentiles::of(&share.latency),
    }
}

/// Puts the report together.
pub(super) fn make(
    settings: &Settings,
    tally: &Tally,
    before: Option<Reading>,
    after: Result<Option<Reading>, String>,
) -> Report {
    let seconds = tally.elapsed.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 calls")]
    let completed = tally.completed as f64;
    let mut report = Report {
        requests: tally.begun,
        streamed: tally.streamed,
        completed: tally.completed,
        aborted: tally.aborted,
        errors: tally.errors.clone(),
        reported_tokens: tally.reported,
        seconds,
        completed_per_second: if seconds > 0.0 { completed / seconds } else { 0.0 },
        latency_ms: Percentiles::of(&tally.latency),
        first_chunk_ms: Percentiles::of(&tally.first_chunk),
        targets: settings.targets.iter().zip(&tally.targets).map(target).collect(),
        ..Report::default()
    };
    match (before, after) {
        (Some(before), Ok(Some(after))) => {
            let verdict = verdict::judge(&settings.models, &before, &after);
            report.notes = verdict::notes(&before, &verdict);
            report.verdict = Some(verdict);
        }
        (_, Err(problem)) => report.verdict_problem = Some(problem),
        (_, Ok(_)) => (),
    }
    report
}
