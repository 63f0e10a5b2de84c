//! Models: what the catalogue knows of them, and how they stand in an account.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::accounts::known_site;
use super::balances::Status;
use super::body::{Named, Params};
use super::page::{List, Paged};
use super::problem::Answer;
use super::{AdminState, when};
use crate::catalogue::{Bounds, Confidence, FreeQuota, Model, ModelType};
use crate::ledger::{
    AccountId, Amount, Billed, BillingMode, Book, Closure, Fund, ModelCode, Pool, PoolId, Switch, Timestamp, Unit,
};

/// A row of the catalogue.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub(super) struct ModelView {
    #[schema(value_type = String)]
    code: ModelCode,
    #[schema(value_type = String)]
    pool: PoolId,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: ModelType,
    #[schema(value_type = String)]
    unit: Unit,
    #[schema(value_type = Option<Value>)]
    free_quota: Option<FreeQuota>,
    validity_days: u32,
    #[schema(value_type = Option<Object>)]
    bounds: Option<Bounds>,
    #[schema(value_type = Option<u64>)]
    max_units: Option<Amount>,
    currency: String,
    prices: Vec<PriceView>,
    #[schema(value_type = String)]
    confidence: Confidence,
    #[schema(value_type = String)]
    bounds_confidence: Confidence,
    source: String,
    bounds_source: String,
}

/// One price tier, in decimal text as it was written.
#[derive(Serialize, ToSchema)]
struct PriceView {
    #[schema(value_type = Option<u64>)]
    input_up_to: Option<Amount>,
    rates: std::collections::BTreeMap<String, String>,
}

impl From<&Model> for ModelView {
    fn from(model: &Model) -> Self {
        let price = |price: &crate::catalogue::Price| PriceView {
            input_up_to: price.input_up_to,
            rates: price.rates.iter().cloned().collect(),
        };
        Self {
            code: model.code.clone(),
            pool: model.pool.clone(),
            kind: model.kind,
            unit: model.unit,
            free_quota: model.free_quota,
            validity_days: model.validity_days,
            bounds: model.bounds.clone(),
            max_units: model.max_units,
            currency: model.currency.clone(),
            prices: model.prices.iter().map(price).collect(),
            confidence: model.confidence,
            bounds_confidence: model.bounds_confidence,
            source: model.source.clone(),
            bounds_source: model.bounds_source.clone(),
        }
    }
}

#[utoipa::path(
    get,
    path = "/models",
    tag = "models",
    params(Paged),
    responses((status = 200, description = "Done", body = List<ModelView>))
)]
pub(super) async fn catalogue(
    State(state): State<AdminState>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<ModelView>>> {
    let rules = state.rules();
    let models: Vec<ModelView> = rules.catalogue.models().map(|model| ModelView::from(model.as_ref())).collect();
    Ok(which.page()?.cut(models, |model| model.code.to_string()))
}

/// How a model stands in an account: the sums of its grants that have not ended, its switch, what applies to its calls.
#[derive(Serialize, ToSchema)]
pub(super) struct Standing {
    #[schema(value_type = String)]
    model: ModelCode,
    #[schema(value_type = String)]
    pool: PoolId,
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
    available: i64,
    /// When the soonest of its grants ends that can be used now.
    expires: Option<String>,
    /// `no_free_quota`, or that of the best of its grants.
    #[schema(value_type = String)]
    status: &'static str,
    #[schema(value_type = String)]
    switch: Switch,
    #[schema(value_type = String)]
    billing: BillingMode,
    /// The provider itself refused.
    #[schema(value_type = Option<String>)]
    closed: Option<Closure>,
    /// A call used more than its hold, so later ones are held at the most that the model can cost.
    overran: bool,
    #[schema(value_type = Object)]
    billed: Billed,
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/models",
    tag = "models",
    params(("account" = String, Path, description = "The account"), Paged),
    responses((status = 200, description = "Done", body = List<Standing>))
)]
pub(super) async fn of_account(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<Standing>>> {
    let rules = state.rules();
    let book = state.store.book(&account).await?;
    let now = state.store.now();
    let default_on = known_site(&rules, &book.site)?.switch_default_on;
    let models: Vec<Standing> = rules
        .catalogue
        .models()
        .filter_map(|model| Some(Standing::of(model, book.pools.get(&model.pool)?, &book, now, default_on)))
        .collect();
    Ok(which.page()?.cut(models, |model| model.model.to_string()))
}

impl Standing {
    fn of(model: &Model, pool: &Pool, book: &Book, now: Timestamp, default_on: bool) -> Self {
        let alive: Vec<&Fund> = pool.grants.iter().filter(|fund| Status::of(fund, now) != Status::Expired).collect();
        let sum = |part: fn(&Fund) -> Amount| alive.iter().map(|fund| part(fund)).sum();
        let usable = |fund: &&&Fund| Status::of(fund, now) == Status::Available;
        Self {
            model: model.code.clone(),
            pool: model.pool.clone(),
            unit: model.unit,
            granted: sum(|fund| fund.balance.granted),
            held: sum(|fund| fund.balance.held),
            spent: sum(|fund| fund.balance.spent),
            presumed: sum(|fund| fund.balance.presumed),
            available: alive.iter().map(|fund| fund.balance.available()).sum(),
            expires: alive.iter().filter(usable).filter_map(|fund| fund.grant.end).min().map(when::show),
            status: status(&alive, now),
            switch: pool.switch,
            billing: book.mode(Some(pool), default_on),
            closed: pool.closed,
            overran: pool.overran,
            billed: pool.billed,
        }
    }
}

/// Ended quota shows as none (C8).
fn status(alive: &[&Fund], now: Timestamp) -> &'static str {
    let any = |wanted| alive.iter().any(|fund| Status::of(fund, now) == wanted);
    if alive.is_empty() {
        "no_free_quota"
    } else if any(Status::Available) {
        "available"
    } else if any(Status::NotStarted) {
        "not_started"
    } else {
        "used_up"
    }
}
