//! Upstreams that said that their account is overdue, and the operator's clear (C10).

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::operate;
use super::body::Named;
use super::problem::{Answer, Problem};
use super::{AdminState, when};
use crate::ledger::{AccountId, Closure, Operation, PoolId, Timestamp};
use crate::store::Shelf;

/// The most closures and tries that are looked at.
const NOTES_MAX: usize = 10_000;

/// What is kept of a closed upstream.
#[derive(Deserialize)]
struct Closed {
    attempt: u32,
    at: Timestamp,
    pools: Vec<(AccountId, PoolId)>,
}

/// An upstream that is closed.
#[derive(Serialize, ToSchema)]
#[schema(as = ClosedUpstream)]
pub(super) struct ClosedUpstream {
    upstream: String,
    /// When it refused last.
    since: String,
    /// How often it refused in a row.
    refusals: u32,
    /// How many pools are closed for it, over all accounts.
    pools: usize,
}

async fn closed(state: &AdminState) -> Answer<Vec<(String, Closed)>> {
    let notes = state.notes.list(Shelf::Closures, "", None, NOTES_MAX).await?;
    let read = |(name, value): (String, String)| Some((name, serde_json::from_str(&value).ok()?));
    Ok(notes.into_iter().filter(|(name, _)| !name.contains('#')).filter_map(read).collect())
}

/// Those that are closed now.
#[utoipa::path(get, path = "/upstreams/closed", tag = "provider", responses((status = 200, description = "Done", body = Vec<ClosedUpstream>)))]
pub(super) async fn list(State(state): State<AdminState>) -> Answer<Json<Vec<ClosedUpstream>>> {
    let view = |(upstream, closed): (String, Closed)| ClosedUpstream {
        upstream,
        since: when::show(closed.at),
        refusals: closed.attempt,
        pools: closed.pools.len(),
    };
    Ok(Json(closed(&state).await?.into_iter().map(view).collect()))
}

/// Lets calls through again: the bill is paid. Each instance may go on to refuse for `quota.breaker_cool_down` at most.
#[utoipa::path(post, path = "/upstreams/{upstream}/reopen", tag = "provider", params(("upstream" = String, Path)), responses((status = 200, description = "Done; what it was", body = ClosedUpstream)))]
pub(super) async fn reopen(
    State(state): State<AdminState>,
    Named(upstream): Named<String>,
) -> Answer<Json<ClosedUpstream>> {
    let found = closed(&state).await?.into_iter().find(|(name, _)| *name == upstream);
    let (upstream, closed) = found.ok_or_else(|| {
        Problem::unknown(
            "not_closed",
            format!("No upstream `{upstream}` is closed; `gratis upstream list` shows those that are."),
        )
    })?;
    for (account, pool) in &closed.pools {
        let book = state.store.book(account).await?;
        if book.pools.get(pool).and_then(|pool| pool.closed) == Some(Closure::Arrearage) {
            operate(state.store.as_ref(), account, Operation::ReopenPool { pool: pool.clone() }).await?;
        }
    }
    for (name, _) in state.notes.list(Shelf::Closures, &format!("{upstream}#"), None, NOTES_MAX).await? {
        state.notes.remove(Shelf::Closures, &name).await?;
    }
    state.notes.remove(Shelf::Closures, &upstream).await?;
    let (since, refusals, pools) = (when::show(closed.at), closed.attempt, closed.pools.len());
    Ok(Json(ClosedUpstream { upstream, since, refusals, pools }))
}
