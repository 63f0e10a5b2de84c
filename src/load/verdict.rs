//! The arithmetic of the verdict: pure, so that it can be checked by hand.

use std::collections::BTreeSet;

use super::report::{ModelVerdict, Verdict};
use super::watch::Reading;

/// Compares both ledgers for every model that was asked for, and for every other one that was charged.
pub(super) fn judge(asked: &[String], before: &Reading, after: &Reading) -> Verdict {
    let charged = after.charges.models.iter().filter(|(_, line)| line.charged > 0).map(|(code, _)| code);
    let codes: BTreeSet<&String> = asked.iter().chain(charged).collect();
    let models: Vec<ModelVerdict> = codes.into_iter().map(|code| model(code, before, after)).collect();
    let total = total(&models);
    Verdict { models, total }
}

fn model(code: &str, before: &Reading, after: &Reading) -> ModelVerdict {
    let mut row = ModelVerdict { model: code.to_owned(), ..ModelVerdict::default() };
    for balance in after.balances.balances.iter().filter(|balance| balance.is_of(code)) {
        row.granted = row.granted.saturating_add(balance.granted);
        row.held = row.held.saturating_add(balance.held);
        row.spent = row.spent.saturating_add(balance.spent);
        row.presumed = row.presumed.saturating_add(balance.presumed);
    }
    let line = after.charges.models.get(code).copied().unwrap_or_default();
    row.calls = line.calls;
    row.charged = line.charged;
    row.charged_before = before.charges.models.get(code).copied().unwrap_or_default().charged;
    row.overspent = row.charged.saturating_sub(row.granted);
    let unseen = row.charged.saturating_sub(row.spent.saturating_add(row.presumed));
    row.drift = unseen.saturating_add(row.spent.saturating_sub(row.charged));
    row.phantom = row.held;
    row.used_share = share(row.spent.saturating_add(row.presumed), row.granted);
    row
}

/// The sums. Overspent, drift and phantom of one model never cancel those of another.
fn total(models: &[ModelVerdict]) -> ModelVerdict {
    let mut all = ModelVerdict { model: "all".to_owned(), ..ModelVerdict::default() };
    for row in models {
        for (sum, value) in [
            (&mut all.calls, row.calls),
            (&mut all.charged, row.charged),
            (&mut all.charged_before, row.charged_before),
            (&mut all.granted, row.granted),
            (&mut all.held, row.held),
            (&mut all.spent, row.spent),
            (&mut all.presumed, row.presumed),
            (&mut all.overspent, row.overspent),
            (&mut all.drift, row.drift),
            (&mut all.phantom, row.phantom),
        ] {
            *sum = sum.saturating_add(value);
        }
    }
    all.used_share = share(all.spent.saturating_add(all.presumed), all.granted);
    all
}

#[allow(clippy::cast_precision_loss, reason = "a share is shown with two digits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What the reader of a verdict should know.
pub(super) fn notes(before: &Reading, verdict: &Verdict) -> Vec<String> {
    let untouched = |code: &str| {
        let rows = before.balances.balances.iter().filter(|row| row.is_of(code));
        rows.map(|row| row.spent + row.presumed + row.held).sum::<u64>() == 0
    };
    let mut notes = Vec::new();
    for row in &verdict.models {
        if row.charged_before > 0 && untouched(&row.model) {
            notes.push(format!(
                "{}: the simulator had charged {} tokens before this run while nothing was spent of the grant; if that \
                 was not a loss, reset the simulator first (POST /reset)",
                row.model, row.charged_before
            ));
        }
        if row.granted == 0 {
            notes.push(format!("{}: the admin API knows no grant in tokens of it", row.model));
        }
    }
    notes
}
