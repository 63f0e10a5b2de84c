//! Accounts.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, Named, Params};
use super::etag::{IfMatch, etag, tagged};
use super::page::{List, Paged};
use super::problem::{Answer, Problem};
use super::{AdminState, Rules, standing, when};
use crate::catalogue::Site;
use crate::ledger::{AccountId, AccountState, Book, Done, Expect, Operation, Outcome, Timestamp};
use crate::store::{NewAccount, Store};

/// An account as an operator sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct Account {
    #[schema(value_type = String)]
    id: AccountId,
    site: String,
    state: StateName,
    grace_until: Option<String>,
    never_pay: bool,
    keys: usize,
    grants: usize,
    open_holds: usize,
}

/// The states by name; the grace of an overdue account stands beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StateName {
    NotActivated,
    Active,
    Unverified,
    Overdue,
    Closed,
}

impl Account {
    fn of(book: &Book) -> Self {
        let (state, grace_until) = match book.state {
            AccountState::NotActivated => (StateName::NotActivated, None),
            AccountState::Active => (StateName::Active, None),
            AccountState::Unverified => (StateName::Unverified, None),
            AccountState::Overdue { grace_until } => (StateName::Overdue, Some(when::show(grace_until))),
            AccountState::Closed => (StateName::Closed, None),
        };
        Self {
            id: book.account.clone(),
            site: book.site.clone(),
            state,
            grace_until,
            never_pay: book.never_pay,
            keys: book.keys.len(),
            grants: book.pools.values().map(|pool| pool.grants.len()).sum(),
            open_holds: book.due.len(),
        }
    }

    /// The ETag of what an operator sets; how many calls are in progress is no part of it.
    fn tag(&self) -> String {
        etag(&(&self.site, self.state, &self.grace_until, self.never_pay))
    }
}

/// What makes an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAccount)]
pub(super) struct NewBody {
    id: String,
    site: Option<String>,
    state: Option<StateName>,
    grace_until: Option<String>,
    /// On unless somebody says otherwise: nobody pays by forgetting a field.
    #[serde(default = "yes")]
    never_pay: bool,
}

fn yes() -> bool {
    true
}

/// What changes an account; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountChange)]
pub(super) struct ChangeBody {
    state: Option<StateName>,
    grace_until: Option<String>,
    never_pay: Option<bool>,
}

#[utoipa::path(
    get,
    path = "/accounts",
    tag = "accounts",
    params(Paged),
    responses((status = 200, description = "Done", body = List<Account>))
)]
pub(super) async fn list(State(state): State<AdminState>, Params(which): Params<Paged>) -> Answer<Json<List<Account>>> {
    let page = which.page()?;
    let mut ids = state.store.accounts().await?;
    ids.sort();
    let mut accounts = Vec::new();
    // Only the books of the page are read, and one more that tells whether another page follows.
    let behind = |id: &AccountId| page.after.as_ref().is_none_or(|after| id.as_str() > after.as_str());
    for id in ids.into_iter().filter(behind).take(page.limit + 1) {
        accounts.push((id.to_string(), Account::of(&state.store.book(&id).await?)));
    }
    Ok(page.first(accounts))
}

#[utoipa::path(
    get,
    path = "/accounts/{account}",
    tag = "accounts",
    params(("account" = String, Path, description = "The account")),
    responses((status = 200, description = "Done", body = Account))
)]
pub(super) async fn show(State(state): State<AdminState>, Named(id): Named<AccountId>) -> Answer<Response> {
    let account = Account::of(&state.store.book(&id).await?);
    Ok(tagged(&account.tag(), account))
}

