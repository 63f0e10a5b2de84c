//! The *free quota only* switches: of one model, of several, of all that are eligible (C7).

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::accounts::{known_site, operate};
use super::balances::{Status, pool_of, unknown_model};
use super::body::{Body, Named};
use super::problem::{Answer, Problem, code_of, sentence_of};
use super::{AdminState, Rules};
use crate::catalogue::Site;
use crate::ledger::{
    AccountId, BillingMode, Book, Command, Decline, Done, ModelCode, Operation, Outcome, PoolId, Switch, Timestamp,
    apply,
};

/// What flips one switch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneBody {
    free_quota_only: bool,
}

/// What became of one switch.
#[derive(Serialize)]
pub(super) struct Flipped {
    model: String,
    pool: PoolId,
    free_quota_only: bool,
    result: Verdict,
    /// What applies to the model's calls now, by the switch and by the account's guard.
    billing: BillingMode,
}

/// What flips several.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeveralBody {
    models: Option<Vec<ModelCode>>,
    #[serde(default)]
    all_eligible: bool,
    free_quota_only: bool,
    /// Say what would become of it, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What became of several.
#[derive(Serialize)]
pub(super) struct Report {
    dry_run: bool,
    changed: usize,
    unchanged: usize,
    refused: usize,
    results: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Changed,
    Unchanged,
    Refused,
}

/// One model's result; a refusal says why.
#[derive(Serialize)]
struct Line {
    model: ModelCode,
    result: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub(super) async fn one(
    State(state): State<AdminState>,
    Named((account, code)): Named<(AccountId, String)>,
    Body(body): Body<OneBody>,
) -> Answer<Json<Flipped>> {
    let rules = state.rules();
    let pool = pool_of(&rules, &code)?;
    let before = state.store.book(&account).await?;
    let site = known_site(&rules, &before.site)?;
    let done = operate(state.store.as_ref(), &account, set_switch(site, &pool, body.free_quota_only)).await?;
    let book = state.store.book(&account).await?;
    Ok(Json(Flipped {
        model: code,
        free_quota_only: body.free_quota_only,
        result: if done == Done::Unchanged { Verdict::Unchanged } else { Verdict::Changed },
        billing: book.mode(book.pools.get(&pool), site.switch_default_on),
        pool,
    }))
}

fn set_switch(site: &Site, pool: &PoolId, on: bool) -> Operation {
    Operation::SetSwitch { pool: pool.clone(), on, rule: site.switch_off, default_on: site.switch_default_on }
}

pub(super) async fn several(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(body): Body<SeveralBody>,
) -> Answer<Json<Report>> {
    let rules = state.rules();
    let mut book = state.store.book(&account).await?;
    let site = known_site(&rules, &book.site)?;
    let now = state.store.now();
    let mut report = Report { dry_run: body.dry_run, changed: 0, unchanged: 0, refused: 0, results: Vec::new() };
    for model in wanted(&rules, &book, now, &body)? {
        let Some(row) = rules.catalogue.model(model.as_str()) else {
            report.add(model.clone(), Err(("unknown_model", unknown_model(model.as_str()).into_detail())));
            continue;
        };
        let operation = set_switch(site, &row.pool, body.free_quota_only);
        // A rehearsal plays the same rules on the copy of the book, so that it cannot differ from the real thing.
        let outcome = if body.dry_run {
            apply(&mut book, now, Command::Operate(operation), &mut Vec::new())
        } else {
            state.store.operate(&account, operation).await?
        };
        report.add(model, verdict(outcome));
    }
    Ok(Json(report))
}

/// The models that are meant, each once, in the order given.
fn wanted(rules: &Rules, book: &Book, now: Timestamp, body: &SeveralBody) -> Answer<Vec<ModelCode>> {
    match (&body.models, body.all_eligible) {
        (Some(models), false) if !models.is_empty() => {
            let mut seen = BTreeSet::new();
            Ok(models.iter().filter(|model| seen.insert(*model)).cloned().collect())
        }
        (None, true) if body.free_quota_only => Ok(eligible(rules, book, now)),
        (None, true) => Err(Problem::invalid(
            "invalid_body",
            "`all_eligible` only turns switches on. To let several models cost money, name each of them in `models`.",
        )),
        (Some(_), _) | (None, false) => Err(Problem::invalid(
            "invalid_body",
            "Give either `models`, a list that is not empty, or \"all_eligible\": true.",
        )),
    }
}

/// Models with free quota that is usable now, whose switch nobody has touched (C7).
fn eligible(rules: &Rules, book: &Book, now: Timestamp) -> Vec<ModelCode> {
    let is_eligible = |pool: &PoolId| {
        book.pools.get(pool).is_some_and(|pool| {
            pool.switch == Switch::Unset && pool.grants.iter().any(|fund| Status::of(fund, now) == Status::Available)
        })
    };
    let mut codes: Vec<ModelCode> =
        rules.catalogue.models().filter(|model| is_eligible(&model.pool)).map(|model| model.code.clone()).collect();
    codes.sort();
    codes
}

fn verdict(outcome: Outcome) -> Result<Verdict, (&'static str, String)> {
    match outcome {
        Outcome::Done(Done::Unchanged) => Ok(Verdict::Unchanged),
        Outcome::Done(Done::Changed | Done::Balance { .. } | Done::GrantAdded(_)) => Ok(Verdict::Changed),
        // A pool that the account has nothing of has no free quota either; the operator asked about a model.
        Outcome::Declined(Decline::UnknownPool) => Err((code_of(&Decline::NoGrant), no_quota().to_owned())),
        Outcome::Declined(decline) => Err((code_of(&decline), sentence_of(&decline).to_owned())),
        Outcome::Admitted(_)
        | Outcome::Refused(_)
        | Outcome::AlreadyResolved(_)
        | Outcome::Resolved(_)
        | Outcome::NotOpen(_)
        | Outcome::Unknown(_)
        | Outcome::Expired { .. }
        | Outcome::Forgotten(_) => Err(("internal", "The ledger gave an answer that makes no sense here.".to_owned())),
    }
}

fn no_quota() -> &'static str {
    "The account has no free quota of this model, so it has no switch."
}

impl Report {
    fn add(&mut self, model: ModelCode, verdict: Result<Verdict, (&'static str, String)>) {
        let line = match verdict {
            Ok(result) => Line { model, result, code: None, detail: None },
            Err((code, detail)) => Line { model, result: Verdict::Refused, code: Some(code), detail: Some(detail) },
        };
        match line.result {
            Verdict::Changed => self.changed += 1,
            Verdict::Unchanged => self.unchanged += 1,
            Verdict::Refused => self.refused += 1,
        }
        self.results.push(line);
    }
}
