//! Holds that are not final: calls in progress, and what was posted because nobody knew.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{Named, Params};
use super::page::{List, Page};
use super::problem::Answer;
use super::{AdminState, when};
use crate::ledger::{AccountId, Amount, BillingMode, HoldState, KeyId, Line, ModelCode, PoolId};

/// A hold as an operator sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Hold)]
pub(super) struct HoldView {
    id: String,
    #[schema(value_type = String)]
    model: ModelCode,
    #[schema(value_type = String)]
    pool: PoolId,
    #[schema(value_type = String)]
    key: KeyId,
    #[schema(value_type = String)]
    mode: BillingMode,
    #[schema(value_type = Vec<Object>)]
    lines: Vec<Line>,
    #[schema(value_type = u64)]
    amount: Amount,
    #[schema(value_type = String)]
    state: HoldState,
    deadline: String,
    since: String,
}

/// Which holds.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    #[param(inline)]
    state: Option<Live>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items on a page; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HoldState)]
enum Live {
    Open,
    Presumed,
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/holds",
    tag = "holds",
    params(("account" = String, Path, description = "The account"), Which),
    responses((status = 200, description = "Done", body = List<HoldView>))
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Which>,
) -> Answer<Json<List<HoldView>>> {
    let book = state.store.book(&account).await?;
    let wanted = |state: HoldState| match which.state {
        Some(Live::Open) => state == HoldState::Open,
        Some(Live::Presumed) => state == HoldState::Presumed,
        None => !state.is_final(),
    };
    let holds: Vec<_> = book.holds.iter().filter(|(_, hold)| wanted(hold.state)).collect();
    let view = |(id, hold): (&crate::ledger::HoldId, &crate::ledger::Hold)| HoldView {
        id: id.to_string(),
        model: hold.model.clone(),
        pool: hold.pool.clone(),
        key: hold.key.clone(),
        mode: hold.mode,
        lines: hold.lines.clone(),
        amount: hold.amount,
        state: hold.state,
        deadline: when::show(hold.deadline),
        since: when::show(hold.since),
    };
    let page = Page::of(which.cursor.as_deref(), which.limit)?;
    Ok(page.cut(holds.into_iter().map(view).collect(), |hold| format!("{} {}", hold.since, hold.id)))
}