#[utoipa::path(
    post,
    path = "/accounts",
    tag = "accounts",
    params(("idempotency-key" = Option<String>, Header, description = "A repeat with the same key gets the first answer again")),
    request_body = NewBody,
    responses((status = 201, description = "Done", body = Account))
)]
pub(super) async fn create(State(state): State<AdminState>, Body(body): Body<NewBody>) -> Answer<Response> {
    let rules = state.rules();
    let account = AccountId::from(plain_name(&body.id)?);
    let name = body.site.as_deref().unwrap_or(&rules.default_site);
    let site = known_site(&rules, name).map_err(|problem| problem.with("field", "site"))?;
    let account_state =
        meant(body.state.unwrap_or(StateName::Active), body.grace_until.as_deref(), site, state.store.now())?;
    let new = NewAccount {
        account: account.clone(),
        site: site.name.clone(),
        state: account_state,
        never_pay: body.never_pay,
    };
    if !state.store.open_account(new).await? {
        return Err(Problem::conflict(
            "account_exists",
            format!("There is an account `{account}` already; it was left as it is."),
        ));
    }
    let location = format!("/admin/v1/accounts/{account}");
    let made = Account::of(&state.store.book(&account).await?);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

#[utoipa::path(
    patch,
    path = "/accounts/{account}",
    tag = "accounts",
    params(("account" = String, Path, description = "The account"), ("if-match" = Option<String>, Header, description = "Change only what still has this ETag")),
    request_body = ChangeBody,
    responses((status = 200, description = "Done", body = Account))
)]
pub(super) async fn change(
    State(state): State<AdminState>,
    Named(id): Named<AccountId>,
    wanted: IfMatch,
    Body(body): Body<ChangeBody>,
) -> Answer<Response> {
    let book = state.store.book(&id).await?;
    wanted.check(&Account::of(&book).tag())?;
    let mut now = book.state;
    if let Some(name) = body.state {
        let rules = state.rules();
        let site = known_site(&rules, &book.site)?;
        let meant = meant(name, body.grace_until.as_deref(), site, state.store.now())?;
        let expect = Expect::Account { state: book.state, never_pay: book.never_pay };
        operate(state.store.as_ref(), &id, wanted.guard(expect, Operation::SetState(meant))).await?;
        now = meant;
        standing::set_by_hand(&state, &book, meant).await?;
    } else if body.grace_until.is_some() {
        return Err(Problem::invalid("invalid_body", "`grace_until` goes with \"state\": \"overdue\"."));
    }
    if let Some(on) = body.never_pay {
        let expect = Expect::Account { state: now, never_pay: book.never_pay };
        operate(state.store.as_ref(), &id, wanted.guard(expect, Operation::SetNeverPay(on))).await?;
    }
    show(State(state), Named(id)).await
}

/// The state that a name and a grace mean; an overdue account without a grace gets that of its site (B7).
fn meant(name: StateName, grace: Option<&str>, site: &Site, now: Timestamp) -> Answer<AccountState> {
    if grace.is_some() && name != StateName::Overdue {
        return Err(Problem::invalid("invalid_body", "`grace_until` goes with \"state\": \"overdue\"."));
    }
    Ok(match name {
        StateName::NotActivated => AccountState::NotActivated,
        StateName::Active => AccountState::Active,
        StateName::Unverified => AccountState::Unverified,
        StateName::Closed => AccountState::Closed,
        StateName::Overdue => AccountState::Overdue {
            grace_until: match grace {
                Some(text) => time(text, site)?,
                None => site.grace_until(now),
            },
        },
    })
}

/// Reads a time as the account's site means it.
pub(super) fn time(text: &str, site: &Site) -> Answer<Timestamp> {
    when::parse(text, &site.time_zone).map_err(|wrong| Problem::invalid("invalid_time", format!("{wrong}.")))
}

/// The rules of a site. An account whose site is no longer configured must not be changed by guesswork.
pub(super) fn known_site<'a>(rules: &'a Rules, name: &str) -> Answer<&'a Site> {
    rules.site(name).map(AsRef::as_ref).ok_or_else(|| {
        let known: Vec<&str> = rules.sites.iter().map(|site| site.name.as_str()).collect();
        Problem::invalid(
            "unknown_site",
            format!("The site `{name}` is not configured; known are {}.", known.join(", ")),
        )
    })
}

/// A name that fits into a path, a log line and a metric.
pub(super) fn plain_name(text: &str) -> Answer<&str> {
    AccountId::is_name(text).then_some(text).ok_or_else(|| {
        Problem::invalid(
            "invalid_name",
            "A name has 1 to 64 of the characters A-Z a-z 0-9 - _ . @ and does not begin with a dot.",
        )
    })
}

/// Carries out an operator's change.
pub(super) async fn operate(store: &dyn Store, account: &AccountId, operation: Operation) -> Answer<Done> {
    match store.operate(account, operation).await? {
        Outcome::Done(done) => Ok(done),
        Outcome::Declined(decline) => Err(decline.into()),
        other @ (Outcome::Admitted(_)
        | Outcome::Refused(..)
        | Outcome::AlreadyResolved(_)
        | Outcome::Resolved(_)
        | Outcome::NotOpen(_)
        | Outcome::Unknown(_)
        | Outcome::Expired { .. }
        | Outcome::Forgotten(_)) => {
            tracing::error!(outcome = ?other, "a change was answered as if it were a call");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "The ledger gave an answer that makes no sense here.",
            ))
        }
    }
}
