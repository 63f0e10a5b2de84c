//! Holds that are not final: calls in progress, and what was posted because nobody knew.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::body::{Named, Params};
use super::problem::Answer;
use super::{AdminState, List, when};
use crate::ledger::{AccountId, Amount, BillingMode, HoldState, KeyId, Line, ModelCode, PoolId};

/// A hold as an operator sees it.
#[derive(Serialize)]
pub(super) struct HoldView {
    id: String,
    model: ModelCode,
    pool: PoolId,
    key: KeyId,
    mode: BillingMode,
    lines: Vec<Line>,
    amount: Amount,
    state: HoldState,
    deadline: String,
    since: String,
}

/// Which holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    state: Option<Live>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Live {
    Open,
    Presumed,
}

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
    let mut holds: Vec<_> = book.holds.iter().filter(|(_, hold)| wanted(hold.state)).collect();
    holds.sort_unstable_by_key(|(id, hold)| (hold.since, **id));
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
    Ok(List::whole(holds.into_iter().map(view).collect()))
}
