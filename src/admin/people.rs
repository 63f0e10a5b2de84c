//! Users and workspaces of an account: whose a key is. They share the account's quota (B1), so they change no decision.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::{operate, plain_name};
use super::body::{Body, Named, Params};
use super::page::{List, Page, Paged};
use super::problem::{Answer, Problem};
use super::{AdminState, when};
use crate::ledger::{AccountId, KeyId, KeyState, Operation};
use crate::store::Shelf;

/// A user of an account, or one of its workspaces.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct Member {
    id: String,
    /// What a person reads.
    name: String,
    created: String,
}

/// What makes one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    id: String,
    #[serde(default)]
    name: String,
}

/// The longest name.
const NAME_MAX: usize = 128;

async fn list(state: &AdminState, shelf: Shelf, account: &AccountId, page: Page) -> Answer<Json<List<Member>>> {
    state.store.book(account).await?;
    let prefix = format!("{account}/");
    let after = page.after.as_ref().map(|id| format!("{prefix}{id}"));
    let found = state.notes.list(shelf, &prefix, after.as_deref(), page.limit + 1).await?;
    let members = found.into_iter().filter_map(|(_, value)| serde_json::from_str::<Member>(&value).ok());
    Ok(page.first(members.map(|member| (member.id.clone(), member)).collect()))
}

async fn create(state: &AdminState, shelf: Shelf, account: &AccountId, new: NewMember) -> Answer<Response> {
    state.store.book(account).await?;
    let id = plain_name(&new.id)?.to_owned();
    if new.name.len() > NAME_MAX || new.name.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "invalid_name",
            format!("A name has at most {NAME_MAX} bytes and no control characters."),
        ));
    }
    let member = Member { id, name: new.name, created: when::show(state.store.now()) };
    let value = serde_json::to_string(&member).unwrap_or_default();
    let name = format!("{account}/{}", member.id);
    if state.notes.put_if_absent(shelf, &name, value).await?.is_some() {
        return Err(Problem::conflict("exists", format!("There is a `{}` already; it was left as it is.", member.id)));
    }
    Ok((StatusCode::CREATED, Json(member)).into_response())
}

async fn remove(state: &AdminState, shelf: Shelf, account: &AccountId, id: &str) -> Answer<Json<Member>> {
    state.store.book(account).await?;
    let name = format!("{account}/{id}");
    let found = state.notes.get(shelf, &name).await?.and_then(|value| serde_json::from_str::<Member>(&value).ok());
    let member = found.ok_or_else(|| unknown(id))?;
    state.notes.remove(shelf, &name).await?;
    Ok(Json(member))
}

fn unknown(id: &str) -> Problem {
    Problem::unknown("unknown_member", format!("The account has no `{id}` here."))
}

/// Whose a key is, by key.
pub(super) async fn owners(
    state: &AdminState,
    account: &AccountId,
) -> Answer<std::collections::BTreeMap<String, String>> {
    let prefix = format!("{account}/");
    let found = state.notes.list(Shelf::KeyOwners, &prefix, None, usize::MAX).await?;
    Ok(found.into_iter().filter_map(|(name, user)| Some((name.strip_prefix(&prefix)?.to_owned(), user))).collect())
}

/// Refuses a user that the account does not have.
pub(super) async fn check_user(state: &AdminState, account: &AccountId, user: &str) -> Answer<()> {
    let found = state.notes.get(Shelf::Users, &format!("{account}/{user}")).await?;
    found.map(drop).ok_or_else(|| {
        Problem::invalid("unknown_member", format!("The account has no user `{user}`; nothing was made."))
    })
}

/// Notes whose a key is.
pub(super) async fn give(state: &AdminState, account: &AccountId, key: &KeyId, user: String) -> Answer<()> {
    Ok(state.notes.put(Shelf::KeyOwners, vec![(format!("{account}/{key}"), user)]).await?)
}

#[utoipa::path(get, path = "/accounts/{account}/users", tag = "people", params(("account" = String, Path), Paged), responses((status = 200, description = "Done", body = List<Member>)))]
pub(super) async fn users(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<Member>>> {
    list(&state, Shelf::Users, &account, which.page()?).await
}

#[utoipa::path(post, path = "/accounts/{account}/users", tag = "people", params(("account" = String, Path)), request_body = NewMember, responses((status = 201, description = "Made", body = Member)))]
pub(super) async fn add_user(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(new): Body<NewMember>,
) -> Answer<Response> {
    create(&state, Shelf::Users, &account, new).await
}

/// With the user go all of its keys.
#[utoipa::path(delete, path = "/accounts/{account}/users/{user}", tag = "people", params(("account" = String, Path), ("user" = String, Path)), responses((status = 200, description = "Done", body = Member)))]
pub(super) async fn remove_user(
    State(state): State<AdminState>,
    Named((account, user)): Named<(AccountId, String)>,
) -> Answer<Json<Member>> {
    for (key, owner) in owners(&state, &account).await? {
        if owner == user {
            let operation = Operation::SetKeyState { key: KeyId::from(key.as_str()), state: KeyState::Deleted };
            operate(state.store.as_ref(), &account, operation).await?;
        }
    }
    remove(&state, Shelf::Users, &account, &user).await
}

#[utoipa::path(get, path = "/accounts/{account}/workspaces", tag = "people", params(("account" = String, Path), Paged), responses((status = 200, description = "Done", body = List<Member>)))]
pub(super) async fn workspaces(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Params(which): Params<Paged>,
) -> Answer<Json<List<Member>>> {
    list(&state, Shelf::Workspaces, &account, which.page()?).await
}

#[utoipa::path(post, path = "/accounts/{account}/workspaces", tag = "people", params(("account" = String, Path)), request_body = NewMember, responses((status = 201, description = "Made", body = Member)))]
pub(super) async fn add_workspace(
    State(state): State<AdminState>,
    Named(account): Named<AccountId>,
    Body(new): Body<NewMember>,
) -> Answer<Response> {
    create(&state, Shelf::Workspaces, &account, new).await
}

#[utoipa::path(delete, path = "/accounts/{account}/workspaces/{workspace}", tag = "people", params(("account" = String, Path), ("workspace" = String, Path)), responses((status = 200, description = "Done", body = Member)))]
pub(super) async fn remove_workspace(
    State(state): State<AdminState>,
    Named((account, workspace)): Named<(AccountId, String)>,
) -> Answer<Json<Member>> {
    remove(&state, Shelf::Workspaces, &account, &workspace).await
}
