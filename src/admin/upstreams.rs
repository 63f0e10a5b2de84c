//! Upstreams that said that their account is overdue, and the operator's clear (C10).

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Named;
use super::problem::{Answer, Problem};
use super::{AdminState, when};
use crate::provider;

/// An upstream that is closed.
#[derive(Serialize, ToSchema)]
#[schema(as = ClosedUpstream)]
pub(super) struct ClosedUpstream {
    upstream: String,
    /// When it refused last.
    since: String,
    /// How often it refused in a row.
    refusals: u32,
    /// How many pools it serves: they are closed in every account.
    pools: usize,
    /// The account that owns it, which is overdue with it.
    account: Option<String>,
}

impl ClosedUpstream {
    fn of(upstream: String, closed: &provider::ClosedUpstream) -> Self {
        Self {
            upstream,
            since: when::show(closed.at),
            refusals: closed.attempt,
            pools: closed.pools.len(),
            account: closed.owner.as_ref().map(ToString::to_string),
        }
    }
}

/// Those that are closed now.
#[utoipa::path(get, path = "/upstreams/closed", tag = "provider", responses((status = 200, description = "Done", body = Vec<ClosedUpstream>)))]
pub(super) async fn list(State(state): State<AdminState>) -> Answer<Json<Vec<ClosedUpstream>>> {
    let closed = state.provider(&|_| None).closed().await?;
    Ok(Json(closed.into_iter().map(|(upstream, closed)| ClosedUpstream::of(upstream, &closed)).collect()))
}

/// Lets calls through again on every replica: the bill is paid.
#[utoipa::path(post, path = "/upstreams/{upstream}/reopen", tag = "provider", params(("upstream" = String, Path)), responses((status = 200, description = "Done; what it was", body = ClosedUpstream)))]
pub(super) async fn reopen(
    State(state): State<AdminState>,
    Named(upstream): Named<String>,
) -> Answer<Json<ClosedUpstream>> {
    let rules = state.rules();
    let sites = rules.sites();
    match state.provider(&sites).serves(&upstream, "an operator reopened it").await? {
        Some(closed) => Ok(Json(ClosedUpstream::of(upstream, &closed))),
        None => Err(Problem::unknown(
            "not_closed",
            format!("No upstream `{upstream}` is closed; `gratis upstream list` shows those that are."),
        )),
    }
}
