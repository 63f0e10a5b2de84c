//! The provider's word: the console's figure of what is left, and a pool that the provider closed (C10).

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::{known_site, operate};
use super::balances::{BalanceRow, Status, pool_of};
use super::body::{Body, Named};
use super::figure::{Figure, show};
use super::problem::{Answer, Problem};
use super::{AdminState, Rules, table, when};
use crate::catalogue::Site;
use crate::ledger::{
    AccountId, Amount, Balance, Book, Closure, Decline, Done, EntryKind, Fund, GrantId, Operation, PoolId, Side,
    Timestamp,
};

/// What the console says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConsoleFigure)]
pub(super) struct SyncBody {
    model: String,
    /// A number, or the console's text: `362,917/1,000,000`.
    #[schema(value_type = String)]
    remaining: Figure,
    #[schema(value_type = Option<u64>)]
    total: Option<Amount>,
    /// Whether the figure may raise what is available here.
    #[serde(default)]
    raise: bool,
    /// Which grant, where the model has several that have not ended.
    #[schema(value_type = Option<u32>)]
    grant: Option<GrantId>,
    /// The same, where input and output are counted apart.
    #[schema(value_type = Option<String>)]
    side: Option<Side>,
}

/// What the figure changed.
#[derive(Serialize, ToSchema)]
pub(super) struct Synced {
    /// What was left here less what the console says: above 0, something was used that Gratis did not see.
    drift: i64,
    #[schema(value_type = Object)]
    before: Balance,
    #[serde(flatten)]
    row: BalanceRow,
}

#[utoipa::path(
    post,
    path = "/accounts/{account}/sync",
    tag = "provider",
    params(("account" = String, Path, description = "The account"), ("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    request_body = SyncBody,
    responses((status = 200, description = "Done", body = Synced))
)]
pub(super) async fn put_figure(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(body): Body<SyncBody>,
) -> Answer<Json<Synced>> {
    Ok(Json(put(&state, &account, body).await?))
}

async fn put(state: &AdminState, account: &AccountId, body: SyncBody) -> Answer<Synced> {
    let rules = state.rules();
    let pool = pool_of(&rules, &body.model)?;
    let book = state.store.book(account).await?;
    let before = the_grant(&book, &pool, &body, state.store.now())?;
    check_total(&body, before)?;
    let (grant, remaining) = (before.grant.id, body.remaining.remaining);
    if body.raise && i64::try_from(remaining).is_ok_and(|remaining| remaining > before.balance.unspent()) {
        check_lag(state, known_site(&rules, &book.site)?, &book, &pool).await?;
    }
    let operation = Operation::Sync { pool: pool.clone(), grant, remaining, raise: body.raise };
    let drift = match operate(state.store.as_ref(), account, operation).await {
        Ok(Done::Balance { drift, .. }) => drift,
        Ok(Done::GrantAdded(_) | Done::Changed | Done::Unchanged) => 0,
        Err(problem) => return Err(problem.with("left_here", before.balance.unspent()).with("left_there", remaining)),
    };
    let book = state.store.book(account).await?;
    let after = book.fund(&pool, grant).ok_or(Decline::UnknownGrant)?;
    let row = BalanceRow::of(account, body.model, after, state.store.now());
    Ok(Synced { drift, before: before.balance, row })
}

/// The console may not show yet what the last calls used: a figure raises only once it has had the time (W 0.17).
async fn check_lag(state: &AdminState, site: &Site, book: &Book, pool: &PoolId) -> Answer<()> {
    let now = state.store.now();
    let entries = state.store.entries(&book.account, Some(pool), ENTRIES).await?;
    let of_a_call = |kind: EntryKind| match kind {
        EntryKind::Reserve
        | EntryKind::Settle
        | EntryKind::Release
        | EntryKind::Presume
        | EntryKind::Expire
        | EntryKind::Correct
        | EntryKind::Unknown => true,
        EntryKind::Grant | EntryKind::Sync | EntryKind::Recover => false,
    };
    // Where only calls fill what was read, the newest of them is among it; where none does, none of them is recent.
    let settled = entries.iter().find(|entry| of_a_call(entry.kind)).map(|entry| entry.at);
    let open = book.holds.values().filter(|hold| hold.pool == *pool).map(|hold| hold.since).max();
    let Some(last) = settled.max(open) else { return Ok(()) };
    let shown_from = last.plus(u64::from(site.console_lag_minutes) * 60_000);
    if shown_from <= now {
        return Ok(());
    }
    let detail = format!(
        "The last call of this pool was at {}, and the console may be {} minutes behind, so its figure may not know of it. Read it \
         again after {} without a call, then raise.",
        when::show(last),
        site.console_lag_minutes,
        when::show(shown_from),
    );
    Err(Problem::conflict("console_lags", detail).with("not_before", when::show(shown_from)))
}

/// How many entries of a pool are looked at for the last call.
const ENTRIES: usize = 1_000;

/// Several figures at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConsoleFigures)]
pub(super) struct SeveralBody {
    /// A table as it was copied from the console, or CSV: a line with a model's exact code and a figure each.
    table: String,
    #[serde(default)]
    raise: bool,
}

