//! The lines of the ledger, newest first.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::body::{Named, Params};
use super::problem::{Answer, Problem};
use super::{AdminState, List, when};
use crate::ledger::{AccountId, Entry, EntryKind, GrantId, PoolId, Usage};

/// Entries on a page where nothing else is said.
const LIMIT: usize = 100;
/// The most on a page.
const LIMIT_MAX: usize = 1_000;

/// An entry as an operator sees it. The figures are changes.
#[derive(Serialize)]
pub(super) struct EntryView {
    at: String,
    kind: EntryKind,
    pool: PoolId,
    grant: Option<GrantId>,
    hold: Option<String>,
    granted: i64,
    held: i64,
    spent: i64,
    presumed: i64,
    billed: Usage,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            at: when::show(entry.at),
            kind: entry.kind,
            pool: entry.pool,
            grant: entry.grant,
            hold: entry.hold.map(|hold| hold.to_string()),
            granted: entry.granted,
            held: entry.held,
            spent: entry.spent,
            presumed: entry.presumed,
            billed: entry.billed,
        }
    }
}

/// Which entries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    pool: Option<PoolId>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Which>,
) -> Answer<Json<List<EntryView>>> {
    let limit = which.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid("invalid_parameter", format!("`limit` is between 1 and {LIMIT_MAX}.")));
    }
    // An account without entries answers an empty list; an unknown one does not exist.
    state.store.book(&account).await?;
    let entries = state.store.entries(&account, which.pool.as_ref(), limit).await?;
    Ok(List::whole(entries.into_iter().map(EntryView::from).collect()))
}
