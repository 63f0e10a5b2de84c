//! The audit log: who changed what, when, from what to what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::body::Params;
use super::page::{List, Page};
use super::problem::{Answer, Problem};
use crate::store::{Line, Log};

/// Lines that are read at once while those of one account are looked for.
const AT_ONCE: usize = 500;
/// Lines that one request looks at, at most.
const LOOKED_AT: usize = 20_000;

/// One line of the audit log.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct AuditLine {
    #[serde(default)]
    number: u64,
    at: String,
    /// `role` is proven by the token; `name` is what the client says of itself.
    #[schema(value_type = Option<Object>)]
    actor: serde_json::Value,
    method: String,
    path: String,
    account: Option<String>,
    /// What was answered.
    status: u16,
    /// The request's body, without secrets.
    #[schema(value_type = Option<Value>)]
    request: serde_json::Value,
    /// What the change changed, as it was; `null` for what was not there.
    #[schema(value_type = Object)]
    before: serde_json::Value,
    /// The same as it is now.
    #[schema(value_type = Object)]
    after: serde_json::Value,
    /// The answer's body, without secrets.
    #[schema(value_type = Option<Value>)]
    answer: serde_json::Value,
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those of this account.
    account: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items on a page; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Which), responses((status = 200, description = "Done", body = List<AuditLine>)))]
pub(super) async fn list(
    State(state): State<AdminState>,
    Params(which): Params<Which>,
) -> Answer<Json<List<AuditLine>>> {
    let page = Page::of(which.cursor.as_deref(), which.limit)?;
    let mut before = match &page.after {
        Some(after) => Some(after.parse().map_err(|_| {
            Problem::invalid("invalid_cursor", "`cursor` is not one that this list gave; begin without one.")
        })?),
        None => None,
    };
    let mut found = Vec::new();
    let mut looked_at = 0;
    while found.len() <= page.limit && looked_at < LOOKED_AT {
        let lines = state.notes.newest(Log::Audit, before, AT_ONCE).await?;
        looked_at += lines.len();
        before = lines.last().map(|line| line.number);
        let ended = lines.len() < AT_ONCE;
        let shown = lines.iter().filter_map(shown);
        let wanted =
            shown.filter(|line| which.account.as_ref().is_none_or(|account| line.account.as_ref() == Some(account)));
        found.extend(wanted.map(|line| (line.number.to_string(), line)));
        if ended {
            break;
        }
    }
    Ok(page.first(found))
}

fn shown(line: &Line) -> Option<AuditLine> {
    let mut shown: AuditLine = serde_json::from_str(&line.text).ok()?;
    shown.number = line.number;
    Some(shown)
}
