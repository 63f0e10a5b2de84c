//! The *free quota only* switches: of one model, of several, of all that are eligible (C7).

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::{known_site, operate};
use super::balances::{Status, pool_of, unknown_model};
use super::body::{Body, Named};
use super::etag::{IfMatch, etag, tagged};
use super::guard::Actor;
use super::problem::{Answer, Problem, code_of, sentence_of};
use super::{AdminState, Rules, when};
use crate::catalogue::Site;
use crate::ledger::{
    AccountId, BillingMode, Book, Command, Decline, Done, Expect, ModelCode, Operation, Outcome, PoolId, Switch,
    Timestamp, apply,
};
use crate::store::Shelf;

/// What flips one switch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Switch)]
pub(super) struct OneBody {
    free_quota_only: bool,
}

/// What became of one switch.
#[derive(Serialize, ToSchema)]
#[schema(as = SwitchFlipped)]
pub(super) struct Flipped {
    model: String,
    #[schema(value_type = String)]
    pool: PoolId,
    free_quota_only: bool,
    result: Verdict,
    /// What applies to the model's calls now, by the switch and by the account's guard.
    #[schema(value_type = String)]
    billing: BillingMode,
}

/// What flips several.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Switches)]
pub(super) struct SeveralBody {
    #[schema(value_type = Option<Vec<String>>)]
    models: Option<Vec<ModelCode>>,
    #[serde(default)]
    all_eligible: bool,
    free_quota_only: bool,
    /// Say what would become of it, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What became of several.
#[derive(Serialize, ToSchema)]
#[schema(as = SwitchReport)]
pub(super) struct Report {
    dry_run: bool,
    changed: usize,
    unchanged: usize,
    refused: usize,
    results: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Changed,
    Unchanged,
    Refused,
}

/// One model's result; a refusal says why.
#[derive(Serialize, ToSchema)]
#[schema(as = SwitchResult)]
struct Line {
    #[schema(value_type = String)]
    model: ModelCode,
    result: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The switch of a model: where it stands, whether it can be moved, and who moved it last.
#[derive(Serialize, ToSchema)]
#[schema(as = SwitchPosition)]
pub(super) struct Position {
    model: String,
    #[schema(value_type = String)]
    pool: PoolId,
    #[schema(value_type = String)]
    switch: Switch,
    /// What applies to the model's calls now, by the switch and by the account's guard.
    #[schema(value_type = String)]
    billing: BillingMode,
    /// Why it cannot be turned to the other side now; absent where it can.
    #[schema(value_type = Option<String>)]
    locked: Option<&'static str>,
    /// Who moved it last, and when; absent where nobody did.
    #[schema(value_type = Option<Object>)]
    moved: Option<serde_json::Value>,
}

impl Position {
    async fn of(state: &AdminState, account: &AccountId, code: &str) -> Answer<Self> {
        let rules = state.rules();
        let pool = pool_of(&rules, code)?;
        let mut book = state.store.book(account).await?;
        let site = known_site(&rules, &book.site)?;
        let switch = book.pools.get(&pool).map(|pool| pool.switch).unwrap_or_default();
        let billing = book.mode(book.pools.get(&pool), site.switch_default_on);
        let on = match switch {
            Switch::On => true,
            Switch::Off => false,
            Switch::Unset => site.switch_default_on,
        };
        // Whether it can be moved is what the rules say to a rehearsal.
        let rehearsed =
            apply(&mut book, state.store.now(), Command::Operate(set_switch(site, &pool, !on)), &mut Vec::new());
        let moved = state.notes.get(Shelf::Switches, &moved_name(account, &pool)).await?;
        Ok(Self {
            model: code.to_owned(),
            pool,
            switch,
            billing,
            locked: verdict(rehearsed).err().map(|(code, _)| code),
            moved: moved.and_then(|moved| serde_json::from_str(&moved).ok()),
        })
    }

    fn tag(&self) -> String {
        etag(&(&self.pool, self.switch, &self.moved))
    }
}

fn moved_name(account: &AccountId, pool: &PoolId) -> String {
    format!("{account}/{pool}")
}

/// Notes who moved a switch, and when.
async fn note(state: &AdminState, account: &AccountId, pool: &PoolId, on: bool, actor: &Actor) -> Answer<()> {
    let moved = serde_json::json!({ "free_quota_only": on, "at": when::show(state.store.now()), "by": actor });
    Ok(state.notes.put(Shelf::Switches, vec![(moved_name(account, pool), moved.to_string())]).await?)
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/models/{model}/switch",
    tag = "switches",
    params(("account" = String, Path, description = "The account"), ("model" = String, Path, description = "The model's exact code")),
    responses((status = 200, description = "Done", body = Position))
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    Named((account, code)): Named<(AccountId, String)>,
) -> Answer<Response> {
    let position = Position::of(&state, &account, &code).await?;
    Ok(tagged(&position.tag(), position))
}

#[utoipa::path(
    put,
    path = "/accounts/{account}/models/{model}/switch",
    tag = "switches",
    params(
        ("account" = String, Path, description = "The account"),
        ("model" = String, Path, description = "The model's exact code"),
        ("if-match" = Option<String>, Header, description = "Change only what still has this ETag")
    ),
    request_body = OneBody,
    responses((status = 200, description = "Done", body = Flipped))
)]
pub(super) async fn one(
    State(state): State<AdminState>,
    Named((account, code)): Named<(AccountId, String)>,
    Extension(actor): Extension<Actor>,
    wanted: IfMatch,
    Body(body): Body<OneBody>,
) -> Answer<Response> {
    let rules = state.rules();
    let before = Position::of(&state, &account, &code).await?;
    wanted.check(&before.tag())?;
    let book = state.store.book(&account).await?;
    let site = known_site(&rules, &book.site)?;
    let expect = Expect::Switch { pool: before.pool.clone(), switch: before.switch };
    let operation = wanted.guard(expect, set_switch(site, &before.pool, body.free_quota_only));
    let done = operate(state.store.as_ref(), &account, operation).await?;
    if done != Done::Unchanged {
        note(&state, &account, &before.pool, body.free_quota_only, &actor).await?;
    }
    let now = Position::of(&state, &account, &code).await?;
    let flipped = Flipped {
        model: code,
        pool: now.pool.clone(),
        free_quota_only: body.free_quota_only,
        result: if done == Done::Unchanged { Verdict::Unchanged } else { Verdict::Changed },
        billing: now.billing,
    };
    Ok(tagged(&now.tag(), flipped))
}

fn set_switch(site: &Site, pool: &PoolId, on: bool) -> Operation {
    Operation::SetSwitch { pool: pool.clone(), on, rule: site.switch_off, default_on: site.switch_default_on }
}

#[utoipa::path(
    post,
    path = "/accounts/{account}/switches",
    tag = "switches",
    params(("account" = String, Path, description = "The account"), ("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    request_body = SeveralBody,
    responses((status = 200, description = "Done", body = Report))
)]
pub(super) async fn several(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Extension(actor): Extension<Actor>,
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
            let outcome = state.store.operate(&account, operation).await?;
            if matches!(outcome, Outcome::Done(Done::Changed)) {
                note(&state, &account, &row.pool, body.free_quota_only, &actor).await?;
            }
            outcome
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
