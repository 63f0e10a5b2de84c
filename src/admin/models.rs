//! Models: what the catalogue knows of them, and how they stand in an account.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::accounts::known_site;
use super::balances::Status;
use super::body::Named;
use super::problem::Answer;
use super::{AdminState, List, when};
use crate::catalogue::{Bounds, Confidence, FreeQuota, Model, ModelType};
use crate::ledger::{
    AccountId, Amount, Billed, BillingMode, Book, Closure, Fund, ModelCode, Pool, PoolId, Switch, Timestamp, Unit,
};

/// A row of the catalogue.
#[derive(Serialize)]
pub(super) struct ModelView {
    code: ModelCode,
    pool: PoolId,
    #[serde(rename = "type")]
    kind: ModelType,
    unit: Unit,
    free_quota: Option<FreeQuota>,
    validity_days: u32,
    bounds: Option<Bounds>,
    max_units: Option<Amount>,
    currency: String,
    prices: Vec<PriceView>,
    confidence: Confidence,
    bounds_confidence: Confidence,
    source: String,
    bounds_source: String,
}

/// One price tier, in decimal text as it was written.
#[derive(Serialize)]
struct PriceView {
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

pub(super) async fn catalogue(State(state): State<AdminState>) -> Json<List<ModelView>> {
    let rules = state.rules();
    let mut models: Vec<ModelView> = rules.catalogue.models().map(|model| ModelView::from(model.as_ref())).collect();
    models.sort_unstable_by(|a, b| a.code.cmp(&b.code));
    List::whole(models)
}

/// How a model stands in an account: the sums of its grants that have not ended, its switch, what applies to its calls.
#[derive(Serialize)]
pub(super) struct Standing {
    model: ModelCode,
    pool: PoolId,
    unit: Unit,
    granted: Amount,
    held: Amount,
    spent: Amount,
    presumed: Amount,
    available: i64,
    /// When the soonest of its grants ends that can be used now.
    expires: Option<String>,
    /// `no_free_quota`, or that of the best of its grants.
    status: &'static str,
    switch: Switch,
    billing: BillingMode,
    /// The provider itself refused.
    closed: Option<Closure>,
    /// A call used more than its hold, so later ones are held at the most that the model can cost.
    overran: bool,
    billed: Billed,
}

pub(super) async fn of_account(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
) -> Answer<Json<List<Standing>>> {
    let rules = state.rules();
    let book = state.store.book(&account).await?;
    let now = state.store.now();
    let default_on = known_site(&rules, &book.site)?.switch_default_on;
    let mut models: Vec<Standing> = rules
        .catalogue
        .models()
        .filter_map(|model| Some(Standing::of(model, book.pools.get(&model.pool)?, &book, now, default_on)))
        .collect();
    models.sort_unstable_by(|a, b| a.model.cmp(&b.model));
    Ok(List::whole(models))
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
