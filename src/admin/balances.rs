//! Balances: one row a grant, so that sums over rows count nothing twice.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{Named, Params};
use super::problem::{Answer, Problem};
use super::{AdminState, Rules, when};
use crate::ledger::{AccountId, Amount, Book, Fund, GrantId, ModelCode, PoolId, Side, Timestamp, Unit};

/// What a grant is good for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Calls can be made.
    Available,
    /// Nothing is left, even if every call in progress used nothing.
    UsedUp,
    /// It has ended: "No free quota" (C8).
    Expired,
    /// It has not begun.
    NotStarted,
}

impl Status {
    pub(super) fn of(fund: &Fund, now: Timestamp) -> Self {
        if fund.grant.end.is_some_and(|end| end <= now) {
            Self::Expired
        } else if fund.grant.start > now {
            Self::NotStarted
        } else if fund.balance.unspent() <= 0 {
            Self::UsedUp
        } else {
            Self::Available
        }
    }
}

/// The counters of one grant.
#[derive(Serialize, ToSchema)]
pub(super) struct BalanceRow {
    #[schema(value_type = String)]
    account: AccountId,
    /// The model that draws on it: the one that was asked for, else the only one, else the pool's own name.
    model: String,
    #[schema(value_type = String)]
    pool: PoolId,
    #[schema(value_type = u32)]
    pub(super) grant: GrantId,
    #[schema(value_type = String)]
    side: Side,
    #[schema(value_type = String)]
    unit: Unit,
    #[schema(value_type = u64)]
    granted: Amount,
    #[schema(value_type = u64)]
    held: Amount,
    #[schema(value_type = u64)]
    spent: Amount,
    #[schema(value_type = u64)]
    presumed: Amount,
    pub(super) available: i64,
    start: String,
    end: Option<String>,
    status: Status,
}

impl BalanceRow {
    pub(super) fn of(account: &AccountId, model: String, fund: &Fund, now: Timestamp) -> Self {
        let (grant, balance) = (&fund.grant, &fund.balance);
        Self {
            account: account.clone(),
            model,
            pool: grant.pool.clone(),
            grant: grant.id,
            side: grant.side,
            unit: grant.unit,
            granted: balance.granted,
            held: balance.held,
            spent: balance.spent,
            presumed: balance.presumed,
            available: balance.available(),
            start: when::show(grant.start),
            end: grant.end.map(when::show),
            status: Status::of(fund, now),
        }
    }
}

/// What a load client reads.
#[derive(Serialize, ToSchema)]
pub(super) struct Balances {
    balances: Vec<BalanceRow>,
    lease_ms: u64,
}

/// Which balances.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    #[param(value_type = Option<String>)]
    account: Option<AccountId>,
    model: Option<String>,
}

/// Which balances of one account.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichModel {
    model: Option<String>,
}

#[utoipa::path(
    get,
    path = "/balances",
    tag = "balances",
    params(Which),
    responses((status = 200, description = "Done", body = Balances))
)]
pub(super) async fn all(State(state): State<AdminState>, Params(which): Params<Which>) -> Answer<Json<Balances>> {
    let accounts = match which.account {
        Some(account) => vec![account],
        None => {
            let mut accounts = state.store.accounts().await?;
            accounts.sort();
            accounts
        }
    };
    answer(&state, &accounts, which.model.as_deref()).await
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/balances",
    tag = "balances",
    params(("account" = String, Path, description = "The account"), WhichModel),
    responses((status = 200, description = "Done", body = Balances))
)]
pub(super) async fn of_account(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<WhichModel>,
) -> Answer<Json<Balances>> {
    answer(&state, &[account], which.model.as_deref()).await
}

async fn answer(state: &AdminState, accounts: &[AccountId], model: Option<&str>) -> Answer<Json<Balances>> {
    let rules = state.rules();
    let pool = model.map(|code| pool_of(&rules, code)).transpose()?;
    let mut balances = Vec::new();
    for account in accounts {
        let book = state.store.book(account).await?;
        let now = state.store.now();
        let funds = funds(&book).filter(|fund| pool.as_ref().is_none_or(|pool| fund.grant.pool == *pool));
        balances.extend(funds.map(|fund| {
            let name = model.map_or_else(|| model_name(&rules, &fund.grant.pool), str::to_owned);
            BalanceRow::of(account, name, fund, now)
        }));
    }
    Ok(Json(Balances { balances, lease_ms: state.lease_ms }))
}

/// Every grant of a book, by pool.
pub(super) fn funds(book: &Book) -> impl Iterator<Item = &Fund> {
    book.pools.values().flat_map(|pool| &pool.grants)
}

/// The name under which a pool's balance is shown: its only model, else its own.
pub(super) fn model_name(rules: &Rules, pool: &PoolId) -> String {
    match rules.models_of(pool).as_slice() {
        [only] => only.code.to_string(),
        _ => pool.to_string(),
    }
}

/// The pool that a model draws on.
pub(super) fn pool_of(rules: &Rules, code: &str) -> Answer<PoolId> {
    rules.catalogue.model(code).map(|model| model.pool.clone()).ok_or_else(|| unknown_model(code))
}

/// A code that is in no row of the catalogue; it is matched exactly (B2).
pub(super) fn unknown_model(code: &str) -> Problem {
    let detail = format!(
        "The catalogue has no model `{code}`; codes are matched exactly. `gratis model list --catalogue` shows all."
    );
    Problem::unknown("unknown_model", detail)
}

/// The models of a pool by code.
pub(super) fn codes_of(rules: &Rules, pool: &PoolId) -> Vec<ModelCode> {
    rules.models_of(pool).into_iter().map(|model| model.code.clone()).collect()
}