/// What became of several.
#[derive(Serialize, ToSchema)]
#[schema(as = ConsoleFiguresReport)]
pub(super) struct Report {
    changed: usize,
    refused: usize,
    /// Lines in which no known model and figure were found, by number from 1 on.
    skipped: Vec<usize>,
    results: Vec<Line>,
}

/// One line's result; a refusal says why.
#[derive(Serialize, ToSchema)]
#[schema(as = ConsoleFigureResult)]
struct Line {
    line: usize,
    model: String,
    remaining: u64,
    drift: Option<i64>,
    available: Option<i64>,
    code: Option<String>,
    detail: Option<String>,
}

/// Puts in the figures of a whole table; each line by itself.
#[utoipa::path(post, path = "/accounts/{account}/sync/table", tag = "provider", params(("account" = String, Path)), request_body = SeveralBody, responses((status = 200, description = "Done; each line says what became of it", body = Report)))]
pub(super) async fn put_table(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(body): Body<SeveralBody>,
) -> Answer<Json<Report>> {
    state.store.book(&account).await?;
    let rules = state.rules();
    let (found, skipped) = table::read(&body.table, |code| rules.catalogue.model(code).is_some());
    let mut report = Report { changed: 0, refused: 0, skipped, results: Vec::new() };
    for (line, model, figure) in found {
        let one = SyncBody {
            model: model.clone(),
            remaining: figure,
            total: None,
            raise: body.raise,
            grant: None,
            side: None,
        };
        let remaining = figure.remaining;
        let result = match put(&state, &account, one).await {
            Ok(synced) => {
                report.changed += 1;
                let (drift, available) = (Some(synced.drift), Some(synced.row.available));
                Line { line, model, remaining, drift, available, code: None, detail: None }
            }
            Err(problem) => {
                report.refused += 1;
                let (code, detail) = problem.into_parts();
                Line { line, model, remaining, drift: None, available: None, code: Some(code), detail: Some(detail) }
            }
        };
        report.results.push(result);
    }
    Ok(Json(report))
}

/// The grant that the figure is about: the only one that has not ended, unless it is named.
fn the_grant<'a>(book: &'a Book, pool: &PoolId, body: &SyncBody, now: Timestamp) -> Answer<&'a Fund> {
    let grants = book.pools.get(pool).map(|pool| pool.grants.as_slice()).unwrap_or_default();
    let named = |fund: &&Fund| {
        body.grant.is_none_or(|grant| fund.grant.id == grant) && body.side.is_none_or(|side| fund.grant.side == side)
    };
    let alive = |fund: &&Fund| body.grant.is_some() || Status::of(fund, now) != Status::Expired;
    let found: Vec<&Fund> = grants.iter().filter(named).filter(alive).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] if body.grant.is_some() || body.side.is_some() => Err(Decline::UnknownGrant.into()),
        [] if grants.is_empty() => Err(Problem::conflict(
            "no_grant",
            "The account has no grant of this model, so there is nothing to compare with. Add one first, with what is spent of it.",
        )),
        [] => Err(Problem::conflict(
            "expired",
            "Every grant of this model has expired. Add the new one first, or name the `grant` that is meant.",
        )),
        several => {
            let numbers: Vec<u32> = several.iter().map(|fund| fund.grant.id.0).collect();
            let detail = "The account has several grants of this model; say which one the figure is about, by `grant` or `side`.";
            Err(Problem::conflict("ambiguous_grant", detail).with("grants", numbers))
        }
    }
}

/// The console's total tells whether the same grant is meant at all.
fn check_total(body: &SyncBody, fund: &Fund) -> Answer<()> {
    let totals = [body.total, body.remaining.total];
    let Some(total) = totals.into_iter().flatten().find(|total| *total != fund.balance.granted) else { return Ok(()) };
    let detail = format!(
        "The console says that {} were granted; here it is {}. Change the grant first: `gratis grant set {} {}`.",
        show(total),
        show(fund.balance.granted),
        fund.grant.id.0,
        total
    );
    Err(Problem::conflict("total_differs", detail)
        .with("granted_here", fund.balance.granted)
        .with("granted_there", total))
}

/// What became of a closed pool.
#[derive(Serialize, ToSchema)]
pub(super) struct Reopened {
    #[schema(value_type = String)]
    pool: PoolId,
    #[schema(value_type = Vec<String>)]
    models: Vec<crate::ledger::ModelCode>,
    /// Why it was closed; absent where it was open.
    #[schema(value_type = Option<String>)]
    was_closed: Option<Closure>,
}

#[utoipa::path(
    post,
    path = "/accounts/{account}/pools/{pool}/reopen",
    tag = "provider",
    params(("account" = String, Path, description = "The account"), ("pool" = String, Path, description = "The pool"), ("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    responses((status = 200, description = "Done", body = Reopened))
)]
pub(super) async fn reopen(
    State(state): State<AdminState>,
    Named((account, pool)): Named<(AccountId, PoolId)>,
) -> Answer<Json<Reopened>> {
    let rules: Rules = state.rules();
    let book = state.store.book(&account).await?;
    let was_closed = book.pools.get(&pool).and_then(|pool| pool.closed);
    operate(state.store.as_ref(), &account, Operation::ReopenPool { pool: pool.clone() }).await?;
    Ok(Json(Reopened { models: super::balances::codes_of(&rules, &pool), pool, was_closed }))
}
