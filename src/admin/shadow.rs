//! What shadow mode counted: calls that went on although they would have been refused, and what they used (E6).

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Named, Params};
use super::page::{List, Paged};
use super::problem::Answer;
use super::{AdminState, when};
use crate::ledger::{AccountId, Timestamp};
use crate::store::Shelf;

/// The most lines that are looked at.
const LINES_MAX: usize = 100_000;

#[derive(Deserialize)]
struct Count {
    calls: u64,
    input: u64,
    output: u64,
    first: u64,
    last: u64,
}

/// What would have been refused of one model, for one reason.
#[derive(Serialize, ToSchema)]
pub(super) struct ShadowLine {
    model: String,
    /// Why it would have been refused.
    reason: String,
    calls: u64,
    /// What the calls used, as far as their replies said.
    input: u64,
    output: u64,
    /// The list prices of the first tier, by kind and as they are written, for a million tokens; without them nobody knows the cost.
    #[schema(value_type = Object)]
    prices: std::collections::BTreeMap<String, String>,
    currency: String,
    first: String,
    last: String,
}

#[utoipa::path(get, path = "/accounts/{account}/shadow", tag = "shadow", params(("account" = String, Path), Paged), responses((status = 200, description = "Done", body = List<ShadowLine>)))]
pub(super) async fn report(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<ShadowLine>>> {
    state.store.book(&account).await?;
    let rules = state.rules();
    let prefix = format!("{account}/");
    let kept = state.notes.list(Shelf::Shadow, &prefix, None, LINES_MAX).await?;
    let line = |(name, value): (String, String)| {
        let (reason, model) = name.strip_prefix(&prefix)?.split_once('/')?;
        let count: Count = serde_json::from_str(&value).ok()?;
        let row = rules.catalogue.model(model);
        let prices = row.and_then(|row| row.prices.first()).map(|price| price.rates.iter().cloned().collect());
        Some(ShadowLine {
            model: model.to_owned(),
            reason: reason.to_owned(),
            calls: count.calls,
            input: count.input,
            output: count.output,
            prices: prices.unwrap_or_default(),
            currency: row.map(|row| row.currency.clone()).unwrap_or_default(),
            first: when::show(Timestamp(count.first)),
            last: when::show(Timestamp(count.last)),
        })
    };
    let lines = kept.into_iter().filter_map(line).collect();
    Ok(which.page()?.cut(lines, |line| format!("{}/{}", line.model, line.reason)))
}
