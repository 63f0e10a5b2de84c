//! API keys of an account. The secret is in the answer that makes the key, and nowhere else.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::operate;
use super::body::{Body, Named, Params};
use super::page::{List, Paged};
use super::problem::{Answer, Problem};
use super::{AdminState, people, when};
use crate::ledger::{AccountId, Key, KeyId, KeyState, ModelCode, Operation};
use crate::store::keys::{new_id, new_key};

/// The longest label.
const NAME_MAX: usize = 128;

/// A key as an operator sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyView {
    #[schema(value_type = String)]
    id: KeyId,
    name: String,
    #[schema(value_type = String)]
    state: KeyState,
    #[schema(value_type = Vec<String>)]
    models: BTreeSet<ModelCode>,
    workspace: Option<String>,
    /// Whose it is.
    user: Option<String>,
    last4: String,
    created: String,
}

impl From<&Key> for KeyView {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            state: key.state,
            models: key.models.clone(),
            workspace: key.workspace.clone(),
            user: None,
            last4: key.last4.clone(),
            created: when::show(key.created),
        }
    }
}

/// What makes a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(super) struct NewBody {
    #[serde(default)]
    name: String,
    /// The only models it may ask for; empty = all.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    models: BTreeSet<ModelCode>,
    workspace: Option<String>,
    /// Whose it is: a user of the account.
    user: Option<String>,
}

/// A new key with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = NewKeyWithSecret)]
struct Made {
    #[serde(flatten)]
    key: KeyView,
    /// The key itself, in the first answer alone: a repeat by Idempotency-Key has `null` here.
    #[schema(value_type = Option<String>)]
    secret: String,
}

/// What changes a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyChange)]
pub(super) struct ChangeBody {
    state: Wanted,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = KeyState)]
enum Wanted {
    Active,
    Disabled,
}

#[utoipa::path(
    get,
    path = "/accounts/{account}/keys",
    tag = "keys",
    params(("account" = String, Path, description = "The account"), Paged),
    responses((status = 200, description = "Done", body = List<KeyView>))
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Named(id): Named<AccountId>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<KeyView>>> {
    let book = state.store.book(&id).await?;
    let mut owners = people::owners(&state, &id).await?;
    let keys =
        book.keys.values().map(|key| KeyView { user: owners.remove(key.id.as_str()), ..KeyView::from(key) }).collect();
    Ok(which.page()?.cut(keys, |key: &KeyView| key.id.to_string()))
}

#[utoipa::path(
    post,
    path = "/accounts/{account}/keys",
    tag = "keys",
    params(("account" = String, Path, description = "The account"), ("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    request_body = NewBody,
    responses((status = 201, description = "Done", body = Made))
)]
pub(super) async fn create(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(body): Body<NewBody>,
) -> Answer<Response> {
    check(&state, &body)?;
    // Asked first, so that an unknown account is said before anything is made.
    let book = state.store.book(&account).await?;
    if let Some(user) = &body.user {
        people::check_user(&state, &account, user).await?;
    }
    let (secret, digest, last4) = new_key(&state.pepper).map_err(no_entropy)?;
    let id = loop {
        let id = KeyId::from(new_id("key-").map_err(no_entropy)?);
        if !book.keys.contains_key(&id) {
            break id;
        }
    };
    let key = Key {
        id,
        name: body.name,
        state: KeyState::Active,
        models: body.models,
        workspace: body.workspace,
        last4,
        created: state.store.now(),
    };
    let view = KeyView { user: body.user.clone(), ..KeyView::from(&key) };
    if let Some(user) = body.user {
        people::give(&state, &account, &key.id, user).await?;
    }
    state.store.add_key(&account, key, digest).await?;
    let made = Made { key: view, secret: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// A label that is too long, and a model that nobody knows: a typing mistake would lock the key out in silence.
fn check(state: &AdminState, body: &NewBody) -> Answer<()> {
    let rules = state.rules();
    if let Some(code) = body.models.iter().find(|code| rules.catalogue.model(code.as_str()).is_none()) {
        return Err(Problem::invalid(
            "unknown_model",
            format!("The catalogue has no model `{code}`; nothing was made."),
        ));
    }
    let texts = [Some(&body.name), body.workspace.as_ref()];
    if texts.into_iter().flatten().any(|text| text.len() > NAME_MAX || text.chars().any(char::is_control)) {
        let detail = format!("A name or workspace has at most {NAME_MAX} bytes and no control characters.");
        return Err(Problem::invalid("invalid_name", detail));
    }
    Ok(())
}

fn no_entropy(error: crate::store::keys::NoEntropy) -> Problem {
    tracing::error!(error = %error, "no key was made");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The operating system gave no random bytes; no key was made.",
    )
}

#[utoipa::path(
    patch,
    path = "/accounts/{account}/keys/{key}",
    tag = "keys",
    params(("account" = String, Path, description = "The account"), ("key" = String, Path, description = "The key's id")),
    request_body = ChangeBody,
    responses((status = 200, description = "Done", body = KeyView))
)]
pub(super) async fn change(
    State(state): State<AdminState>,
    Named((account, key)): Named<(AccountId, KeyId)>,
    Body(body): Body<ChangeBody>,
) -> Answer<Json<KeyView>> {
    let wanted = match body.state {
        Wanted::Active => KeyState::Active,
        Wanted::Disabled => KeyState::Disabled,
    };
    set_state(&state, &account, key, wanted).await
}

/// Deleting is final: the key stays in the list, and is refused for good.
#[utoipa::path(
    delete,
    path = "/accounts/{account}/keys/{key}",
    tag = "keys",
    params(("account" = String, Path, description = "The account"), ("key" = String, Path, description = "The key's id")),
    responses((status = 200, description = "Done", body = KeyView))
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Named((account, key)): Named<(AccountId, KeyId)>,
) -> Answer<Json<KeyView>> {
    set_state(&state, &account, key, KeyState::Deleted).await
}

async fn set_state(state: &AdminState, account: &AccountId, key: KeyId, wanted: KeyState) -> Answer<Json<KeyView>> {
    let operation = Operation::SetKeyState { key: key.clone(), state: wanted };
    operate(state.store.as_ref(), account, operation).await?;
    let book = state.store.book(account).await?;
    book.keys.get(&key).map(|key| Json(KeyView::from(key))).ok_or_else(|| crate::ledger::Decline::UnknownKey.into())
}
