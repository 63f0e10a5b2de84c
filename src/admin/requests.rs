//! Why a call was decided as it was (E7), and which models may serve instead (C12).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::AdminState;
use super::balances::unknown_model;
use super::body::{Body, Named};
use super::etag::{IfMatch, etag, tagged};
use super::problem::{Answer, Problem};
use crate::ledger::{AccountId, Decline, ModelCode};
use crate::store::Shelf;

#[utoipa::path(
    get,
    path = "/requests/{request}",
    tag = "requests",
    params(("request" = String, Path, description = "The `x-gratis-request-id` of the call")),
    responses((status = 200, description = "What was decided, and why", body = Object))
)]
pub(super) async fn why(State(state): State<AdminState>, Named(id): Named<String>) -> Answer<Json<Value>> {
    // A ledger's line shows the same id without its dashes.
    let id = uuid::Uuid::parse_str(&id).map_or_else(|_| id.to_ascii_lowercase(), |id| id.to_string());
    let kept = state.notes.get(Shelf::Traces, &id).await?.and_then(|kept| serde_json::from_str::<Value>(&kept).ok());
    let Some(mut trace) = kept.or_else(|| (state.recent)(&id)) else {
        return Err(Problem::unknown(
            "unknown_request",
            "Nothing is known of a call of this id: it is too long ago, it was served and another instance has it in \
             memory, its key or its body was wrong, or `log.explain` is off. The log has one line for every request.",
        ));
    };
    let text = |trace: &Value, name: &str| trace.get(name).and_then(Value::as_str).map(str::to_owned);
    let (account, key, pool) = (text(&trace, "account"), text(&trace, "key"), text(&trace, "pool"));
    if let (Some(account), Value::Object(members)) = (account, &mut trace) {
        let id = AccountId::from(account.as_str());
        let user = match key {
            Some(key) => state.notes.get(Shelf::KeyOwners, &format!("{id}/{key}")).await?,
            None => None,
        };
        members.insert("user".to_owned(), json!(user));
        if let Some(pool) = pool {
            let moved = state.notes.get(Shelf::Switches, &format!("{id}/{pool}")).await?;
            let moved = moved.and_then(|moved| serde_json::from_str::<Value>(&moved).ok());
            members.insert("switch_moved".to_owned(), json!(moved));
        }
    }
    let because = super::because::sentences(&trace);
    if let Value::Object(members) = &mut trace {
        members.insert("because".to_owned(), json!(because));
    }
    Ok(Json(trace))
}

/// What may serve instead of a model whose quota is used up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Fallback)]
pub(super) struct Fallback {
    /// Exact codes; empty = nothing serves instead.
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FallbackOrder)]
enum Order {
    /// As they are listed.
    #[default]
    Listed,
    /// The one whose quota ends first.
    SoonestExpiring,
}

/// The most models of a list: each is a try of the ledger.
const MODELS_MAX: usize = 16;

async fn name(state: &AdminState, account: &AccountId, key: Option<&str>) -> Answer<String> {
    let book = state.store.book(account).await?;
    match key {
        None => Ok(account.to_string()),
        Some(key) if book.keys.contains_key(key) => Ok(format!("{account}/{key}")),
        Some(_) => Err(Decline::UnknownKey.into()),
    }
}

async fn shown(state: &AdminState, name: &str) -> Answer<Fallback> {
    Ok(read(state.notes.get(Shelf::Fallbacks, name).await?.as_deref()))
}

fn read(kept: Option<&str>) -> Fallback {
    kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default()
}

async fn set(state: &AdminState, name: String, wanted: &IfMatch, body: Fallback) -> Answer<Response> {
    let kept = state.notes.get(Shelf::Fallbacks, &name).await?;
    wanted.check(&etag(&read(kept.as_deref())))?;
    let rules = state.rules();
    if body.models.len() > MODELS_MAX {
        return Err(Problem::invalid("invalid_body", format!("At most {MODELS_MAX} models may serve instead.")));
    }
    if let Some(unknown) = body.models.iter().find(|code| rules.catalogue.model(code).is_none()) {
        return Err(unknown_model(ModelCode::from(unknown.as_str()).as_str()));
    }
    let value = (!body.models.is_empty()).then(|| serde_json::to_string(&body).unwrap_or_default());
    wanted.put(state, (Shelf::Fallbacks, &name), kept.as_deref(), value).await?;
    Ok(tagged(&etag(&body), body))
}

#[utoipa::path(get, path = "/accounts/{account}/fallback", tag = "fallback", params(("account" = String, Path)), responses((status = 200, description = "Done", body = Fallback)))]
pub(super) async fn of_account(State(state): State<AdminState>, Named(account): Named<AccountId>) -> Answer<Response> {
    let fallback = shown(&state, &name(&state, &account, None).await?).await?;
    Ok(tagged(&etag(&fallback), fallback))
}

#[utoipa::path(put, path = "/accounts/{account}/fallback", tag = "fallback", params(("account" = String, Path), ("if-match" = Option<String>, Header)), request_body = Fallback, responses((status = 200, description = "Done", body = Fallback)))]
pub(super) async fn set_of_account(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    wanted: IfMatch,
    Body(body): Body<Fallback>,
) -> Answer<Response> {
    set(&state, name(&state, &account, None).await?, &wanted, body).await
}

#[utoipa::path(get, path = "/accounts/{account}/keys/{key}/fallback", tag = "fallback", params(("account" = String, Path), ("key" = String, Path)), responses((status = 200, description = "Done", body = Fallback)))]
pub(super) async fn of_key(
    State(state): State<AdminState>,
    Named((account, key)): Named<(AccountId, String)>,
) -> Answer<Response> {
    let fallback = shown(&state, &name(&state, &account, Some(&key)).await?).await?;
    Ok(tagged(&etag(&fallback), fallback))
}

#[utoipa::path(put, path = "/accounts/{account}/keys/{key}/fallback", tag = "fallback", params(("account" = String, Path), ("key" = String, Path), ("if-match" = Option<String>, Header)), request_body = Fallback, responses((status = 200, description = "Done", body = Fallback)))]
pub(super) async fn set_of_key(
    State(state): State<AdminState>,
    Named((account, key)): Named<(AccountId, String)>,
    wanted: IfMatch,
    Body(body): Body<Fallback>,
) -> Answer<Response> {
    set(&state, name(&state, &account, Some(&key)).await?, &wanted, body).await
}
